"""bfloat16 in single precision, against ml_dtypes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnxruntime

from geoc.ir.core import Model
from geoc.ir.equal import difference
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.ir.types import BF16, F32
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes
from geoc.tools.running.emulate import emulated, has_bfloat16

TEXT = """geoc 1
opset "" 21

graph @main(%x: f32[3,4], %f: bool[]) -> (%y) {
  weight %w: bf16[4] = [1.5, -0.3, 100.0, 0.001]
  %h = Cast(%x) {to=16}
  %a = Mul(%h, %w)
  %r: bf16[3,4] = If(%f)
    with then_branch = () -> (%t) {
      %t = Add(%a, %h)
    }
    with else_branch = () -> (%e) {
      %e = Neg(%a)
    }
  %s = Mul(%r, %r)
  %y = Cast(%s) {to=1}
}
"""


def model_of(text: str) -> Model:
    model = parse_model(text)
    infer_graph(model.graph)
    return model


def test_every_result_is_rounded() -> None:
    model = model_of(TEXT)
    copy = emulated(model)
    verify(copy)
    assert has_bfloat16(model) and difference(model, model_of(TEXT)) is None
    assert {v.dtype for node in copy.walk() if node.op.key != "Cast" for v in node.outputs} == {F32}
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    b = lambda v: np.asarray(v, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)  # noqa: E731
    w, h = b([1.5, -0.3, 100.0, 0.001]), b(x)
    a = b(h * w)
    session = onnxruntime.InferenceSession(model_bytes(copy, max_opset=21, max_ir=10))
    for flag in (True, False):
        r = b(a + h) if flag else -a
        (found,) = session.run(None, {"x": x, "f": np.array(flag)})
        assert np.array_equal(found, b(r * r))


def test_inputs_and_outputs_keep_their_type() -> None:
    text = 'geoc 1\nopset "" 21\n\ngraph @main(%x: bf16[3]) -> (%y) {\n  %y = Neg(%x)\n}\n'
    copy = emulated(model_of(text))
    verify(copy)
    assert copy.graph.inputs[0].dtype is BF16 and copy.graph.outputs[0].dtype is BF16
    assert [n.output.dtype for n in copy.walk() if n.op.key == "Neg"] == [F32]


def test_fp16_is_rounded_between_nodes_as_well() -> None:
    text = """geoc 1
opset "" 21

graph @main(%x: f16[3]) -> (%y) {
  weight %far: f16[] = -49152.0
  %a = Add(%x, %far)
  %y = Sub(%a, %far)
}
"""
    x = np.float16([1.0, -7.0, 40.0])
    (found,) = onnxruntime.InferenceSession(model_bytes(emulated(model_of(text)), max_opset=21, max_ir=10)).run(None, {"x": x})
    far = np.float16(-49152.0)
    assert found.dtype == np.float16 and np.array_equal(found, (x + far) - far)


def test_other_models_have_none() -> None:
    assert not has_bfloat16(model_of(TEXT.replace("bf16", "f16").replace("to=16", "to=10")))


def test_what_is_filled_with_a_half_number_is_filled_with_that_number() -> None:
    text = """geoc 1
opset "" 21

graph @main(%n: i64[2], %x: f32[]) -> (%y) {
  %h = Cast(%x) {to=10}
  %c = ConstantOfShape(%n) {value=tensor(f16[1] = [-49152.0])}
  %a = Add(%c, %h)
  %y = Cast(%a) {to=1}
}
"""
    copy = emulated(model_of(text))
    verify(copy)
    session = onnxruntime.InferenceSession(model_bytes(copy, max_opset=21, max_ir=10))
    (found,) = session.run(None, {"n": np.array([1, 2]), "x": np.array(1.0, np.float32)})
    assert found.dtype == np.float32 and np.array_equal(found, [[-49152.0, -49152.0]])

"""Interpreted graphs with If, Loop and Scan against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from geoc.ir.evaluate import CannotEvaluate, DeferredTensor, evaluate_graph, reshaped
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F32
from geoc.lowering.onnx import model_bytes

X = np.arange(12, dtype=np.float32).reshape(3, 4)
LOOP = """graph @main(%x: f32[3,4], %n: i64[]) -> (%y: f32[3,4], %r: f32[?n,4]) {
  weight %true: bool[] = true
  weight %ten: f32[] = 10.0
  weight %axes: i64[1] = [0]
  %y: f32[3,4], %r: f32[?n,4] = Loop(%n, %true, %x)
    with body = (%k: i64[], %go: bool[], %v: f32[3,4]) -> (%again, %w, %s) {
      %f: f32[] = Cast(%k) {to = 1}
      %w: f32[3,4] = Add(%v, %f)
      %s: f32[4] = ReduceMax(%w, %axes) {keepdims = 0}
      %again: bool[] = Less(%f, %ten)
    }
}"""
BRANCH = """graph @main(%x: f32[3,4], %c: bool[]) -> (%y: f32[3,4]) {
  %a: f32[3,4] = Neg(%x)
  %y: f32[3,4] = If(%c)
    with then_branch = () -> (%t) {
      %t: f32[3,4] = Mul(%a, %x)
    }
    with else_branch = () -> (%a) {
    }
}"""
SCAN = """graph @main(%x: f32[3,4]) -> (%y: f32[4], %p: f32[4,3], %q: f32[3,4]) {
  weight %zero: f32[4] = [0.0, 0.0, 0.0, 0.0]
  %y: f32[4], %p: f32[4,3], %q: f32[3,4] = Scan(%zero, %x) {num_scan_inputs = 1, scan_input_directions = [1],
    scan_output_axes = [1, 0], scan_output_directions = [0, 1]}
    with body = (%s: f32[4], %row: f32[4]) -> (%s2, %s2, %d) {
      %s2: f32[4] = Add(%s, %row)
      %d: f32[4] = Sub(%row, %s)
    }
}""".replace("\n    scan_output", " scan_output")


@pytest.mark.parametrize(
    ("text", "feeds"),
    [
        (LOOP, {"x": X, "n": np.array(3)}),
        (LOOP, {"x": X, "n": np.array(0)}),
        (LOOP, {"x": X, "n": np.array(50)}),
        (BRANCH, {"x": X, "c": np.array(True)}),
        (BRANCH, {"x": X, "c": np.array(False)}),
        (SCAN, {"x": X}),
    ],
)
def test_regions(text: str, feeds: dict[str, Any]) -> None:
    model = parse_model(f'geoc 1\nopset "" 20\n\n{text}')
    infer_graph(model.graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    data = model_bytes(model, max_opset=21, max_ir=10)
    wanted = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"]).run(None, feeds)
    found = evaluate_graph(model.graph, [Tensor.from_array(a) for a in feeds.values()])
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_array_equal(mine.array(), theirs)


def test_a_loop_without_end_is_refused(monkeypatch: Any) -> None:
    text = """graph @main(%x: f32[]) -> (%y: f32[]) {
  %y: f32[] = Loop(none, none, %x)
    with body = (%k: i64[], %go: bool[], %v: f32[]) -> (%go, %v) {
    }
}"""
    model = parse_model(f'geoc 1\nopset "" 20\n\n{text}')
    monkeypatch.setattr("geoc.ir.evaluate.graphs._MAX_TRIPS", 20)
    with pytest.raises(CannotEvaluate, match="20 times"):
        evaluate_graph(model.graph, [Tensor.of(1.0, F32)])


def test_a_missing_input_is_named() -> None:
    model = parse_model(f'geoc 1\nopset "" 20\n\n{BRANCH}')
    with pytest.raises(CannotEvaluate, match="input c is missing"):
        evaluate_graph(model.graph, [Tensor.from_array(X)])


def test_reshaped_tensors_share_their_payload() -> None:
    tensor = Tensor(F32, (3, 4), data=X.tobytes())
    view = reshaped(tensor, (12,))
    assert view.data() == tensor.data() and view.shape == (12,)
    computed = DeferredTensor(F32, (4, 3), tensor, "transpose (1, 0)", lambda a: a.T.copy())
    np.testing.assert_array_equal(reshaped(computed, (2, 6)).array(), X.T.reshape(2, 6))
    with pytest.raises(ValueError, match="cannot take the shape"):
        reshaped(tensor, (5,))

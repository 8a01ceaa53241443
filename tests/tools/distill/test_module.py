"""A graph as a module of torch: sizes that change, weights that are shared, quantization, inner graphs, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="distillation is not tested: it needs torch (pip install 'geoc[distill]')")

from geoc.ir.core import Model  # noqa: E402
from geoc.ir.errors import GeocError, UnsupportedModel  # noqa: E402
from geoc.ir.text import parse_model  # noqa: E402
from geoc.lowering.onnx import model_bytes  # noqa: E402
from geoc.tools.distill.module import GraphModule  # noqa: E402
from geoc.tools.distill.weights import trainable  # noqa: E402

from ...conformance.judges import on_onnxruntime  # noqa: E402

RNG = np.random.default_rng(1)


def numbers(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def module_of(text: str) -> tuple[Model, GraphModule]:
    model = parse_model("geoc 1\n" + text.lstrip("\n"))
    return model, GraphModule(model, trainable(model))


def agrees(model: Model, module: GraphModule, feeds: dict[str, Any], tolerance: float = 1e-5) -> None:
    with torch.no_grad():
        found = [tensor.numpy() for tensor in module(feeds)]
    for a, b in zip(on_onnxruntime(model_bytes(model), feeds), found):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)


DYNAMIC = """
graph @main(%x: f32[B,S,4]) -> (%y: f32[B,2,S,2], %flat: f32[*]) {
  weight %w: f32[4,4] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16.5]
  weight %zero: i64[] = 0
  weight %one: i64[] = 1
  weight %first: i64[1] = [0]
  weight %tail: i64[2] = [2, 2]
  weight %minus: i64[1] = [-1]
  weight %eps: f32[1] = [0.5]
  weight %width: i64[1] = [4]
  %m: f32[B,S,4] = MatMul(%x, %w)
  %shape: i64[3] = Shape(%m)
  %b: i64[] = Gather(%shape, %zero)
  %s: i64[] = Gather(%shape, %one)
  %b1: i64[1] = Unsqueeze(%b, %first)
  %s1: i64[1] = Unsqueeze(%s, %first)
  %to: i64[4] = Concat(%b1, %s1, %tail) {axis=0}
  %heads: f32[B,S,2,2] = Reshape(%m, %to)
  %y: f32[B,2,S,2] = Transpose(%heads) {perm=[0,2,1,3]}
  %bs: i64[1] = Mul(%b1, %s1)
  %four: i64[1] = Mul(%bs, %width)
  %ones: f32[*] = Expand(%eps, %four)
  %rows: f32[*] = Reshape(%m, %minus)
  %flat: f32[*] = Mul(%ones, %rows)
}
"""


def test_sizes_may_change_from_call_to_call() -> None:
    model, module = module_of(DYNAMIC)
    assert [weight.name for weight in module.weights] == ["w"]
    for shape in ((1, 3, 4), (2, 5, 4), (3, 1, 4)):
        agrees(model, module, {"x": numbers(*shape)})


def test_a_weight_that_is_shared_is_one_parameter_and_goes_back_as_one() -> None:
    """A table of words that is the matrix of the classes as well, turned."""
    model, module = module_of("""
graph @main(%ids: i64[N]) -> (%y: f32[N,3]) {
  weight %table: f32[3,2] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
  %rows: f32[N,2] = Gather(%table, %ids)
  %turned: f32[2,3] = Transpose(%table) {perm=[1,0]}
  %y: f32[N,3] = MatMul(%rows, %turned)
}
""")
    (parameter,) = module.learned
    feeds = {"ids": np.array([2, 0])}
    module(feeds)[0].sum().backward()
    table = np.float64([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    by_rows = np.zeros_like(table)
    by_rows[[2, 0]] = table.sum(0)
    np.testing.assert_allclose(parameter.grad.numpy(), by_rows + table[[2, 0]].sum(0), rtol=1e-5)
    with torch.no_grad():
        parameter.mul_(2)
    module.put_back()
    agrees(model, module, feeds)
    assert model.graph.first.inputs[0].hint == "table"
    np.testing.assert_allclose(model.graph.first.inputs[0].const.array(), 2 * table, rtol=1e-6)


QUANTIZED = """
graph @main(%x: f32[N,3]) -> (%y: f32[N,2]) {
  weight %w: f32[3,2] = [0.31, -0.22, 0.13, 0.44, -1.9, 0.66]
  weight %ws: f32[2] = [0.01, 0.02]
  weight %wz: i8[2] = [0, 0]
  weight %xs: f32[] = 0.05
  weight %xz: u8[] = 100
  %xq: u8[N,3] = QuantizeLinear(%x, %xs, %xz)
  %xd: f32[N,3] = DequantizeLinear(%xq, %xs, %xz)
  %wq: i8[3,2] = QuantizeLinear(%w, %ws, %wz) {axis=1}
  %wd: f32[3,2] = DequantizeLinear(%wq, %ws, %wz) {axis=1}
  %y: f32[N,2] = MatMul(%xd, %wd)
}
"""


def test_gradients_pass_rounding_and_stop_where_it_saturates() -> None:
    model, module = module_of(QUANTIZED)
    assert [weight.name for weight in module.weights] == ["w"]
    x = np.float32([[0.26, -0.31, 1.02], [0.4, 0.11, 2.0]])
    agrees(model, module, {"x": x})
    module({"x": x})[0].sum().backward()
    rounded = np.round(x / np.float32(0.05)) * np.float32(0.05)
    expected = np.repeat(rounded.sum(0)[:, None], 2, 1)
    expected[2, 0] = 0.0  # -1.9 / 0.01 is below -128
    np.testing.assert_allclose(module.learned[0].grad.numpy(), expected, rtol=1e-5)


def test_weights_that_are_codes_are_trained_as_what_they_stand_for() -> None:
    model, module = module_of("""
graph @main(%x: f32[N,2]) -> (%y: f32[N,2]) {
  weight %w: i4[2,2] = [1, -2, 3, 7]
  weight %s: f32[2] = [0.5, 0.25]
  weight %z: i4[2] = [0, 1]
  %wd: f32[2,2] = DequantizeLinear(%w, %s, %z) {axis=1}
  %y: f32[N,2] = MatMul(%x, %wd)
}
""")
    (weight,) = module.weights
    assert weight.start().tolist() == [[0.5, -0.75], [1.5, 1.5]]
    agrees(model, module, {"x": numbers(3, 2)})
    with torch.no_grad():
        module.learned[0].add_(torch.tensor([[0.3, 0.1], [0.0, 9.0]]))
    module.put_back()
    codes = model.graph.first.inputs[0].const
    assert codes.dtype.name == "i4" and codes.array().astype(int).tolist() == [[2, -2], [3, 7]]
    agrees(model, module, {"x": numbers(3, 2)})  # the module rounds to what was written


def test_half_precision_is_trained_in_single() -> None:
    model, module = module_of("""
graph @main(%x: f16[N,2]) -> (%y: f16[N,2]) {
  weight %w: f16[2,2] = [1, 2, 3, 4]
  %y: f16[N,2] = MatMul(%x, %w)
}
""")
    (parameter,) = module.learned
    assert parameter.dtype == torch.float32
    agrees(model, module, {"x": numbers(3, 2).astype(np.float16)}, 1e-2)
    module({"x": numbers(3, 2).astype(np.float16)})[0].sum().backward()
    assert parameter.grad.abs().sum() > 0
    module.put_back()
    assert model.graph.first.inputs[1].const.dtype.name == "f16"


BRANCHES = """
graph @main(%x: f32[N,2], %n: i64[]) -> (%y: f32[N,2], %z: f32[N,2]) {
  weight %w: f32[2,2] = [1, 2, 3, 4]
  weight %two: i64[] = 2
  weight %on: bool[] = true
  %few: bool[] = Less(%n, %two)
  %y: f32[N,2] = If(%few)
    with then_branch = () -> (%a) {
      %a: f32[N,2] = MatMul(%x, %w)
    }
    with else_branch = () -> (%b) {
      %b: f32[N,2] = Neg(%x)
    }
  %z: f32[N,2] = Loop(%n, %on, %x)
    with body = (%i: i64[], %going: bool[], %state: f32[N,2]) -> (%going, %next) {
      %next: f32[N,2] = MatMul(%state, %w)
    }
}
"""


def test_inner_graphs_run_and_pass_gradients() -> None:
    model, module = module_of(BRANCHES)
    x = numbers(3, 2)
    for count in (0, 1, 3):
        agrees(model, module, {"x": x, "n": np.array(count)}, 1e-4)
    sum(t.sum() for t in module({"x": x, "n": np.array(1)})).backward()
    np.testing.assert_allclose(module.learned[0].grad.numpy(), 2 * np.repeat(x.sum(0)[:, None], 2, 1), rtol=1e-5)


def test_what_lies_before_all_weights_needs_no_function() -> None:
    """Det has none in the table; before the weights it runs without gradients."""
    model, module = module_of("""
graph @main(%x: f32[N,2,2]) -> (%y: f32[1,3]) {
  weight %to: i64[2] = [1, -1]
  weight %w: f32[2,3] = [1, 2, 3, 4, 5, 6]
  %d: f32[N] = Det(%x)
  %row: f32[1,2] = Reshape(%d, %to)
  %y: f32[1,3] = MatMul(%row, %w)
}
""")
    agrees(model, module, {"x": numbers(2, 2, 2)}, 1e-4)


def test_an_operator_without_function_behind_a_weight_is_named() -> None:
    with pytest.raises(UnsupportedModel, match=r"no function for Det, and weights lie before it") as caught:
        module_of("""
graph @main(%x: f32[2,2]) -> (%y: f32[]) {
  weight %w: f32[2,2] = [1, 2, 3, 4]
  %m: f32[2,2] = MatMul(%x, %w)
  %y: f32[] = Det(%m)  !"/head/Det"
}
""")
    assert caught.value.place == "/head/Det"


def test_what_does_not_fit_names_the_node() -> None:
    _, module = module_of("""
graph @main(%x: f32[*]) -> (%y: f32[*]) {
  weight %w: f32[2,2] = [1, 2, 3, 4]
  %y: f32[*] = MatMul(%x, %w)  !"/fc/MatMul"
}
""")
    with pytest.raises(GeocError, match="MatMul") as caught:
        module({"x": numbers(3, 5)})
    assert caught.value.place == "/fc/MatMul"


def test_values_inside_can_be_asked_for_alone() -> None:
    """What lies behind them is not run: here it would not."""
    model, module = module_of("""
graph @main(%x: f32[2,2], %to: i64[1]) -> (%y: f32[*]) {
  weight %w: f32[2,2] = [1, 2, 3, 4]
  %m: f32[2,2] = MatMul(%x, %w)
  %y: f32[*] = Reshape(%m, %to)
}
""")
    x = numbers(2, 2)
    (found,) = module({"x": x}, [model.graph.first.output])
    np.testing.assert_allclose(found.detach().numpy(), x @ np.float32([[1, 2], [3, 4]]), rtol=1e-6)
    with pytest.raises(GeocError, match="%to was not given"):
        module({"x": x})


@pytest.mark.parametrize("made", ["RandomNormalLike(%x)", "Dropout(%x, %half, %training)"])
def test_what_is_random_is_refused(made: str) -> None:
    text = """
graph @main(%x: f32[2,2]) -> (%y: f32[2,2]) {
  weight %w: f32[2,2] = [1, 2, 3, 4]
  weight %half: f32[] = 0.5
  weight %training: bool[] = true
  %r: f32[2,2] = MADE
  %y: f32[2,2] = MatMul(%r, %w)
}
"""
    with pytest.raises(UnsupportedModel, match="draws random numbers"):
        module_of(text.replace("MADE", made))
    agreed, module = module_of(text.replace("MADE", "Dropout(%x, %half)"))
    agrees(agreed, module, {"x": numbers(2, 2)})

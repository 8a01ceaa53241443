"""autocast: what it changes, what it leaves, and that results stay close."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.errors import UsageError
from geoc.ir.types import F16, F32
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.precision.autocast import Autocast
from geoc.passes.precision.islands import HIDING, HIDING_TWICE

from .conftest import FAST, autocast, dtypes, measured, model_of, nodes, relative, run

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 64)).astype(np.float32)
TWO = """graph @main(%x: f32[64,64]) -> (%y) {
  weight %w: f32[64] = splat(0.25)
  weight %v: f32[64,64] = splat(0.125)
  %a = MatMul(%x, %v)
  %b = Add(%a, %w)
  %y = MatMul(%b, %v)
}"""


def layer(line: str, params: str = "%x: f32[64,64]") -> str:
    """`line` makes %c of %b between two products with a matrix."""
    products = f"  %b = MatMul(%x, %w)\n{line}\n  %d0 = Add(%c, %x)\n  %y = MatMul(%d0, %w)"
    return f"graph @main({params}) -> (%y) {{\n  weight %w: f32[64,64] = splat(0.0625)\n{products}\n}}"


def test_products_change_and_inputs_and_outputs_do_not() -> None:
    model = autocast(model_of(TWO), {"x": X / 8})
    assert dtypes(model, "MatMul") == ["f16", "f16"] and dtypes(model, "Add") == ["f16"]
    assert model.graph.inputs[0].dtype is F32 and model.graph.outputs[0].dtype is F32
    assert dtypes(model, "Cast") == ["f16", "f32"]
    assert relative(run(model_of(TWO), {"x": X / 8})[0], run(model, {"x": X / 8})[0]) < 2e-3


def test_bfloat16() -> None:
    model = autocast(model_of(TWO), {"x": X / 8}, to="bf16")
    assert dtypes(model, "MatMul") == ["bf16", "bf16"]


def test_nothing_changes_where_casts_cost_more() -> None:
    model = autocast(model_of("graph @main(%x: f32[1024,1024]) -> (%y) {\n  %y = Relu(%x)\n}"), {"x": np.ones((1024, 1024), np.float32)})
    assert dtypes(model, "Relu") == ["f32"] and not nodes(model, "Cast")


@pytest.mark.parametrize(
    ("line", "stays", "feed"),
    [
        ("  weight %k: f32[] = 1000.0\n  %c = Mul(%b, %k)", "Mul", X),  # values of some thousands
        ("  weight %k: f32[] = 1e-12\n  %e = Add(%b, %k)\n  %c = Sqrt(%e)", "Add", np.abs(X)),  # the constant would vanish
        ("  weight %k: f32[1] = [1e6]\n  %c = Min(%b, %k)", "Min", X),
        ("  %c = Sin(%b)", "Sin", 40 * X),
        ("  %c = Round(%b)", "Round", X),
        ("  weight %axes: i64[2] = [0, 1]\n  %c = ReduceSum(%b, %axes)", "ReduceSum", X),
        ("  weight %axes: i64[2] = [0, 1]\n  %d = ReduceSumSquare(%b, %axes)\n  %c = Div(%b, %d)", "ReduceSumSquare", X / 8),
        ("  weight %k: f32[] = 8.0\n  %d = Mul(%b, %k)\n  %c = Softmax(%d)", "Softmax", 40 * X),  # logits of some hundreds
    ],
)
def test_what_is_not_safe_in_fp16_stays(line: str, stays: str, feed: Any) -> None:
    source = model_of(layer(line))
    model = autocast(model_of(layer(line)), {"x": feed})
    assert dtypes(model, stays)[0] == "f32"
    assert "f16" in dtypes(model, "MatMul") or stays in ("Mul", "Min")
    expected, found = run(source, {"x": feed})[0], run(model, {"x": feed})[0]
    assert np.isfinite(found).all() and relative(expected, found) < 1e-2


@pytest.mark.parametrize(
    ("line", "op"),
    [
        ("  weight %k: f32[] = 2.0\n  %c = Mul(%b, %k)", "Mul"),
        ("  weight %k: f32[] = 0.001\n  %c = Add(%b, %k)", "Add"),
        ("  weight %axes: i64[1] = [1]\n  %c = ReduceSum(%b, %axes)", "ReduceSum"),
        ("  %c = Softmax(%b)", "Softmax"),
        ("  %c = Relu(%b)", "Relu"),
    ],
)
def test_what_is_safe_changes(line: str, op: str) -> None:
    assert set(dtypes(autocast(model_of(layer(line)), {"x": X / 64}), op)) == {"f16"}


@pytest.mark.parametrize(
    "line", ["%c = GlobalAveragePool(%b)", "weight %hw: i64[2] = [2, 3]\n  %c = ReduceMean(%b, %hw)"], ids=["pool", "mean"]
)
def test_a_mean_is_no_larger_than_what_it_is_of(line: str) -> None:
    """Kernels add up in single precision: no sum of 64 * 64 numbers is ever in fp16."""
    text = f"""graph @main(%x: f32[1,3,64,64]) -> (%y) {{
  weight %w: f32[8,3,1,1] = splat(0.25)
  weight %v: f32[8,8,1,1] = splat(0.125)
  %b = Conv(%x, %w)
  {line}
  %y = Conv(%c, %v)
}}"""
    x = np.abs(RNG.standard_normal((1, 3, 64, 64)).astype(np.float32))
    model = autocast(model_of(text), {"x": x})
    assert {n.output.dtype for n in model.walk() if n.op.key != "Cast"} == {F16} and len(nodes(model, "Cast")) == 2
    found = run(model, {"x": 100 * x})[0]
    assert relative(run(model_of(text), {"x": 100 * x})[0], found) < 2e-3


def test_a_value_that_grows_with_the_inputs_is_judged_by_where_it_gets() -> None:
    """8000 is far below 65504, and 100 times the inputs do not bring it beyond."""
    text = layer("  weight %k: f32[] = 4000.0\n  %t = Tanh(%b)\n  %c = Mul(%t, %k)")
    grows = autocast(model_of(text), {"x": X / 8})
    assert set(dtypes(grows, "Mul")) == {"f16"}
    seen = autocast(model_of(text), {"x": 40 * X})  # as large as ever already: what others may bring is not known
    assert set(dtypes(seen, "Mul")) == {"f32"}


def test_what_saturates_may_be_given_infinity() -> None:
    text = layer("  weight %k: f32[] = 4.0\n  %d = Mul(%b, %k)\n  %e = Mul(%d, %d)\n  %c = Sigmoid(%e)")
    model = autocast(model_of(text), {"x": X})
    (_, square) = nodes(model, "Mul")
    assert square.output.dtype is F16 and set(dtypes(model, "Sigmoid")) == {"f16"}
    feeds = {"x": 100 * X}
    assert relative(run(model_of(text), feeds)[0], run(model, feeds)[0]) < 2e-3
    returned = autocast(model_of(text.replace("-> (%y)", "-> (%y, %e)")), {"x": X})
    assert nodes(returned, "Mul")[1].output.dtype is F32


def test_what_only_compares_takes_what_is_there() -> None:
    text = layer("  %i = ArgMax(%b) {axis = 1}\n  %j = Cast(%i) {to = 1}\n  %c = Add(%b, %j)")
    model = autocast(model_of(text), {"x": X})
    (node,) = nodes(model, "ArgMax")
    assert node.inputs[0] is not None and node.inputs[0].dtype is F16
    assert dtypes(model, "Cast").count("f32") == 1  # the output's


def test_one_hot_of_whole_numbers_changes() -> None:
    text = """graph @main(%x: f32[4,8], %i: i64[4]) -> (%y) {
  weight %w: f32[8,8] = splat(0.25)
  weight %depth: i64[] = 8
  weight %off_on: f32[2] = [0.0, 1.0]
  %h = OneHot(%i, %depth, %off_on)
  %m = Add(%x, %h)
  %y = MatMul(%m, %w)
}"""
    model = autocast(model_of(text), {"x": X[:4, :8], "i": np.array([0, 3, 7, 1])})
    assert dtypes(model, "OneHot") == ["f16"]


ATTENTION = """graph @main(%x: f32[2,8,64], %keep: bool[2,1,8]) -> (%y) {
  weight %zero: f32[] = 0.0
  weight %hide: f32[] = -1e9
  %m = Where(%keep, %zero, %hide)
  %q = Tanh(%x)
  %t = Transpose(%q) {perm=[0, 2, 1]}
  %s = MatMul(%q, %t)
  weight %scale: f32[] = 3.0
  %r = Mul(%s, %scale)
  %l = Add(%r, %m)
  %p = Softmax(%l)
  %y = MatMul(%p, %q)
}"""


@pytest.mark.parametrize(("size", "dtype"), [(1.0, "f16"), (9.0, "f32")], ids=["some tens", "192"])
def test_large_logits_are_made_in_single_precision(size: float, dtype: str) -> None:
    """A Softmax in single precision of logits that were rounded before would gain nothing but casts."""
    keep = np.ones((2, 1, 8), bool)
    keep[0, 0, 5:] = False
    feeds = {"x": size * X[:16].reshape(2, 8, 64), "keep": keep}
    model = autocast(model_of(ATTENTION), feeds)
    assert dtypes(model, "Softmax") + dtypes(model, "Add") + dtypes(model, "Mul") == [dtype] * 3
    assert dtypes(model, "MatMul") == [dtype, "f16"]
    assert relative(run(model_of(ATTENTION), feeds)[0], run(model, feeds)[0]) < 2e-3


ROTARY = """graph @main(%x: f32[1,S,64], %positions: i64[1,S]) -> (%y) {
  weight %w: f32[64,64] = splat(0.0625)
  weight %frequencies: f32[1,32,1] = splat(0.5)
  weight %one: i64[1] = [1]
  %u = Unsqueeze(%positions, %one)
  %f = Cast(%u) {to=1}
  %a = MatMul(%frequencies, %f)
  %t = Transpose(%a) {perm=[0, 2, 1]}
  %cos = Cos(%t)
  %sin = Sin(%t)
  %both = Concat(%cos, %sin) {axis = -1}
  %b = MatMul(%x, %w)
  %c = Mul(%b, %both)
  %y = MatMul(%c, %w)
}"""


def test_angles_are_made_in_single_precision() -> None:
    """A position of 1,000 is a hundred turns and more: fp16 has 0.5 radians there."""
    few = {"x": X[None, :5], "positions": np.arange(5)[None]}
    model = autocast(model_of(ROTARY), few)  # of a model that runs on more positions later
    assert dtypes(model, "Cos") + dtypes(model, "Sin") + dtypes(model, "Transpose") == ["f32"] * 3
    assert dtypes(model, "MatMul") == ["f32", "f16", "f16"]
    assert {n.output.dtype.name for n in nodes(model, "Cast") if n.inputs[0].dtype.is_int} == {"f32"}
    many = {"x": X[None, :5], "positions": np.arange(1000, 1005)[None]}
    assert relative(run(model_of(ROTARY), many)[0], run(model, many)[0]) < 2e-3


def test_values_that_would_vanish_stay() -> None:
    text = layer("  weight %k: f32[] = 1e-7\n  %c = Mul(%b, %k)")
    model = autocast(model_of(text), {"x": X})
    assert dtypes(model, "Mul") == ["f32"]
    tiny = LOOP.replace("= 0.5", "= 0.001")  # what the loop carries shrinks from trip to trip
    (loop,) = nodes(autocast(model_of(tiny), {"x0": X / 8, "n": np.array(4)}), "Loop")
    assert loop.output.dtype is F32


def test_without_inputs_constants_and_operators_decide() -> None:
    vanishing = layer("  weight %k: f32[] = 1e-12\n  %c = Add(%b, %k)")
    assert dtypes(autocast(model_of(vanishing)), "Add") == ["f32", "f16"]
    assert dtypes(autocast(model_of(TWO)), "Add") == ["f16"]


def test_bfloat16_has_the_range_but_not_the_digits() -> None:
    large = layer("  weight %k: f32[] = 1000.0\n  %c = Mul(%b, %k)")
    assert dtypes(autocast(model_of(large), {"x": X}, to="bf16"), "Mul") == ["bf16"]
    assert dtypes(autocast(model_of(layer("  %c = Sin(%b)")), {"x": 40 * X}, to="bf16"), "Sin") == ["f32"]


MASKED = """graph @main(%x: f32[2,8,64], %keep: bool[2,1,8]) -> (%y) {
  weight %zero: f32[] = 0.0
  weight %hide: f32[] = -1e9
  %m = Where(%keep, %zero, %hide)
  %t = Transpose(%x) {perm=[0, 2, 1]}
  %s = MatMul(%x, %t)
  %l = Add(%s, %m)
  %p = Softmax(%l)
  %y = MatMul(%p, %x)
}"""


@pytest.mark.parametrize("hidden", ["-1e9", "-3.4028235e38", "-inf"])
def test_masks_are_clamped(hidden: str) -> None:
    text = MASKED.replace("-1e9", hidden)
    keep = np.ones((2, 1, 8), bool)
    keep[0, 0, 5:] = False
    keep[1, 0, 1:] = False
    feeds = {"x": X[:16].reshape(2, 8, 64) / 4, "keep": keep}
    model = autocast(model_of(text), feeds)
    assert set(dtypes(model, "Softmax") + dtypes(model, "Add") + dtypes(model, "Where")) == {"f16"}
    (where,) = nodes(model, "Where")
    constant = where.inputs[2]
    assert constant is not None and constant.const is not None and float(constant.const.item()) == HIDING
    assert relative(run(model_of(text), feeds)[0], run(model, feeds)[0]) < 2e-3


def test_a_mask_of_whole_numbers_is_cast_once() -> None:
    text = MASKED.replace("%keep: bool", "%seen: i64").replace(
        "  %m = Where(%keep, %zero, %hide)\n",
        "  weight %one: f32[] = 1.0\n  %f = Cast(%seen) {to=1}\n  %g = Sub(%one, %f)\n  %m = Mul(%g, %hide)\n",
    )  # fmt: skip
    seen = np.ones((2, 1, 8), np.int64)
    seen[0, 0, 5:] = 0
    feeds = {"x": X[:16].reshape(2, 8, 64) / 4, "seen": seen}
    for model in (autocast(model_of(text), feeds), autocast(model_of(text))):  # with ranges and without
        assert [n.output.dtype for n in nodes(model, "Cast") if n.inputs[0].dtype.is_int] == [F16]
        assert dtypes(model, "Cast").count("f16") == 2  # x as well
        assert relative(run(model_of(text), feeds)[0], run(model, feeds)[0]) < 2e-3


def test_a_mask_that_is_made_in_single_precision_is_clamped_on_its_way() -> None:
    text = MASKED.replace("(%x: f32[2,8,64], %keep: bool[2,1,8])", "(%x: f32[2,8,64], %m: f32[2,1,8])").replace(
        "  %m = Where(%keep, %zero, %hide)\n", ""
    )
    mask = np.zeros((2, 1, 8), np.float32)
    mask[0, 0, 5:] = np.finfo(np.float32).min
    mask[1, 0, 1:] = np.finfo(np.float32).min
    feeds = {"x": X[:16].reshape(2, 8, 64) / 4, "m": mask}
    model = autocast(model_of(text), feeds)
    assert dtypes(model, "Max") == ["f32"] and dtypes(model, "Softmax") == ["f16"]
    assert relative(run(model_of(text), feeds)[0], run(model, feeds)[0]) < 2e-3


def test_a_row_that_hides_all_gives_the_mean_as_in_single_precision() -> None:
    feeds = {"x": X[:16].reshape(2, 8, 64) / 4, "keep": np.zeros((2, 1, 8), bool)}
    found = run(autocast(model_of(MASKED), feeds), feeds)[0]
    assert relative(run(model_of(MASKED), feeds)[0], found) < 2e-3
    assert relative(np.broadcast_to(feeds["x"].mean(1, keepdims=True), found.shape), found) < 2e-3


def test_two_masks_that_are_added_stay_numbers() -> None:
    text = MASKED.replace("%keep: bool[2,1,8])", "%keep: bool[2,1,8], %see: bool[8,8])").replace(
        "  %t = Trans", "  %n = Where(%see, %zero, %hide)\n  %both = Add(%m, %n)\n  %t = Trans"
    ).replace("Add(%s, %m)", "Add(%s, %both)")
    keep = np.ones((2, 1, 8), bool)
    keep[:, :, 6:] = False
    see = np.tri(8, dtype=bool)
    see[7] = False  # a row that both hide
    feeds = {"x": X[:16].reshape(2, 8, 64) / 4, "keep": keep, "see": see}
    model = autocast(model_of(text), feeds)
    constants = {float(v.const.item()) for n in nodes(model, "Where") for v in n.inputs if v is not None and v.const is not None}
    assert constants == {0.0, HIDING_TWICE} and set(dtypes(model, "Softmax")) == {"f16"}
    found = run(model, feeds)[0]
    assert np.isfinite(found).all() and relative(run(model_of(text), feeds)[0][:, :7], found[:, :7]) < 2e-3


def test_logits_that_are_large_themselves_are_no_mask() -> None:
    model = autocast(model_of(MASKED), {"x": 40 * X[:16].reshape(2, 8, 64), "keep": np.ones((2, 1, 8), bool)})
    assert dtypes(model, "Softmax") == ["f32"]


def test_inputs_scaled_up_give_numbers() -> None:
    weights = "\n".join(f"  %v{i + 1} = MatMul(%v{i}, %w)\n  %v{i + 1}r = Relu(%v{i + 1})" for i in range(4))
    text = f"graph @main(%v0: f32[64,64]) -> (%v4) {{\n  weight %w: f32[64,64] = splat(0.072)\n{weights}\n}}"
    feeds = {"v0": np.abs(X)}
    model = autocast(model_of(text), feeds)
    assert "f16" in dtypes(model, "MatMul") and "f32" in dtypes(model, "MatMul")
    found = run(model, {"v0": 100 * np.abs(X)})[0]
    assert np.isfinite(found).all()
    assert relative(run(model_of(text), {"v0": 100 * np.abs(X)})[0], found) < 1e-2


IF = """graph @main(%x0: f32[64,64], %flag: bool[]) -> (%y) {
  %x = Tanh(%x0)
  %a = MatMul(%x, %x)
  %y: f32[64,64] = If(%flag)
    with then_branch = () -> (%t) {
      %t = MatMul(%a, %x)
    }
    with else_branch = () -> (%e) {
      weight %k: f32[] = 1e5
      %b = Mul(%a, %k)
      %s = Relu(%b)
      weight %j: f32[] = 1e-5
      %e = Mul(%s, %j)
    }
}"""
LOOP = """graph @main(%x0: f32[64,64], %n: i64[]) -> (%y, %all) {
  %x = Tanh(%x0)
  weight %on: bool[] = true
  %y: f32[64,64], %all: f32[K,64,64] = Loop(%n, %on, %x)
    with body = (%i: i64[], %c: bool[], %s: f32[64,64]) -> (%go, %next, %seen) {
      %go = Identity(%c)
      %p = MatMul(%s, %x)
      weight %k: f32[] = 0.5
      %q = Mul(%p, %k)
      %next = Tanh(%q)
      %seen = Relu(%next)
    }
}"""
SCAN = """graph @main(%x0: f32[64,64], %rows: f32[5,64]) -> (%y, %all) {
  %x = Tanh(%x0)
  %y: f32[64,64], %all: f32[5,64] = Scan(%x, %rows) {num_scan_inputs=1}
    with body = (%s: f32[64,64], %r: f32[64]) -> (%next, %seen) {
      %p = MatMul(%s, %x)
      weight %k: f32[] = 0.5
      %q = Mul(%p, %k)
      %next = Tanh(%q)
      %seen = MatMul(%next, %r)
    }
}"""


@pytest.mark.parametrize("flag", [True, False])
def test_branches_take_part(flag: bool) -> None:
    feeds = [{"x0": X / 8, "flag": np.array(f)} for f in (True, False)]
    model = autocast(model_of(IF), *feeds)
    then_branch, else_branch = nodes(model, "If")[0].regions.values()
    assert {n.output.dtype for n in then_branch if n.op.key == "MatMul"} == {F16}
    assert {n.output.dtype for n in else_branch if n.op.key == "Mul"} == {F32}  # its numbers are too large
    each = {"x0": X / 8, "flag": np.array(flag)}
    assert relative(run(model_of(IF), each)[0], run(model, each)[0]) < 2e-3


def test_a_branch_that_never_ran_stays() -> None:
    model = autocast(model_of(IF), {"x0": X / 8, "flag": np.array(False)})
    then_branch = next(iter(nodes(model, "If")[0].regions.values()))
    assert {n.output.dtype for n in then_branch if n.op.key == "MatMul"} == {F32}


@pytest.mark.parametrize("text", [LOOP, SCAN], ids=["Loop", "Scan"])
def test_loops_take_part(text: str) -> None:
    feeds: dict[str, Any] = {"x0": X / 8}
    if text is LOOP:
        feeds["n"] = np.array(5)
    else:
        feeds["rows"] = X[:5]
    model = autocast(model_of(text), feeds)
    (loop,) = [node for node in model.walk() if node.regions]
    (body,) = loop.regions.values()
    assert set(dtypes(model, "MatMul")) == {"f16"}
    assert body.inputs[-1 if text is LOOP else 0].dtype is F16
    for a, b in zip(run(model_of(text), feeds), run(model, feeds)):
        assert relative(a, b) < 5e-3


def test_operands_that_have_no_half_form_keep_their_type() -> None:
    text = """graph @main(%x: f32[1,8,32,32]) -> (%y) {
  weight %w: f32[8,8,3,3] = splat(0.01)
  weight %scales: f32[4] = [1.0, 1.0, 2.0, 2.0]
  %a = Conv(%x, %w)
  %b = Resize(%a, none, %scales)
  %y = Conv(%b, %w)
}"""
    model = autocast(model_of(text), {"x": RNG.standard_normal((1, 8, 32, 32)).astype(np.float32)})
    (resize,) = nodes(model, "Resize")
    assert resize.output.dtype is F16
    scales = resize.inputs[2]
    assert scales is not None and scales.dtype is F32


def test_scales_keep_their_digits() -> None:
    text = """graph @main(%x: f32[64,64]) -> (%y) {
  weight %w: i8[64,64] = splat(3)
  weight %s: f32[] = 1e-6
  weight %v: f32[64,64] = splat(0.125)
  %d = DequantizeLinear(%w, %s)
  %a = Add(%d, %v)
  %y = MatMul(%x, %a)
}"""
    model = autocast(model_of(text), {"x": X / 8})
    assert dtypes(model, "DequantizeLinear") == ["f32"] and dtypes(model, "MatMul") == ["f16"]


def quantized(step: str = "0.02", more: str = "  %y = Add(%p, %p)") -> str:
    """A product of rounded activations and weights, and what comes behind it."""
    return f"""graph @main(%x: f32[64,64]) -> (%y) {{
  weight %w: i8[64,64] = splat(3)
  weight %z: i8[] = 0
  weight %s: f32[] = {step}
  weight %t: f32[] = 0.05
  %q = QuantizeLinear(%x, %t, %z)
  %d = DequantizeLinear(%q, %t, %z)
  %f = DequantizeLinear(%w, %s, %z)
  %p = MatMul(%d, %f)
{more}
}}"""


def test_integers_are_scaled_in_half_precision() -> None:
    """No cast stands between what is dequantized and the product."""
    again = "  %r = QuantizeLinear(%p, %t, %z)\n  %e = DequantizeLinear(%r, %t, %z)\n  %y = MatMul(%e, %f)"
    model = autocast(model_of(quantized(more=again)), {"x": X / 8})
    assert dtypes(model, "DequantizeLinear") == ["f16"] * 3 and dtypes(model, "MatMul") == ["f16"] * 2
    quantizers = nodes(model, "QuantizeLinear")
    assert [n.inputs[1].dtype.name for n in quantizers] == ["f32", "f16"]  # the first reads an input of the model
    assert dtypes(model, "Cast") == ["f32"]  # of the result
    assert relative(run(model_of(quantized(more=again)), {"x": X / 8})[0], run(model, {"x": X / 8})[0]) < 1e-2


@pytest.mark.parametrize("step", ["5e-5", "7e4"])
def test_a_product_stays_with_integers_whose_scale_does_not_fit(step: str) -> None:
    """2^-14 is 6.1e-5: below it fp16 has fewer digits. The largest number is 65504."""
    model = autocast(model_of(quantized(step, "  %n = Mul(%p, %s)\n  %y = Tanh(%n)")), {"x": X / 8})
    (product,) = nodes(model, "MatMul")
    assert product.output.dtype is F32 and all(v.producer.op.key == "DequantizeLinear" for v in product.inputs)
    assert dtypes(model, "DequantizeLinear") == ["f32", "f32"]


def test_bfloat16_has_the_range_of_single_precision() -> None:
    model = autocast(model_of(quantized("5e-5")), {"x": X / 8}, to="bf16")
    assert dtypes(model, "MatMul") == ["bf16"] and dtypes(model, "DequantizeLinear") == ["bf16", "bf16"]


def test_integers_are_dequantized_once_for_each_precision() -> None:
    """A product with numbers that are too large stays, and a cast between it and its weights would hide the integers."""
    large = "  weight %k: f32[] = 30000.0\n  %l = Mul(%p, %k)\n  %h = MatMul(%l, %f)\n  %i = Div(%h, %k)\n  %y = Add(%i, %p)"
    model = autocast(model_of(quantized(more=large)), {"x": X / 8})
    assert sorted(dtypes(model, "MatMul")) == ["f16", "f32"]
    weights = [n for n in nodes(model, "DequantizeLinear") if n.inputs[0].const is not None]
    assert sorted(n.output.dtype.name for n in weights) == ["f16", "f32"]
    scales = {n.output.dtype.name: n.inputs[1].const.item() for n in weights}
    assert scales["f32"] == float(np.float32(0.02)) and scales["f16"] == float(np.float16(0.02))
    assert all(n.inputs[1].producer.op.key == "DequantizeLinear" for n in nodes(model, "MatMul"))


def test_a_refused_node_stays_and_its_neighbours_change() -> None:
    """As when the comparison bisects for the node to blame."""
    model = model_of(TWO)
    ctx = Context(capabilities=FAST, measure=measured({"x": X / 8}), disabled=frozenset((0,)))
    run_pipeline(model, [Autocast()], ctx)
    assert dtypes(model, "MatMul") == ["f32", "f16"]


def test_another_type_is_an_error() -> None:
    with pytest.raises(UsageError, match="autocast goes to fp16 or bf16, not 'int8'"):
        autocast(model_of(TWO), to="int8")

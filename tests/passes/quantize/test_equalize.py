"""equalize: the model computes the very same, and weights that share one scale lose far less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.tensor import Tensor
from geoc.passes.quantize.equalize import Magnitudes, equalizing

from .running import Remarks, context, distance, feeds_of, model_of, outputs, run

HEAD = """
graph @main(%x: f32[B,16,8,8]) -> (%y) {
  weight %a: f32[32,16,3,3] = random
  weight %ab: f32[32] = random
  weight %d: f32[32,1,3,3] = random
  weight %g: f32[24,16,1,1] = random
  weight %pb: f32[1,32,1,1] = random
  weight %slope: f32[32,1,1] = random
  weight %w: f32[24,40] = random
  weight %wb: f32[40] = random
  weight %v: f32[40,10] = random
  weight %six: f32[] = 6.0
  weight %zero: f32[] = 0.0
"""
CHAIN = HEAD + """
  %c = Conv(%x, %a, %ab) {pads=[1, 1, 1, 1]}
  %r = Relu(%c)
  %e = Conv(%r, %d) {pads=[1, 1, 1, 1], group=32}
  %s = Add(%e, %pb)
  %p = PRelu(%s, %slope)
  %m = MaxPool(%p) {kernel_shape=[2, 2], strides=[2, 2]}
  %f = Conv(%m, %g) {group=2}
  %q = GlobalAveragePool(%f)
  %t = Flatten(%q)
  %h = Gemm(%t, %w, %wb)
  %l = LeakyRelu(%h) {alpha=0.1}
  %y = MatMul(%l, %v)
}"""
TWO_READERS = HEAD + """
  %c = Conv(%x, %a, %ab) {pads=[1, 1, 1, 1]}
  %r = Relu(%c)
  %e = Conv(%r, %d) {pads=[1, 1, 1, 1], group=32}
  %f = Conv(%r, %d) {pads=[1, 1, 1, 1], group=32}
  %y = Add(%e, %f)
}"""
BOUNDED = HEAD + """
  %c = Conv(%x, %a, %ab) {pads=[1, 1, 1, 1]}
  %r = Clip(%c, %zero, %six)
  %y = Conv(%r, %d) {pads=[1, 1, 1, 1], group=32}
}"""
READ_ELSEWHERE = HEAD + """
  %c = Conv(%x, %a, %ab) {pads=[1, 1, 1, 1]}
  %r = Relu(%c)
  %e = Conv(%r, %d) {pads=[1, 1, 1, 1], group=32}
  %y = Add(%r, %e)
}"""
RETURNED = READ_ELSEWHERE.replace("-> (%y)", "-> (%e, %r)").replace("  %y = Add(%r, %e)\n", "")


def uneven(model: Model, seed: int = 3) -> Model:
    """Output channels of each weight get sizes from 1/64 to 64."""
    rng = np.random.default_rng(seed)
    for node in model.graph:
        w = node.input(1)
        if node.op.key in ("Conv", "Gemm", "MatMul") and w is not None and w.const is not None:
            axis = 0 if node.op.key == "Conv" else 1
            shape = [1] * len(w.const.shape)
            shape[axis] = -1
            by = 4.0 ** rng.uniform(-3, 3, w.const.shape[axis])
            w.const = Tensor.from_array((w.const.array() * by.reshape(shape)).astype(np.float32))
    return model


def test_the_very_same_numbers(tmp_path: Path) -> None:
    model = uneven(model_of(CHAIN))
    feeds = feeds_of(model, 3)
    expected, _ = outputs(model, tmp_path, feeds, "ORT_DISABLE_ALL")
    remarks = Remarks()
    assert run(model, "equalize", context(None, instruments=[remarks]))
    found, _ = outputs(model, tmp_path, feeds, "ORT_DISABLE_ALL")
    assert all((a == b).all() for x, y in zip(found, expected) for a, b in zip(x, y))
    # Three pairs of convolutions and a product, and two products.
    assert len([r for r in remarks.all if "channels scaled" in r.message]) == 4
    assert not run(model, "equalize", context(None))  # nothing is left


def test_one_scale_is_enough_afterwards(tmp_path: Path) -> None:
    plain, equal = uneven(model_of(CHAIN)), uneven(model_of(CHAIN))
    feeds = feeds_of(plain, 8)
    expected, _ = outputs(plain, tmp_path, feeds)
    integers = "quantize{per_channel=false,method=minmax},ort-quantized,dce"
    run(plain, integers, context(feeds))
    run(equal, f"equalize,{integers}", context(feeds))
    better, worse = (distance(outputs(m, tmp_path, feeds)[0], expected) for m in (equal, plain))
    assert better < worse / 2


@pytest.mark.parametrize("text", [CHAIN, TWO_READERS], ids=["chain", "two readers"])
def test_sizes_are_even(text: str) -> None:
    """But for what rounding leaves: a factor of 2 for the pair itself, of sqrt 2 for the one behind it."""
    model = uneven(model_of(text))
    assert run(model, "equalize", context(None))
    nodes = [n for n in model.graph if n.op.key == "Conv"]
    first, second = (n.inputs[1].const.array() for n in nodes[:2])  # type: ignore[union-attr]
    made, read = np.abs(first).max((1, 2, 3)), np.abs(second).max((1, 2, 3))
    if text is TWO_READERS:
        read = np.maximum(read, np.abs(nodes[2].inputs[1].const.array()).max((1, 2, 3)))  # type: ignore[union-attr]
    assert (np.abs(np.log2(made / read)) <= 1.65).all()


@pytest.mark.parametrize("text", [BOUNDED, READ_ELSEWHERE, RETURNED], ids=["bounded", "read elsewhere", "returned"])
def test_left_alone(text: str) -> None:
    assert not run(uneven(model_of(text)), "equalize", context(None))


def test_even_channels_are_left_alone() -> None:
    assert not run(model_of(CHAIN), "equalize", context(None))


def test_channels_without_weights() -> None:
    made, read = Magnitudes(np.array([[[0.0], [4.0], [1.0]]])), Magnitudes(np.array([[[1.0, 1.0, 0.0]]]))
    [factors] = equalizing([(made, [read])])
    np.testing.assert_array_equal(factors, [1, 2, 1])


def test_a_chain_settles_at_the_geometric_mean() -> None:
    """Two layers: both sides of channel i become sqrt(r1 r2), as equation 11 of the paper has it."""
    rng = np.random.default_rng(0)
    r1, r2 = 4.0 ** rng.integers(-3, 4, 16), 4.0 ** rng.integers(-3, 4, 16)
    made, read = Magnitudes(r1.reshape(1, -1, 1).copy()), Magnitudes(r2.reshape(1, 1, -1).copy())
    [factors] = equalizing([(made, [read])])
    np.testing.assert_allclose(factors, np.sqrt(r1 / r2))
    np.testing.assert_allclose(made.by_output(), np.sqrt(r1 * r2))
    np.testing.assert_allclose(read.by_input(), np.sqrt(r1 * r2))

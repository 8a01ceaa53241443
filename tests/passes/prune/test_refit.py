"""Layers fitted again: where weights exist that give what the original gives, they are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Model, Node
from geoc.ir.tensor import Tensor
from geoc.passes.repair.products import matrices, moments, weights_of
from geoc.passes.repair.refit import Original, refit

from ..quantize.running import context, distance, feeds_of, model_of, outputs

LAYERS = {
    "3 x 3": ("f32[6,8,3,3]", "Conv(%x, %w) {pads=[1, 1, 1, 1]}"),
    "steps and dilation": ("f32[6,8,3,3]", "Conv(%x, %w) {pads=[2, 0, 1, 2], strides=[2, 1], dilations=[1, 2]}"),
    "groups": ("f32[12,2,3,3]", "Conv(%x, %w) {group=4}"),
    "depthwise": ("f32[8,1,3,3]", "Conv(%x, %w) {pads=[1, 1, 1, 1], group=8}"),
    "1 x 1 with steps": ("f32[6,8,1,1]", "Conv(%x, %w) {strides=[2, 2]}"),
    "same": ("f32[6,8,3,3]", 'Conv(%x, %w) {auto_pad="SAME_UPPER", strides=[2, 2]}'),
}


def layer(model: Model) -> Node:
    return next(node for node in model.graph if node.op.key == "Conv")


def convolution(name: str) -> Model:
    shape, node = LAYERS[name]
    return model_of(f"graph @main(%x: f32[B,8,9,9]) -> (%y) {{\n  weight %w: {shape} = random\n  %y = {node}\n}}")


@pytest.mark.parametrize("name", LAYERS)
def test_weights_that_were_lost_are_found_again(name: str, tmp_path: Path) -> None:
    model = convolution(name)
    feeds, unseen = feeds_of(model, 12), feeds_of(model, 2, seed=7)
    before, _ = outputs(model, tmp_path, unseen)
    original, node = Original(model), layer(model)
    weight = node.inputs[1]
    assert weight is not None and weight.const is not None
    lost = weight.const.array() * np.random.default_rng(3).integers(0, 2, weight.const.shape).astype(np.float32)
    weight.const = Tensor.from_array(lost)
    assert distance(outputs(model, tmp_path, unseen)[0], before) > 0.3
    refit(model, [node], original, context(feeds), 12)
    assert distance(outputs(model, tmp_path, unseen)[0], before) < 2e-3


@pytest.mark.parametrize("name", LAYERS)
def test_moments_are_those_of_patches(name: str, tmp_path: Path) -> None:
    """Patches by hand: the layer applied to what it reads is a product of them."""
    model = convolution(name)
    feeds, node = feeds_of(model, 3), layer(model)
    seen = moments(model, [node], context(feeds), 3)[node]
    weights = matrices(node)
    by_product = np.einsum("gio,gij,gjo->go", weights, seen.covariance, weights)
    ys = np.concatenate([out[0] for out in outputs(model, tmp_path, feeds)[0]])
    ys = np.moveaxis(ys, 1, -1).reshape(-1, ys.shape[1])
    assert np.allclose(by_product.reshape(-1), ys.var(0), rtol=1e-3)
    assert np.allclose(np.einsum("gi,gio->go", seen.mean, weights).reshape(-1), ys.mean(0), atol=1e-4)
    const = node.inputs[1]
    assert const is not None and const.const is not None
    assert np.array_equal(weights_of(node, weights), const.const.array())


def test_what_cannot_be_told_is_not_made_up(tmp_path: Path) -> None:
    """What a layer reads now says nothing of what is missing; 80 rows of 64 numbers can be fitted nearly exactly."""
    model = model_of("""
graph @main(%x: f32[B,64], %z: f32[B,64]) -> (%y) {
  weight %w: f32[64,4] = random
  %y = MatMul(%x, %w)
}""")
    feeds, unseen = feeds_of(model, 40), feeds_of(model, 20, seed=8)
    before, wanted = outputs(model, tmp_path, unseen)[0], outputs(model, tmp_path, feeds)[0]
    fitted = np.linalg.lstsq(np.concatenate([f["z"] for f in feeds]), np.concatenate([w[0] for w in wanted]))[0]
    by_squares = distance([[f["z"] @ fitted] for f in unseen], before)
    original, node = Original(model), next(iter(model.graph))
    node.set_input(0, model.graph.inputs[1])
    weight = node.inputs[1]
    assert weight is not None
    weight.const = Tensor.from_array(np.zeros((64, 4), np.float32))
    refit(model, [node], original, context(feeds), 40)
    assert distance(outputs(model, tmp_path, unseen)[0], before) < 1.1 < 1.5 < by_squares

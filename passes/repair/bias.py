"""Where the bias of a layer in floats is, and how it is changed."""

from __future__ import annotations

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Node, Value, constant
from ...ir.tensor import Array, Tensor
from ...ir.types import F32


def is_bias_of(node: Node, layer: Node) -> bool:
    """True for an Add of a constant vector to what a product gives, or of one for each channel to a convolution's."""
    if node.op.key != "Add" or layer.output not in node.inputs or layer.output.shape is None:
        return False
    other = next((value for value in node.inputs if value is not layer.output), None)
    if other is None or other.const is None:
        return False
    if layer.op.key != "Conv":
        return other.const.shape == (layer.output.shape[-1],)
    return other.const.shape == (layer.output.shape[1], *(1,) * (len(layer.output.shape) - 2))


def shift_bias(layer: Node, shift: Array) -> None:
    """Add `shift` [outputs] to what a layer gives: to its bias, to one behind it, or as a new one."""
    if _has_own(layer, shift):
        bias = layer.inputs[2]
        assert bias is not None
        layer.set_input(2, _added(bias, shift))
        return
    use = layer.output.sole_use
    if use is not None and is_bias_of(use[0], layer):
        place = next(index for index, value in enumerate(use[0].inputs) if value is not layer.output)
        bias = use[0].inputs[place]
        assert bias is not None
        use[0].set_input(place, _added(bias, shift))
        return
    if layer.op.key in ("Conv", "Gemm") and layer.input(2) is None:
        layer.set_inputs([*layer.inputs[:2], constant(Tensor.from_array(shift.astype(np.float32), F32))])
        return
    graph = layer.graph
    assert graph is not None
    users = list(layer.output.uses)
    b = Builder(graph, layer.next, layer.loc)
    numbers = shift.astype(np.float32)
    if layer.op.key == "Conv":
        assert layer.output.rank is not None
        numbers = numbers.reshape(-1, *(1,) * (layer.output.rank - 2))
    added = b.op("Add", layer.output, b.const(Tensor.from_array(numbers, F32)))
    for user, index in users:
        user.set_input(index, added)


def _has_own(layer: Node, shift: Array) -> bool:
    """True if its third operand is a bias in full, to which numbers can be added."""
    bias = layer.input(2) if layer.op.key in ("Conv", "Gemm") else None
    if bias is None or bias.const is None or bias.const.shape != shift.shape:
        return False
    return layer.op.key == "Conv" or layer.attr("beta") == 1.0


def _added(bias: Value, shift: Array) -> Value:
    assert bias.const is not None
    total = bias.const.array().astype(np.float64) + shift.reshape(bias.const.shape)
    return constant(Tensor.from_array(total.astype(np.float32), F32), bias.hint)

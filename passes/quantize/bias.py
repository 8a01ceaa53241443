"""Bias correction: biases make up for what quantization shifts the mean of each output channel by.

Layer by layer in the order of the graph, because each correction changes what later layers read, and on the same
samples for both means (M. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, section
4.2, with measured means). Layers that do not depend on each other are corrected together.
"""

from __future__ import annotations

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Model, Node, constant
from ...ir.tensor import Array, Tensor
from ...ir.types import F32, I32
from ..base import Observe
from ..depths import depths
from .insert import Reference
from .observers import Mean
from .scheme import quantized_bias


def correct_biases(model: Model, layers: list[Node], reference: Reference, observe: Observe, samples: int) -> None:
    """Change the biases of quantized `layers` of `model`; `reference` is the model before quantization.

    At most `samples` samples are run for each depth of layers.
    """
    original, of = reference
    wanted = {node: Mean(_channels(node)) for node in layers}
    copies = {node: of[node.output] for node in layers if node.output in of}
    observe(original, {copies[node]: mean for node, mean in wanted.items() if node in copies}, samples)
    for group in depths(layers):
        found = {node: Mean(_channels(node)) for node in group if node in copies}
        observe(model, {node.output: mean for node, mean in found.items()}, samples)
        for node, mean in found.items():
            shift_bias(node, wanted[node].mean - mean.mean)


def _channels(node: Node) -> int:
    return 1 if node.op.key == "Conv" else -1


def shift_bias(node: Node, shift: Array) -> None:
    """Add `shift` [channels] to what a quantized layer gives: to its bias, one behind it, or a new one."""
    if node.op.key == "Conv":
        _shift_convolution(node, shift)
    else:
        _shift_product(node, shift)


def _shift_convolution(node: Node, shift: Array) -> None:
    bias = node.input(2)
    maker = bias.producer if bias is not None else None
    if maker is not None and maker.op.key == "DequantizeLinear":
        codes, scale = maker.inputs[0], maker.inputs[1]
        assert codes is not None and codes.const is not None and scale is not None and scale.const is not None
        steps = scale.const.array().astype(np.float64)
        added = codes.const.array().astype(np.int64) + np.rint(shift / steps).astype(np.int64)
        numbers = np.clip(added, -(2**31) + 1, 2**31 - 1).astype(np.int32)
        maker.set_input(0, constant(Tensor.from_array(numbers, I32), codes.hint))
    elif bias is not None:
        assert bias.const is not None
        numbers = (bias.const.array().astype(np.float64) + shift).astype(np.float32)
        node.set_input(2, constant(Tensor.from_array(numbers, F32), bias.hint))
    else:
        _new_bias(node, shift)


def _new_bias(node: Node, shift: Array) -> None:
    """A bias for a convolution that has none: in integers where its operands are."""
    graph, x, w = node.graph, node.inputs[0], node.inputs[1]
    assert graph is not None and x is not None and w is not None
    b = Builder(graph, node, node.loc)
    numbers = b.const(Tensor.from_array(shift.astype(np.float32), F32))
    scales = [v.producer.inputs[1] for v in (x, w) if v.producer is not None and len(v.producer.inputs) > 1]
    if len(scales) == 2 and all(s is not None and s.const is not None for s in scales):
        scale: Array = np.ones((), np.float32)
        for s in scales:
            assert s is not None and s.const is not None
            scale = np.asarray(scale * s.const.array(), np.float32)
        steps = np.ascontiguousarray(np.broadcast_to(scale, shift.shape))
        codes = b.const(Tensor.from_array(quantized_bias(shift, steps), I32))
        numbers = b.op("DequantizeLinear", codes, b.const(Tensor.from_array(steps, F32)), axis=0)
    node.set_inputs([x, w, numbers])


def _shift_product(node: Node, shift: Array) -> None:
    graph = node.graph
    assert graph is not None
    use = node.output.sole_use
    numbers = Tensor.from_array(shift.astype(np.float32), F32)
    if use is not None and use[0].op.key == "Add":
        other = use[0].inputs[1 - use[1]]
        if other is not None and other.const is not None and other.const.shape == shift.shape:
            total = (other.const.array().astype(np.float64) + shift).astype(np.float32)
            use[0].set_input(1 - use[1], constant(Tensor.from_array(total, F32), other.hint))
            return
    users = list(node.output.uses)
    b = Builder(graph, node.next, node.loc)
    added = b.op("Add", node.output, b.const(numbers))
    for user, index in users:
        user.set_input(index, added)

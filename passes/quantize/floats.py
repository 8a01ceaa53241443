"""Constants that are stored as codes, as the floats that they stand for: for models that are run and not written."""

from __future__ import annotations

import numpy as np

from ...ir.core import Model, Node, constant
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import F32

_LEAST = 1 << 12  # elements


def dequantize_constants(model: Model) -> None:
    """Put floats, computed when they are read, in the place of DequantizeLinear of constants.

    onnxruntime 1.31 without optimizations dequantizes all of them at the start of each run, and holds all at a time.
    """
    for graph in model.graph.graphs():
        for node in [node for node in graph if node.op.name == "DequantizeLinear"]:
            floats = floats_of(node)
            if floats is not None and floats.size >= _LEAST and node.output.dtype is F32:
                node.output.replace_with(constant(floats, node.output.hint))
                graph.erase(node)


def floats_of(node: Node) -> Tensor | None:
    """What a DequantizeLinear makes of constant integers with scales in f32; None for another node.

    (q - zero point) * scale in float32, as ONNX's DequantizeLinear defines it.
    """
    codes, scale, zero = node.input(0), node.input(1), node.input(2)
    if codes is None or codes.const is None or scale is None or scale.const is None or scale.dtype is not F32:
        return None
    if codes.dtype is None or codes.dtype.kind not in "iu":
        return None
    if zero is not None and zero.const is None:
        return None
    axis, block = node.attr("axis") or 0, node.attr("block_size") or 0
    tensor, of = codes.const, [v.const for v in (scale, zero) if v is not None and v.const is not None]
    shape = tensor.shape

    def compute(array: Array) -> Array:
        each = [along(part.array(), shape, axis, block) for part in of]
        steps = array.reshape(shape).astype(np.int32)
        if len(each) > 1:
            steps = steps - each[1].astype(np.int32)
        return np.asarray(steps.astype(np.float32) * each[0])

    recipe = f"floats {axis} {block} {' '.join(part.digest().hex() for part in of)}"
    return DeferredTensor(F32, shape, tensor, recipe, compute)


def along(array: Array, shape: tuple[int, ...], axis: int, block: int = 0) -> Array:
    """Scales or zero points in a shape that broadcasts to that of the codes."""
    if array.size == 1:
        return array.reshape(())
    if block:
        return np.repeat(array, block, axis=axis).take(range(shape[axis]), axis=axis)
    return array.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])

"""Compressed weights: Convert, Subtract and Multiply of integer constants as DequantizeLinear, in blocks where a
Reshape joins two axes of them (docs/weights.md).

Arithmetic in half precision that a Convert takes to float32 is float32's: OpenVINO computes it so on a processor, and
keeps the codes as they are.
"""

from __future__ import annotations

import numpy as np

from ...ir.core import Node, Value
from ...ir.evaluate import reshaped
from ...ir.tensor import Tensor
from ...ir.types import F16, F32, I4, I8, U2, U4, U8, DType
from .table import Reading

_CODES = (U2, I4, U4, I8, U8)


def scaled(r: Reading, x: Value, factor: Value) -> Value | None:
    """Codes times their scales as DequantizeLinear; None for another product."""
    scale = r.fixed(factor)
    node, zero = x.producer, None
    if scale is None or not scale.dtype.is_float or node is None:
        return None
    if node.op.key == "Sub":
        zero = _codes(node.inputs[1])
        codes = None if zero is None else _codes(node.inputs[0])
    else:
        codes = _codes(x)
    if codes is None or codes.dtype not in _CODES or (zero is not None and zero.dtype is not codes.dtype):
        return None
    return _dequantized(r, codes, scale, zero)


def _codes(value: Value | None) -> Tensor | None:
    """The integers that a Cast makes floats of; a plain constant of theirs, None for anything else."""
    node = None if value is None else value.producer
    if node is None or node.op.key != "Cast" or node.inputs[0] is None:
        return None
    found = node.inputs[0].const
    return found if found is not None and found.dtype.is_int else None


def _dequantized(r: Reading, codes: Tensor, scale: Tensor, zero: Tensor | None) -> Value | None:
    """DequantizeLinear where scales are one, one for each element of an axis, or one for each whole row of an axis."""
    rank = len(codes.shape)
    shapes = [(1,) * (rank - len(t.shape)) + t.shape for t in (scale, zero) if t is not None]
    if any(len(shape) != rank for shape in shapes):
        return None
    shape = shapes[0] if len(shapes) == 1 or zero is None or zero.size == 1 else shapes[1]
    if scale.size == 1 and (zero is None or zero.size == 1):
        return _node(r, codes, scale, (), zero, None, 0)
    if scale.size == 1 or shape != shapes[0]:
        return None
    if any(size not in (1, whole) for size, whole in zip(shape, codes.shape)):
        return None
    moving = [axis for axis in range(rank) if shape[axis] != 1]
    if len(moving) == 1:
        return _node(r, codes, scale, (scale.size,), zero, moving[0], 0)
    whole = [axis for axis in range(rank) if shape[axis] == 1 and codes.shape[axis] != 1]
    if len(whole) != 1 or codes.shape[whole[0]] < 2:
        return None
    return _node(r, codes, scale, shape, zero, whole[0], codes.shape[whole[0]])


def _node(
    r: Reading, codes: Tensor, scale: Tensor, shape: tuple[int, ...], zero: Tensor | None, axis: int | None, block: int
) -> Value:
    operands = [r.b.const(codes), r.b.const(reshaped(scale, shape))]
    if zero is not None:
        spread = zero if zero.size == scale.size else None
        operands.append(r.b.const(reshaped(spread, shape) if spread is not None else _repeated(zero, shape)))
    attrs = {} if axis is None else {"axis": axis, "block_size": block or None}
    return r.b.op("DequantizeLinear", *operands, **attrs)


def _repeated(one: Tensor, shape: tuple[int, ...]) -> Tensor:
    return Tensor.from_array(np.broadcast_to(one.array().reshape(-1)[0], shape), one.dtype)


def converted(r: Reading, x: Value, dtype: DType) -> Value | None:
    """Weights that were dequantized to f16, to `dtype` at once; what a quantization made integers, as it is.

    None for other conversions.
    """
    node = x.producer
    if node is None:
        return None
    source = node.inputs[0] if node.inputs else None
    if node.op.key == "Cast" and source is not None and source.dtype is dtype and _is_quantized(source):
        return source
    if dtype is not F32 or x.dtype is not F16:
        return None
    if node.op.key == "Reshape" and source is not None and _is_dequantized(source.producer):
        return r.b.op("Reshape", _in_floats(r, source.producer), node.inputs[1])
    return _in_floats(r, node) if _is_dequantized(node) else None


def _is_quantized(value: Value) -> bool:
    return value.producer is not None and value.producer.op.key == "QuantizeLinear"


def _is_dequantized(node: Node | None) -> bool:
    return node is not None and node.op.key == "DequantizeLinear" and all(v is None or v.const for v in node.inputs)


def _in_floats(r: Reading, node: Node | None) -> Value:
    assert node is not None and node.inputs[1] is not None and node.inputs[1].const is not None
    scale = node.inputs[1].const
    floats = Tensor.from_array(scale.array().astype(np.float32), F32)
    return r.b.op("DequantizeLinear", node.inputs[0], r.b.const(floats), *node.inputs[2:], **node.attrs)


def joined(r: Reading, x: Value, shape: tuple[int, ...]) -> Value | None:
    """The Reshape of weights that joins their last split axis: DequantizeLinear in blocks. None for another Reshape."""
    node = x.producer
    if node is None or not _is_dequantized(node):
        return None
    block, axis = node.attr("block_size"), node.attr("axis")
    codes = node.inputs[0].const if node.inputs[0] is not None else None
    if not block or codes is None or not axis or codes.shape[axis] != block:
        return None
    before = codes.shape
    wanted = (*before[: axis - 1], before[axis - 1] * block, *before[axis + 1 :])
    rest = [-1 if size == -1 else whole for size, whole in zip(shape, wanted)]
    if len(shape) != len(wanted) or list(shape) != rest or shape.count(-1) > 1:
        return None
    operands = [r.b.const(reshaped(codes, wanted))]
    for value in node.inputs[1:]:
        assert value is not None and value.const is not None
        each = value.const
        operands.append(r.b.const(reshaped(each, (*each.shape[:axis], *each.shape[axis + 1 :]))))
    return r.b.op("DequantizeLinear", *operands, axis=axis - 1, block_size=block)

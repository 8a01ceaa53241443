"""Weights that are stored as integers: what operators read them, in which form, and the numbers that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...ir.core import Node, Value
from ...ir.ops.cost_table import MATRIX_UNITS
from ...ir.tensor import Array, Tensor
from ...ir.types import DType
from ...passes.quantize.floats import along

_LEAST_RANK = 2  # of weights; a bias of integers belongs to its layer


class _Operands(NamedTuple):
    """Where an operator has its weight, the weight's scales and zero points (None: nowhere), and its activation."""

    weight: int
    scale: int | None
    zero: int | None
    axis: int
    activation: int = 0


_INTEGER: dict[str, _Operands] = {
    "MatMulIntegerToFloat": _Operands(1, 3, 5, -1),
    "DynamicQuantizeMatMul": _Operands(1, 2, 3, -1),
    "MatMulInteger": _Operands(1, None, 3, -1),
    "ConvInteger": _Operands(1, None, 3, 0),
    "QLinearMatMul": _Operands(3, 4, 5, -1),
    "QLinearConv": _Operands(3, 4, 5, 0),
    "QGemm": _Operands(3, 4, 5, -1),
    "MatMulNBits": _Operands(1, 2, 3, 0),
    "GatherBlockQuantized": _Operands(0, 2, 3, 0, activation=1),
}
_BLOCKED = ("MatMulNBits", "GatherBlockQuantized")


class Numbers(NamedTuple):
    """What codes stand for, f32, and the smallest and the largest number that has a code at each place (broadcast)."""

    numbers: Array
    low: Array
    high: Array


@dataclass
class Weight:
    """Constant codes: their bits, how many numbers they stand for, their bytes with scales and zero points.

    `decode()` gives the numbers in the layout of the operator's own documentation; None where they cannot be told.
    """

    value: Value
    bits: int
    count: int
    bytes: int
    granularity: str  # "tensor", "channel", or "block of N"
    decode: Callable[[], Numbers] | None = None


def weight_of(node: Node) -> tuple[Weight, int] | None:
    """The quantized weight of a layer, and which operand it multiplies; None for any other node."""
    operands = _INTEGER.get(node.op.name)
    if operands is not None:
        codes = node.input(operands.weight)
        if codes is None or codes.const is None:
            return None
        blocked = node.op.name in _BLOCKED
        return (_blocked(node, codes.const) if blocked else _plain(node, codes, operands)), operands.activation
    if node.op.base_key not in MATRIX_UNITS and node.op.name != "Gather":
        return None
    if node.op.name == "Gather" and _is_table(node.inputs[0]):
        return _table(node), 1
    for index, value in enumerate(node.inputs):
        weight = _dequantized(value)
        if weight is not None:
            return weight, 0 if index else 1
    return None


def _is_table(value: Value | None) -> bool:
    const = None if value is None else value.const
    return const is not None and const.dtype.kind in "iu" and const.dtype.bits <= 8 and len(const.shape) == _LEAST_RANK


def _table(node: Node) -> Weight:
    """Rows of codes that are looked up, and scaled afterwards by a number that is looked up as well."""
    codes = node.inputs[0]
    assert codes is not None and codes.const is not None
    tensor, scale = codes.const, _row_scales(node)
    if scale is None:
        return Weight(codes, tensor.dtype.bits, tensor.size, tensor.nbytes, "tensor")

    def decode() -> Numbers:
        return _numbers(tensor.read(), scale.array().reshape(-1, 1), None, tensor.dtype)

    return Weight(codes, tensor.dtype.bits, tensor.size, tensor.nbytes + scale.nbytes, "channel", decode)


def _numbers(codes: Array, scale: Array, zero: Array | None, dtype: DType) -> Numbers:
    """(q - zero point) * scale in float32, as DequantizeLinear defines it, and its ends."""
    bits = dtype.bits
    ends = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)
    middle = np.zeros((), np.int32) if zero is None else zero.astype(np.int32)
    return Numbers(*(
        np.asarray((np.asarray(q).astype(np.int32) - middle).astype(np.float32) * scale) for q in (codes, *ends)
    ))  # fmt: skip


def _row_scales(node: Node) -> Tensor | None:
    """The constant with a scale for each row of a table, which a Gather with the same indices looks up."""
    table = node.inputs[0]
    for user in scaled_behind_cast(node):
        for value in user.inputs:
            maker = None if value is None else value.producer
            if maker is not None and maker.op.name == "Gather" and maker.inputs[1] is node.inputs[1]:
                scales = maker.inputs[0]
                if scales is not None and scales.const is not None and table is not None and table.const is not None:
                    return scales.const if scales.const.size == table.const.shape[0] else None
    return None


def _dequantized(value: Value | None) -> Weight | None:
    """What a value that is the DequantizeLinear of a constant matrix is made of, perhaps in another layout.

    Minima of blocks, constants that are added to what it gives, count as parts of it.
    """
    node = value.producer if value is not None else None
    parts: list[Tensor] = []
    while node is not None and node.op.name in ("Transpose", "Reshape", "Cast", "Add"):
        if node.op.name == "Add":
            added = node.inputs[1]
            if added is None or added.const is None:
                return None
            parts.append(added.const)
        inner = node.inputs[0]
        node = inner.producer if inner is not None else None
    if node is None or node.op.name != "DequantizeLinear":
        return None
    codes, scale, zero = (None if v is None else v.const for v in (node.input(0), node.input(1), node.input(2)))
    value = node.inputs[0]
    if codes is None or value is None or len(codes.shape) < _LEAST_RANK:
        return None
    axis, block = node.attr("axis") or 0, node.attr("block_size") or 0
    many = scale is not None and scale.size > 1
    granularity = f"block of {block}" if block else "channel" if many else "tensor"
    decode: Callable[[], Numbers] | None = None
    if not parts and scale is not None:
        tensor, steps = codes, scale

        def decode() -> Numbers:
            given = (None if part is None else along(part.array(), tensor.shape, axis, block) for part in (steps, zero))
            by, middle = given
            assert by is not None
            return _numbers(tensor.read(), by, middle, tensor.dtype)

    parts += [part for part in (codes, scale, zero) if part is not None]
    return Weight(value, codes.dtype.bits, codes.size, sum(part.nbytes for part in parts), granularity, decode)


def _plain(node: Node, codes: Value, operands: _Operands) -> Weight:
    """Codes with scales for the whole or for each output channel, as an operator's operands."""
    tensor = codes.const
    assert tensor is not None
    scale, zero = (None if at is None else node.input(at) for at in (operands.scale, operands.zero))
    parts = [v.const for v in (codes, scale, zero) if v is not None and v.const is not None]
    axis = 0 if node.op.name == "QGemm" and node.attr("transB") else operands.axis
    decode: Callable[[], Numbers] | None = None
    many = scale is not None and scale.const is not None and scale.const.size > 1
    if scale is not None and scale.const is not None:
        scales, zeros = scale.const, None if zero is None else zero.const

        def decode() -> Numbers:
            by = along(scales.array(), tensor.shape, axis)
            middle = None if zeros is None else along(zeros.array(), tensor.shape, axis)
            return _numbers(tensor.read(), by, middle, tensor.dtype)

    size = sum(part.nbytes for part in parts)
    return Weight(codes, tensor.dtype.bits, tensor.size, size, "channel" if many else "tensor", decode)


def _blocked(node: Node, tensor: Tensor) -> Weight:
    """MatMulNBits and GatherBlockQuantized of com.microsoft: codes of few bits in bytes, the lowest bits first."""
    bits, block = node.attr("bits") or 4, node.attr("block_size") or 128
    packed = tensor.dtype.bits == 8 and bits < 8
    count = tensor.size * (8 // bits if packed else 1)
    scale, zero = _constant_of(node.input(2)), _constant_of(node.input(3))
    value = node.input(_INTEGER[node.op.name].weight)
    assert value is not None
    decode: Callable[[], Numbers] | None = None
    if scale is not None and 8 % bits == 0 and tensor.dtype.kind == "u":
        scales, columns = scale, node.attr("K") or count // int(np.prod(tensor.shape[:-1]))

        def decode() -> Numbers:
            blocks = -(-columns // block)
            by = scales.array().astype(np.float32).reshape(-1, blocks)
            codes = _unpacked(tensor.read(), bits if packed else 8).reshape(len(by), -1)[:, : blocks * block]
            middle = np.full(by.shape, 1 << (bits - 1), np.float32)
            if zero is not None and zero.dtype.is_float:
                middle = zero.array().astype(np.float32).reshape(by.shape)
            elif zero is not None:
                unpacked = _unpacked(zero.array(), bits if zero.dtype.bits == 8 and packed else 8)
                middle = unpacked.reshape(len(by), -1)[:, :blocks].astype(np.float32)
            ends = [(end - middle) * by for end in (0, (1 << bits) - 1)]
            by, middle, low, high = (np.repeat(a, block, axis=1)[:, : codes.shape[1]] for a in (by, middle, *ends))
            numbers = (codes.astype(np.float32) - middle) * by
            return Numbers(numbers[:, :columns], low[:, :columns], high[:, :columns])

    size = sum(part.nbytes for part in (tensor, scale, zero) if part is not None)
    return Weight(value, bits, count, size, f"block of {block}", decode)


def _constant_of(value: Value | None) -> Tensor | None:
    """A constant, or that of which a Cast makes the value: scales are stored in half precision."""
    if value is not None and value.const is None and value.producer is not None and value.producer.op.name == "Cast":
        value = value.producer.inputs[0]
    return None if value is None else value.const


def _unpacked(array: Array, bits: int) -> Array:
    """Codes of `bits` bits out of bytes, the lowest bits first; one a byte."""
    if bits == 8:
        return array
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return np.asarray((array.reshape(-1, 1) >> shifts) & ((1 << bits) - 1)).reshape(*array.shape[:-1], -1)


def scaled_behind_cast(node: Node) -> list[Node]:
    """What multiplies the codes that a node gives, behind their Cast."""
    casts = [user for user, _ in node.output.uses if user.op.name == "Cast"]
    return [user for cast in casts for user, _ in cast.output.uses if user.op.name == "Mul"]

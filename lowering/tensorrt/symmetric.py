"""Natives of symmetric.rules: zero points of weights, constants as integers and as floats, bounds of rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Node, Value
from ...ir.rewrite import ABSENT, native
from ...ir.tensor import Tensor
from ...ir.types import F32, I8, I32, U8
from .weights import CENTRES, Stored

# Further from the centre, what a zero point leaves over is of the size of the product: their sum cancels too much.
_FARTHEST = 32
# What reads weights that stay integers, and at which operands; behind what moves elements there may be one of them.
_READERS = {"Conv": (1,), "ConvTranspose": (1,), "MatMul": (0, 1), "Gemm": (0, 1), "Gather": (0,)}
_MOVES = frozenset((
    "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Cast", "Identity", "Expand", "Tile",
    "DepthToSpace", "SpaceToDepth", "MaxPool", "Resize", "Concat", "Gather",
))  # fmt: skip


@native
def one_of(numbers: Value | None) -> Any:
    """The number, as a scalar, that a constant consists of; absent for no constant, None where it holds several."""
    if numbers is None:
        return ABSENT
    tensor = numbers.const
    if tensor is None or not tensor.size:
        return None
    flat = np.asarray(tensor.array()).reshape(-1)
    return Tensor.from_array(flat[0], tensor.dtype) if bool((flat == flat[0]).all()) else None


@native
def quantized(result: Value) -> Tensor | None:
    """What QuantizeLinear makes of a constant, for 8 bits."""
    stored, dtype = Stored.of(result), result.dtype
    if stored is None or stored.numbers.dtype is not F32 or dtype not in (I8, U8):
        return None
    return stored.integers(dtype)


@native
def dequantized(result: Value) -> Tensor | None:
    """What DequantizeLinear makes of a constant."""
    stored = Stored.of(result)
    return None if stored is None or not stored.numbers.dtype.is_int else stored.floats()


@native
def is_weight(result: Value) -> bool:
    """True if a kernel may read what is dequantized as integers. int32 never is."""
    node = result.producer
    stored = None if node is None else node.input(0)
    if stored is not None and stored.dtype is I32:
        return False
    return any(_may_read(user, index) for user, index in result.uses)


def _may_read(node: Node, index: int) -> bool:
    if node.graph is not None and node is node.graph.ret:
        return True  # a result says nothing of who reads it
    return index in _READERS.get(node.op.name, ()) or node.op.name in _MOVES


@native
def no_zero_point(zero_point: Value) -> Tensor | None:
    """Zeros of i8 in the shape of a constant zero point."""
    tensor = zero_point.const
    return None if tensor is None else Tensor.from_array(np.zeros(tensor.shape, np.int8))


@native
def centred(result: Value) -> Tensor | None:
    """Weights of a DequantizeLinear as i8: u8 less 128, i8 as they are."""
    stored = Stored.of(result)
    if stored is None or stored.numbers.dtype not in CENTRES:
        return None
    if stored.numbers.dtype is I8:
        return stored.numbers
    return stored.less(np.asarray(CENTRES[U8]), "less 128 as i8")


@native
def less_zero_point(result: Value) -> Tensor | None:
    """Weights less their zero point as i8; None where they do not fit, or the zero point needs no look at them."""
    stored = Stored.of(result)
    if stored is None or stored.zero is None or stored.is_centred or not stored.fits:
        return None
    zeros = stored.along(stored.zero)
    assert zeros is not None
    return stored.less(zeros, f"less {stored.marks()} as i8")


@native
def left_over(result: Value, columns: int) -> Tensor | None:
    """(centre - zero point) * scale, what weights are more than `centred` ones times the scale; one by column perhaps.

    None where that is nothing, where `less_zero_point` does it, where scales run along another axis than `columns`,
    and where the zero point is so far from the centre that much would cancel.
    """
    stored = Stored.of(result)
    if stored is None or stored.zero is None or stored.numbers.dtype not in CENTRES or stored.is_centred:
        return None
    scales, zeros = stored.along(stored.scale), stored.along(stored.zero)
    assert scales is not None and zeros is not None
    if max(scales.size, zeros.size) > 1 and stored.axis % len(stored.numbers.shape) != columns:
        return None
    apart = CENTRES[stored.numbers.dtype] - zeros.astype(np.int64)
    if np.abs(apart).max(initial=0) > _FARTHEST or stored.fits:
        return None
    rest = apart.astype(np.float32) * scales
    return Tensor.from_array(rest.reshape(-1) if rest.size > 1 else rest.reshape(()), F32)


@native
def may_be_centred(result: Value) -> bool:
    """True if dequantized weights are symmetric, or will be: by one of the rules beside this one, or of trt-legal."""
    stored = Stored.of(result)
    if stored is None or stored.is_centred or stored.fits:
        return True
    rank = len(stored.numbers.shape)
    columns = {axis for node, index in result.uses if (axis := _columns(node, index, rank)) is not None}
    return any(left_over(result, axis) is not None for axis in columns)


def _columns(node: Node, index: int, rank: int) -> int | None:
    """The axis of weights that is the last one of the result, where a rule puts aside what is left over."""
    name = node.op.name
    if name == "Gather":
        return rank - 1 if index == 0 else None
    if name == "Transpose" and node.attr("perm") in (None, (1, 0)):
        return 0 if any(user.op.name == "MatMul" and at == 1 for user, at in node.output.uses) else None
    if index != 1 or rank != 2:
        return None
    if name == "MatMul":
        return 1
    if name == "Gemm" and not node.attr("transA") and node.attr("alpha") == 1.0:
        return 1 - int(node.attr("transB") or 0)
    return None


@native
def fewest_steps(zero_point: Value) -> float | None:
    """The lowest integer less the zero point; None where TensorRT quantizes so itself, or once u8 is i8."""
    return _bound(zero_point, False)


@native
def most_steps(zero_point: Value) -> float | None:
    """The highest integer less the zero point, as `fewest_steps`."""
    return _bound(zero_point, True)


def _bound(zero_point: Value, highest: bool) -> float | None:
    zero = zero_point.const
    if zero is None or zero.shape or not zero.dtype.is_int or zero.dtype.bits not in (8, 16):
        return None
    if zero.item() == CENTRES.get(zero.dtype):
        return None
    bounds = np.iinfo(zero.dtype.numpy)
    return float((bounds.max if highest else bounds.min) - int(zero.item()))


@native
def is_rounded(integers: Value) -> bool:
    """True if integers were quantized in the graph, or looked up in a constant table, and moved since perhaps."""
    value: Value | None = integers
    while value is not None and value.producer is not None:
        name = value.producer.op.name
        if name in ("QuantizeLinear", "DynamicQuantizeLinear"):
            return True
        if name == "Gather" and (table := value.producer.input(0)) is not None and table.const is not None:
            return True
        if name not in _MOVES:
            return False
        value = value.producer.input(0)
    return False

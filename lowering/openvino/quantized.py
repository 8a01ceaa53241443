"""Quantized graphs: FakeQuantize for activations, weights kept as integers in the form that is run compressed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Node
from ...ir.tensor import Tensor
from ...ir.types import F32, I4, I8, I16, I32, U4, U8, U16, DType
from ..blocks import half_of
from .constants import reshaped
from .movement import positive
from .table import NoMapping, Translation, maps

_RANGES: dict[DType, tuple[int, int]] = {
    U4: (0, 15), I4: (-8, 7), U8: (0, 255), I8: (-128, 127), U16: (0, 65535), I16: (-32768, 32767),
}  # fmt: skip


@maps("QuantizeLinear")
def quantize_linear(t: Translation, node: Node) -> Any:
    dtype = node.output.dtype
    made = _fake_quantize(t, node, dtype, integers=True)
    return t.o.convert(made, t.type_of(dtype))


def _fake_quantize(t: Translation, node: Node, dtype: DType, integers: bool) -> Any:
    """FakeQuantize of what a QuantizeLinear reads: to integers kept as floats, or back to the scale of its input."""
    if dtype not in _RANGES:
        raise NoMapping(f"there is no FakeQuantize to {dtype}")
    x, scale = t.arg(node, 0), t.known(node, 1)
    zero = t.known(node, 2)
    if node.attr("block_size"):
        raise NoMapping("it has blocks")
    low, high = _RANGES[dtype]
    if scale is None or (node.input(2) is not None and zero is None):
        return _fake_quantize_computed(t, node, x, low, high)
    steps = scale.array().astype(np.float32)
    offset = np.zeros_like(steps) if zero is None else zero.array().astype(np.float32)
    bounds = [_along(t, x, ((limit - offset) * steps).astype(np.float32), node) for limit in (low, high)]
    ends = [np.array(limit, np.float32) for limit in (low, high)] if integers else bounds
    of = [t.same_type(_floats(t, b), x) for b in (*bounds, *ends)]
    return t.o.fake_quantize(x, *of, high - low + 1)


def _fake_quantize_computed(t: Translation, node: Node, x: Any, low: int, high: int) -> Any:
    """FakeQuantize to integers, kept as floats, by a scale that only the run knows."""
    scale = t.same_type(_shaped(t, node, x, 1), x)
    bounds = []
    for limit in (low, high):
        bound = t.number(limit, x)
        if node.input(2) is not None:
            bound = t.o.subtract(bound, t.same_type(_shaped(t, node, x, 2), x))
        bounds.append(t.o.multiply(bound, scale))
    return t.o.fake_quantize(x, *bounds, t.number(low, x), t.number(high, x), high - low + 1)


def _floats(t: Translation, array: Any) -> Any:
    return t.ov.op.Constant(np.array(array, dtype=np.float32, order="C"), shared_memory=False)


def _along(t: Translation, x: Any, values: Any, node: Node) -> Any:
    """One number per tensor, or one per element of an axis, shaped to broadcast."""
    if values.size == 1:
        return values.reshape(())
    rank = t.rank(x)
    shape = [1] * rank
    shape[positive(node.attr("axis"), rank)] = -1
    return values.reshape(shape)


@maps("DequantizeLinear")
def dequantize_linear(t: Translation, node: Node) -> Any:
    source = node.inputs[0]
    assert source is not None
    quantizer = source.producer
    if quantizer is not None and quantizer.op.key == "QuantizeLinear" and _same_scale(node, quantizer):
        # Through integers and back is one FakeQuantize, which openvino turns into int8 kernels.
        return _fake_quantize(t, quantizer, source.dtype, integers=False)
    to = t.type_of(node.output.dtype)
    tensor, block = source.const, node.attr("block_size")
    if block:
        if tensor is None or source.dtype not in _RANGES:
            raise NoMapping("its blocks are not those of a constant")
        return _blocked(t, node, tensor, positive(node.attr("axis"), len(tensor.shape)), block)
    if tensor is not None and source.dtype is I32:
        return _dequantized_bias(t, node, tensor)
    x = t.arg(node, 0)
    made = t.o.convert(x, to)
    zero = t.known(node, 2)
    if node.input(2) is not None and (zero is None or zero.array().astype(np.float32).any()):
        made = t.o.subtract(made, t.o.convert(_shaped(t, node, x, 2), to))
    return t.o.multiply(made, t.same_type(_shaped(t, node, x, 1), made))


def _dequantized_bias(t: Translation, node: Node, bias: Tensor) -> Any:
    """A bias in floats: nothing runs it as integers, and a chain of operators keeps it from its convolution."""
    scale, zero = t.known(node, 1), t.known(node, 2)
    if scale is None or (node.input(2) is not None and zero is None):
        raise NoMapping("its scale is not constant")
    values = bias.array().astype(np.float64)
    rank, axis = len(bias.shape), positive(node.attr("axis"), max(1, len(bias.shape)))
    steps, offset = (
        array if array.ndim == 0 or array.size == 1 else array.reshape([-1 if i == axis else 1 for i in range(rank)])
        for array in (scale.array(), np.zeros((), np.int32) if zero is None else zero.array())
    )
    made = (values - offset) * steps.astype(np.float64)
    return t.constant(Tensor.from_array(made.astype(node.output.dtype.numpy).reshape(bias.shape), node.output.dtype))


def _same_scale(node: Node, quantizer: Node) -> bool:
    """True where what is taken back is what was applied, by constants."""
    for index in (1, 2):
        ours, theirs = node.input(index), quantizer.input(index)
        if ours is None and theirs is None:
            continue
        if ours is None or theirs is None or ours.const is None or theirs.const is None:
            return False
        if not ours.const.same(theirs.const):
            return False
    one = node.inputs[1]
    assert one is not None and one.const is not None
    return one.const.size == 1 or node.attr("axis") == quantizer.attr("axis")


def _shaped(t: Translation, node: Node, x: Any, index: int) -> Any:
    """A scale or zero point, shaped to broadcast over `x`."""
    found = t.arg(node, index)
    rank = t.rank(found)
    if rank == 0:
        return found
    if rank != 1:
        raise NoMapping("its scale has several dimensions")
    size = t.static(found, 0, "the number of scales")
    if size == 1:
        return t.shaped(node, index, [])
    shape = [1] * t.rank(x)
    shape[positive(node.attr("axis"), t.rank(x))] = size
    return t.shaped(node, index, shape)


def _blocked(t: Translation, node: Node, weights: Tensor, axis: int, block: int) -> Any:
    """Weights with a scale for every `block` elements of an axis: that axis is split in two, and joined at the end."""
    shape = weights.shape
    if shape[axis] % block:
        raise NoMapping("its last block is shorter")
    apart = (*shape[:axis], shape[axis] // block, block, *shape[axis + 1 :])
    to = t.type_of(node.output.dtype)
    made = t.o.convert(t.constant(reshaped(weights, apart)), to)
    scale, zero = t.known(node, 1), t.known(node, 2)
    if scale is None or (node.input(2) is not None and zero is None):
        raise NoMapping("its scale is not constant")
    each = (*apart[: axis + 1], 1, *apart[axis + 2 :])
    if zero is not None and zero.array().astype(np.float32).any():
        made = t.o.subtract(made, t.o.convert(t.constant(reshaped(zero, each)), to))
    made = t.o.multiply(made, t.same_type(_small(t, reshaped(scale, each)), made))
    return t.o.reshape(made, t.i64(list(shape)), False)


def _small(t: Translation, numbers: Tensor) -> Any:
    """Scales and the like, in half precision where that holds them: half the room; plugins make them floats again."""
    half = half_of(numbers) if numbers.dtype is F32 else None
    return t.constant(numbers if half is None else half)


@maps("com.microsoft::MatMulNBits")
def matmul_nbits(t: Translation, node: Node) -> Any:
    """x [..., K] times weights [N, K] of 4 or 8 bits, with a scale for every `block_size` of them along K."""
    bits, block, n, k = (node.attr(name) for name in ("bits", "block_size", "N", "K"))
    weights, scales, zeros = (t.known(node, i) for i in (1, 2, 3))
    dtype = {4: U4, 8: U8}.get(bits)
    if dtype is None:
        raise NoMapping(f"there are no weights of {bits} bits")
    if weights is None or scales is None or (node.input(3) is not None and zeros is None):
        raise NoMapping("its weights are not constant")
    if t.option(node, 4) is not None:
        raise NoMapping("its columns are reordered")
    if k % block:
        raise NoMapping("its last block is shorter")
    x, blocks = t.arg(node, 0), k // block
    to = x.get_element_type()
    made = t.o.convert(t.constant(reshaped(weights, (n, blocks, block), dtype)), to)
    made = t.o.subtract(made, t.o.convert(_zero_points(t, zeros, dtype, n, blocks), to))
    scale = _small(t, reshaped(scales, (n, blocks, 1)))
    made = t.o.reshape(t.o.multiply(made, t.same_type(scale, made)), t.i64([n, k]), False)
    product = t.o.matmul(x, made, False, True)
    bias = t.option(node, 5)
    return product if bias is None else t.o.add(product, bias)


def _zero_points(t: Translation, zeros: Tensor | None, dtype: DType, n: int, blocks: int) -> Any:
    """Zero points [N, blocks, 1], or the one that stands for all where none are given."""
    if zeros is None:
        return t.constant(Tensor.of([[[1 << (dtype.bits - 1)]]], dtype))
    if zeros.dtype is not U8:
        return t.constant(reshaped(zeros, (n, blocks, 1)))
    if dtype is U8 or blocks % 2 == 0:
        return t.constant(reshaped(zeros, (n, blocks, 1), dtype))
    rows = zeros.array().reshape(n, -1)  # each row ends with half a byte that means nothing
    both = np.stack([rows & 15, rows >> 4], axis=-1).reshape(n, -1)[:, :blocks]
    return t.constant(Tensor.of(both.reshape(n, blocks, 1), U4))


@maps("DynamicQuantizeLinear")
def dynamic_quantize_linear(t: Translation, node: Node) -> Any:
    """Values as u8, their scale, and their zero point: from the range of the input with zero in it."""
    o, x = t.o, t.arg(node, 0)
    axes = t.i64(list(range(t.rank(x))))
    zero, top = t.number(0, x), t.number(255, x)
    lowest = o.minimum(o.reduce_min(x, axes, False), zero)
    highest = o.maximum(o.reduce_max(x, axes, False), zero)
    scale = o.divide(o.subtract(highest, lowest), top)
    offset = o.clamp(o.round(o.divide(o.subtract(zero, lowest), scale)), 0.0, 255.0)
    codes = o.clamp(o.add(o.round(o.divide(x, scale)), offset), 0.0, 255.0)
    return [o.convert(codes, t.ov.Type.u8), scale, o.convert(offset, t.ov.Type.u8)]


@maps("MatMulInteger")
def matmul_integer(t: Translation, node: Node) -> Any:
    """In f32, which holds products of bytes exactly up to sums of 2 ** 24."""
    factors = []
    for index in (0, 1):
        x = t.o.convert(t.arg(node, index), t.ov.Type.f32)
        zero = t.option(node, index + 2)
        if zero is not None:
            if t.rank(zero) == 1 and index == 0 and t.static(zero, 0, "the number of zero points") > 1:
                zero = t.unsqueeze(zero, [1])
            x = t.o.subtract(x, t.o.convert(zero, t.ov.Type.f32))
        factors.append(x)
    return t.o.convert(t.o.matmul(*factors, False, False), t.ov.Type.i32)

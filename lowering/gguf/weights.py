"""Matrices of a graph as tensors of GGML: floats, blocks of 32 as they are in the graph, or rows of another such file.

    Q8_0   w = d c         d f16, c i8
    Q4_0   w = d (c - 8)   d f16, c in 0 .. 15, element i of a block in the low half of byte i, 16 + i in the high half
    Q4_1   w = d c + m     d, m f16

(ggml-common.h and ggml-quants.c of llama.cpp.) Blocks are along the inputs of a product, so rows can change places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...ir.core import Node, Value
from ...ir.evaluate import DeferredTensor, PackedTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import BF16, F16, F32, I4, I8, U4

BLOCK = 32
_MIDDLE = 8
_SIZES = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}  # bytes of a block


@dataclass
class Blocks:
    """Codes [rows, columns] with a scale and perhaps an offset of each block: as DequantizeLinear has them.

    `scale`: floats [rows, blocks]. `minimum`: floats [rows, blocks, 1], added behind the product with the scale.
    `zero`: codes of 0, [rows, blocks].
    """

    codes: Tensor
    scale: Tensor
    block: int
    zero: Tensor | None = None
    minimum: Tensor | None = None

    def scales(self) -> Array:
        """f32 [rows, blocks]."""
        return floats_of(self.scale)

    def minima(self) -> Array | None:
        """f32 [rows, blocks], what a code of 0 stands for; None where that is 0."""
        if self.minimum is not None:
            return floats_of(self.minimum).reshape(self.scale.shape)
        return None if self.zero is None else -self.scales() * self.zero.array().astype(np.float32)

    def floats(self) -> Array:
        """The matrix, f32 [rows, columns]."""
        codes = self.codes.array().astype(np.float32)
        if self.zero is not None:
            codes -= np.repeat(self.zero.array().astype(np.float32), self.block, axis=1)
        found = codes * np.repeat(self.scales(), self.block, axis=1)
        if self.minimum is not None:
            found = found + np.repeat(floats_of(self.minimum).reshape(self.scale.shape), self.block, axis=1)
        whole: Array = found
        return whole

    @property
    def tensors(self) -> list[Tensor]:
        """All that it is made of."""
        return [t for t in (self.codes, self.scale, self.zero, self.minimum) if t is not None]


@dataclass
class Matrix:
    """A matrix [outputs, inputs] of a product or table: floats of a constant, or blocks. `turned`: the constant lies
    the other way round."""

    source: Tensor | Blocks
    turned: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs)."""
        tensor = self.source.codes if isinstance(self.source, Blocks) else self.source
        rows, columns = tensor.shape
        return (columns, rows) if self.turned else (rows, columns)

    @property
    def tensors(self) -> list[Tensor]:
        """All that it is made of."""
        return self.source.tensors if isinstance(self.source, Blocks) else [self.source]

    def floats(self) -> Array:
        """f32 [outputs, inputs]."""
        found: Array = self.source.floats() if isinstance(self.source, Blocks) else floats_of(self.source)
        return found.T if self.turned else found


@dataclass(frozen=True)
class Stored:
    """How a tensor is written: GGML's name of its type, shape and number type of the array, and what makes that."""

    kind: str
    shape: tuple[int, ...]
    dtype: type
    make: Callable[[], Array]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def matrix_of(value: Value, turned: bool = False) -> Matrix | None:
    """The matrix that `value` is, `turned` where a product reads it [inputs, outputs]; None where it is computed."""
    if value.const is not None:
        return _constant(value.const, turned)
    node = value.producer
    if node is None:
        return None
    if node.op.key == "Transpose" and tuple(node.attr("perm") or (1, 0)) == (1, 0) and node.inputs[0] is not None:
        return matrix_of(node.inputs[0], not turned)
    if node.op.key == "Cast" and node.inputs[0] is not None and value.dtype is F32:
        return matrix_of(node.inputs[0], turned)
    blocks = _blocks(node)
    return None if blocks is None else Matrix(blocks, turned)


def _constant(tensor: Tensor, turned: bool) -> Matrix | None:
    if tensor.dtype not in (F32, F16, BF16) or len(tensor.shape) != 2:
        return None
    if isinstance(tensor, DeferredTensor) and tensor.recipe == "transpose (1, 0)":  # as large ones are folded
        return _constant(tensor.source, not turned)
    return Matrix(tensor, turned)


def _blocks(node: Node) -> Blocks | None:
    """DequantizeLinear with blocks along its last axis, with the Reshape, Add and Reshape of a minimum behind it."""
    if node.op.key == "Reshape":
        added = _producer(node.inputs[0], "Add")
        if added is None:
            return None
        for i in (0, 1):
            apart, minimum = _producer(added.inputs[i], "Reshape"), added.inputs[1 - i]
            inner = None if apart is None else _producer(apart.inputs[0], "DequantizeLinear")
            found = None if inner is None else _blocks(inner)
            if found is not None and found.zero is None and minimum is not None and minimum.const is not None:
                if minimum.const.shape != (*found.scale.shape, 1) or node.output.shape != found.codes.shape:
                    return None
                found.minimum = minimum.const
                return found
        return None
    if node.op.key != "DequantizeLinear" or node.attr("axis") not in (1, -1) or not node.attr("block_size"):
        return None
    codes, scale, *rest = (None if v is None else v.const for v in node.inputs)
    zero = rest[0] if rest else None
    if codes is None or scale is None or len(codes.shape) != 2 or (node.input(2) is not None and zero is None):
        return None
    return Blocks(codes, scale, int(node.attr("block_size")), zero)


def _producer(value: Value | None, key: str) -> Node | None:
    node = None if value is None else value.producer
    return node if node is not None and node.op.key == key else None


def floats_of(tensor: Tensor) -> Array:
    """The numbers of a tensor of floats in f32, which holds them all."""
    if tensor.dtype is BF16:
        return (np.frombuffer(tensor.data(), np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(tensor.shape)
    return tensor.array().astype(np.float32, copy=False)


def stored(matrix: Matrix, order: Array | None = None, single: bool = False) -> Stored:
    """How a matrix is written without another rounding, with its rows in another `order`; `single`: as f32."""
    if single:
        return _stored_floats(matrix, order, ("F32", np.float32))
    found = _as_it_lies(matrix, order)
    if found is None and isinstance(matrix.source, Blocks) and not matrix.turned:
        found = _stored_blocks(matrix.source, order)
    return _stored_floats(matrix, order, _float_kind(matrix)) if found is None else found


def _as_it_lies(matrix: Matrix, order: Array | None) -> Stored | None:
    """The rows of the file of GGML's formats that all of the matrix is from; None where it is from no such file."""
    first = matrix.tensors[0]
    if matrix.turned or not isinstance(first, PackedTensor) or first.source.dtype is F32:  # floats: see _float_kind
        return None
    held = {each.part for each in matrix.tensors if isinstance(each, PackedTensor) and _same_rows(first, each)}
    if held != set(first.parts) or len(matrix.tensors) != len(first.parts):
        return None
    rows = first.order
    if order is not None:
        rows = order if rows is None else rows[order]
    is_in_order = rows is None or np.array_equal(rows, np.arange(len(rows)))
    source = first.source
    count = source.shape[0]

    def make() -> Array:
        data = np.frombuffer(source.data(), np.uint8).reshape(count, -1)
        return data if is_in_order else data[rows]

    return Stored(first.kind, (count, source.length // count), np.uint8, make)


def _same_rows(a: PackedTensor, b: PackedTensor) -> bool:
    if a.order is not b.order and (a.order is None or b.order is None or not np.array_equal(a.order, b.order)):
        return False
    x, y = a.source, b.source
    return a.kind == b.kind and x.file is y.file and (x.offset, x.shape) == (y.offset, y.shape)


def _stored_floats(matrix: Matrix, order: Array | None, as_floats: tuple[str, type]) -> Stored:
    kind, dtype = as_floats

    def make() -> Array:
        floats = matrix.floats()
        floats = floats if order is None else floats[order]
        if kind == "BF16":
            return (np.ascontiguousarray(floats).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return np.ascontiguousarray(floats, dtype)

    rows, columns = matrix.shape
    if kind == "BF16":  # numpy has none
        return Stored(kind, (rows, 2 * columns), np.uint8, make)
    return Stored(kind, (rows, columns), dtype, make)


def _float_kind(matrix: Matrix) -> tuple[str, type]:
    """The smallest type of floats that holds the numbers exactly."""
    if isinstance(matrix.source, Tensor) and matrix.source.dtype is F32:
        pieces = list(matrix.source.pieces())
    else:
        pieces = [matrix.floats()]
    if all(_is_half(piece) for piece in pieces):
        return "F16", np.float16
    if all(not (np.ascontiguousarray(piece).view(np.uint32) & 0xFFFF).any() for piece in pieces):
        return "BF16", np.uint16
    return "F32", np.float32


def _is_half(array: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array.astype(np.float16).astype(np.float32), array))


def _stored_blocks(blocks: Blocks, order: Array | None) -> Stored | None:
    """Q8_0, Q4_0 or Q4_1, where that holds the same numbers; None where none does."""
    rows, columns = blocks.codes.shape
    dtype, zero = blocks.codes.dtype, blocks.zero
    if blocks.block % BLOCK or columns % BLOCK or dtype not in (I8, I4, U4):
        return None
    minima: Array | None = None
    if dtype is U4:
        in_middle = zero is not None and (zero.array() == _MIDDLE).all()
        kind = "Q4_0" if in_middle else "Q4_1"
        if not in_middle:
            least = blocks.minima()
            minima = _of_each_block(np.zeros(blocks.scale.shape, np.float32) if least is None else least, blocks)
    elif zero is not None or blocks.minimum is not None:
        return None
    else:
        kind = "Q8_0" if dtype is I8 else "Q4_0"
    heads = [_of_each_block(blocks.scales(), blocks), *([] if minima is None else [minima])]
    if not all(_is_half(head) for head in heads):
        return None

    def make() -> Array:
        codes, parts = blocks.codes.array(), heads
        if order is not None:
            codes, parts = codes[order], [head[order] for head in heads]
        parts = [head.astype(np.float16)[..., None].view(np.uint8) for head in parts]
        apart = codes.reshape(rows, columns // BLOCK, BLOCK)
        if kind == "Q8_0":
            parts.append(np.ascontiguousarray(apart).view(np.uint8))
        else:
            plain = (apart.astype(np.int8) + _MIDDLE).astype(np.uint8) if dtype is I4 else apart.astype(np.uint8)
            parts.append(plain[..., : BLOCK // 2] | (plain[..., BLOCK // 2 :] << 4))
        return np.ascontiguousarray(np.concatenate(parts, axis=2).reshape(rows, -1))

    return Stored(kind, (rows, columns // BLOCK * _SIZES[kind]), np.uint8, make)


def _of_each_block(numbers: Array, blocks: Blocks) -> Array:
    """Those of larger blocks repeated for each of 32."""
    wide = blocks.block // BLOCK
    return numbers if wide == 1 else np.repeat(numbers, wide, axis=1)[:, : blocks.codes.shape[1] // BLOCK]

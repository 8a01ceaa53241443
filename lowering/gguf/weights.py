"""Matrices of a graph as tensors of GGML: floats, or blocks of 32 as they are in the graph.

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
from ...ir.tensor import Array, Tensor
from ...ir.types import BF16, F16, F32, I4, I8, U4

BLOCK = 32
_MIDDLE = 8


@dataclass
class Blocks:
    """Codes [rows, columns] with a scale and perhaps an offset of each block: as DequantizeLinear has them.

    `minimum`: f32 [rows, blocks], added behind the product with the scale. `zero`: codes of 0 [rows, blocks].
    """

    codes: Tensor
    scale: Array
    block: int
    zero: Tensor | None = None
    minimum: Array | None = None

    def floats(self) -> Array:
        """The matrix, f32 [rows, columns]."""
        codes = self.codes.array().astype(np.float32)
        if self.zero is not None:
            codes -= np.repeat(self.zero.array().astype(np.float32), self.block, axis=1)
        found = codes * np.repeat(self.scale, self.block, axis=1)
        return found if self.minimum is None else found + np.repeat(self.minimum, self.block, axis=1)


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

    def floats(self) -> Array:
        """f32 [outputs, inputs]."""
        found = self.source.floats() if isinstance(self.source, Blocks) else _floats(self.source)
        return found.T if self.turned else found


@dataclass(frozen=True)
class Stored:
    """How a tensor is written: GGML's name of its type, shape and number type of the array, and what makes that."""

    kind: str
    shape: tuple[int, ...]
    dtype: type
    make: Callable[[], Array]


def matrix_of(value: Value, turned: bool = False) -> Matrix | None:
    """The matrix that `value` is, `turned` where a product reads it [inputs, outputs]; None where it is computed."""
    if value.const is not None:
        is_float = value.const.dtype in (F32, F16, BF16)
        return Matrix(value.const, turned) if is_float and len(value.const.shape) == 2 else None
    node = value.producer
    if node is None:
        return None
    if node.op.key == "Transpose" and tuple(node.attr("perm") or (1, 0)) == (1, 0) and node.inputs[0] is not None:
        return matrix_of(node.inputs[0], not turned)
    if node.op.key == "Cast" and node.inputs[0] is not None and value.dtype is F32:
        return matrix_of(node.inputs[0], turned)
    blocks = _blocks(node)
    return None if blocks is None else Matrix(blocks, turned)


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
                found.minimum = _floats(minimum.const).reshape(found.scale.shape)
                return found
        return None
    if node.op.key != "DequantizeLinear" or node.attr("axis") not in (1, -1) or not node.attr("block_size"):
        return None
    codes, scale, *rest = (None if v is None else v.const for v in node.inputs)
    zero = rest[0] if rest else None
    if codes is None or scale is None or len(codes.shape) != 2 or (len(node.inputs) > 2 and node.inputs[2] and zero is None):
        return None
    return Blocks(codes, _floats(scale), int(node.attr("block_size")), zero)


def _producer(value: Value | None, key: str) -> Node | None:
    node = None if value is None else value.producer
    return node if node is not None and node.op.key == key else None


def _floats(tensor: Tensor) -> Array:
    if tensor.dtype is BF16:
        return (np.frombuffer(tensor.data(), np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(tensor.shape)
    return tensor.array().astype(np.float32, copy=False)


def stored(matrix: Matrix, order: Array | None = None) -> Stored:
    """How a matrix is written without another rounding, with its rows in another `order`."""
    source = matrix.source
    if isinstance(source, Blocks) and not matrix.turned:
        found = _stored_blocks(source, order)
        if found is not None:
            return found
    kind, dtype = _float_kind(matrix)

    def make() -> Array:
        floats = matrix.floats()
        floats = floats if order is None else floats[order]
        if kind == "BF16":
            return np.ascontiguousarray((np.ascontiguousarray(floats).view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8)
        return np.ascontiguousarray(floats, dtype)

    rows, columns = matrix.shape
    return Stored(kind, (rows, 2 * columns) if kind == "BF16" else (rows, columns), np.uint8 if kind == "BF16" else dtype, make)


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
    scale, minimum, zero = blocks.scale, blocks.minimum, blocks.zero
    if blocks.block % BLOCK or columns % BLOCK:
        return None
    wide, dtype = blocks.block // BLOCK, blocks.codes.dtype
    scale = np.repeat(scale, wide, axis=1)[:, : columns // BLOCK]
    if dtype is I8 and minimum is None and zero is None:
        kind = "Q8_0"
    elif dtype is I4 and minimum is None and zero is None:
        kind = "Q4_0"
    elif dtype is U4:
        zeros = None if zero is None else np.repeat(zero.array().astype(np.float32), wide, axis=1)[:, : columns // BLOCK]
        if zeros is not None and minimum is None and (zeros == _MIDDLE).all():
            kind = "Q4_0"
        else:
            kind = "Q4_1"
            minimum = np.zeros_like(blocks.scale) if minimum is None else minimum
            minimum = np.repeat(minimum, wide, axis=1)[:, : columns // BLOCK]
            minimum = minimum if zeros is None else -scale * zeros
    else:
        return None
    if not _is_half(scale) or (kind == "Q4_1" and (minimum is None or not _is_half(minimum))):
        return None

    def make() -> Array:
        codes = blocks.codes.array()
        heads = [scale] if kind != "Q4_1" or minimum is None else [scale, minimum]
        if order is not None:
            codes, heads = codes[order], [head[order] for head in heads]
        parts = [head.astype(np.float16)[..., None].view(np.uint8) for head in heads]
        apart = codes.reshape(rows, columns // BLOCK, BLOCK)
        if kind == "Q8_0":
            parts.append(np.ascontiguousarray(apart).view(np.uint8))
        else:
            plain = (apart.astype(np.int8) + _MIDDLE).astype(np.uint8) if dtype is I4 else apart.astype(np.uint8)
            parts.append(plain[..., : BLOCK // 2] | (plain[..., BLOCK // 2 :] << 4))
        return np.ascontiguousarray(np.concatenate(parts, axis=2).reshape(rows, -1))

    size = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}[kind]
    return Stored(kind, (rows, columns // BLOCK * size), np.uint8, make)

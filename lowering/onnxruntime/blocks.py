"""Natives of the rules for weights in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Value
from ...ir.rewrite import ABSENT, native
from ...ir.rewrite.instances import Pick, instance_for
from ...ir.tensor import Array, Tensor
from ...ir.types import F32, U8
from ..blocks import SIGNED, packed_codes
from . import tokens  # noqa: F401 (its natives)


@native
def middle_code(q: Value) -> Tensor | None:
    """Half of the codes from 0 on that a matrix has, as f32: with bytes for 5 bits 16. None where q is not constant."""
    return None if q.const is None else Tensor.of(_half_of_codes(q.const), F32)


@native
def centred_codes(q: Value, block: int) -> Tensor | None:
    """As packed_codes, for codes from 0 on, with half of them where MatMulNBits takes a code for 0.

    What the minima of the blocks make up for is then no larger than it must be: rows of 8 bits are as inexact as that.
    """
    packed = packed_codes(q, block)
    if packed is None or q.const is None or q.dtype is not U8:
        return packed
    more = np.uint8(_middle(q) - _half_of_codes(q.const))
    return packed if not more else Tensor.from_array(packed.array() + more, U8)


def _half_of_codes(codes: Tensor) -> int:
    """Half of the least power of two above all codes; of those of less than 8 bits, half of what they can be."""
    if codes.dtype is not U8:
        return int(1 << codes.dtype.bits - 1)
    most = max(int(piece.max(initial=0)) for piece in codes.pieces())
    return (1 << most.bit_length()) >> 1


@native
def packed_zeros(q: Value, z: Value | None, s: Value) -> Any:
    """Zeros [outputs, blocks] as MatMulNBits takes them, each row in whole bytes; absent where all are in the middle.

    None for zeros that are not constant.
    """
    codes = _zeros(q, z, s)
    if codes is None or (codes == _middle(q)).all():
        return None if codes is None else ABSENT
    return _packed_rows(codes, q.dtype.bits)


@native
def table_zeros(q: Value, z: Value | None, s: Value) -> Any:
    """As packed_zeros, for GatherBlockQuantized, whose codes of less than 8 bits have their zero in the middle."""
    codes = _zeros(q, z, s)
    if codes is None or (codes == _middle(q)).all():
        return None if codes is None else ABSENT
    return Tensor.from_array(codes[..., None], U8) if q.dtype.bits == 8 else None


def _middle(q: Value) -> int:
    return int(1 << (q.dtype.bits - 1))


def _zeros(q: Value, z: Value | None, s: Value) -> Array | None:
    """The zero of each block, u8 [outputs, blocks], among codes from 0 on; None where it is not constant."""
    shift = _middle(q) if q.dtype in SIGNED else 0
    if s.const is None or (z is not None and z.const is None):
        return None
    if z is None or z.const is None:
        return np.full(s.const.shape, shift, np.uint8)
    return (z.const.array().astype(np.int16) + shift).astype(np.uint8)


@native
def above(*parts: Value | None) -> Any:
    """Constants after each other along the first axis; absent if the first is, None where types or sizes do not fit."""
    if parts[0] is None:
        return ABSENT
    tensors = [part.const for part in parts if part is not None and part.const is not None]
    first = tensors[0] if tensors else None
    if first is None or len(tensors) < len(parts):
        return None
    width = first.shape[1:]
    if any(t.dtype is not first.dtype or t.shape[1:] != width or (t.size * t.dtype.bits) % 8 for t in tensors):
        return None
    shape = (sum(t.shape[0] for t in tensors), *first.shape[1:])
    return Tensor(first.dtype, shape, data=b"".join(t.data() for t in tensors))


def _packed_rows(codes: Array, bits: int) -> Tensor:
    """Codes [rows, columns] with each row in whole bytes, from the low bits on."""
    per_byte = 8 // bits
    rows, columns = codes.shape
    padded = np.zeros((rows, -(-columns // per_byte) * per_byte), np.uint8)
    padded[:, :columns] = codes
    data = np.zeros((rows, padded.shape[1] // per_byte), np.uint8)
    for lane in range(per_byte):
        data |= padded[:, lane::per_byte] << np.uint8(lane * bits)
    return Tensor.from_array(data, U8)


_TYPES = ("i4", "u4", "i8", "u8", "i2", "u2")


def _blocked(pick: Pick, name: str, rows: int, columns: int, dtype: str, kind: str, block: int) -> tuple[str, str]:
    """The weights and the nodes of a matrix in blocks called `name`."""
    count = columns // block
    bits, least = int(dtype[1]), -(1 << int(dtype[1]) - 1) if dtype[0] == "i" else 0
    codes = [least + (5 * i + 3) % (1 << bits) for i in range(rows * columns)]
    zeros = [least + (3 * i + 1) % (1 << bits) for i in range(rows * count)]
    scale = pick(0.5, 0.3)  # the second is no number of f16
    scales = [scale * (1 + i % 3) for i in range(rows * count)]
    weights = f"""
      weight %{name}.codes: {dtype}[{rows},{columns}] = {codes}
      weight %{name}.scale: f32[{rows},{count}] = {scales}"""
    zero = ""
    if kind == "zero":
        weights += f"\n      weight %{name}.zero: {dtype}[{rows},{count}] = {zeros}"
        zero = f", %{name}.zero"
    body = f"\n      %{name} = DequantizeLinear(%{name}.codes, %{name}.scale{zero}) {{axis=1, block_size={block}}}"
    if kind == "minimum":
        minima = [scale * (i % 5 - 4) for i in range(rows * count)]
        weights += f"""
      weight %{name}.minimum: f32[{rows},{count},1] = {minima}
      weight %{name}.apart: i64[3] = [{rows}, {count}, {block}]
      weight %{name}.whole: i64[2] = [{rows}, {columns}]"""
        body = body.replace(f"%{name} =", f"%{name}.d =") + f"""
      %{name}.b = Reshape(%{name}.d, %{name}.apart)
      %{name}.c = Add(%{name}.b, %{name}.minimum)
      %{name} = Reshape(%{name}.c, %{name}.whole)"""
    return weights, body


def _graph(inputs: str, outputs: str, weights: str, body: str) -> str:
    return f"graph @main({inputs}) -> ({outputs}) {{{weights}{body}\n    }}"


@instance_for("product_of_blocks", "product_of_blocks_with_minimum", "gemm_of_blocks")
def product(pick: Pick) -> str:
    """A product with a matrix in blocks, with bias or without, one of another type and size of blocks."""
    rows, columns, block = pick(1, 3), pick(32, 64), pick(16, 32)
    operator = pick("MatMul", "Gemm")
    kind = pick("", "zero", "minimum")
    dtype = pick("u4", "u8", "u2") if kind == "minimum" else pick(*_TYPES)
    weights, body = _blocked(pick, "w", rows, columns, dtype, kind, block)
    bias = pick(False, True)
    weights += f"\n      weight %bias: f32[{rows}] = {[i - 0.5 for i in range(rows)]}" if bias else ""
    if operator == "Gemm":
        outside = pick(False, True)
        body += "\n      %t = Transpose(%w) {perm=[1, 0]}" if outside else ""
        operands = f"%x, {'%t' if outside else '%w'}{', %bias' if bias else ''}"
        body += f"\n      %y = Gemm({operands}){'' if outside else ' {transB=1}'}"
        return _graph(f"%x: f32[2,{columns}]", "%y", weights, body)
    body += "\n      %t = Transpose(%w) {perm=[1, 0]}\n      %p = MatMul(%x, %t)"
    body += "\n      %y = Add(%p, %bias)" if bias else ""
    return _graph(f"%x: f32[{pick('2,', '2,3,', '')}{columns}]", "%y" if bias else "%p", weights, body)


@instance_for("rows_of_blocks", "rows_of_blocks_with_minimum")
def rows_of_a_table(pick: Pick) -> str:
    """Rows of a table in blocks."""
    kind = pick("", "zero", "minimum")
    weights, body = _blocked(pick, "w", 5, 32, pick("u4", "u8") if kind == "minimum" else pick(*_TYPES), kind, 16)
    body += "\n      %y = Gather(%w, %i)"
    return _graph(f"%i: i64{pick('[2]', '[1,3]', '[]')}", "%y", weights, body)


@instance_for("pack_three_blocks", "pack_two_blocks")
def products_of_one_token(pick: Pick) -> str:
    """Two or three products of the rows of one token, with bias or without."""
    names, bias, kind = pick("ab", "abc"), pick(False, True), pick("", "zero", "minimum")
    dtype = pick("u4", "u8") if kind else pick("i4", "i8")
    weights = body = ""
    for number, name in enumerate(names, 1):
        more, nodes = _blocked(pick, name, number, 32, dtype, kind, 16)
        weights, body = weights + more, body + nodes
        body += f"\n      %t{name} = Transpose(%{name}) {{perm=[1, 0]}}\n      %p{name} = MatMul(%x, %t{name})"
        if bias:
            weights += f"\n      weight %bias{name}: f32[{number}] = {[i + 0.5 for i in range(number)]}"
            body += f"\n      %y{name} = Add(%p{name}, %bias{name})"
    outputs = ", ".join(f"%{'y' if bias else 'p'}{name}" for name in names)
    attention = "\n      %x, %ks, %vs = Attention(%r, %r, %r, none, %pk, %pk) {kv_num_heads=2, q_num_heads=2}"
    return _graph("%r: f32[2,1,32], %pk: f32[2,2,3,16]", f"{outputs}, %ks, %vs", weights, attention + body)

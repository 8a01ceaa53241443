"""nbits-columns: products of packed weights with the columns that onnxruntime's kernels read fastest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.dims import DimLike
from ...ir.evaluate import evaluate_node
from ...ir.ops import op
from ...ir.tensor import Array, Tensor
from ...ir.types import F16, F32, U8
from ..base import Context, Pass
from .rows import CODES, INT8, PACKED, WIDE

_SCALES, _ZEROS, _ORDER, _BIAS = 2, 3, 4, 5  # operands
_TABLE = op("com.microsoft::GatherBlockQuantized")
_FOUR = 4  # blocks that the kernels take at a time
_WORTH = 8  # blocks, of which one more costs less than what it saves
_LEAST = 16  # sums of blocks that are worth columns of their own
_TINY = 1e-6  # what half precision holds too coarsely for a scale
_FOLDED = frozenset(("Add", "Cast", "Mul", "Squeeze", "Transpose"))


@dataclass(frozen=True)
class NBitsColumns(Pass):
    """MatMulNBits with rows of 8 bits gets columns that make it faster.

    - Minima of blocks are a product of their own, sums(x) C (`product_of_blocks_with_minimum`). Rows are codes by now,
      and the sums may be so too: they become columns of the one product, and C its codes, in as many digits as have
      8 bits together, each with a scale for every block of sums: C = s1 c1 + s2 c2 + e with |e| <= max|C| / 190. One
      operator less and half of the bytes.
    - The kernels of onnxruntime 1.31 take four blocks of columns at a time, and longer for each that is left over.
      Products of 8 bits, which have most to read, are filled up to whole fours; a table that is looked up in the same
      codes is cut again.

    Files are larger by up to an eighth. A token of SmolLM2 takes 0.92 of the time, a prompt 0.96 (docs/weights.md).
    """

    name: ClassVar[str] = "nbits-columns"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any product was changed."""
        changed = False
        for graph in model.graphs():
            fill = _Fill()
            for node in [node for node in graph if node.op is PACKED]:
                wanted = _wanted(node)
                if wanted is None or not ctx.allow(self.name, "", node):
                    continue
                created: list[Node] = []
                with ctx.rewrite(self.name, "", [node], created):
                    created += _widened(graph, node, wanted, fill)
                changed = True
        return changed


class _Sums(NamedTuple):
    """The part of minima of a product: y = product + sums times centre."""

    sums: Value
    centre: Value  # [blocks, outputs]
    total: Node


class _Wanted(NamedTuple):
    """What a product gets: columns for `part`, in `digits`, and `empty` blocks behind them."""

    part: _Sums | None
    digits: int
    empty: int


def _wanted(node: Node) -> _Wanted | None:
    bits, block, codes = node.attr("bits"), node.attr("block_size"), node.inputs[CODES]
    if node.attrs.get("accuracy_level") != INT8 or bits not in (4, WIDE) or codes is None or codes.const is None:
        return None
    x, scale = node.inputs[0], node.inputs[_SCALES]
    if x is None or x.shape is None or x.dtype is not F32 or scale is None or _stored(scale) is None:
        return None
    if node.input(_ZEROS) is not None or node.input(_ORDER) is not None or node.attr("K") % block:
        return None
    count = node.attr("K") // block
    part, digits = _minima(node) if count >= _LEAST else None, WIDE // bits
    if part is None and any(user is not node and user.op is not _TABLE for user in codes.users):
        return None  # other products read the codes as they are
    known = count + (digits * -(-count // block) if part else 0)
    empty = -known % _FOUR
    if empty * _WORTH > known or (bits < WIDE and part is None):
        empty = 0
    return _Wanted(part, digits, empty) if part or empty else None


def _minima(node: Node) -> _Sums | None:
    use = node.output.sole_use
    total = use[0] if use is not None else None
    if total is None or total.op.key != "Add":
        return None
    (product,) = [value for value in total.inputs if value is not node.output] or [None]
    maker = product.producer if product is not None else None
    if maker is None or maker.op.key != "MatMul" or len(product.uses) > 1:  # type: ignore[union-attr]
        return None
    sums, centre = maker.inputs
    assert sums is not None and centre is not None
    reduced = sums.producer
    if reduced is None or reduced.op.key != "ReduceSum" or reduced.attr("keepdims"):
        return None
    apart = reduced.inputs[0].producer if reduced.inputs[0] is not None else None
    count, block = node.attr("K") // node.attr("block_size"), node.attr("block_size")
    if apart is None or apart.op.key != "Reshape" or _elements(apart.output) is not _elements(node.inputs[0]):
        return None
    x = node.inputs[0]
    assert x is not None and x.shape is not None
    if apart.output.shape != (*x.shape[:-1], count, block) or centre.shape != (count, node.attr("N")):
        return None
    axes = reduced.input(1)
    if axes is None or axes.const is None or axes.const.array().tolist() not in ([-1], [len(x.shape)]):
        return None
    return _Sums(sums, centre, total) if _is_known(centre) else None


def _elements(value: Value | None) -> Value | None:
    """What holds the elements of a value in the same order."""
    while value is not None and value.producer is not None and value.producer.op.key == "Reshape":
        value = value.producer.inputs[0]
    return value


def _is_known(value: Value) -> bool:
    maker = value.producer
    return value.const is not None or (
        maker is not None and maker.op.key in _FOLDED and all(_is_known(v) for v in maker.inputs if v is not None)
    )


def _folded(value: Value) -> Tensor:
    """What a value made of constants is."""
    if value.const is not None:
        return value.const
    maker = value.producer
    assert maker is not None
    (found,) = evaluate_node(maker, [None if v is None else _folded(v) for v in maker.inputs])
    assert found is not None
    return found


def _stored(scale: Value) -> Tensor | None:
    """Scales as the file has them, in half or single precision; None where they are not constant."""
    maker = scale.producer
    source = maker.inputs[0] if maker is not None and maker.op.key == "Cast" else scale
    found = source.const if source is not None else None
    return found if found is not None and found.dtype in (F16, F32) else None


class _Fill:
    """Zeros beside rows, each once for all rows of the same sizes."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[DimLike, ...], int], Value] = {}

    def beside(self, b: Builder, rows: Value, width: int) -> Value:
        """Zeros [..., width] for rows [..., size]. The first to ask for some comes first in the graph."""
        assert rows.shape is not None
        key = rows.shape[:-1], width
        if key not in self._made:
            if all(isinstance(size, int) for size in key[0]):
                found = b.const(np.zeros((*key[0], width), np.float32))
            else:
                sizes = b.op("Concat", b.op("Shape", rows, end=len(key[0])), b.ints([width]), axis=0)
                found = b.op("Expand", b.const([0.0], F32), sizes)
            self._made[key] = found
        return self._made[key]


def _widened(graph: Graph, node: Node, wanted: _Wanted, fill: _Fill) -> list[Node]:
    """Put the product with more columns in the place of a product; the nodes that were made."""
    part, block, bits = wanted.part, node.attr("block_size"), node.attr("bits")
    x, codes, scale = node.inputs[:3]
    assert x is not None and codes is not None and codes.const is not None and scale is not None
    before, count = Builder(graph, node, node.loc), node.attr("K") // block
    sums_blocks = -(-count // block) if part else 0
    columns = [x]
    if part:
        short = sums_blocks * block - count
        columns += [part.sums, *([fill.beside(before, x, short)] if short else [])] * wanted.digits
    if wanted.empty:
        columns.append(fill.beside(before, x, wanted.empty * block))
    stored = _stored(scale)
    assert stored is not None
    steps = [stored.array().reshape(node.attr("N"), count)]
    numbers = [codes.const.array()]
    for step, digit in _digits(_folded(part.centre).array().T, block, bits, wanted.digits) if part else ():
        steps.append(step)
        numbers.append(_packed(digit + (1 << bits - 1), bits))
    if wanted.empty:
        steps.append(np.zeros((node.attr("N"), wanted.empty), np.float32))
        nothing = np.full((node.attr("N"), wanted.empty, block), 1 << bits - 1)
        numbers.append(_packed(nothing, bits))
    wide = constant(Tensor.from_array(np.concatenate(numbers, axis=1), U8), codes.hint)
    b = Builder(graph, part.total if part else node, node.loc)
    first = Builder(graph, graph.first, node.loc)  # a table that reads it may come before the product
    new_scale = _scales(first, steps, stored.dtype is F16, scale.hint)
    made = b.node(
        PACKED, [b.op("Concat", *columns, axis=-1), wide, new_scale, None, None, node.input(_BIAS)],
        {**node.attrs, "K": wide.const.shape[1] * block},  # type: ignore[union-attr]
    )  # fmt: skip
    created = first.created + before.created + b.created
    if not part:
        for table in [user for user in codes.users if user.op is _TABLE]:
            created += _cut(graph, table, wide, new_scale, count)
    replaced = part.total if part else node
    made.output.hint = replaced.output.hint
    replaced.output.replace_with(made.output)
    graph.erase(replaced)
    return created


def _digits(centre: Array, block: int, bits: int, count: int) -> Iterator[tuple[Array, Array]]:
    """Numbers [outputs, sums] as digits: steps f32 [outputs, blocks] and signed codes [outputs, blocks, block], the
    largest first. Steps are numbers of half precision where that holds them well."""
    outputs, sums = centre.shape
    blocks, most = -(-sums // block), (1 << bits - 1) - 1
    rest = np.zeros((outputs, blocks * block), np.float64)
    rest[:, :sums] = centre
    rest = rest.reshape(outputs, blocks, block)
    for _ in range(count):
        step = np.abs(rest).max(-1) / most
        with np.errstate(over="ignore"):
            half = step.astype(np.float16)
        is_held = np.isfinite(half) & (half >= _TINY)
        step = np.where(is_held, half, step).astype(np.float32)
        codes = np.rint(rest / np.where(step > 0, step, 1)[..., None].astype(np.float64)).clip(-most - 1, most)
        rest = rest - codes * step[..., None].astype(np.float64)
        yield step, codes.astype(np.int16)


def _packed(codes: Array, bits: int) -> Array:
    """Codes [outputs, blocks, block] from 0 on as bytes, from the low bits on."""
    per_byte = 8 // bits
    lanes = [codes[..., lane::per_byte].astype(np.uint8) << np.uint8(lane * bits) for lane in range(per_byte)]
    return np.bitwise_or.reduce(lanes) if per_byte > 1 else lanes[0]


def _scales(b: Builder, steps: list[Array], in_half: bool, hint: str) -> Value:
    """Scales beside each other, in half precision if the first are and it holds the others."""
    single = np.concatenate([part.astype(np.float32) for part in steps], axis=1)
    half = single.astype(np.float16) if in_half else None
    if half is None or not np.array_equal(half.astype(np.float32), single):
        return constant(Tensor.from_array(single, F32), hint)
    return b.op("Cast", constant(Tensor.from_array(half, F16), hint), to=F32.onnx)


def _cut(graph: Graph, table: Node, codes: Value, scale: Value, count: int) -> list[Node]:
    """Let a table be looked up in codes that are wider by now: only the first `count` blocks of a row are its own."""
    b = Builder(graph, table, table.loc)
    rows = b.node(table.op, [codes, table.inputs[1], b.op("Unsqueeze", scale, b.ints([2]))], dict(table.attrs)).output
    own = b.op("Slice", rows, b.ints([0]), b.ints([count]), b.ints([-2]))
    table.output.replace_with(own)
    graph.erase(table)
    return b.created

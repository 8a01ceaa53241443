"""What a node costs, estimated from its types: arithmetic, bytes moved, and the launch of a kernel.

    model = CostModel()
    model.seconds(node)

`seconds` is launch + max(flops / peak, bytes / bandwidth), the roofline of Williams, Waterman and Patterson (CACM
52(4), 2009). It compares forms of the same computation; it does not predict what a clock shows.
Views cost nothing: runtimes move no data for them. Symbolic dimensions count as `TYPICAL`, those that are called a
batch as 1. What a constant operand holds is read like any other. An operator counts as if its inner results stayed in
registers or cache, which is what a fused kernel is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, ClassVar

from ..dims import Dim, DimLike, atoms, substitute
from ..types import TensorType, Type
from .cost_table import (
    ALIASES,
    CONVOLUTIONS,
    PER_INPUT,
    PER_OUTPUT,
    POOLS,
    PRODUCTS,
    RECURRENT,
    SELECTIONS,
    TRANSCENDENTAL,
)

if TYPE_CHECKING:
    from ..core import Node, Value

TYPICAL = 128
_BATCH = frozenset({"b", "n", "bs", "bsz"})  # and what has "batch" in it
Sizes = tuple[int, ...]


class Machine:
    """Peak rates of what the nodes run on.

    The defaults are a machine balance of 10 operations a byte, which processors of the last decade lie around (Xeon
    cores in fp32: 8 to 15), and a microsecond for each node.
    """

    __slots__ = ("flops", "bandwidth", "launch")

    def __init__(self, flops: float = 1e11, bandwidth: float = 1e10, launch: float = 1e-6) -> None:
        """Operations per second, bytes per second, seconds per node."""
        self.flops = flops
        self.bandwidth = bandwidth
        self.launch = launch

    def seconds(self, flops: float, moved: float) -> float:
        """The time of one kernel for so many operations on so many bytes."""
        return self.launch + max(flops / self.flops, moved / self.bandwidth)


class CostModel:
    """Estimates for one machine; remembers the sizes of types, so keep it no longer than the models."""

    __slots__ = ("machine", "_sizes", "_dims")

    source: ClassVar[str] = "by the target's estimate"
    """Where its numbers come from, for messages."""

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or Machine()
        self._sizes: dict[Type | None, tuple[Sizes, int, int] | None] = {None: None}
        self._dims: dict[Dim, int] = {}

    def seconds(self, node: Node, types: Mapping[Value, Type | None] | None = None) -> float | None:
        """The estimate for one node; None where a dimension is unknown or nobody knows the operator.

        `types` stand in for the types of the values in it.
        """
        if node.op.is_opaque or node.regions:
            return None
        if node.op.base_key in ALIASES:
            return 0.0
        moved = self._bytes(node, types)
        flops = self._flops(node, types)
        if moved is None or flops is None:
            return None
        return self.machine.seconds(flops, moved)

    def product_seconds(self, rows: int, inner: int, columns: int) -> float:
        """The estimate for a matrix product [rows, inner] x [inner, columns] in f32."""
        moved = 4.0 * (rows * (inner + columns) + inner * columns)
        return self.machine.seconds(2.0 * rows * inner * columns, moved)

    def flops(self, node: Node) -> float | None:
        """Arithmetic of one node."""
        return self._flops(node, None)

    def bytes(self, node: Node, types: Mapping[Value, Type | None] | None = None) -> int | None:
        """Bytes that one node reads and writes; `types` as in `seconds`."""
        return self._bytes(node, types)

    # Sizes

    def bytes_of(self, value: Value, types: Mapping[Value, Type | None] | None = None) -> int | None:
        """The bytes of one value; None where its size is not known. `types` as in `seconds`."""
        found = self._size(value, types)
        return None if found is None else found[2]

    def shape(self, value: Value | None, types: Mapping[Value, Type | None] | None = None) -> Sizes | None:
        """The shape of a value in numbers; None where the rank is unknown or the value absent."""
        found = self._size(value, types)
        return None if found is None else found[0]

    def _size(
        self, value: Value | None, types: Mapping[Value, Type | None] | None
    ) -> tuple[Sizes, int, int] | None:
        """Shape, number of elements, bytes."""
        if value is None:
            return None
        type = value.type if types is None else types.get(value, value.type)
        try:
            return self._sizes[type]
        except KeyError:
            found = self._sizes[type] = self._measure(type)
            return found

    def _measure(self, type: Type | None) -> tuple[Sizes, int, int] | None:
        if not isinstance(type, TensorType) or type.shape is None:
            return None
        sizes = tuple(d if d.__class__ is int else self._dim(d) for d in type.shape)
        if -1 in sizes:
            return None
        count = prod(sizes)
        return sizes, count, type.dtype.nbytes(count)

    def _dim(self, dim: DimLike) -> int:
        """A dimension as a number, -1 where nobody named it."""
        if not isinstance(dim, Dim):
            return dim
        found = self._dims.get(dim)
        if found is None:
            if any(atom.is_unknown for atom in atoms(dim)):
                found = -1
            else:
                try:
                    number = substitute(dim, typical)
                except ZeroDivisionError:
                    number = TYPICAL
                found = max(number, 1) if isinstance(number, int) else TYPICAL
            self._dims[dim] = found
        return found

    # Bytes

    def _bytes(self, node: Node, types: Mapping[Value, Type | None] | None) -> int | None:
        key = node.op.base_key
        written = 0
        for value in node.outputs:
            if value.hint or value.uses or value.index == 0:
                found = self._size(value, types)
                if found is None:
                    return None
                written += found[2]
        read = 0
        inputs = node.inputs
        for position, operand in enumerate(inputs):
            if operand is None or (position and operand in inputs[:position] and key != "Concat"):
                continue
            found = self._size(operand, types)
            if found is None:
                return None
            read += found[2] if position or key not in SELECTIONS else min(found[2], written)
        return read + written

    # Arithmetic

    def _flops(self, node: Node, types: Mapping[Value, Type | None] | None) -> float | None:
        key = node.op.base_key
        formula = _FORMULAS.get(key)
        if formula is not None:
            return formula(node, lambda value: self.shape(value, types))
        per = PER_INPUT.get(key)
        if per is not None:
            found = self._size(node.inputs[0], types)
        else:
            per = PER_OUTPUT.get(key, 1.0)
            found = self._size(node.outputs[0], types) if node.outputs else ((), 0, 0)
        return None if found is None else per * found[1]


def typical(symbol: str) -> int:
    """The size that a symbolic dimension counts as: 1 for a batch, else `TYPICAL`."""
    return 1 if is_batch(symbol) else TYPICAL


def is_batch(symbol: str) -> bool:
    """True if a symbolic dimension is called as batches are."""
    name = symbol.lower()
    return name in _BATCH or "batch" in name


ShapeOf = Callable[["Value | None"], "Sizes | None"]
Formula = Callable[["Node", ShapeOf], "float | None"]


def _product(node: Node, shape: ShapeOf) -> float | None:
    """2 M N K for each matrix: a multiplication and an addition per element of A (or B) and column."""
    a, out = shape(node.inputs[0]), shape(node.outputs[0])
    if not a or out is None:
        return None
    inner = a[-2] if len(a) > 1 and node.attr("transA") else a[-1]
    return 2.0 * prod(out) * inner


def _packed_product(node: Node, shape: ShapeOf) -> float | None:
    """As `_product`, with K from the attribute (MatMulNBits)."""
    out = shape(node.outputs[0])
    return None if out is None else 2.0 * prod(out) * node.attr("K")


def _convolution(node: Node, shape: ShapeOf) -> float | None:
    """2 (C / group) kh kw for each output element: W is [M, C / group, kh, kw]."""
    weights, out = shape(node.inputs[CONVOLUTIONS[node.op.base_key]]), shape(node.outputs[0])
    return None if weights is None or out is None else 2.0 * prod(out) * prod(weights[1:])


def _transposed_convolution(node: Node, shape: ShapeOf) -> float | None:
    """2 (M / group) kh kw for each input element: W is [C, M / group, kh, kw]."""
    data, weights = shape(node.inputs[0]), shape(node.inputs[1])
    return None if data is None or weights is None else 2.0 * prod(data) * prod(weights[1:])


def _pool(node: Node, shape: ShapeOf) -> float | None:
    """One operation for each element under the window."""
    out = shape(node.outputs[0])
    return None if out is None else float(prod(out) * prod(node.attr("kernel_shape") or ()))


def _recurrent(node: Node, shape: ShapeOf) -> float | None:
    """2 gates H (I + H) for each step, sequence and direction: W is [D, gates H, I], R is [D, gates H, H]."""
    data, w, r = (shape(node.inputs[i]) for i in range(3))
    if data is None or w is None or r is None:
        return None
    return 2.0 * data[0] * data[1] * (prod(w) + prod(r))


def _einsum(node: Node, shape: ShapeOf) -> float | None:
    """Two operations for each combination of all indices, one where there is but one operand."""
    given = [shape(value) for value in node.inputs]
    terms = node.attr("equation").replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, dims in zip(terms, given):
        if dims is None:
            return None
        before, dots, after = term.partition("...")
        free = len(dims) - len(before) - len(after)
        labels = [*before, *(f".{free - i}" for i in range(free if dots else 0)), *after]
        for label, size in zip(labels, dims):
            sizes[label] = max(sizes.get(label, 1), size)
    return float(prod(sizes.values()) * (2 if len(given) > 1 else 1))


def _attention(node: Node, shape: ShapeOf) -> float | None:
    """Two products of [S, T] scores with the head sizes, and a softmax over the scores, for each head.

    Scores and probabilities are not counted as traffic: a fused kernel keeps them. Operands are [B, H, S, D], or
    [B, S, H D] with the heads as attributes; a past lengthens T.
    """
    q, k, v = (shape(node.inputs[i]) if i < len(node.inputs) else None for i in range(3))
    if q is None:
        return None
    if k is None or v is None:  # packed in the query
        k = v = q
    heads = node.attr("q_num_heads") or node.attr("num_heads") or (q[1] if len(q) == 4 else 1)
    length, width = (q[2], heads * q[3]) if len(q) == 4 else (q[-2], q[-1])
    keys = k[2] if len(k) == 4 else k[-2]
    out_width = heads * v[3] if len(v) == 4 else width
    past = next((shape(p) for p in node.inputs[3:] if p is not None and _is_past(node, p)), None)
    keys += past[-2] if past is not None and len(past) >= 4 else 0
    each: float = 2 * width + 2 * out_width + heads * (TRANSCENDENTAL + 4)
    return q[0] * length * keys * each


def _is_past(node: Node, value: Value) -> bool:
    schema = node.op.schema
    position = node.inputs.index(value)
    return schema is not None and position < len(schema.inputs) and schema.inputs[position].name.startswith("past")


def _projected_attention(node: Node, shape: ShapeOf) -> float | None:
    """com.microsoft Attention: the product of [B, S, C] with the weights [C, 3 C'] as well."""
    data, weights = shape(node.inputs[0]), shape(node.inputs[1])
    if data is None or weights is None:
        return None
    batch, length = data[0], data[1]
    width = weights[1] // 3
    each: float = 4 * width + node.attr("num_heads") * (TRANSCENDENTAL + 4)
    return batch * length * length * each + 2.0 * batch * length * prod(weights)


_FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys(RECURRENT, _recurrent),
    "com.microsoft::MatMulNBits": _packed_product,
    "ConvTranspose": _transposed_convolution,
    "Einsum": _einsum,
    "Attention": _attention,
    "com.microsoft::MultiHeadAttention": _attention,
    "com.microsoft::GroupQueryAttention": _attention,
    "com.microsoft::DecoderMaskedMultiHeadAttention": _attention,
    "com.microsoft::Attention": _projected_attention,
}

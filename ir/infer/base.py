"""What the inference functions share: access to operands, broadcasting, partly known types.

An inference function takes a node and returns one `Found` per output (a bare one for the first output
alone). A dimension that nothing is known about is written None there; the caller turns it into the
symbol the output already has, or a fresh one. So results are shared between nodes without ever
equating two unknown dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..core import Content, Node, Value
from ..dims import Dim, DimLike, exact_div, floordiv, fresh, known_ge, lower_bound, maximum, product
from ..errors import InvalidModel
from ..types import BOOL, DType, Shape, TensorType, Type, tensor_type

Hole = DimLike | None
"""A dimension, or None for an unknown one."""

MAX_ELEMENTS = 64
"""Integer tensors of rank 0 and 1 are followed up to this many elements."""

_MEMO_LIMIT = 1 << 14


class Partial:
    """A tensor type with unknown dimensions written as None."""

    __slots__ = ("dtype", "shape")

    def __init__(self, dtype: DType, shape: tuple[Hole, ...]) -> None:
        self.dtype = dtype
        self.shape = shape


Found = Type | Partial | None
Result = Found | tuple[Found, ...]


def fail(node: Node, problem: str) -> InvalidModel:
    """The error for a node whose operands provably cannot fit."""
    hint = node.outputs[0].hint if node.outputs else ""
    name = f"{node.op.key} (%{hint})" if hint else node.op.key
    return InvalidModel(f"{name}: {problem}", place=node.loc[0] if node.loc else "")


def made(dtype: DType, shape: Iterable[Hole] | None) -> Found:
    """The type of a tensor with this shape, None for an unknown rank."""
    if shape is None:
        return tensor_type(dtype, None)
    dims = tuple(shape)
    if None in dims:
        return Partial(dtype, dims)
    return tensor_type(dtype, dims)  # type: ignore[arg-type]


def unknown(dtype: DType, rank: int) -> Found:
    """A tensor of known rank and nothing else."""
    return made(dtype, (None,) * rank)


def tensor_at(node: Node, index: int) -> TensorType | None:
    """The tensor type of operand `index`; None when absent or not known."""
    if index < len(node.inputs):
        value = node.inputs[index]
        if value is not None and isinstance(value.type, TensorType):
            return value.type
    return None


def shape_at(node: Node, index: int) -> Shape | None:
    """The shape of operand `index`; None when absent or not known."""
    found = tensor_at(node, index)
    return None if found is None else found.shape


def dtype_at(node: Node, *indexes: int) -> DType | None:
    """The element type of the first of these operands for which one is known."""
    for index in indexes:
        found = tensor_at(node, index)
        if found is not None:
            return found.dtype
    return None


def type_at(node: Node, index: int) -> Type | None:
    """The type of operand `index`; None when absent or not known."""
    value = node.input(index)
    return None if value is None else value.type


def is_given(node: Node, index: int) -> bool:
    """True if operand `index` is there."""
    return index < len(node.inputs) and node.inputs[index] is not None


def same(node: Node) -> Result:
    """The first output is like the first operand."""
    value = node.inputs[0]
    return None if value is None else value.type


def by_two_types(compute: Callable[[Node], Result]) -> Callable[[Node], Result]:
    """`compute` for an operator whose result depends on the types of its two operands alone: once per pair of types.

    The layers of a model are alike, so most nodes have been seen before.
    """
    memo: dict[tuple[Type | None, Type | None], Result] = {}

    def infer(node: Node) -> Result:
        left, right = node.inputs
        key = (left.type, right.type)  # type: ignore[union-attr]
        found = memo.get(key)
        if found is None:
            if len(memo) > _MEMO_LIMIT:
                memo.clear()
            found = memo[key] = compute(node)
        return found

    return infer


def content_of(value: Value | None) -> Content | None:
    """The elements of a small integer or bool tensor as dimensions, flat; None where not known.

    Covers rank 0 and 1 up to `MAX_ELEMENTS` elements. Constants are read on demand. An element may be
    negative, and it may be an integer of unknown value: see `is_opaque`.
    """
    if value is None:
        return None
    found = value.content
    if found is None and value.const is not None and len(value.const.shape) < 2:
        tensor = value.const
        if tensor.size <= MAX_ELEMENTS and (tensor.dtype.is_int or tensor.dtype is BOOL):
            found = value.content = tuple([int(x) for x in tensor.ints()])
    return found


def floats_of(value: Value | None) -> tuple[float, ...] | None:
    """The elements of a small numeric constant; None for anything else."""
    tensor = None if value is None else value.const
    if tensor is None or tensor.size > MAX_ELEMENTS or tensor.dtype.kind not in "fiu":
        return None
    return tuple([float(x) for x in tensor.array().reshape(-1)])


def ints_at(node: Node, index: int, name: str = "") -> tuple[int, ...] | None:
    """Integers given by attribute `name` or operand `index`; None when absent or not all known."""
    if name:
        given = node.attrs.get(name)
        if given is not None:
            return tuple(given)
    content = content_of(node.input(index))
    if content is None:
        return None
    ints = tuple([d for d in content if isinstance(d, int)])
    return ints if len(ints) == len(content) else None


def length_at(node: Node, index: int) -> int | None:
    """The number of elements of 1-D operand `index` where it is a known int."""
    shape = shape_at(node, index)
    if shape is not None and len(shape) == 1 and isinstance(shape[0], int):
        return shape[0]
    return None


def axis_in(node: Node, axis: int, rank: int) -> int:
    """`axis` counted from the front. Raises InvalidModel when it is out of range."""
    if not -rank <= axis < rank:
        raise fail(node, f"axis {axis} is out of range for rank {rank}")
    return axis + rank if axis < 0 else axis


def axes_in(node: Node, axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from the front. Raises InvalidModel when one is out of range."""
    return [axis_in(node, axis, rank) for axis in axes]


def opaque_int() -> DimLike:
    """A new integer of unknown value, possibly negative.

    A difference of two unknown dimensions, so that nothing is ever proven about its sign.
    """
    return fresh() - fresh()


def is_opaque(dim: DimLike) -> bool:
    """True for an element whose sign is not known, and which therefore is no size by itself."""
    return not isinstance(dim, int) and lower_bound(dim) is None and _subtracts_unknown(dim)


def _subtracts_unknown(dim: Dim) -> bool:
    for monomial, coefficient in dim.terms:
        if coefficient < 0 and monomial and all(atom.is_unknown for atom in monomial):
            return True
        for atom in monomial:
            if any(isinstance(arg, Dim) and _subtracts_unknown(arg) for arg in atom.args):
                return True
    return False


def broadcast_dim(a: Hole, b: Hole) -> Hole | bool:
    """The broadcast of two dimensions, None for unknown, False where they provably clash."""
    if a is b or (b.__class__ is int and (b == 1 or a == b)):
        return a
    if a.__class__ is int:
        if a == 1:
            return b
        return False if b.__class__ is int else a  # b is 1 or a
    if b.__class__ is int:
        return b
    if a is None or b is None:
        return None
    if _cut_from(b, a):
        return a
    return b if _cut_from(a, b) else None


def _cut_from(part: DimLike, whole: DimLike) -> bool:
    """True if broadcasting `part` with `whole` gives `whole` wherever it is no error.

    Such is min(whole, c) with an int c > 1, as when a table is sliced to a length: the two differ only
    where `whole` > c > 1. And max(whole, 0), because `whole` is the size of something.
    """
    atom = part.atom if isinstance(part, Dim) else None
    if atom is None or atom.name not in ("min", "max"):
        return False
    other = [arg for arg in atom.args if arg is not whole]
    if len(other) != 1 or not isinstance(other[0], int):
        return False
    return other[0] > 1 if atom.name == "min" else other[0] == 0


def broadcast(node: Node, a: Sequence[Hole], b: Sequence[Hole]) -> list[Hole]:
    """The broadcast of two shapes. Raises InvalidModel where they provably clash."""
    if len(a) < len(b):
        a, b = b, a
    result = list(a)
    offset = len(a) - len(b)
    for index in range(len(b)):
        dim = broadcast_dim(a[offset + index], b[index])
        if dim is False:
            raise fail(node, f"shapes {show(a)} and {show(b)} do not broadcast")
        result[offset + index] = dim
    return result


def unify_dim(node: Node, a: Hole, b: Hole) -> Hole:
    """One dimension described twice. Raises InvalidModel for two different ints."""
    if a is b or b is None:
        return a
    if a is None:
        return b
    if isinstance(a, int):
        if isinstance(b, int) and a != b:
            raise fail(node, f"sizes {a} and {b} must be equal")
        return a
    if isinstance(b, int) or (a.is_unknown and not b.is_unknown):
        return b
    return a


def quotient(dividend: Iterable[DimLike], divisor: Iterable[DimLike]) -> Hole:
    """product(dividend) / product(divisor) where the division is known to leave no remainder.

    None when the divisor may be the int 0.
    """
    top = list(dividend)
    bottom: list[DimLike] = []
    for dim in divisor:
        for index, other in enumerate(top):
            if other is dim and not isinstance(dim, int):
                del top[index]
                break
        else:
            bottom.append(dim)
    below = product(bottom)
    if isinstance(below, int) and below == 0:
        return None
    above = product(top)
    exact = exact_div(above, below)
    return floordiv(above, below) if exact is None else exact


def at_least_zero(dim: DimLike) -> DimLike:
    """max(dim, 0)."""
    return dim if known_ge(dim, 0) else maximum(dim, 0)


def show(shape: Sequence[Hole]) -> str:
    """A shape for a message: ``[B,3,?]``."""
    return "[" + ",".join("?" if d is None else str(d) for d in shape) + "]"


def dim_at(shape: Sequence[Hole] | None, index: int) -> Hole:
    """One dimension of a shape, None where the shape or that dimension is not known."""
    if shape is None or not -len(shape) <= index < len(shape):
        return None
    return shape[index]

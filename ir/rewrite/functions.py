"""The built-in functions of guards. Each takes evaluated arguments and answers, or gives UNKNOWN.

UNKNOWN means that the fact is not known for this graph, so a guard that needs it does not hold.
ABSENT means that the pattern left a name unbound; guards on it do not stop the rule.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

from .. import dims
from ..core import Value
from ..dims import Dim, DimLike
from ..tensor import Tensor
from ..types import DType, TensorType


class Outcome:
    """UNKNOWN or ABSENT; neither true nor false."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __bool__(self) -> bool:
        raise TypeError(f"{self.name} is neither true nor false")

    def __repr__(self) -> str:
        return self.name


UNKNOWN: Final = Outcome("unknown")
ABSENT: Final = Outcome("absent")

MAX_COMPARED = 4096  # bytes up to which two constants are compared by content


def scalar_of(value: Value) -> Any:
    """The Python value of a constant with exactly one element, else None."""
    const = value.const
    if const is None or const.dtype.bits == 0:
        return None
    for d in const.shape:
        if d != 1:
            return None
    return const.item()


def same_value(a: Value, b: Value) -> bool:
    """The same SSA value, or constants with equal type and bytes (small, or one span of one file)."""
    if a is b:
        return True
    x, y = a.const, b.const
    if x is None or y is None or x.dtype is not y.dtype or x.shape != y.shape:
        return False
    if x.file is not None and x.file is y.file and x.offset == y.offset:
        return True
    return x.length <= MAX_COMPARED and x.same(y)


def content_of(value: Value) -> Any:
    """The elements of a small integer tensor as a tuple of dimensions, or UNKNOWN."""
    from ..infer import content_of as known

    found = known(value)
    return UNKNOWN if found is None else found


def shape(value: Value) -> Any:
    """shape(%v): its dimensions as a list."""
    found = value.shape
    return UNKNOWN if found is None else found


def rank(value: Value) -> Any:
    """rank(%v): how many dimensions it has."""
    found = value.rank
    return UNKNOWN if found is None else found


def dim(value: Value, index: int) -> Any:
    """dim(%v, i): dimension i, from the end when negative."""
    found = value.shape
    if found is None or not isinstance(index, int) or not -len(found) <= index < len(found):
        return UNKNOWN
    return found[index]


def dtype(value: Value) -> Any:
    """dtype(%v): its element type, such as f32."""
    found = value.dtype
    return UNKNOWN if found is None else found


def const(value: Value) -> bool:
    """const(%v): whether it is a constant."""
    return value.const is not None


def scalar(value: Value) -> Any:
    """scalar(%v): the number in a constant of one element."""
    found = scalar_of(value)
    return UNKNOWN if found is None else found


def values(value: Value) -> Any:
    """values(%v): all elements of a small constant as a flat list of numbers."""
    const = value.const
    if const is None or const.dtype.bits == 0 or const.length > MAX_COMPARED:
        return UNKNOWN
    return tuple(const.array().reshape(-1).tolist())


def content(value: Value) -> Any:
    """content(%v): the elements of an integer tensor as dimensions, known without running."""
    return content_of(value)


def same(a: Any, b: Any) -> bool:
    """same(%a, %b): the same value, or equal small constants."""
    return same_value(a, b) if isinstance(a, Value) and isinstance(b, Value) else a == b


def broadcasts(value: Any, target: Any) -> Any:
    """broadcasts(%v, [B, S]): %v can be expanded to that shape, which it leaves as it is."""
    of = value.shape if isinstance(value, Value) else value
    to = target.shape if isinstance(target, Value) else target
    if of is None or to is None:
        return UNKNOWN
    if len(of) > len(to):
        return False
    answer: Any = True
    for a, b in zip(reversed(of), reversed(to)):
        if not (a is b or a == b or (isinstance(a, int) and a == 1)):
            if isinstance(a, int) and isinstance(b, int):
                return False
            answer = UNKNOWN
    return answer


def numel(value: Value) -> Any:
    """numel(%v): how many elements it has."""
    found = value.shape
    return UNKNOWN if found is None else dims.product(found)


def prod(items: tuple[DimLike, ...]) -> DimLike:
    """prod([a, b]): the product of a list."""
    return dims.product(items)


def length(items: Any) -> int:
    """len(list): how many items a list has."""
    return len(items)


def item(items: Any, index: int) -> Any:
    """item(list, i): one item, from the end when negative."""
    return items[index] if -len(items) <= index < len(items) else UNKNOWN


def floor(a: Any, b: Any) -> Any:
    """floor(a, b): the quotient rounded down."""
    return UNKNOWN if isinstance(b, int) and b == 0 else dims.floordiv(a, b)


def mod(a: Any, b: Any) -> Any:
    """mod(a, b): the remainder."""
    return UNKNOWN if isinstance(b, int) and b == 0 else dims.mod(a, b)


def minimum(a: Any, b: Any = None) -> Any:
    """min(a, b), min(list), min(%v): the least of two, of a list, of the elements of a constant."""
    if b is None:
        return _of_many(a, minimum, "min")
    return dims.minimum(a, b) if isinstance(a, Dim) or isinstance(b, Dim) else min(a, b)


def maximum(a: Any, b: Any = None) -> Any:
    """max(a, b), max(list), max(%v): the greatest of two, of a list, of the elements of a constant."""
    if b is None:
        return _of_many(a, maximum, "max")
    if isinstance(b, float) and math.isnan(b):
        return b  # as the operator has it; max() would depend on the order
    return dims.maximum(a, b) if isinstance(a, Dim) or isinstance(b, Dim) else max(a, b)


def _of_many(items: Any, choose: Callable[[Any, Any], Any], name: str) -> Any:
    """The least or greatest of a list, or of a constant's elements; UNKNOWN for none."""
    if isinstance(items, Value):
        const = items.const
        if const is None or const.dtype.bits == 0 or not const.size:
            return UNKNOWN
        return getattr(const.array(), name)().item()
    return functools.reduce(choose, items) if isinstance(items, tuple) and items else UNKNOWN


def absolute(a: Any) -> Any:
    """abs(a) of a number."""
    return UNKNOWN if isinstance(a, Dim) else abs(a)


def sqrt(a: Any) -> Any:
    """sqrt(a) of a known number."""
    return UNKNOWN if isinstance(a, Dim) or a < 0 else math.sqrt(a)


def is_float(value: Any) -> Any:
    """is_float(%v): its elements are floating-point numbers."""
    found = value if isinstance(value, DType) else value.dtype
    return UNKNOWN if found is None else found.is_float


def is_int(value: Any) -> Any:
    """is_int(%v): its elements are integers (bool is not)."""
    found = value if isinstance(value, DType) else value.dtype
    return UNKNOWN if found is None else found.is_int


def is_static(value: Value) -> bool:
    """is_static(%v): all its dimensions are known numbers."""
    found = value.shape
    return found is not None and all(isinstance(d, int) for d in found)


def is_tensor(value: Value) -> Any:
    """is_tensor(%v): it is a tensor, and no sequence or optional."""
    return UNKNOWN if value.type is None else isinstance(value.type, TensorType)


def maker(value: Value) -> str:
    """maker(%v): the operator that computes it, as "Conv"; "" for inputs and constants."""
    return "" if value.producer is None else value.producer.op.key


def other_uses(value: Value) -> int:
    """other_uses(%v): uses of the other outputs of the operator that computes it."""
    made = () if value.producer is None else value.producer.outputs
    return sum(len(other.uses) for other in made if other is not value)


def is_output(value: Value) -> bool:
    """is_output(%v): some graph returns it."""
    return any(node.graph is not None and node.graph.ret is node for node, _ in value.uses)


def uses(value: Value) -> int:
    """uses(%v): how many operand slots and graph outputs it stands in."""
    return len(value.uses)


def tensor(value: Any, dtype: DType) -> Any:
    """tensor(0.5, f32), tensor([1, 2], i64): a constant, on the right side; rank 0 or 1.

    UNKNOWN where the type cannot hold the numbers: 0.5 as an integer, 300 in 8 bits.
    """
    items = value if isinstance(value, (tuple, list)) else (value,)
    if not all(isinstance(i, (bool, int, float)) for i in items):
        return UNKNOWN
    if not dtype.is_float:
        if dtype.is_int:
            low, high = (-(1 << dtype.bits - 1), 1 << dtype.bits - 1) if dtype.kind == "i" else (0, 1 << dtype.bits)
            if any(isinstance(i, bool) or i != i or not low <= i < high or int(i) != i for i in items):
                return UNKNOWN
        elif not all(isinstance(i, bool) for i in items):
            return UNKNOWN
    return Tensor.of(list(value) if isinstance(value, tuple) else value, dtype)


def reshape_target(value: Value, target: tuple[DimLike, ...]) -> Any:
    """reshape_target(%x, [B, S, H*D]): the constant operand for Reshape(%x, _) to that shape.

    A symbolic dimension is written 0 where %x has the same one at the same index, else -1; UNKNOWN
    when two of them would need -1.
    """
    of = value.shape
    made: list[int] = []
    for index, d in enumerate(target):
        if isinstance(d, int):
            made.append(d)
        elif of is not None and index < len(of) and of[index] is d:
            made.append(0)
        else:
            made.append(-1)
    # A literal 0 would be read as "copy", and -1 beside an empty dimension is ambiguous.
    if made.count(-1) > 1 or any(isinstance(d, int) and d <= 0 for d in target):
        return UNKNOWN
    return tuple(made)


FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "shape": (shape, 1, 1),
    "rank": (rank, 1, 1),
    "dim": (dim, 2, 2),
    "dtype": (dtype, 1, 1),
    "const": (const, 1, 1),
    "scalar": (scalar, 1, 1),
    "values": (values, 1, 1),
    "content": (content, 1, 1),
    "same": (same, 2, 2),
    "broadcasts": (broadcasts, 2, 2),
    "numel": (numel, 1, 1),
    "prod": (prod, 1, 1),
    "len": (length, 1, 1),
    "item": (item, 2, 2),
    "floor": (floor, 2, 2),
    "mod": (mod, 2, 2),
    "min": (minimum, 1, 2),
    "max": (maximum, 1, 2),
    "abs": (absolute, 1, 1),
    "sqrt": (sqrt, 1, 1),
    "is_float": (is_float, 1, 1),
    "is_int": (is_int, 1, 1),
    "is_static": (is_static, 1, 1),
    "is_tensor": (is_tensor, 1, 1),
    "maker": (maker, 1, 1),
    "other_uses": (other_uses, 1, 1),
    "is_output": (is_output, 1, 1),
    "uses": (uses, 1, 1),
    "tensor": (tensor, 2, 2),
    "reshape_target": (reshape_target, 2, 2),
}
"""Name -> (function, fewest, most arguments).

Two are apart: ``has(%v)`` asks whether a name is bound, ``proven(condition)`` whether it is known to hold.
"""

TAKES_VALUE: Final = frozenset({
    "shape", "rank", "dim", "dtype", "const", "scalar", "values", "content", "numel", "is_static",
    "is_output", "is_tensor", "maker", "other_uses", "uses", "reshape_target",
})  # fmt: skip
"""Functions whose first argument must be a value."""

"""Which element of which operand an operator's element comes from, and the walk that follows them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from ...ir.core import Node, Value
from ...ir.dims import DimLike
from ...ir.infer.base import content_of, is_opaque
from ...ir.types import BOOL
from .elements import Expr, Space
from .elements_constants import constant_element

Indices = tuple[DimLike, ...]
Request = tuple[Value, Indices]
Steps = Generator[Request, Expr, "Expr | None"]

MAX_VISITS: Final = 2000


class Elements:
    """Elements of tensors, seen from the indices of one of them.

    An operator that is not understood is not looked into: its element is `read` from its output.
    """

    __slots__ = ("space", "_known", "_visits")

    def __init__(self, root: Value) -> None:
        """Expressions over the indices of `root`, whose rank must be known."""
        assert root.shape is not None
        self.space = Space(root.shape)
        self._known: dict[Request, Expr] = {}
        self._visits = 0

    def at(self, value: Value, indices: Sequence[DimLike]) -> Expr:
        """The element of `value` at these indices. Raises TooLarge where the expression is of no use."""
        first = value, tuple(indices)
        known = self._known
        pending: list[tuple[Request, Steps]] = []
        wanted: Request | None = first
        answer: Expr | None = None
        while wanted is not None or pending:
            if wanted is not None:
                answer = known.get(wanted)
                if answer is None:
                    steps = self._begin(*wanted)
                    if isinstance(steps, Expr):
                        answer = known[wanted] = steps
                    else:
                        pending.append((wanted, steps))
                wanted = None
            request, running = pending[-1] if pending else (first, None)
            if running is None:
                break
            try:
                # A walk that has just begun wants None; the others want the answer to what they asked.
                wanted = running.send(answer)  # type: ignore[arg-type]
                answer = None
            except StopIteration as stop:
                pending.pop()
                made: Expr | None = stop.value
                if made is None:
                    made = self.space.read(*request)
                answer = known[request] = made
        return known[first]

    def broadcast(self, value: Value, root: Value) -> Expr:
        """The element of `value` that stands at the root's indices when both are broadcast together."""
        shape, indices = value.shape, self.space.indices
        assert shape is not None and root.shape is not None
        return self.at(value, aligned(self.space, shape, root.shape, indices))

    def _begin(self, value: Value, indices: Indices) -> Expr | Steps:
        from .elements_operators import OPERATORS

        space = self.space
        if value.const is not None:
            return constant_element(space, value, indices)
        known = self._from_content(value, indices)
        if known is not None:
            return known
        node = value.producer
        function = None if node is None or node.op.domain else OPERATORS.get(node.op.name)
        self._visits += 1
        if node is None or function is None or self._visits > MAX_VISITS:
            return space.read(value, indices)
        return function(space, node, value, indices)

    def _from_content(self, value: Value, indices: Indices) -> Expr | None:
        """An element that shape inference knows."""
        dtype = value.dtype
        if dtype is None or not (dtype.is_int or dtype is BOOL) or len(indices) > 1:
            return None
        content = content_of(value)
        if not content:
            return None
        at = indices[0] if indices else 0
        if isinstance(at, int):
            if not 0 <= at < len(content):
                return None
            found = content[at]
        else:
            found = content[0]
            if any(d is not found and d != found for d in content):
                return None
        if dtype is BOOL:
            return (self.space.true if found else self.space.false) if isinstance(found, int) else None
        return None if is_opaque(found) else self.space.dim(found)


def aligned(space: Space, shape: Sequence[DimLike], whole: Sequence[DimLike], indices: Sequence[DimLike]) -> Indices:
    """The indices into an operand that is broadcast to the shape `whole`."""
    skip = len(whole) - len(shape)
    return tuple(space.within(indices[skip + axis], size, whole[skip + axis]) for axis, size in enumerate(shape))


def operands(node: Node) -> list[Value] | None:
    """All operands; None if one is left out or has no known rank."""
    found = [v for v in node.inputs if v is not None and v.shape is not None and v.dtype is not None]
    return found if len(found) == len(node.inputs) else None

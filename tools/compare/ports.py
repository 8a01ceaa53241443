"""Inputs and outputs of two models, brought together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir.errors import UsageError
from ...ir.types import TensorType, Type


@dataclass(frozen=True)
class Port:
    """One input or output: its name, other names that it has, its type."""

    name: str
    type: Type | None
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"

    def fits(self, other: Port) -> bool:
        """True if values of one can be given to the other: kinds of numbers and fixed sizes agree."""
        a, b = self.type, other.type
        if not (isinstance(a, TensorType) and isinstance(b, TensorType)):
            return type(a) is type(b)
        if _kind(a) != _kind(b):
            return False
        if a.shape is None or b.shape is None:
            return True
        sizes = zip(a.shape, b.shape)
        return len(a.shape) == len(b.shape) and all(
            x == y for x, y in sizes if isinstance(x, int) and isinstance(y, int)
        )


def _kind(type: TensorType) -> str:
    if type.dtype.is_float:
        return "float"
    return "int" if type.dtype.is_int else type.dtype.name


@dataclass
class Pairs:
    """Numbers of ports that go together, of the first model and of the second, and what has to be said of them."""

    numbers: list[tuple[int, int]]
    notes: list[str] = field(default_factory=list)
    left: list[Port] = field(default_factory=list)  # those of either without a counterpart


def pair(ours: Sequence[Port], theirs: Sequence[Port], what: str) -> Pairs:
    """Ports of one name go together, then those in the same position where nothing else would fit.

    `what` is ``input`` or ``output``. Raises UsageError where types disagree, or the rest is ambiguous.
    """
    names = {name: index for index, port in enumerate(theirs) for name in (port.name, *port.others)}
    found = Pairs([])
    rest = []
    for index, port in enumerate(ours):
        at = next((names[name] for name in (port.name, *port.others) if name in names), None)
        if at is None:
            rest.append(index)
            continue
        if not port.fits(theirs[at]):
            said = f"{port.type} in the first model and {theirs[at].type} in the second"
            raise UsageError(f"{what} {port.name} is {said}")
        found.numbers.append((index, at))
    taken = {at for _, at in found.numbers}
    free = [at for at in range(len(theirs)) if at not in taken]
    if rest and len(rest) == len(free):
        _by_position(found, ours, theirs, rest, free, what)
    else:
        found.left = [*(ours[i] for i in rest), *(theirs[j] for j in free)]
    found.numbers.sort()
    order = [at for _, at in found.numbers]
    if order != sorted(order) and not found.notes:
        found.notes.append(f"{what}s stand in another order, and are matched by name")
    return found


def _by_position(
    found: Pairs, ours: Sequence[Port], theirs: Sequence[Port], rest: list[int], free: list[int], what: str
) -> None:
    for index, at in zip(rest, free):
        fitting = [other for other in free if ours[index].fits(theirs[other])]
        if at not in fitting:
            raise UsageError(
                f"the models have different {what}s: nothing of the second is like {ours[index]}; "
                f"it has {', '.join(str(theirs[other]) for other in free)}"
            )
        if len(fitting) > 1:
            raise UsageError(
                f"the models have different names of {what}s, and {ours[index]} could be any of "
                f"{', '.join(theirs[other].name for other in fitting)}"
            )
    found.numbers += zip(rest, free)
    said = ", ".join(f"{ours[i].name} = {theirs[j].name}" for i, j in zip(rest, free))
    found.notes.append(f"{what}s matched by position: {said}")


def cast(value: Any, port: Port) -> Any:
    """A value in the element type that a port takes. Raises UsageError for integers that do not fit."""
    if not isinstance(value, np.ndarray) or not isinstance(port.type, TensorType):
        return value
    wanted = np.dtype(port.type.dtype.numpy)
    if value.dtype == wanted:
        return value
    result = value.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(result, value):
        raise UsageError(f"input {port.name} has numbers that do not fit {wanted}")
    return result

"""Work in portions that memory has room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def within(items: Iterable[Item], size: Callable[[Item], int], memory: int) -> Iterator[list[Item]]:
    """The items in lists, in order, whose sizes are `memory` together at most; one that is larger is alone."""
    part: list[Item] = []
    taken = 0
    for item in items:
        needed = size(item)
        if part and taken + needed > memory:
            yield part
            part, taken = [], 0
        part.append(item)
        taken += needed
    if part:
        yield part

"""What harms most of many things in a row: measured in groups, and what harms most in ever smaller ones."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def refined(
    items: Sequence[T],
    squared: Callable[[Sequence[T]], float],
    groups: int,
    harmless: float,
    is_late: Callable[[], bool],
) -> list[tuple[float, Sequence[T]]]:
    """Stretches that make up `items`, each with its harm by `squared`: of a group as a whole, the square of an error.

    It begins with about `groups` equal ones and halves the worst, until what is not looked into sums to less than
    `harmless`, everything is by itself, or `is_late`.
    """
    number = itertools.count()  # of two equal groups the first
    size = max(1, math.ceil(len(items) / groups))
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    waiting: list[tuple[float, int, Sequence[T]]] = []  # a heap, the largest harm first
    done: list[tuple[float, Sequence[T]]] = []
    unknown = 0.0  # squared errors of what is not looked into yet
    while waiting or parts:
        for part in parts:
            found = squared(part)
            unknown += found if len(part) > 1 else 0.0
            heapq.heappush(waiting, (-found, next(number), part))
        parts = []
        negative, _, group = heapq.heappop(waiting)
        if len(group) == 1 or is_late() or unknown < harmless:
            done.append((-negative, group))
        else:
            unknown += negative
            middle = len(group) // 2
            parts = [group[:middle], group[middle:]]
    return done

"""The decisions of one attempt at making an instance, each a pick from a list that begins with the simplest.

All randomness of an instance goes through `Choices.pick`, under labels that mean the same in the next attempt. So
an attempt that came near can be varied in a few places, and one that shows a fault can be made simpler.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

DIMS = (1, 2, 3, 4, 5, 6)
DIM_WEIGHTS = (1.3, 3, 3, 2.5, 1.5, 2)


class Infeasible(Exception):
    """The decisions made so far lead to no instance; the message says why."""


class Choices:
    """Decisions by label: those `forced`, then those `given` from an earlier attempt, else drawn.

    Without `source` what is not given is the simplest: the first of each list. `made` holds what was decided, as
    an index, and `simplest` whether each could not be simpler.
    """

    __slots__ = ("made", "_forced", "_given", "_source", "_used")

    def __init__(
        self,
        source: random.Random | None,
        forced: Mapping[str, int] | None = None,
        given: Mapping[str, int] | None = None,
    ) -> None:
        self.made: dict[str, int] = {}
        self._source = source
        self._forced = forced or {}
        self._given = given or {}
        self._used: dict[str, int] = {}

    def pick(self, label: str, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of `options`. Raises Infeasible where there is none."""
        if not options:
            raise Infeasible(f"nothing to choose from for {label}")
        count = self._used[label] = self._used.get(label, 0) + 1
        if count > 1:
            label = f"{label}#{count}"
        index = self._forced.get(label, self._given.get(label, -1))
        if index < 0:
            if self._source is None:
                index = 0
            elif weights is None:
                index = self._source.randrange(len(options))
            else:
                index = self._source.choices(range(len(options)), weights[: len(options)])[0]
        index = min(index, len(options) - 1)
        self.made[label] = index
        return options[index]

    def dim(self, label: str) -> int:
        """A dimension."""
        return self.pick(label, DIMS, DIM_WEIGHTS)

    def chance(self, label: str, probability: float) -> bool:
        """True with a probability; False is the simpler one."""
        return self.pick(label, (False, True), (1 - probability, probability))


def seed_of(*parts: object) -> int:
    """A number that depends on these parts alone, in every process."""
    return zlib.crc32(repr(parts).encode())

"""How large values get: what the passes of this folder know of a model's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ...ir.core import Model, Value

if TYPE_CHECKING:
    from typing import TypeAlias


class Range(NamedTuple):
    """The smallest and the largest element of a value over all inputs that were run.

    `far` is the largest magnitude when the model's float inputs are scaled up (`FAR` times), the same as without where
    nobody ran that. Minus infinity and infinity are numbers here; what is no number counts as infinity.
    """

    low: float
    high: float
    far: float

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))

    def joined(self, other: Range) -> Range:
        """The range over both sets of inputs."""
        return Range(min(self.low, other.low), max(self.high, other.high), max(self.far, other.far))


FAR = 100.0

Ranges: TypeAlias = Mapping[Value, Range]
"""Values that never occurred, in a branch that was not taken, are missing."""

Measure: TypeAlias = "Callable[[Model], Ranges | None]"
"""Runs a model on calibration inputs, or on inputs made up for it, and gives the range of each f32 value; None where it
cannot be run."""

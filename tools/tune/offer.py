"""What was found of a model before any trial (`probe`), as plain data: what there is to choose between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...passes.quantize.placement import Keep
from ..recipes.gains import Cost

Stretches = tuple[int, ...]
"""Numbers of stretches that stay in floats, in order."""


class Stretch(NamedTuple):
    """Neighbouring layers that become integers together, or stay.

    `keep`: what leaves them in floats. `gain`: seconds (bytes, for the goal of size) that they are estimated to take
    less in integers; `switch`: what a change in front of them costs. `harm`: the square of the relative L2 error of the
    output that they make, measured alone.
    """

    keep: Keep
    gain: float
    harm: float
    switch: float


@dataclass(frozen=True)
class Offer:
    """`fired`: passes and rules of the plain pipeline that changed something and that the model can do without.
    `stretches`: all layers that can be integers, in order. `ladder`: which of them stay in floats, ever more; the
    first is none. `costs`: of its nodes. All by target. `cores`: processors of the machine that trials run on.
    """

    fired: Mapping[str, tuple[str, ...]]
    ladder: Mapping[str, tuple[Stretches, ...]]
    costs: Mapping[str, tuple[Cost, ...]] = field(repr=False)
    cores: int = 1
    stretches: Mapping[str, tuple[Stretch, ...]] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "fired": {name: list(found) for name, found in self.fired.items()},
            "ladder": _lists(self.ladder),
            "costs": _lists(self.costs),
            "cores": self.cores,
            "stretches": _lists(self.stretches),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Offer:
        """Back from that."""
        return cls(
            {name: tuple(found) for name, found in data["fired"].items()},
            {name: tuple(tuple(rung) for rung in found) for name, found in data["ladder"].items()},
            {name: tuple(Cost(*cost) for cost in found) for name, found in data["costs"].items()},
            data["cores"],
            {
                name: tuple(Stretch(tuple(keep), *numbers) for keep, *numbers in found)
                for name, found in data["stretches"].items()
            },
        )


def _lists(found: Mapping[str, Sequence[Sequence[Any]]]) -> dict[str, list[list[Any]]]:
    return {name: [list(each) for each in all_of_them] for name, all_of_them in found.items()}

"""Results of trials: what each took and lost, which of them fit the bound, and the front that nothing beats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..settings import Settings
from .order import Order


@dataclass
class Outcome:
    """One trial: its point, its command, and what came out (`worker`).

    `seconds` of a run are on the scale of the first source that was timed with as many threads, so that those of
    different moments compare. `lost` is the error, or how much of the metric is gone; None where it is not known.
    """

    number: int
    point: dict[str, Any]
    title: str
    settings: Settings = field(repr=False)
    result: dict[str, Any]
    seconds: float | None = None
    lost: float | None = None

    @property
    def failed(self) -> str:
        """Why there is no result; "" where there is one."""
        return str(self.result.get("failed", ""))

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.result.get("size", 0))

    def value(self, order: Order) -> float:
        """What is to be small for the goal; infinite where nothing is known."""
        if self.failed:
            return math.inf
        if order.is_by_accuracy:
            return math.inf if self.lost is None else self.lost
        return float(self.size) if order.goal == "size" else math.inf if self.seconds is None else self.seconds

    def fits(self, order: Order, source_score: float | None) -> bool:
        """True if the bound is kept, and the time of --latency-target."""
        if self.failed or self.lost is None:
            return False
        allowed = bound_of(order, source_score)
        if allowed is not None and not self.lost <= allowed:
            return False
        return order.latency_target is None or (self.seconds is not None and self.seconds <= order.latency_target)


def bound_of(order: Order, source_score: float | None) -> float | None:
    """What `lost` may be at the most; None where nothing limits it."""
    if order.metric is None:
        return order.max_error
    if order.max_drop is None:
        return None
    assert source_score is not None
    return order.max_drop.allowed(source_score)


def front(outcomes: Iterable[Outcome], order: Order) -> list[Outcome]:
    """Those that no other one beats in one of the two, being no worse in the other: time (or size, for the goal of
    size), and what is lost. By time; of equal ones the first."""

    def cost(outcome: Outcome) -> float:
        return float(outcome.size) if not order.is_timed else outcome.seconds or math.inf

    known = [o for o in outcomes if not o.failed and o.lost is not None and math.isfinite(cost(o))]
    found: list[Outcome] = []
    for outcome in sorted(known, key=lambda o: (cost(o), o.lost, o.number)):
        if not found or (outcome.lost or 0.0) < (found[-1].lost or 0.0):
            found.append(outcome)
    return found


def ranked(outcomes: Sequence[Outcome], order: Order, source_score: float | None) -> list[Outcome]:
    """Those that fit, the best first, each model once."""
    fitting = [o for o in outcomes if o.fits(order, source_score)]
    found: dict[str, Outcome] = {}
    for outcome in sorted(fitting, key=lambda o: (o.value(order), o.lost, o.number)):
        found.setdefault(f"{outcome.result['content']} {outcome.settings.threads}", outcome)
    return list(found.values())

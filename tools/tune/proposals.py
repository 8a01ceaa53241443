"""What a search tries next: what recipes try, then what lies beside the best and what Optuna proposes, in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from ..settings import Settings
from .front import Outcome, bound_of, ranked
from .refine import is_hopeless, steps_beside
from .sampler import Sampler
from .space import Point, Space
from .starts import is_smaller, settings_of, starting_points, weaker

if TYPE_CHECKING:
    from typing import TypeAlias

Batch: TypeAlias = "Sequence[tuple[dict[str, Any], Settings]]"
"""Points with their compilations."""

WORTH = 1.02  # times what the best takes: what is slower than that is not scored
FAR = 10.0  # times the bound, beyond which no milder form is tried either
SURELY = 1.3  # times the same, beyond which not even a recipe's form is tried: so far off no guess is


class Proposals:
    """Points in batches, each once. What comes next depends on what came out, and on nothing else."""

    def __init__(self, space: Space, source_score: float | None) -> None:
        """Raises UsageError where Optuna is not installed."""
        self._space = space
        self._order = space.order
        self._source_score = source_score
        self._bound = bound_of(space.order, source_score)
        self._sampler = Sampler(space.order.seed, space)
        self._waiting = starting_points(space)
        self._of_recipes = list(self._waiting)
        self._known: set[str] = set()  # commands

    def batch(self, outcomes: Sequence[Outcome]) -> Batch:
        """The next points with their compilations, none of which was tried, by what came out so far."""
        size = self._order.batch if outcomes else 1  # what is compared with comes first
        found: list[tuple[dict[str, Any], Any]] = []
        for point in self._proposed(outcomes, size, found):
            settings = settings_of(self._space, point)
            command = settings.command()
            if command not in self._known:
                self._known.add(command)
                found.append((point, settings))
            if len(found) == size:
                break
        # What comes does not depend on how many trials are wanted.
        return found if self._order.trials is None else found[: self._order.trials - len(outcomes)]

    def tell(self, done: Sequence[Outcome]) -> None:
        """What came out of a batch, in its order."""
        self._sampler.tell([(o.point, o.value(self._order), self._excess(o)) for o in done])
        self._waiting = self._followers(done) + self._waiting

    def _proposed(
        self, outcomes: Sequence[Outcome], size: int, found: Sequence[Any]
    ) -> Iterator[dict[str, Any]]:
        fitting, waiting, kinds = ranked(outcomes, self._order, self._source_score), self._waiting, set()
        while waiting:
            kinds.add(is_smaller(waiting[0]))
            if len(kinds) > 1 and found:
                return  # what whole layers lose says which of the smaller ones are tried
            point = waiting.pop(0)
            if not is_hopeless(point, outcomes, fitting) and self._may_gain(point, outcomes, fitting, SURELY):
                yield point
        if fitting and not self._order.is_by_accuracy:
            # One of each batch is left to Optuna, so that what it has learned is asked as well.
            for point in steps_beside(self._space, outcomes, fitting, self._bound):
                if len(found) >= size - 1 > 0:
                    break
                if not is_hopeless(point, outcomes, fitting):
                    yield point
        for point in self._sampler.ask(size - len(found)):
            if not is_hopeless(point, outcomes, fitting) and self._may_gain(point, outcomes, fitting):
                yield point

    def _may_gain(
        self, point: Point, outcomes: Sequence[Outcome], fitting: Sequence[Outcome], slack: float = WORTH
    ) -> bool:
        """False for what is slower, or larger, than the best by the sizes of its layers and by what others gave that
        are in the same precision."""
        if not fitting or self._order.is_by_accuracy or "form" in point:
            return True
        known = [
            outcome.value(self._order) / guess
            for outcome in outcomes
            if "form" not in outcome.point and math.isfinite(outcome.value(self._order))
            and all(outcome.point[name] == point[name] for name in ("target", "precision"))
            and (guess := self._space.guessed(outcome.point)) > 0
        ]  # fmt: skip
        return not known or median(known) * self._space.guessed(point) <= slack * fitting[0].value(self._order)

    def _followers(self, done: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Milder forms of what recipes have and what lost too much."""
        found = []
        for outcome in done:
            is_known = not outcome.failed and outcome.lost is not None and outcome.point in self._of_recipes
            is_far = self._bound is not None and (outcome.lost or 0.0) > FAR * self._bound
            if is_known and not is_far and not outcome.fits(self._order, self._source_score):
                found += weaker(self._space, outcome.point)
        self._of_recipes += found
        return found

    def _excess(self, outcome: Outcome) -> float | None:
        """By how much an outcome is over what it may be, as a share; below 0 where it is not, None where that is not
        known."""
        if outcome.failed or outcome.lost is None:
            return None
        bound = self._bound
        over = -1.0 if bound is None else outcome.lost / bound - 1 if bound else outcome.lost
        target = self._order.latency_target
        late = -1.0 if target is None or outcome.seconds is None else outcome.seconds / target - 1
        return max(over, late)


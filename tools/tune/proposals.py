"""What a search tries next: what recipes try, then what lies beside the best and what Optuna proposes, in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from ..settings import Settings
from .front import Outcome, bound_of, ranked
from .refine import by_turns, is_hopeless, steps_beside
from .sampler import Sampler
from .space import Point, Space
from .starts import is_smaller, settings_of, starting_points, weaker

if TYPE_CHECKING:
    from typing import TypeAlias

Batch: TypeAlias = "Sequence[tuple[dict[str, Any], Settings]]"
"""Points with their compilations."""

FAR = 10.0  # times the bound, beyond which no milder form is tried either
SURELY = 1.15  # times what the best takes, by a guess, beyond which not even a recipe's form is tried
GAINS = 0.95  # times the same, up to which what was drawn is tried


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
        found: list[tuple[dict[str, Any], Settings]] = []
        for point in self._proposed(outcomes):
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

    def _proposed(self, outcomes: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
        """Recipes' forms with whole layers by themselves, as what those lose says which of the smaller ones are tried.

        Then those, what lies beside the best, and what Optuna has learned, by turns.
        """
        fitting = ranked(outcomes, self._order, self._source_score)
        whole = False
        while self._waiting and not is_smaller(self._waiting[0]):
            point = self._waiting.pop(0)
            if self._is_worth(point, outcomes, fitting, SURELY):
                whole = True
                yield point
        if not whole:
            beside = self._beside(outcomes, fitting)
            begun, drawn = self._begun(outcomes, fitting), self._drawn(outcomes, fitting)
            yield from by_turns(beside, begun, beside, beside, drawn)

    def _begun(self, outcomes: Sequence[Outcome], fitting: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
        while self._waiting:
            point = self._waiting.pop(0)
            if self._is_worth(point, outcomes, fitting, SURELY):
                yield point

    def _beside(self, outcomes: Sequence[Outcome], fitting: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
        if fitting and not self._order.is_by_accuracy:
            wanted = partial(self._is_worth, outcomes=outcomes, fitting=fitting, slack=math.inf)
            yield from steps_beside(self._space, outcomes, fitting, self._bound, wanted)

    def _drawn(self, outcomes: Sequence[Outcome], fitting: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
        for point in self._sampler.ask(self._order.batch):
            if self._is_worth(point, outcomes, fitting, GAINS):
                yield point

    def _is_worth(
        self, point: Point, outcomes: Sequence[Outcome], fitting: Sequence[Outcome], slack: float
    ) -> bool:
        is_known = settings_of(self._space, point).command() in self._known
        if is_known or is_hopeless(point, outcomes, fitting):
            return False
        return math.isinf(slack) or self._may_gain(point, outcomes, fitting, slack)

    def _may_gain(
        self, point: Point, outcomes: Sequence[Outcome], fitting: Sequence[Outcome], slack: float
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

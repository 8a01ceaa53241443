"""Forms that were made: what each takes and gives, what a limit leaves of layers, and by how much it was missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.core import Graph, Model
from ..report import megabytes
from ..search.weighing import Candidate
from .forms import Form
from .said import Limit, Tried

SLACK = 0.985  # of a limit that another share left is to come to


@dataclass
class Found:
    """A form that was made."""

    form: Form | None  # None: what -O3 takes by itself
    candidate: Candidate
    limits: list[Limit]
    said: Tried

    @property
    def model(self) -> Model:
        """What was made; empty once it cannot be the best any more."""
        return self.candidate.trial.model

    def forget(self) -> None:
        """Let go of its weights."""
        self.candidate.trial.model = Model(Graph("main"))

    @property
    def is_within(self) -> bool:
        """True if all limits are met."""
        return all(limit.ok for limit in self.limits)

    @property
    def fits(self) -> bool:
        """True if the budget is kept as well."""
        return self.is_within and self.candidate.trial.verdict.ok


def left_for_limit(found: Found, made: Sequence[Found], limit: int | None) -> float | None:
    """What may be left of layers so that the size comes to a limit, as sizes with and without the form tell; None where
    they do not."""
    form = found.form
    whole = next(
        (other.said.size for other in made if other.form is not None and form is not None and not other.form.passes
         and other.form.attempt.precision == form.attempt.precision), None,
    )  # fmt: skip
    if form is None or limit is None or whole is None or found.said.size is None or found.said.size >= whole:
        return None
    for_all = (whole - found.said.size) / (1 - form.left)
    return 1 - (whole - SLACK * limit) / for_all


def missed(made: Sequence[Found], floats: list[Limit], is_judged: bool) -> list[Limit]:
    """What is said of limits that nothing meets within the budget: by how much, and what would meet them.

    `floats`: what the model takes as it is without any form. `is_judged` False: nothing says whether forms that are
    over a limit are within the budget, because no metric is asked of those.
    """
    within = [found for found in made if found.candidate.trial.verdict.ok]
    smallest = min(within, key=lambda found: _worst(found.limits), default=None)
    limits, name = floats, "the model as it is without lower precisions"
    if smallest is not None and _worst(smallest.limits) < _worst(limits):
        limits, name = smallest.limits, smallest.said.form
    meeting = [found for found in made if found.is_within]
    if meeting:
        best = min(meeting, key=lambda found: found.candidate.trial.verdict.error)
        verdict, unlock = best.candidate.trial.verdict, best.said.unlock
        off = f"off by {verdict.error:.2%}" if math.isfinite(verdict.error) else "wrong"
        would = f"{best.said.form} would meet it and is {off}" + (f": {unlock} allows it" if unlock else "")
    else:
        least = min(made, key=lambda found: _worst(found.limits), default=None)
        would = "nothing smaller was made"
        if least is not None and least is not smallest:
            has = ", ".join(f"{megabytes(limit.found)} MB" for limit in least.limits)
            would = f"the smallest that was made, {least.said.form}, has {has}"
    what = "within the budget" if is_judged or limits is floats else "that may be within the budget"
    for limit in limits:
        limit.advice = f"that is {name}, the smallest {what}; {would}"
    return limits


def _worst(limits: list[Limit]) -> float:
    return max((limit.found / limit.limit for limit in limits), default=0.0)

"""How long forms take beside each other: timed where this machine is the target, else by the target's estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ..goal import rows_for
from ..search.profit import FLOATS, LARGE, can_time, timed
from ..search.weighing import estimated
from ..writing import example_feeds

if TYPE_CHECKING:
    from ..compiler import Compilation

RUNS, PATIENCE = 12, 4.0  # of one comparison; seconds after which no further run begins
BATCH = 8  # times as many rows, where many at once are what counts
MEASURED, ESTIMATED = "MEASURED", "ESTIMATED"
FORM, BEST = "form", "best"


class Clock:
    """Times of one compilation's forms, at the number of rows that its goal is about."""

    def __init__(self, run: Compilation, goal: str, floats: Model) -> None:
        """`floats` is the model without any of the forms."""
        self.run = run
        self.floats = floats
        self.many = rows_for(goal) == "many"
        is_large = run.report.before.bytes > LARGE and not run.settings.measure
        self.how = MEASURED if can_time(run) and not is_large else ESTIMATED
        self.shape = ""

    def times(self, form: Model, best: Model | None) -> dict[str, float]:
        """Seconds of a form, of the best one so far, and of what is in floats; {} where nothing can tell."""
        models = {FORM: form, **({} if best is None else {BEST: best}), FLOATS: self.floats}
        if self.how == ESTIMATED:
            try:
                return {name: estimated(self.run, model)[0].seconds for name, model in models.items()}
            except UsageError:
                return {}
        given = many_rows(self.run, self.floats) if self.many else None
        try:
            speed = timed(self.run, models, RUNS, PATIENCE, given=given)
        except UnsupportedModel:
            return {}
        if speed is None:
            return {}
        self.shape = speed.shape
        # Ratios of runs that took turns say more than medians of either.
        base = speed.seconds[FORM]
        return {FORM: base, **{name: base * ratio[0] for name, ratio in speed.ratios.items()}}


def many_rows(run: Compilation, model: Model) -> dict[str, Any] | None:
    """Inputs of a model with `BATCH` times as many rows, where it takes that; None where it does not."""
    firsts = {value.shape[0] for value in model.graph.inputs if value.shape}
    if len(firsts) != 1 or isinstance(firsts.pop(), int) or not all(value.shape for value in model.graph.inputs):
        return None
    feeds = example_feeds(run, model)
    return {name: np.concatenate([array] * BATCH) for name, array in feeds.items()} or None

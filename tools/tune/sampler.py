"""Optuna's part: points by a tree-structured Parzen estimator over all that was tried, the bound being a constraint.

J. Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011; optuna.samplers.TPESampler. What it draws follows
from the seed and from what it was told, in that order.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from ...ir.errors import UsageError
from .space import Point, Space

_ASKED = 6  # times as many as are wanted: most are known, or known to be of no use
_RANDOM = 4  # trials that are drawn blindly, beside all those that recipes make
_EXCESS = "over the bound"
_MOST = 1e6  # of what is infinite


class Sampler:
    """One study, in memory; the journal is what lasts."""

    def __init__(self, seed: int, space: Space) -> None:
        """Raises UsageError where Optuna is not installed."""
        try:
            import optuna
        except ImportError:
            raise UsageError("geoc tune needs Optuna: pip install 'geoc[tune]'") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self._space = space
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, n_startup_trials=_RANDOM, constant_liar=False
            )
        self._study = optuna.create_study(sampler=sampler)
        self._blind = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))

    def ask(self, count: int) -> Iterator[dict[str, Any]]:
        """Points, more than `count` of them, and as many that are drawn blindly; the same again may be among them."""
        for study in (self._study, self._blind):
            for _ in range(_ASKED * count):
                trial = study.ask()
                point = self._space.suggest(trial)
                # What is learned from are trials that were run (`tell`); this one was a question.
                study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                yield point

    def tell(self, found: Sequence[tuple[Point, float, float | None]]) -> None:
        """What came out: for each point the value that is to be small, infinite where it failed, and by how much it is
        over the bound (None where nobody looked, because it is slower than what fits)."""
        for point, value, excess in found:
            params = self._space.params(point)
            if params is None or not math.isfinite(value):
                continue
            self._study.enqueue_trial(params)
            trial = self._study.ask()
            self._space.suggest(trial)
            trial.set_constraint(_EXCESS, 0.0 if excess is None else min(excess, _MOST))
            self._study.tell(trial, value)

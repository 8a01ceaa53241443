"""Which stretches of layers stay in floats, learned from trials: what each harms and gains, and what to try next.

    mixture = Mixture(stretches, known)           # known: (what stays, value, squared error) of trials alike otherwise
    for keep in mixture.proposals(best, [...]):   # the fastest for each squared error
    for keep in mixture.steps(best, allowed):     # what is close to the best

The squared error of a model is taken for the sum of those that its stretches in integers make, and its time for that
of all of it in integers, plus what each stretch takes more in floats and each change between the two. The probe's
estimates say in which proportion; trials correct them, by linear regression around the estimates (C. E. Rasmussen and
C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, section 2.1, with a prior mean). A knapsack then finds
the most gain for an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from ...ir.tensor import Array
from ...passes.quantize.knapsack import chosen
from .offer import Stretch, Stretches

DOUBT = 0.7  # of an estimate: its standard deviation
NOISE = 0.02  # of the least value, and of the largest squared error: what the law of sums is off by
GAINS = 0.995  # of the best's value, that is no gain
LEAST_ADDED = 0.1  # of the best's squared error: with less than that added, what gains more comes first


class Known(NamedTuple):
    """A trial: what stayed in floats, its value (seconds or bytes), and the square of its relative L2 error."""

    keep: Stretches
    value: float
    squared: float


class Mixture:
    """The stretches as trials have shown them: the squared errors that they make (`harms`), and on the scale of the
    trials' values what each gains in integers, what changes in front of each cost, and what all in integers takes
    (`whole`)."""

    def __init__(self, stretches: Sequence[Stretch], known: Sequence[Known]) -> None:
        """At least one trial is `known`."""
        self._count = len(stretches)
        floats = np.array([self._in_floats(trial.keep) for trial in known])
        harms, gains, switches = (
            np.array([getattr(each, name) for each in stretches]) for name in ("harm", "gain", "switch")
        )
        squared, values = (np.array([getattr(trial, name) for trial in known]) for name in ("squared", "value"))
        self.harms = np.maximum(0.0, _corrected(1.0 - floats, squared, harms, NOISE * float(squared.max())))
        extra = np.hstack([floats, np.array([self._changes(trial.keep) for trial in known])])
        least = int(np.argmin(extra @ np.concatenate([gains, switches])))
        # Differences to the trial with the least in floats: what all in integers takes need not be known.
        found = _corrected(
            extra - extra[least], values - values[least], np.concatenate([gains, switches]),
            NOISE * float(values.min()),
        )  # fmt: skip
        self.gains, self.switches = found[: self._count], np.maximum(0.0, found[self._count :])
        self.whole = float(values[least] - extra[least] @ found)

    def squared(self, keep: Stretches) -> float:
        """The squared error that is expected."""
        return float((1.0 - self._in_floats(keep)) @ self.harms)

    def value(self, keep: Stretches) -> float:
        """The value that is expected."""
        return float(self.whole + self._in_floats(keep) @ self.gains + self._changes(keep) @ self.switches)

    def proposals(self, best: Known | None, allowed: Sequence[float]) -> Iterator[Stretches]:
        """What knapsacks hold, one for each squared error that is `allowed`, where that is faster than the `best`."""
        for squared in allowed:
            taken = chosen(list(self.gains), list(self.harms), list(self.switches), squared)
            keep = tuple(number for number, is_taken in enumerate(taken) if not is_taken)
            if best is None or self.value(keep) < GAINS * best.value:
                yield keep

    def steps(self, best: Known, allowed: float) -> Iterator[Stretches]:
        """What is faster than the `best` that fits, and differs from it by one stretch or two: given back, or swapped.

        First what gains most for what it adds to the squared error, which is to be `allowed` at the most.
        """
        # What the law is off by at the best it is off by beside it too.
        slower, worse = best.value - self.value(best.keep), best.squared - self.squared(best.keep)
        found = []
        for keep in self._beside(best.keep):
            gain, squared = best.value - self.value(keep) - slower, self.squared(keep) + worse
            if gain > (1 - GAINS) * best.value and squared <= allowed:
                added = max(squared - best.squared, 0.0) + LEAST_ADDED * best.squared
                found.append((-gain / max(added, 1e-30), keep))
        yield from (keep for _, keep in sorted(found))

    def _beside(self, keep: Stretches) -> Iterator[Stretches]:
        """With one stretch changed, or two."""
        every = range(self._count)
        for changed in [*combinations(every, 1), *combinations(every, 2)]:
            yield tuple(sorted(set(keep) ^ set(changed)))

    def _in_floats(self, keep: Stretches) -> Array:
        found = np.zeros(self._count)
        found[list(keep)] = 1.0
        return found

    def _changes(self, keep: Stretches) -> Array:
        """1 for each stretch that is not treated as the one before."""
        inside = self._in_floats(keep)
        return np.array([0.0, *(float(a != b) for a, b in pairwise(inside))])


def _corrected(rows: Array, found: Array, estimates: Array, noise: float) -> Array:
    """Estimates, scaled to the measurements and moved to where `rows @ estimates` is `found`, but for `noise`."""
    guessed = rows @ estimates
    square = float(guessed @ guessed)
    scale = float(guessed @ found) / square if square else 1.0
    mean = estimates * (scale if scale > 0 else 1.0)
    spread = np.square(DOUBT * (np.abs(mean) + np.mean(np.abs(mean)) / 4))
    covariance = (rows * spread) @ rows.T + np.eye(len(rows)) * max(noise, 1e-12) ** 2
    return np.asarray(mean + spread * (rows.T @ np.linalg.solve(covariance, found - rows @ mean)))

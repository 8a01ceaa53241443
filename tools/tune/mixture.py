"""Which stretches of layers stay in floats, learned from trials: what each harms and gains, and what to try next.

    mixture = Mixture(stretches, known)           # known: (what stays, value, lost) of trials that are alike otherwise
    for keep in mixture.proposals(bound): ...     # the fastest that is expected to fit, then what is close to that

What a model loses is taken for the sum of what its stretches in integers lose, and its time for that of all of it in
integers, plus what each stretch takes more in floats and each change between the two. The probe's estimates say in
which proportion; trials correct them, by linear regression around the estimates (C. E. Rasmussen and C. K. I.
Williams, Gaussian Processes for Machine Learning, 2006, section 2.1, with a prior mean). A knapsack then finds the
most gain for what may be lost.
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
NOISE_OF_VALUE, NOISE_OF_LOST = 0.01, 0.1  # of the least value, of the bound: what a measurement is off by
ALLOWED = (1.0, 0.9, 1.1, 0.8, 1.25)  # times the bound, for which a knapsack is filled
SLACK = 1.15  # times the bound, up to which something beside the best is worth a trial
GAINS = 0.995  # of the best's value, that is no gain


class Known(NamedTuple):
    """A trial: what stayed in floats, its value (seconds or bytes), and what it lost (None: nobody looked)."""

    keep: Stretches
    value: float
    lost: float | None


class Mixture:
    """The stretches as trials have shown them. `harms`: of each, on the scale of what trials lost; `gains` and
    `switches`: on the scale of their values; `whole`: the value of all in integers."""

    def __init__(self, stretches: Sequence[Stretch], known: Sequence[Known], bound: float) -> None:
        """At least one of the `known` has lost something known."""
        self._count = len(stretches)
        self._known = known
        self._bound = bound
        scored = [(trial.keep, trial.lost) for trial in known if trial.lost is not None]
        integers = 1.0 - np.array([self._in_floats(keep) for keep, _ in scored])
        self.harms = np.maximum(0.0, _corrected(
            integers, np.array([lost for _, lost in scored]), np.array([each.harm for each in stretches]),
            NOISE_OF_LOST * bound,
        ))  # fmt: skip
        values = np.array([trial.value for trial in known])
        gains, switches = (np.array([getattr(each, name) for each in stretches]) for name in ("gain", "switch"))
        floats = np.array([self._in_floats(trial.keep) for trial in known])
        extra = np.hstack([floats, np.array([self._changes(trial.keep) for trial in known])])
        least = int(np.argmin(extra @ np.concatenate([gains, switches])))
        # Differences to the trial with the least in floats: what all in integers takes need not be known.
        found = _corrected(
            extra - extra[least], values - values[least], np.concatenate([gains, switches]),
            NOISE_OF_VALUE * float(values.min()),
        )  # fmt: skip
        self.gains, self.switches = found[: self._count], np.maximum(0.0, found[self._count :])
        self.whole = float(values[least] - extra[least] @ found)

    def lost(self, keep: Stretches) -> float:
        """What it is expected to lose."""
        return float((1.0 - self._in_floats(keep)) @ self.harms)

    def value(self, keep: Stretches) -> float:
        """The value that is expected."""
        return float(self.whole + self._in_floats(keep) @ self.gains + self._changes(keep) @ self.switches)

    def proposals(self, best: Known | None) -> Iterator[Stretches]:
        """What to try next, the likeliest first; the same again may be among them, and what was tried.

        First what a knapsack holds for about the bound. Then what is faster than the `best` that fits, and differs
        from it by one stretch or two: what is expected to lose the least.
        """
        for share in ALLOWED:
            taken = chosen(list(self.gains), list(self.harms), list(self.switches), share * self._bound)
            keep = tuple(number for number, is_taken in enumerate(taken) if not is_taken)
            if best is None or self.value(keep) < GAINS * best.value:
                yield keep
        if best is None:
            return
        # What is the model's error about the best is that of its neighbours too.
        slower, lost = best.value - self.value(best.keep), (best.lost or 0.0) - self.lost(best.keep)
        found = []
        for keep in self._beside(best.keep):
            value, loses = self.value(keep) + slower, self.lost(keep) + lost
            if value < GAINS * best.value and loses <= SLACK * self._bound:
                found.append((max(loses, self._bound), value, keep))
        yield from (keep for *_, keep in sorted(found))

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

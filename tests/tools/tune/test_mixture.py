"""Which stretches stay in floats: the regression by its closed form, the knapsack by trying all, the search by a law."""

from __future__ import annotations

from itertools import chain, combinations, pairwise

import numpy as np
import pytest

from geoc.tools.tune.mixture import Known, Mixture, _corrected
from geoc.tools.tune.offer import Offer, Stretch

COUNT, BOUND = 10, 0.02


class Law:
    """A made-up model: what stretches really harm and gain, which is not what was estimated."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.harms = rng.exponential(0.006, COUNT)
        self.gains = rng.uniform(0.1, 1.0, COUNT) * 1e-3
        doubt = rng.uniform(0.4, 2.0, (2, COUNT))
        self.stretches = [
            Stretch((f"/{n}",), self.gains[n] * doubt[0, n] * 0.3, self.harms[n] * doubt[1, n] * 0.1, 2e-5)
            for n in range(COUNT)
        ]

    def known(self, keep: tuple[int, ...]) -> Known:
        inside = [n in keep for n in range(COUNT)]
        changes = sum(a != b for a, b in pairwise(inside))
        lost = sum(self.harms[n] for n in range(COUNT) if n not in keep)
        return Known(keep, 2e-3 + sum(self.gains[n] for n in keep) + 6e-5 * changes, float(lost))

    def best(self) -> Known:
        every = [self.known(keep) for size in range(COUNT + 1) for keep in combinations(range(COUNT), size)]
        return min((each for each in every if each.squared <= BOUND), key=lambda each: each.value)


@pytest.mark.parametrize("seed", range(6))
def test_a_few_trials_find_nearly_the_best_of_all(seed: int) -> None:
    law = Law(seed)
    known = [law.known(()), law.known(tuple(range(COUNT)))]
    for _ in range(20):
        fitting = [each for each in known if each.squared <= BOUND]
        best = min(fitting, key=lambda each: each.value)
        mixture = Mixture(law.stretches, known)
        proposals = chain(mixture.proposals(best, [BOUND, 0.9 * BOUND, 1.1 * BOUND]), mixture.steps(best, 1.1 * BOUND))
        tried = {each.keep for each in known}
        keep = next((each for each in proposals if each not in tried), None)
        if keep is None:
            break
        known.append(law.known(keep))
    found = min(each.value for each in known if each.squared <= BOUND)
    assert found <= 1.05 * law.best().value
    assert len(known) < 2**COUNT / 20


def test_what_trials_say_comes_before_estimates() -> None:
    """Two stretches of which the one that was thought harmless does all the harm."""
    stretches = [Stretch(("/a",), 1.0, 1.0, 0.0), Stretch(("/b",), 1.0, 0.1, 0.0)]
    known = [Known((), 1.0, 0.1), Known((0,), 2.0, 0.099), Known((1,), 2.0, 0.001), Known((0, 1), 3.0, 0.0)]
    mixture = Mixture(stretches, known)
    assert mixture.harms[1] > 10 * mixture.harms[0]
    assert next(mixture.proposals(None, [0.02])) == (1,)


def test_a_stretch_that_takes_longer_than_was_thought_is_known_by_its_trials() -> None:
    stretches = [Stretch(("/a",), 1.0, 1.0, 0.0), Stretch(("/b",), 1.0, 1.0, 0.0)]
    known = [Known((), 1.0, 0.1), Known((0, 1), 5.0, 0.0), Known((0,), 4.5, 0.05)]
    mixture = Mixture(stretches, known)
    assert mixture.gains[0] > 3 * mixture.gains[1]
    for trial in known:
        assert mixture.value(trial.keep) == pytest.approx(trial.value, rel=0.05)


def test_the_correction_is_the_mean_of_bayesian_regression() -> None:
    """By the information form: (X'X / s^2 + D^-1)^-1 (X'y / s^2 + D^-1 m), which inverts another matrix."""
    rng = np.random.default_rng(3)
    rows, estimates, noise = rng.integers(0, 2, (5, 7)).astype(float), rng.uniform(0.5, 1.5, 7), 0.05
    guessed = rows @ estimates
    found = 2 * guessed + rng.normal(0, 0.3, 5)
    mean = estimates * (guessed @ found) / (guessed @ guessed)
    precision = np.diag((0.7 * (mean + mean.mean() / 4)) ** -2.0)
    wanted = np.linalg.solve(rows.T @ rows / noise**2 + precision, rows.T @ found / noise**2 + precision @ mean)
    np.testing.assert_allclose(_corrected(rows, found, estimates, noise), wanted, rtol=1e-8)


def test_nothing_that_is_no_faster_than_the_best_is_proposed() -> None:
    law = Law(1)
    known = [law.known(()), law.known((0, 1, 2)), law.known(tuple(range(COUNT)))]
    mixture = Mixture(law.stretches, known)
    best = known[1]
    found = [*mixture.proposals(best, [1.5 * best.squared]), *mixture.steps(best, 1.5 * best.squared)]
    assert len(found) > 3
    slower = best.value - mixture.value(best.keep)
    assert all(min(mixture.value(keep), mixture.value(keep) + slower) < best.value for keep in found)


def test_an_offer_is_what_it_was_behind_json() -> None:
    import json

    stretches = {"cpu": (Stretch(("/a", 3), 1e-3, 2e-4, 1e-5), Stretch(("/b",), 2.0, 0.0, 0.0))}
    offer = Offer({"cpu": ("attention",)}, {"cpu": ((), (1,))}, {"cpu": ()}, 2, stretches)
    assert Offer.from_json(json.loads(json.dumps(offer.to_json()))) == offer

"""The knapsack of neighbours against all choices there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from geoc.passes.quantize.knapsack import FEWEST, chosen


def worth(choice: tuple[bool, ...], gains: list[float], switches: list[float]) -> float:
    taken = sum(gain for gain, is_taken in zip(gains, choice) if is_taken)
    return taken - sum(cost for a, b, cost in zip(choice, choice[1:], switches[1:]) if a != b)


@pytest.mark.parametrize("seed", range(60))
def test_against_every_choice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 10))
    gains = list(rng.normal(0.5, 1.0, count))
    harms = list(rng.exponential(1.0, count) * (rng.random(count) > 0.2))
    switches = list(rng.exponential(0.3, count) * rng.integers(0, 2))
    allowed = float(rng.uniform(0, sum(harms) + 0.1))
    found = tuple(chosen(gains, harms, switches, allowed))
    harm = sum(h for h, is_taken in zip(harms, found) if is_taken)
    assert harm <= allowed
    choices = list(product((False, True), repeat=count))

    def best(budget: float) -> float:
        fits = (c for c in choices if sum(h for h, t in zip(harms, c) if t) <= budget)
        return max(worth(c, gains, switches) for c in fits)

    got = worth(found, gains, switches)
    assert best(allowed * (1 - count / FEWEST)) - 1e-9 <= got <= best(allowed) + 1e-9


def test_neighbours_stay_together_where_switching_costs() -> None:
    gains, harms = [1.0, 1.0, 0.1, 0.3], [0.1, 0.1, 0.3, 0.1]
    assert chosen(gains, harms, [0.0] * 4, 0.45) == [True, True, False, True]
    assert chosen(gains, harms, [0.5] * 4, 0.45) == [True, True, False, False]  # to come back costs more than it gains
    assert chosen(gains, harms, [0.5] * 4, 0.65) == [True, True, True, True]


def test_what_cannot_be_taken() -> None:
    assert chosen([], [], [], 1.0) == []
    assert chosen([1.0, 1.0], [float("inf"), 0.5], [0.0, 0.0], 1.0) == [False, True]
    assert chosen([1.0, 1.0], [0.0, 0.5], [0.0, 0.0], 0.0) == [True, False]
    assert chosen([-1.0, 2.0], [0.0, 0.0], [0.0, 0.0], 1.0) == [False, True]

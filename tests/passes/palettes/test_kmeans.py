"""Palettes against every way to cut sorted numbers, and against what Lloyd's algorithm reaches from any start."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest

from geoc.passes.palettes.kmeans import nearest, palette


def error(values: Any, numbers: Any, importance: Any) -> float:
    return float(np.sum(importance * (values - numbers[nearest(values, numbers)]) ** 2))


def least_error(values: Any, count: int, importance: Any) -> float:
    """Of all cuts of the sorted numbers into intervals."""
    order = np.argsort(values)
    x, w = values[order], importance[order]

    def inner(part: slice) -> float:
        mean = np.average(x[part], weights=w[part])
        return float(np.sum(w[part] * (x[part] - mean) ** 2))

    found = []
    for cuts in combinations(range(1, len(x)), count - 1):
        ends = [0, *cuts, len(x)]
        found.append(sum(inner(slice(a, b)) for a, b in pairwise(ends)))
    return min(found)


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_best_of_all_cuts(count: int, weighed: bool) -> None:
    for seed in range(6):
        random = np.random.default_rng(seed)
        values = (random.standard_t(2, size=14)).astype(np.float32)
        importance = random.exponential(size=14) if weighed else np.ones(14)
        numbers = palette(values, count, importance if weighed else None)
        assert len(numbers) == count and (np.diff(numbers) > 0).all() and numbers.dtype == np.float32
        assert error(values, numbers, importance) == pytest.approx(least_error(values, count, importance), rel=1e-4)


@pytest.mark.parametrize("count", [4, 16])
def test_of_many_numbers_no_other_start_ends_better(count: int) -> None:
    """Lloyd's algorithm from k-means++ starts (D. Arthur, S. Vassilvitskii, 2007), the best of ten."""
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(size=20_000), random.normal(5, 0.1, size=500)]).astype(np.float32)
    ours = error(values, palette(values, count), 1.0)
    others = []
    for seed in range(10):
        draw = np.random.default_rng(seed)
        numbers = [draw.choice(values)]
        while len(numbers) < count:
            far = np.min([(values - n) ** 2 for n in numbers], axis=0).astype(np.float64)
            numbers.append(draw.choice(values, p=far / far.sum()))
        means = np.sort(np.array(numbers))
        for _ in range(60):
            codes = nearest(values, means)
            means = np.array([values[codes == k].mean() if (codes == k).any() else means[k] for k in range(count)])
        others.append(error(values, means, 1.0))
    assert ours <= 1.01 * min(others), (ours, others)


def test_few_different_numbers_are_the_palette() -> None:
    values = np.array([3, -1, 3, 0.5, -1], np.float32)
    assert list(palette(values, 4)) == [-1, 0.5, 3, 3]
    assert list(palette(np.zeros(5, np.float32), 2)) == [0, 0]
    numbers = palette(values, 4)
    assert (numbers[nearest(values, numbers)] == values).all()


def test_what_counts_for_nothing_moves_nothing() -> None:
    values = np.array([0.0, 1.0, 10.0, 11.0, 500.0], np.float32)
    found = palette(values, 2, np.array([1.0, 1.0, 1.0, 1.0, 0.0]))
    assert np.allclose(found, [0.5, 10.5], atol=1e-3)

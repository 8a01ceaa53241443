"""Errors of results: the figures are numpy's, and what cannot be compared is said to be so."""

from __future__ import annotations

import numpy as np
import pytest

from geoc.tools.compare.errors import Errors


def test_figures_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    runs = [(rng.standard_normal((3, 5 + i)), rng.standard_normal((3, 5 + i)) * 0.01) for i in range(3)]
    found = Errors()
    for a, off in runs:
        found.add(a.astype(np.float32), (a + off).astype(np.float32))
    pairs = [(a.astype(np.float32).astype(float), (a + off).astype(np.float32).astype(float)) for a, off in runs]
    a, b = (np.concatenate([pair[i].reshape(-1) for pair in pairs]) for i in (0, 1))
    assert found.error == pytest.approx(np.mean([np.linalg.norm(y - x) / np.linalg.norm(x) for x, y in pairs]))
    assert list(found.by_shape) == [""] and found.by_shape[""] == pytest.approx(found.error)
    assert found.max_abs == np.abs(a - b).max()
    assert found.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found.sqnr == pytest.approx(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()))
    assert (found.elements, found.differing, found.runs) == (a.size, np.count_nonzero(a != b), 3)


def test_integers_are_counted() -> None:
    found = Errors()
    found.add(np.array([1, 2, 3, 4]), np.array([1, 2, 9, 4]))
    found.add(np.array([2**63 - 1, 0], np.int64), np.array([2**63 - 1, 1], np.int64))
    assert found.exact and found.error == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert (found.differing, found.elements, found.max_abs) == (2, 6, 6.0)
    assert found.cosine is None and found.sqnr is None


def test_truth_values_and_strings_are_equal_or_not() -> None:
    found = Errors()
    found.add(np.array([True, False]), np.array([True, True]))
    assert found.error == 0.5
    found = Errors()
    found.add(np.array(["a", "b"], object), np.array(["a", "b"], object))
    assert found.error == 0 and found.to_json()["exact"]


def test_nan_in_the_same_places_is_no_difference() -> None:
    a = np.float32([1, np.nan, np.inf, -np.inf, 2])
    found = Errors()
    found.add(a, a.copy())
    assert not found.problem and found.nonfinite == 3 and found.error == 0 and found.differing == 0


@pytest.mark.parametrize("other", [[1, 2, np.inf], [1, np.nan, np.nan], [1, np.nan, -np.inf]])
def test_nan_in_other_places_is_told(other: list[float]) -> None:
    found = Errors()
    found.add(np.float32([1, np.nan, np.inf]), np.float32(other), "2x3")
    assert "1 NaN and 1 infinite in the first" in found.problem and found.problem.endswith("at 2x3")
    assert found.error == float("inf") and found.to_json()["error"] is None and found.differing >= 1


def test_other_shapes_and_kinds_are_told() -> None:
    found = Errors()
    found.add(np.zeros((2, 3)), np.zeros((3, 2)))
    assert found.problem == "shape [3, 2], not [2, 3]"
    found = Errors()
    found.add([np.zeros(2)], [np.zeros(2), np.zeros(2)])
    assert "2 elements, not 1" in found.problem
    found = Errors()
    found.add([np.ones(2), np.ones(3)], [np.ones(2), np.full(3, 1.5)])
    assert found.error == pytest.approx(0.25) and not found.problem


def test_numbers_whose_squares_are_infinite_have_no_figures() -> None:
    found = Errors()
    found.add(np.float64([1e200, 1]), np.float64([2e200, 1]))
    assert found.error == float("inf") and found.cosine is None and found.sqnr is None and found.max_abs == 1e200
    found = Errors()
    found.add(np.zeros(3), np.zeros(3))
    assert found.error == 0 and found.cosine is None and found.to_json()["exact"]
    found = Errors()
    found.add(np.zeros(0, np.float32), np.zeros(0, np.float32))
    assert found.error == 0 and not found.problem


def test_half_precision_compares_with_single() -> None:
    a = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    found = Errors()
    found.add(a, a.astype(np.float16))
    assert 1e-5 < found.error < 1e-3 and not found.problem

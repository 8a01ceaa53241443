"""Statistics of values, against the same computed on all numbers at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoc.ir.types import I8, U8
from geoc.passes.quantize.observers import (
    METHODS,
    Histogram,
    Mean,
    MinMax,
    MovingAverage,
    chosen_range,
    entropy_range,
    mse_range,
    percentile_range,
    statistic,
)  # fmt: skip
from geoc.passes.quantize.scheme import Scheme, affine_of, dequantize, quantize

samples = st.lists(arrays(np.float32, st.integers(1, 30), elements=st.floats(-1e5, 1e5, width=32)), min_size=1, max_size=6)


@settings(deadline=None)
@given(samples)
def test_streams_equal_wholes(parts: list[np.ndarray]) -> None:
    whole = np.concatenate(parts)
    extremes, seen = MinMax(), Histogram(64)
    for part in parts:
        extremes.add(part)
        seen.add(part)
    assert extremes.range == (whole.min(), whole.max()) == (seen.low, seen.high)
    assert seen.count == seen.counts.sum() == whole.size
    assert extremes.magnitude == np.abs(whole).max()
    at_once = Histogram(64)
    at_once.add(whole)
    assert at_once.reach == seen.reach
    if seen.reach:
        edges = np.linspace(-seen.reach, seen.reach, 129)
        edges[-1] = np.inf  # the end belongs to the last bin
        expected = np.histogram(whole.astype(np.float64), edges)[0]
        np.testing.assert_array_equal(seen.counts, expected)
    np.testing.assert_array_equal(seen.counts, at_once.counts)


def test_memory_is_bounded() -> None:
    seen = Histogram()
    size = seen.counts.nbytes
    for power in range(40):
        seen.add(np.full(1000, 2.0**power, np.float32))
    assert seen.counts.nbytes == size
    assert seen.counts.sum() == 40_000


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_channels(axis: int) -> None:
    rng = np.random.default_rng(1)
    parts = [rng.standard_normal((3, 4, 5)).astype(np.float32) if axis else rng.standard_normal((3, 4 + i, 5)).astype(np.float32) for i in range(3)]
    extremes, mean = MinMax(axis), Mean(axis)
    for part in parts:
        extremes.add(part)
        mean.add(part)
    rows = np.concatenate([np.moveaxis(p, axis, 0).reshape(p.shape[axis], -1) for p in parts], axis=1)
    np.testing.assert_array_equal(extremes.range[0], rows.min(1))
    np.testing.assert_array_equal(extremes.range[1], rows.max(1))
    np.testing.assert_allclose(mean.mean, rows.mean(1, dtype=np.float64), rtol=1e-12)


def test_moving_average() -> None:
    seen = MovingAverage(weight=0.5)
    for top in (1.0, 3.0, 2.0):
        seen.add(np.float32([-top, top]))
    assert seen.range == (-2.0, 2.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(method: str, bad: float) -> None:
    seen = statistic(method)
    seen.add(np.float32([1.0]))
    with pytest.raises(ValueError, match="NaN" if np.isnan(bad) else "infinity"):
        seen.add(np.float32([0.0, bad]))
    with pytest.raises(ValueError, match="NaN|infinity"):
        Mean(0).add(np.float32([bad]))


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_always_zero(method: str) -> None:
    seen = statistic(method)
    seen.add(np.zeros((2, 3), np.float32))
    seen.add(np.zeros((0, 3), np.float32))
    assert chosen_range(seen, method, Scheme(U8)) == (0.0, 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_seen(method: str) -> None:
    assert chosen_range(statistic(method), method, Scheme(U8)) == (0.0, 0.0)


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match="not 'best'"):
        statistic("best")


@settings(deadline=None)
@given(samples, st.floats(50, 100))
def test_percentile(parts: list[np.ndarray], percentile: float) -> None:
    seen = Histogram()
    for part in parts:
        seen.add(part)
    whole = np.sort(np.concatenate(parts))
    low, high = percentile_range(seen, percentile)
    cut = (100 - percentile) / 200 * whole.size
    width = seen.reach / seen.bins
    assert whole[0] <= low <= high <= whole[-1]
    # No more numbers lie outside than are to be cut, and a bin further in there would be.
    assert (whole < low).sum() <= cut + 1e-6 and (whole > high).sum() <= cut + 1e-6
    assert low == whole[0] or (whole <= low + width).sum() >= cut - 1e-6
    assert high == whole[-1] or (whole >= high - width).sum() >= cut - 1e-6


def test_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile_range(Histogram(), 0)


@pytest.mark.parametrize("scheme", [Scheme(U8), Scheme(I8, symmetric=True)])
@pytest.mark.parametrize("kind", ["normal", "outliers", "relu", "uniform"])
def test_mse_is_near_the_best(scheme: Scheme, kind: str) -> None:
    rng = np.random.default_rng(3)
    array = rng.standard_normal(20_000)
    if kind == "outliers":
        array[:3] = (60, -40, 80)
    elif kind == "relu":
        array = np.maximum(array, 0)
    elif kind == "uniform":
        array = rng.uniform(-1, 2, 20_000)
    array = array.astype(np.float32)
    seen = Histogram()
    seen.add(array)

    def error(low: float, high: float) -> float:
        affine = affine_of(low, high, scheme)
        return float(((array - dequantize(quantize(array, affine), affine)).astype(np.float64) ** 2).mean())

    low, high = float(array.min()), float(array.max())
    grid = [error(low * a, high * b) for a in np.linspace(0.02, 1, 50) for b in np.linspace(0.02, 1, 50)]
    assert error(*mse_range(seen, scheme)) <= 1.1 * min(grid)


def test_entropy_cuts_outliers_and_keeps_the_rest() -> None:
    rng = np.random.default_rng(4)
    array = rng.standard_normal(200_000).astype(np.float32)
    array[:2] = (100, -90)
    seen = Histogram()
    seen.add(array)
    low, high = entropy_range(seen)
    assert 3 < high < 20 and -20 < low < -3
    flat = Histogram()
    flat.add(rng.uniform(-1, 1, 200_000).astype(np.float32))
    low, high = entropy_range(flat)
    assert high > 0.9 and low < -0.9


def by_the_book(counts: list[int], levels: int, size: int) -> float:
    """The divergence of one candidate, bin by bin as the slides of S. Migacz have it; empty bins smoothed."""
    reference = [float(n) for n in counts[:size]]
    reference[-1] += sum(counts[size:])
    candidate = [0.0] * size
    for level in range(levels):
        bins = range(level * size // levels, (level + 1) * size // levels)
        holders = [i for i in bins if counts[i]]
        for i in holders:
            candidate[i] = sum(counts[i] for i in bins) / len(holders)
    p = [n / sum(reference) for n in reference]
    q = [n / sum(candidate) for n in candidate]
    if any(b == 0 for a, b in zip(p, q) if a):
        q = [b or 1e-4 / size for b in q]
    return sum(a * math.log(a / b) for a, b in zip(p, q) if a)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_entropy_by_the_book(power: int) -> None:
    rng = np.random.default_rng(power)
    seen = Histogram(128)
    seen.add((rng.standard_normal(3000) ** power).astype(np.float32))
    counts = (seen.counts[128:] + seen.counts[:128][::-1]).tolist()
    used = max(i for i, n in enumerate(counts) if n) + 1
    best = min(range(16, used + 1), key=lambda size: by_the_book(counts, 16, size))
    limit = best * seen.reach / 128
    assert entropy_range(seen, levels=16, step=1) == (max(-limit, seen.low), min(limit, seen.high))


def numbers(kind: str) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    array = rng.standard_normal(40_000)
    if kind == "outliers":
        array[:4] = (30, -25, 40, -28)
    elif kind == "relu":
        array = np.maximum(array, 0)
    elif kind == "uniform":
        array = rng.uniform(-1, 2, 40_000)
    elif kind == "laplace":
        array = rng.laplace(size=40_000)
    return [part.astype(np.float32) for part in np.split(array, 8)]


def by_peer(method: str, parts: list[np.ndarray], bins: int, percentile: float = 99.999) -> tuple[float, float]:
    """The range that onnxruntime's calibration takes."""
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    collector = calibrate.HistogramCollector(method, False, bins, 128, percentile, "same")
    collector.collect({"t": parts})
    low, high = collector.compute_collection_result()["t"][:2]
    return float(low), float(high)


@pytest.mark.parametrize("percentile", [99.0, 99.9, 99.999])
@pytest.mark.parametrize("kind", ["normal", "outliers", "relu", "uniform", "laplace"])
def test_percentile_beside_onnxruntime(kind: str, percentile: float) -> None:
    """Within two bins of either histogram."""
    seen = Histogram()
    for part in numbers(kind):
        seen.add(part)
    bins = 2048
    slack = 2 * (seen.reach / seen.bins + 2 * max(-seen.low, seen.high) / bins)
    expected = by_peer("percentile", numbers(kind), bins, percentile)
    assert percentile_range(seen, percentile) == pytest.approx(expected, abs=slack)


@pytest.mark.parametrize("kind", ["normal", "outliers", "uniform"])
def test_entropy_beside_onnxruntime(kind: str) -> None:
    """It counts both signs in one histogram and joins bins by whole numbers, so that numbers agree roughly: to a fifth."""
    seen = Histogram()
    for part in numbers(kind):
        seen.add(part)
    assert entropy_range(seen) == pytest.approx(by_peer("entropy", numbers(kind), 4096), rel=0.2)


@pytest.mark.parametrize("kind", ["normal", "outliers", "relu"])
def test_minmax_and_a_moving_average_by_hand(kind: str) -> None:
    extremes, average = MinMax(), MovingAverage()
    low = high = 0.0
    for number, part in enumerate(numbers(kind)):
        extremes.add(part)
        average.add(part)
        weight = 0.01 if number else 1.0
        low, high = low + weight * (float(part.min()) - low), high + weight * (float(part.max()) - high)
    whole = np.concatenate(numbers(kind))
    assert extremes.range == (whole.min(), whole.max())
    assert average.range == pytest.approx((low, high), rel=1e-12)

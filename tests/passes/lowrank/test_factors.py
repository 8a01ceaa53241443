"""The factors of a matrix against what linear algebra says of them, and ranks against trying all of them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from geoc.passes.allocation import Choice, allocate
from geoc.passes.lowrank import factors
from geoc.passes.lowrank.factors import Moments, Spectrum, square_of
from geoc.passes.lowrank.ranks import choice, rank_for_energy


def read(rows: int, inputs: int, seed: int = 0) -> Any:
    """Vectors that vary in a few directions much more than in others, with a mean."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(rows, inputs)) @ (random.normal(size=(inputs, inputs)) * 0.85 ** np.arange(inputs)[:, None])
    return (mixed + random.normal(size=inputs)).astype(np.float32)


def seen(x: Any) -> Moments:
    moments = Moments(x.shape[1])
    for part in np.array_split(x, 3):
        moments.add(part[None])
    return moments


def left_over(x: Any, w: Any, a: Any, b: Any, free_bias: bool = True) -> float:
    """The squared error of outputs for the best bias, or without one."""
    error = x.astype(np.float64) @ (w.astype(np.float64) - a.astype(np.float64) @ b)
    return float(((error - error.mean(0) if free_bias else error) ** 2).sum())


def test_moments() -> None:
    x = read(300, 12)
    moments = seen(x)
    assert np.allclose(moments.mean, x.mean(0), atol=1e-6)
    assert np.allclose(moments.covariance(), np.cov(x.T, bias=True), rtol=1e-4, atol=1e-5)
    pictures = Moments(12, axis=1)
    pictures.add(x.reshape(3, 100, 12).transpose(0, 2, 1).reshape(3, 12, 10, 10))
    assert np.allclose(pictures.covariance(), moments.covariance(), rtol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN"):
        Moments(2).add(np.array([[1.0, bad]], np.float32))


@pytest.mark.parametrize(("inputs", "outputs"), [(24, 40), (40, 24), (32, 32)])
def test_aware_factors_lose_the_least(inputs: int, outputs: int) -> None:
    """The optimum of regression of reduced rank, found from the outputs themselves (A. Izenman, 1975)."""
    x, w = read(500, inputs), np.random.default_rng(1).normal(size=(inputs, outputs)).astype(np.float32)
    moments = seen(x)
    spectrum = Spectrum.of(w, square_of(w, moments.covariance()))
    centered = (x - x.mean(0)).astype(np.float64) @ w
    singular = np.linalg.svd(centered, compute_uv=False)
    for rank in (4, 8, 16):
        a, b = spectrum.factors(rank)
        assert a.shape == (inputs, rank) and b.shape == (rank, outputs) and a.dtype == np.float32
        best = float((singular[rank:] ** 2).sum())
        assert left_over(x, w, a, b) == pytest.approx(best, rel=1e-3)
        assert spectrum.energies[rank:].sum() * len(x) == pytest.approx(best, rel=1e-3)
        plain = Spectrum.of(w, None).factors(rank)
        assert left_over(x, w, a, b) < 0.9 * left_over(x, w, *plain)


@pytest.mark.parametrize(("inputs", "outputs"), [(24, 40), (40, 24)])
def test_plain_factors_are_those_of_the_singular_value_decomposition(inputs: int, outputs: int) -> None:
    w = np.random.default_rng(1).normal(size=(inputs, outputs)).astype(np.float32)
    u, s, v = np.linalg.svd(w.astype(np.float64), full_matrices=False)
    a, b = Spectrum.of(w, None).factors(7)
    assert np.allclose(a @ b, (u[:, :7] * s[:7]) @ v[:7], atol=1e-5)
    assert np.allclose(np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=1), rtol=1e-5)
    assert np.allclose(Spectrum.of(w, None).energies, s**2, rtol=1e-6)


@pytest.mark.parametrize(("inputs", "outputs"), [(60, 100), (100, 60)])
def test_of_large_matrices_the_directions_that_pay_are_found(
    inputs: int, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w = read(500, inputs), np.random.default_rng(1).normal(size=(inputs, outputs)).astype(np.float32)
    square = square_of(w, seen(x).covariance())
    exact = Spectrum.of(w, square)
    monkeypatch.setattr(factors, "LARGE", 32)
    found = Spectrum.of(w, square)
    assert found.most == 38 and len(found.energies) == 39  # 60 x 100 / 160
    assert found.energies.sum() == pytest.approx(exact.energies.sum())
    assert np.allclose(found.energies[:16], exact.energies[:16], rtol=1e-3)
    for rank in (4, 16, 32):
        assert left_over(x, w, *found.factors(rank)) <= 1.05 * left_over(x, w, *exact.factors(rank))


def test_a_full_rank_is_the_matrix() -> None:
    x, w = read(200, 16), np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32)
    a, b = Spectrum.of(w, square_of(w, seen(x).covariance())).factors(16)
    assert np.allclose(a @ b, w, atol=1e-3)


def test_inputs_that_never_vary_are_as_good_as_none_seen() -> None:
    w = np.random.default_rng(1).normal(size=(8, 12)).astype(np.float32)
    a, b = Spectrum.of(w, square_of(w, np.zeros((8, 8)))).factors(3)
    plain = Spectrum.of(w, None).factors(3)
    assert np.allclose(a @ b, plain[0] @ plain[1], atol=1e-5)


def test_ranks_lose_the_least_of_all_that_cost_no_more() -> None:
    random = np.random.default_rng(0)
    choices: list[Choice] = []
    for _ in range(4):
        energies = np.sort(random.exponential(size=8) ** 3)[::-1]
        choices.append(choice(energies, 8, 64.0, lambda rank: 16.0 * rank, 1))
    for limit in (20.0, 60.0, 120.0, 200.0, 256.0):
        chosen = allocate(choices, limit)
        cost = sum(c.costs[i] for c, i in zip(choices, chosen))
        loss = sum(c.losses[i] for c, i in zip(choices, chosen))
        every = product(*(range(len(c.ranks)) for c in choices))
        fit = [[(c.costs[i], c.losses[i]) for c, i in zip(choices, each)] for each in every]
        within = [sum(loss for _, loss in each) for each in fit if sum(c for c, _ in each) <= limit]
        if not within:
            assert cost == min(sum(c for c, _ in each) for each in fit)
            continue
        assert cost <= limit
        hull = [sum(loss for _, loss in each) for each in fit if sum(c for c, _ in each) <= cost]
        assert loss == pytest.approx(min(hull))  # nothing that costs as little loses less


def test_a_matrix_that_no_rank_makes_cheaper_stays_whole() -> None:
    found = choice(np.ones(4), 4, 10.0, lambda rank: 11.0, 1)
    assert list(found.ranks) == [0] and allocate([found], 1.0) == [0]


def test_ranks_for_an_energy() -> None:
    energies = np.array([8.0, 1.0, 0.5, 0.5])
    assert rank_for_energy(energies, 0.8, 1) == 1
    assert rank_for_energy(energies, 0.81, 1) == 2
    assert rank_for_energy(energies, 1.0, 1) == 4
    assert rank_for_energy(energies, 0.81, 16) == 16

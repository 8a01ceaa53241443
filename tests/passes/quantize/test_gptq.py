"""GPTQ and AWQ: what they make is nearer, by what products give, than rounding to nearest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.passes.quantize.awq import factors
from geoc.passes.quantize.blocks import ASYMMETRIC, KINDS, MINIMUM, SYMMETRIC, Scheme
from geoc.passes.quantize.gptq import Gram, gptq
from geoc.passes.quantize.rtn import in_half, rtn


def inputs(rows: int, columns: int, seed: int = 0) -> Any:
    """Rows whose columns are correlated, a few of them large, one always 0."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(rows, columns // 4)) @ random.normal(size=(columns // 4, columns))
    x = (mixed + 0.3 * random.normal(size=(rows, columns))).astype(np.float32)
    x[:, ::17] *= 10
    x[:, 5] = 0
    return x


def loss(x: Any, w: Any, made: Any) -> float:
    return float(np.linalg.norm(x.astype(np.float64) @ (w - made).astype(np.float64).T))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("bits", [3, 4])
def test_products_are_nearer(kind: str, order: bool, bits: int) -> None:
    x, w = inputs(400, 160), np.random.default_rng(1).normal(size=(24, 160)).astype(np.float32)
    gram = Gram(160)
    for part in np.array_split(x, 5):
        gram.add(part.reshape(4, -1, 160))
    assert gram.rows == 400
    assert np.allclose(gram.matrix, x.T.astype(np.float64) @ x, rtol=1e-4, atol=1e-2)
    scheme = Scheme(bits, 32, kind)
    plain, found = rtn(w, scheme, clip=False), gptq(w, gram.matrix, scheme, order=order, half=True)
    assert found.half
    assert loss(x, w, found.dequantized()) < 0.8 * loss(x, w, in_half(plain, w).dequantized())


def test_few_samples_are_no_harm() -> None:
    w = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    for rows in (0, 1, 3):
        x = inputs(max(rows, 1), 64)[:rows]
        gram = Gram(64)
        gram.add(x)
        found = gptq(w, gram.matrix, Scheme(4, 32))
        assert loss(x, w, found.dequantized()) <= loss(x, w, rtn(w, Scheme(4, 32), clip=False).dequantized()) + 1e-9


def test_numbers_that_are_none() -> None:
    gram = Gram(4)
    for bad in (np.nan, np.inf, 1e30):
        with pytest.raises(ValueError, match="NaN"):
            gram.add(np.full((2, 4), bad, np.float32))
    assert not gram.matrix.any()


def test_independent_inputs_need_no_making_up() -> None:
    """With X^T X = I there is nothing that later columns could do: GPTQ is rounding to nearest."""
    w = np.random.default_rng(2).normal(size=(6, 64)).astype(np.float32)
    for kind in (SYMMETRIC, ASYMMETRIC, MINIMUM):
        found = gptq(w, np.eye(64), Scheme(4, 32, kind), clip=False)
        assert np.array_equal(found.codes, rtn(w, Scheme(4, 32, kind), clip=False).codes)


def test_factors_lower_the_loss() -> None:
    x, w = inputs(300, 64), np.random.default_rng(1).normal(size=(16, 64)).astype(np.float32)
    gram = x.T.astype(np.float64) @ x
    scheme = Scheme(3, 32)

    def quantized(matrix: Any) -> Any:
        return rtn(matrix, scheme, clip=False)

    f = factors([w], gram, quantized)
    assert f is not None
    assert loss(x, w, quantized(w * f).dequantized() / f) < loss(x, w, quantized(w).dequantized())
    assert factors([w], np.zeros((64, 64)), quantized) is None

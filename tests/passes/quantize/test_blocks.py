"""Blocks: errors that each kind may make, grids that are found exactly, and how codes are packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.types import I2, I4, U2, U4, DType
from geoc.passes.quantize.blocks import (
    ASYMMETRIC,
    KINDS,
    MINIMUM,
    POSITIVE,
    SYMMETRIC,
    Blocks,
    Scheme,
    apart,
    exact_blocks,
    joined,
    ranges,
    spread,
    to_half,
    together,
)
from geoc.passes.quantize.hqq import hqq
from geoc.passes.quantize.rtn import in_half, rtn
from geoc.passes.quantize.weight_only import packed

BITS = (2, 3, 4, 8)


def matrix(rows: int, columns: int, seed: int = 0) -> Any:
    """Weights with a few that are large, a row of zeros, and a block of equal numbers."""
    random = np.random.default_rng(seed)
    found = random.standard_t(4, (rows, columns)).astype(np.float32) / 20
    found[0] = 0
    found[1, :16] = 0.25
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("columns", [64, 72])
def test_no_number_is_further_off_than_half_a_step(bits: int, kind: str, columns: int) -> None:
    scheme = Scheme(bits, 32, kind)
    w = matrix(9, columns)
    blocks = rtn(w, scheme, clip=False)
    error = np.abs(w.astype(np.float64) - blocks.dequantized())
    step = spread(np.abs(blocks.scale), 32, columns).astype(np.float64)
    # Inside the range half a step; the far end of symmetric blocks is one code short of what the near end reaches,
    # integer zeros move the range by up to half a step.
    allowed = {SYMMETRIC: 1.0, POSITIVE: 0.5, ASYMMETRIC: 1.0, MINIMUM: 0.5}[kind] * step
    assert (error <= allowed + 1e-6 * np.abs(w) + 1e-9).all()
    codes = blocks.codes.astype(np.int64)
    assert codes.max() <= scheme.top
    inside = (codes > 0) & (codes < scheme.top)
    assert (error[inside] <= 0.5 * step[inside] + 1e-6 * np.abs(w[inside])).all()
    assert (blocks.dequantized()[0] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_clipped_ranges_are_never_worse(bits: int, kind: str) -> None:
    w = matrix(8, 128)
    plain, clipped = (rtn(w, Scheme(bits, 32, kind), clip) for clip in (False, True))
    errors = [((apart(w, 32) - apart(b.dequantized(), 32)) ** 2).sum(axis=2) for b in (plain, clipped)]
    assert (errors[1] <= errors[0] * (1 + 1e-5) + 1e-12).all()
    assert errors[1].sum() < errors[0].sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_sparse_errors_are_never_worse_by_their_own_measure(bits: int, kind: str) -> None:
    w = matrix(8, 128)
    scheme = Scheme(bits, 32, kind)
    plain, found = rtn(w, scheme, clip=False), hqq(w, scheme)
    measures = [(np.abs(apart(w - b.dequantized(), 32)) ** 0.7).sum(axis=2) for b in (plain, found)]
    assert (measures[1] <= measures[0] * (1 + 1e-4) + 1e-6).all()
    if kind != ASYMMETRIC:  # integer zeros are mostly where they are best already
        assert measures[1].sum() < measures[0].sum()


@pytest.mark.parametrize(("bits", "kind"), [(4, SYMMETRIC), (8, SYMMETRIC), (4, MINIMUM), (3, MINIMUM), (2, MINIMUM)])
@pytest.mark.parametrize("half", [True, False])
def test_numbers_of_a_grid_are_given_again(bits: int, kind: str, half: bool) -> None:
    random = np.random.default_rng(bits)
    scheme = Scheme(bits, 32, kind)
    codes = random.integers(0, scheme.top + 1, (12, 3, 32)).astype(np.uint8)
    codes[:, :, 0], codes[:, :, 1] = 0, scheme.top  # what a quantizer that spans the range gives
    if bits == 8:
        codes = np.maximum(codes, 1)  # as far down from the middle as up
    scale = random.uniform(0.001, 0.1, (12, 3)).astype(np.float32)
    least = random.normal(size=(12, 3)).astype(np.float32)
    scale, least = (to_half(scale), to_half(least)) if half else (scale, least)
    offset = least if kind == MINIMUM else None
    w = Blocks(scheme, together(codes, 96), scale, offset).dequantized()
    found = exact_blocks(w, scheme)
    assert found is not None
    assert np.abs(found.dequantized() - w).max() <= 4 * np.spacing(np.abs(w).max())
    if half:
        assert found.half
        assert np.array_equal(found.codes, together(codes, 96))
        assert np.array_equal(found.dequantized(), w)


def test_blocks_that_use_few_codes_are_found() -> None:
    codes = np.array([[3] * 16 + [5] * 16, [0] * 31 + [1]], np.uint8)
    scale, least = to_half(np.array([[0.1], [0.7]], np.float32)), to_half(np.array([[-1.3], [0.2]], np.float32))
    w = Blocks(Scheme(4, 32, MINIMUM), codes, scale, least).dequantized()
    found = exact_blocks(w, Scheme(4, 32, MINIMUM))
    assert found is not None
    assert np.abs(found.dequantized() - w).max() <= 1e-6


def test_other_numbers_are_on_no_grid() -> None:
    w = matrix(16, 64)
    w[0], w[1] = w[2], w[3]
    for kind in (SYMMETRIC, MINIMUM):
        assert exact_blocks(w, Scheme(4, 32, kind)) is None
        one = Blocks(Scheme(4, 32, SYMMETRIC), np.full((16, 64), 3, np.uint8), np.ones((16, 2), np.float32)).dequantized()
        one[5] = w[5]  # one row that is not
        assert exact_blocks(one, Scheme(4, 32, kind)) is None
    assert exact_blocks(w[:, :40], Scheme(4, 32, SYMMETRIC)) is None  # the last block is not whole


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_of_scales_costs_little(kind: str) -> None:
    w = matrix(8, 64)
    blocks = rtn(w, Scheme(4, 32, kind), clip=False)
    half = in_half(blocks, w)
    assert half.half
    assert np.array_equal(half.scale, half.scale.astype(np.float16))
    errors = [np.square(w - b.dequantized()).sum() for b in (blocks, half)]
    assert errors[1] <= 1.05 * errors[0]


@pytest.mark.parametrize("made", [rtn, lambda w, s: rtn(w, s, False), hqq])
@pytest.mark.parametrize("bits", BITS)
def test_positive_scales_are_above_zero_in_half_precision_too(bits: int, made: Any) -> None:
    """Of blocks of zeros, of tiny numbers, and whichever sign the largest number has."""
    w = matrix(8, 64)
    w[2], w[3] = w[2] * 1e-9, -np.abs(w[3])
    blocks = in_half(made(w, Scheme(bits, 32, POSITIVE)), w)
    assert (blocks.scale > 0).all() and (blocks.scale.astype(np.float16) == blocks.scale).all()
    assert (blocks.dequantized()[0] == 0).all()
    signed = in_half(made(w, Scheme(bits, 32, SYMMETRIC)), w)
    assert bits == 8 or (signed.scale < 0).any()


def test_bits_a_weight_takes() -> None:
    w = matrix(4, 64)
    assert rtn(w, Scheme(4, 32)).bits_per_weight() == 5.0
    assert in_half(rtn(w, Scheme(4, 32)), w).bits_per_weight() == 4.5
    assert in_half(rtn(w, Scheme(4, 32, POSITIVE)), w).bits_per_weight() == 4.5
    assert in_half(rtn(w, Scheme(4, 32, ASYMMETRIC)), w).bits_per_weight() == 4.625
    assert in_half(rtn(w, Scheme(4, 32, MINIMUM)), w).bits_per_weight() == 5.0
    assert in_half(rtn(w, Scheme(3, 64)), w).bits_per_weight() == 4.25  # stored as 4


@pytest.mark.parametrize("dtype", [I4, U4, I2, U2])
def test_packed_codes_are_unpacked_again(dtype: DType) -> None:
    codes = np.arange(21, dtype=np.uint8).reshape(3, 7) * 3
    tensor = packed(codes, dtype)
    low = codes % (1 << dtype.bits)
    wanted = low.astype(np.int16)
    if dtype.kind == "i":
        wanted = np.where(low >= 1 << (dtype.bits - 1), wanted - (1 << dtype.bits), wanted)
    assert np.array_equal(tensor.array().astype(np.int16), wanted)
    assert bytes(tensor.data())[0] & ((1 << dtype.bits) - 1) == low.flat[0]  # the first element has the low bits


def test_parts_are_joined() -> None:
    w = matrix(6, 64)
    scheme = Scheme(4, 32, MINIMUM)
    whole = rtn(w, scheme)
    parts = joined([rtn(w[:2], scheme), rtn(w[2:], scheme)])
    assert np.array_equal(whole.dequantized(), parts.dequantized())
    with pytest.raises(ValueError, match="different"):
        joined([whole, rtn(w, Scheme(4, 32))])


@pytest.mark.parametrize("options", [(5, 32), (4, 0), (4, 32, "other")])
def test_schemes_that_cannot_be(options: Any) -> None:
    with pytest.raises(ValueError, match="can be|one of"):
        Scheme(*options)


def test_scales_of_bytes_are_positive() -> None:
    """TensorRT refuses others."""
    assert (rtn(-np.abs(matrix(9, 64)), Scheme(8, 32)).scale >= 0).all()


def test_signed_ranges_use_all_codes() -> None:
    w = np.array([[[-0.1, 0.8], [-0.8, 0.1]]], np.float32)
    scale, _ = ranges(w, Scheme(4, 2))
    assert np.allclose(scale, [[-0.1, 0.1]])

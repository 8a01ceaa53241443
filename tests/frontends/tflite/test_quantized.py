"""Quantized tensors: codes between operators, numbers inside, within one step of exact arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.frontends.tflite import load_tflite
from geoc.ir.errors import FormatError

from .building import File
from .running import convolution, run

RNG = np.random.default_rng(2)


def _codes(x: Any, scale: float, zero: int, dtype: str) -> Any:
    limits = np.iinfo(dtype)
    return np.clip(np.round(x / scale) + zero, limits.min, limits.max)


@pytest.mark.parametrize(("dtype", "zero"), [("int8", -3), ("uint8", 120), ("int16", 0)])
def test_a_convolution_with_a_scale_for_each_channel(dtype: str, zero: int) -> None:
    f, limits = File(), np.iinfo(dtype)
    x = RNG.integers(max(limits.min, -500), min(limits.max, 500), (1, 5, 6, 3)).astype(dtype)
    w = RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    scales = np.array([0.01, 0.02, 0.005, 0.03], np.float32)
    bias = RNG.integers(-1000, 1000, 4).astype(np.int64)
    inputs = [
        f.input(dtype, x.shape, scale=0.05, zero=zero),
        f.const(w, scale=scales, axis=0),
        f.const(bias, wide=dtype == "int16", scale=0.05 * scales, axis=0),
    ]
    y = f.op("CONV_2D", inputs, [f.tensor(dtype, (), scale=0.3, zero=zero)], "Conv2DOptions", Padding=0, StrideW=1, StrideH=1, FusedActivationFunction=1)  # fmt: skip
    found = run(f.data(y), x, asked=dtype != "uint8")[0]  # LiteRT has no unsigned codes with a scale for each channel
    sums = convolution(x.astype(np.int64) - zero, w.astype(np.int64), 1) + bias
    expected = _codes(np.maximum(sums * (0.05 * scales.astype(np.float64)), 0), 0.3, zero, dtype)
    assert found.dtype == dtype
    assert np.abs(found.astype(np.int64) - expected).max() <= 1
    assert np.unique(expected).size > 20


def test_a_depthwise_convolution_has_its_channels_last() -> None:
    f = File()
    x, w = RNG.integers(-128, 128, (1, 4, 4, 3)).astype(np.int8), RNG.integers(-127, 128, (1, 3, 3, 3)).astype(np.int8)
    scales = np.array([0.01, 0.02, 0.005], np.float32)
    inputs = [f.input("int8", x.shape, scale=0.1, zero=5), f.const(w, scale=scales, axis=3)]
    y = f.op("DEPTHWISE_CONV_2D", inputs, [f.tensor("int8", (), scale=0.2, zero=-7)], "DepthwiseConv2DOptions", Padding=0, StrideW=1, StrideH=1, DepthMultiplier=1)  # fmt: skip
    sums = convolution(x.astype(np.int64) - 5, w.astype(np.int64).transpose(3, 1, 2, 0), 1, groups=3)
    expected = _codes(sums * (0.1 * scales.astype(np.float64)), 0.2, -7, "int8")
    assert np.abs(run(f.data(y), x)[0] - expected).max() <= 1


def test_a_bias_of_64_bits() -> None:
    f = File()
    x, w = RNG.integers(-3000, 3000, (2, 8)).astype(np.int16), RNG.integers(-127, 128, (3, 8)).astype(np.int8)
    bias = np.array([100000, -50000, 7], np.int64)
    inputs = [f.input("int16", x.shape, scale=0.001), f.const(w, scale=0.01), f.const(bias, wide=True, scale=0.00001)]
    y = f.op("FULLY_CONNECTED", inputs, [f.tensor("int16", (), scale=0.002)], "FullyConnectedOptions")
    expected = _codes((x.astype(np.int64) @ w.T.astype(np.int64) + bias) * 1e-5, 0.002, 0, "int16")
    assert np.abs(run(f.data(y), x)[0] - expected).max() <= 1


def test_codes_move_as_they_are_and_are_computed_where_scales_differ() -> None:
    f, x = File(), RNG.integers(-128, 128, (1, 4, 6)).astype(np.int8)
    i = f.input("int8", x.shape, scale=0.1, zero=3)
    same = f.op("RESHAPE", [i, f.const(np.array([2, 12]))], [f.tensor("int8", (), scale=0.1, zero=3)], "ReshapeOptions")
    other = f.op("CONCATENATION", [i, i], [f.tensor("int8", (), scale=0.23, zero=0)], "ConcatenationOptions", Axis=0)
    data = f.data(same, other)
    assert [node.op.name for node in load_tflite(data).walk()].count("QuantizeLinear") == 1
    found = run(data, x, asked=False)  # LiteRT joins no codes of other scales
    np.testing.assert_array_equal(found[0], x.reshape(2, 12))
    np.testing.assert_array_equal(found[1], _codes(0.1 * (np.concatenate([x, x]) - 3.0), 0.23, 0, "int8"))


def test_padding_of_codes_is_the_zero_point() -> None:
    f, x = File(), np.full((1, 2, 2, 1), 7, np.int8)
    more = {"scale": 0.1, "zero": -5}
    pads = f.const(np.array([[0, 0], [1, 0], [0, 1], [0, 0]]))
    y = f.op("PAD", [f.input("int8", x.shape, **more), pads], [f.tensor("int8", (), **more)], "PadOptions")
    np.testing.assert_array_equal(run(f.data(y), x)[0][0, :, :, 0], [[-5, -5, -5], [7, 7, -5], [7, 7, -5]])


def test_requantizing_and_numbers_to_codes_and_back() -> None:
    f, x = File(), RNG.uniform(-10, 10, (3, 4)).astype(np.float32)
    codes = f.op("QUANTIZE", [f.input("float32", x.shape)], [f.tensor("int8", (), scale=0.1, zero=4)])
    unsigned = f.op("QUANTIZE", [codes], [f.tensor("uint8", (), scale=0.1, zero=132)])
    numbers = f.op("DEQUANTIZE", [unsigned], [f.tensor("float32", ())])
    found = run(f.data(codes, unsigned, numbers), x)
    np.testing.assert_array_equal(found[0], _codes(x, np.float32(0.1), 4, "int8"))
    np.testing.assert_array_equal(found[1], found[0].astype(int) + 128)
    np.testing.assert_allclose(found[2], (found[0].astype(np.float32) - 4) * np.float32(0.1), rtol=1e-6)


@pytest.mark.parametrize("more", [{"scale": [0.1, 0.2]}, {"scale": -1.0}, {"scale": np.nan}, {"scale": [0.1] * 3, "axis": 1}])
def test_scales_that_do_not_fit_are_refused(more: Any) -> None:
    f = File()
    i = f.input("int8", (3, 4), **more)
    with pytest.raises(FormatError, match=r"tensor 't0' has .* scales"):
        load_tflite(f.data(f.op("DEQUANTIZE", [i], [f.tensor("float32", ())])))

"""Volumes, spectra, dilated convolutions in three operators, slices and sizes that are computed, wide codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.frontends.tflite import load_tflite
from geoc.ir.errors import UnsupportedModel

from .building import File
from .running import run

RNG = np.random.default_rng(9)


def _x(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_volumes(same: bool, stride: int) -> None:
    f, x, w, bias = File(), _x(1, 5, 6, 7, 3), _x(3, 2, 3, 3, 4), _x(4)
    y = f.op("CONV_3D", [f.input("float32", x.shape), f.const(w), f.const(bias)], [f.tensor("float32", ())], "Conv3DOptions",
             Padding=int(not same), StrideD=stride, StrideH=stride, StrideW=1, FusedActivationFunction=1)  # fmt: skip
    found = run(f.data(y), x)[0]
    if not same and stride == 1:
        np.testing.assert_allclose(found[0, 0, 0, 0], np.maximum((x[0, :3, :2, :3, :, None] * w).sum((0, 1, 2, 3)) + bias, 0), atol=1e-5)


@pytest.mark.parametrize("same", [False, True])
def test_a_transposed_convolution_of_volumes(same: bool) -> None:
    f, x, w = File(), _x(1, 3, 2, 3, 2), _x(3, 3, 3, 4, 2)
    size = [1, 6, 4, 6, 4] if same else [1, 7, 5, 7, 4]
    y = f.op("CONV_3D_TRANSPOSE", [f.const(np.array(size)), f.const(w), f.input("float32", x.shape)], [f.tensor("float32", tuple(size))],
             "Conv3DOptions", Padding=int(not same), StrideD=2, StrideH=2, StrideW=2)  # fmt: skip
    expected = np.zeros((7, 5, 7, 4))
    for place in np.ndindex(3, 2, 3):
        at = tuple(slice(2 * i, 2 * i + 3) for i in place)
        expected[at] += np.einsum("dhwoc,c->dhwo", w, x[0][place])
    expected = expected[: size[1], : size[2], : size[3]]  # all that SAME cuts off is behind
    np.testing.assert_allclose(run(f.data(y), x)[0][0], expected, atol=1e-5)


@pytest.mark.parametrize("length", [16, 32])
def test_spectra(length: int) -> None:
    f, x = File(), _x(2, 3, 1, 20)
    spectrum = f.op("RFFT2D", [f.input("float32", x.shape), f.const(np.array([1, length]))], [f.tensor("complex64", ())])
    flat = f.op("RESHAPE", [spectrum, f.const(np.array([6, length // 2 + 1]))], [f.tensor("complex64", ())], "ReshapeOptions")
    parts = [f.op(name, [flat], [f.tensor("float32", ())]) for name in ("REAL", "IMAG", "COMPLEX_ABS")]
    expected = np.fft.rfft(x[:, :, 0], length).reshape(6, -1)
    for found, part in zip(run(f.data(*parts), x, asked=length == 32), (expected.real, expected.imag, np.abs(expected))):
        np.testing.assert_allclose(found, part, atol=1e-4)


def test_complex_numbers_stay_among_their_operators() -> None:
    f = File()
    spectrum = f.op("RFFT2D", [f.input("float32", (1, 8)), f.const(np.array([1, 8]))], [f.tensor("complex64", ())])
    with pytest.raises(UnsupportedModel, match="reads the complex tensor 't2'"):
        load_tflite(f.data(f.op("NEG", [spectrum], [f.tensor("complex64", ())])))


def _three_operators(crop: int, keep: bool = False) -> tuple[bytes, Any, Any, Any]:
    f, x, w, bias = File(), _x(1, 8, 9, 3), _x(5, 3, 3, 3), _x(5)
    blocks, pads, crops = (f.const(np.array(a)) for a in ([2, 3], [[2, 2], [3, 6]], [[0, 0], [crop, 3 - crop]]))
    cut = f.op("SPACE_TO_BATCH_ND", [f.input("float32", x.shape), blocks, pads], [f.tensor("float32", ())])
    made = f.op("CONV_2D", [cut, f.const(w), f.const(bias)], [f.tensor("float32", ())], "Conv2DOptions", Padding=1, StrideW=1, StrideH=1, FusedActivationFunction=1)  # fmt: skip
    y = f.op("BATCH_TO_SPACE_ND", [made, blocks, crops], [f.tensor("float32", ())])
    return f.data(*([y, made] if keep else [y])), x, w, bias


@pytest.mark.parametrize("crop", [0, 1])
def test_a_dilated_convolution_of_three_operators_is_one(crop: int) -> None:
    data, x, w, bias = _three_operators(crop)
    ops = [node.op.name for node in load_tflite(data).walk()]
    assert ops.count("Conv") == 1 and "Reshape" not in ops
    padded = np.pad(x, [(0, 0), (2, 2), (3 - crop, 3 + crop), (0, 0)])
    expected = np.zeros((1, 8, 9, 5))
    for i in range(3):
        for j in range(3):
            expected += padded[:, 2 * i : 2 * i + 8, 3 * j : 3 * j + 9] @ w[:, i, j].T
    np.testing.assert_allclose(run(data, x)[0], np.maximum(expected + bias, 0), atol=1e-5)


@pytest.mark.parametrize("crop", [0, 1])
def test_a_dilated_convolution_of_a_sequence(crop: int) -> None:
    f, x, w, bias = File(), _x(2, 9, 3), _x(5, 1, 3, 3), _x(5)
    blocks, pads, crops = (f.const(np.array(a)) for a in ([3], [[3, 6]], [[crop, 3 - crop]]))
    cut = f.op("SPACE_TO_BATCH_ND", [f.input("float32", x.shape), blocks, pads], [f.tensor("float32", (6, 6, 3))])
    row = f.op("EXPAND_DIMS", [cut, f.const(np.array(1), ())], [f.tensor("float32", (6, 1, 6, 3))], "ExpandDimsOptions")
    made = f.op("CONV_2D", [row, f.const(w), f.const(bias)], [f.tensor("float32", (6, 1, 4, 5))], "Conv2DOptions", Padding=1, StrideW=1, StrideH=1)
    flat = f.op("SQUEEZE", [made], [f.tensor("float32", (6, 4, 5))], "SqueezeOptions", SqueezeDims=np.array([1], np.int32))
    data = f.data(f.op("BATCH_TO_SPACE_ND", [flat, blocks, crops], [f.tensor("float32", ())]))
    assert [node.op.name for node in load_tflite(data).walk()].count("Reshape") == 0
    padded = np.pad(x, [(0, 0), (3 - crop, 3 + crop), (0, 0)])
    expected = sum(padded[:, 3 * j : 3 * j + 9] @ w[:, 0, j].T for j in range(3)) + bias
    np.testing.assert_allclose(run(data, x)[0], expected, atol=1e-5)


def test_three_operators_stay_where_one_is_used_elsewhere() -> None:
    data, x, _, _ = _three_operators(0, keep=True)
    assert [node.op.name for node in load_tflite(data).walk()].count("Reshape") == 4
    assert [found.shape for found in run(data, x)] == [(1, 8, 9, 5), (6, 4, 4, 5)]


@pytest.mark.parametrize("start", [0, 1, -1])
def test_begins_that_are_computed(start: int) -> None:
    f, x = File(), _x(4, 5)
    i, place = f.input("float32", x.shape), f.input("int32", (1,))
    zero, one, both = f.const(np.array([0])), f.const(np.array([1])), f.const(np.array([1, 1]))
    begin = f.op("CONCATENATION", [place, zero], [f.tensor("int32", (2,))], "ConcatenationOptions", Axis=0)
    after = f.op("ADD", [place, one], [f.tensor("int32", (1,))], "AddOptions")
    end = f.op("CONCATENATION", [after, f.const(np.array([3]))], [f.tensor("int32", (2,))], "ConcatenationOptions", Axis=0)
    row = f.op("STRIDED_SLICE", [i, begin, end, both], [f.tensor("float32", ())], "StridedSliceOptions", ShrinkAxisMask=1)
    rest = f.op("STRIDED_SLICE", [i, begin, end, both], [f.tensor("float32", ())], "StridedSliceOptions", EndMask=1, BeginMask=2)
    results, expected = [row, rest], [x[start, :3], x[start:, :3]]
    if start >= 0:
        results.append(f.op("SLICE", [i, begin, f.const(np.array([2, -1]))], [f.tensor("float32", ())]))
        expected.append(x[start : start + 2])
    for found, part in zip(run(f.data(*results), x, np.array([start], np.int32)), expected, strict=True):
        np.testing.assert_array_equal(found, part)


def test_sizes_and_margins_that_are_computed() -> None:
    f, x = File(), _x(1, 4, 5, 2)
    i, size = f.input("float32", x.shape), f.input("int32", (2,))
    wide = f.op("RESIZE_BILINEAR", [i, size], [f.tensor("float32", ())], "ResizeBilinearOptions", HalfPixelCenters=True)
    pairs = f.op("TILE", [size, f.const(np.array([4]))], [f.tensor("int32", (8,))])
    margins = f.op("RESHAPE", [pairs, f.const(np.array([4, 2]))], [f.tensor("int32", (4, 2))], "ReshapeOptions")
    more = f.op("PAD", [i, margins], [f.tensor("float32", ())], "PadOptions")
    found = run(f.data(wide, more), x, np.array([3, 2], np.int32))
    assert found[0].shape == (1, 3, 2, 2)
    np.testing.assert_array_equal(found[1], np.pad(x, [(3, 2)] * 4))


def test_a_transposed_convolution_of_an_open_number_of_images() -> None:
    f, x, w = File(), _x(3, 4, 4, 2), _x(3, 2, 2, 2)
    i = f.input("float32", (1, 4, 4, 2), signature=(-1, 4, 4, 2))
    shape = f.op("SHAPE", [i], [f.tensor("int32", (4,))], "ShapeOptions", OutType=2)
    first = f.op("STRIDED_SLICE", [shape, f.const(np.array([0])), f.const(np.array([1])), f.const(np.array([1]))], [f.tensor("int32", (1,))], "StridedSliceOptions")
    size = f.op("CONCATENATION", [first, f.const(np.array([8, 8, 3]))], [f.tensor("int32", (4,))], "ConcatenationOptions", Axis=0)
    y = f.op("TRANSPOSE_CONV", [size, f.const(w), i], [f.tensor("float32", (1, 8, 8, 3), signature=(-1, 8, 8, 3))], "TransposeConvOptions", Padding=0, StrideW=2, StrideH=2)
    found = run(f.data(y), x)[0]
    expected = np.einsum("nijc,oabc->niajbo", x, w).reshape(3, 8, 8, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_codes_of_16_bits_are_computed_where_runtimes_lack_them() -> None:
    f, x = File(), RNG.integers(-3000, 3000, (1, 4, 4, 2)).astype(np.int16)
    scale = {"scale": 0.01}
    wide = f.op("PAD", [f.input("int16", x.shape, **scale), f.const(np.array([[0, 0], [1, 1], [1, 1], [0, 0]]))], [f.tensor("int16", (), **scale)])
    y = f.op("MAX_POOL_2D", [wide], [f.tensor("int16", (), **scale)], "Pool2DOptions", Padding=1, StrideW=2, StrideH=2, FilterWidth=2, FilterHeight=2)
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]).reshape(1, 3, 2, 3, 2, 2)
    np.testing.assert_array_equal(run(f.data(y), x)[0], padded.max((2, 4)))


@pytest.mark.parametrize(("low", "high", "bits", "narrow"), [(-0.9, 1.1, 8, False), (0.0, 6.0, 4, False), (-1.0, 1.0, 8, True)])
def test_rounding_to_the_steps_of_a_range(low: float, high: float, bits: int, narrow: bool) -> None:
    f, x = File(), 2 * _x(5, 7)
    y = f.op("FAKE_QUANT", [f.input("float32", x.shape)], [f.tensor("float32", ())], "FakeQuantOptions", Min=low, Max=high, NumBits=bits, NarrowRange=narrow)
    found = run(f.data(y), x, asked=not narrow)[0]  # LiteRT has no narrow ranges
    least, most = int(narrow), 2**bits - 1
    scale = (high - low) / (most - least)
    zero = round(least - low / scale)
    codes = np.clip(np.floor(x.astype(np.float64) / scale + 0.5) + zero, least, most)
    np.testing.assert_allclose(found, (codes - zero) * scale, atol=1e-5)


def test_pools_of_squares_and_norms_over_channels() -> None:
    f, x = File(), _x(1, 4, 4, 6)
    i = f.input("float32", x.shape)
    pooled = f.op("L2_POOL_2D", [i], [f.tensor("float32", ())], "Pool2DOptions", Padding=1, StrideW=2, StrideH=2, FilterWidth=2, FilterHeight=2)
    norm = f.op("LOCAL_RESPONSE_NORMALIZATION", [i], [f.tensor("float32", ())], "LocalResponseNormalizationOptions", Radius=1, Bias=1.0, Alpha=0.5, Beta=0.75)
    found = run(f.data(pooled, norm), x, asked=False)  # LiteRT's reference kernel leaves out the last channel, its other one does not
    np.testing.assert_allclose(found[0], np.sqrt((x.reshape(1, 2, 2, 2, 2, 6) ** 2).mean((2, 4))), atol=1e-5)
    squares = np.pad(x**2, [(0, 0)] * 3 + [(1, 1)])
    np.testing.assert_allclose(found[1], x / (1 + 0.5 * (squares[..., :-2] + squares[..., 1:-1] + squares[..., 2:])) ** 0.75, atol=1e-5)

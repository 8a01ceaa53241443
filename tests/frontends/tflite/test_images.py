"""Operators of images against loops that follow their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .building import File
from .running import convolution, pool, resized, run, transposed

RNG = np.random.default_rng(0)


def _x(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("same", "dilation", "groups"), [(True, 1, 1), (False, 1, 1), (True, 2, 1), (True, 1, 2)])
def test_convolution(stride: int, same: bool, dilation: int, groups: int) -> None:
    f, x, w, bias = File(), _x(1, 7, 8, 4), _x(6, 3, 2, 4 // groups), _x(6)
    inputs = [f.input("float32", x.shape), f.const(w), f.const(bias)]
    y = f.op("CONV_2D", inputs, [f.tensor("float32", ())], "Conv2DOptions", Padding=int(not same), StrideW=stride,
             StrideH=stride, DilationWFactor=dilation, DilationHFactor=dilation, FusedActivationFunction=1)  # fmt: skip
    expected = np.maximum(convolution(x, w, stride, dilation, same, groups) + bias, 0)
    np.testing.assert_allclose(run(f.data(y), x)[0], expected, atol=1e-5)


@pytest.mark.parametrize("biased", [False, True])
def test_depthwise_convolution_with_a_multiplier(biased: bool) -> None:
    f, x, w, bias = File(), _x(2, 6, 5, 3), _x(1, 3, 3, 6), _x(6) if biased else np.zeros(6, np.float32)
    operands = [f.input("float32", x.shape), f.const(w), f.const(bias) if biased else -1]
    y = f.op("DEPTHWISE_CONV_2D", operands, [f.tensor("float32", ())],
             "DepthwiseConv2DOptions", Padding=0, StrideW=2, StrideH=2, DepthMultiplier=2, FusedActivationFunction=3)  # fmt: skip
    expected = np.clip(convolution(x, w.transpose(3, 1, 2, 0), 2, groups=3) + bias, 0, 6)
    np.testing.assert_allclose(run(f.data(y), x, asked=biased)[0], expected, atol=1e-5)


@pytest.mark.parametrize(("stride", "window", "size", "same"), [(2, 2, 8, True), (2, 3, 8, True), (2, 3, 7, True), (2, 3, 9, False), (1, 3, 4, True), (3, 2, 12, True)])
def test_transposed_convolution(stride: int, window: int, size: int, same: bool) -> None:
    f, x, w, bias = File(), _x(1, 4, 4, 3), _x(5, window, window, 3), _x(5)
    inputs = [f.const(np.array([1, size, size, 5])), f.const(w), f.input("float32", x.shape), f.const(bias)]
    y = f.op("TRANSPOSE_CONV", inputs, [f.tensor("float32", ())], "TransposeConvOptions", Padding=int(not same), StrideW=stride, StrideH=stride)
    total = max((-(-size // stride) - 1) * stride + window - size, 0) if same else 0
    np.testing.assert_allclose(run(f.data(y), x)[0], transposed(x, w, stride, (size, size), total // 2) + bias, atol=1e-5)


def test_the_transposed_convolution_of_mediapipe() -> None:
    f, x, w, bias = File(), _x(1, 4, 4, 3), _x(2, 3, 3, 3), _x(2)
    inputs = [f.input("float32", x.shape), f.const(w), f.const(bias)]
    parameters = np.array([1, 2, 2], np.int32).tobytes()  # SAME of the C enumeration, strides
    y = f.op("Convolution2DTransposeBias", inputs, [f.tensor("float32", ())], custom=parameters)
    # 2 * 3 + 3 less max(0, 3 - 3 % 2 - 1) = 1, of which none is cut before.
    found = run(f.data(y), x, asked=False)[0]
    np.testing.assert_allclose(found, transposed(x, w, 2, (8, 8), 0) + bias, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("name", "take"), [("AVERAGE_POOL_2D", np.mean), ("MAX_POOL_2D", np.max)])
def test_pools_do_not_count_the_padding(name: str, take: Any, stride: int) -> None:
    f, x = File(), _x(1, 5, 6, 2) - 3
    y = f.op(name, [f.input("float32", x.shape)], [f.tensor("float32", ())], "Pool2DOptions", Padding=0, StrideW=stride, StrideH=stride, FilterWidth=3, FilterHeight=3)
    np.testing.assert_allclose(run(f.data(y), x)[0], pool(x, 3, stride, take), atol=1e-6)


@pytest.mark.parametrize("size", [(7, 9), (3, 2), (1, 10)])
@pytest.mark.parametrize(("corners", "centers"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("nearest", [False, True])
def test_resizing(nearest: bool, corners: bool, centers: bool, size: tuple[int, int]) -> None:
    f, x = File(), _x(1, 4, 5, 2)
    name, options = ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions") if nearest else ("RESIZE_BILINEAR", "ResizeBilinearOptions")
    inputs = [f.input("float32", x.shape), f.const(np.array(size))]
    y = f.op(name, inputs, [f.tensor("float32", ())], options, AlignCorners=corners, HalfPixelCenters=centers)
    np.testing.assert_allclose(run(f.data(y), x)[0], resized(x, size, nearest, corners, centers), atol=1e-5)


def test_blocks_of_pixels() -> None:
    f, x = File(), _x(1, 4, 6, 8)
    i = f.input("float32", x.shape)
    deep = f.op("SPACE_TO_DEPTH", [i], [f.tensor("float32", ())], "SpaceToDepthOptions", BlockSize=2)
    wide = f.op("DEPTH_TO_SPACE", [i], [f.tensor("float32", ())], "DepthToSpaceOptions", BlockSize=2)
    found = run(f.data(deep, wide), x)
    blocks = x.reshape(1, 2, 2, 3, 2, 8).transpose(0, 1, 3, 2, 4, 5).reshape(1, 2, 3, 32)
    pixels = x.reshape(1, 4, 6, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(1, 8, 12, 2)
    np.testing.assert_array_equal(found[0], blocks)
    np.testing.assert_array_equal(found[1], pixels)


def test_an_open_batch_stays_open() -> None:
    f, x, w = File(), _x(3, 4, 4, 2), _x(2, 3, 3, 2)
    i = f.input("float32", (1, 4, 4, 2), signature=(-1, 4, 4, 2))
    y = f.op("CONV_2D", [i, f.const(w), f.const(np.zeros(2))], [f.tensor("float32", ())], "Conv2DOptions", Padding=0, StrideW=1, StrideH=1)
    np.testing.assert_allclose(run(f.data(y), x)[0], convolution(x, w, 1), atol=1e-5)

"""Affine quantization, against onnxruntime's QuantizeLinear and against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoc.ir.tensor import Tensor
from geoc.ir.types import I8, U8, U16
from geoc.passes.quantize import weights
from geoc.passes.quantize.scheme import (
    SMALLEST_SCALE,
    WEIGHTS,
    Affine,
    Scheme,
    affine_of,
    dequantize,
    error_bound,
    quantize,
    quantized_bias,
    represented,
    without_overflow,
)  # fmt: skip

SCHEMES = [
    Scheme(dtype, symmetric, reduced, narrow)
    for dtype in (U8, I8) for symmetric in (False, True) for reduced in (False, True) for narrow in (False, True)
]  # fmt: skip
numbers = st.floats(-1e6, 1e6, width=32)


def in_onnxruntime(array: np.ndarray, affine: Affine) -> list[Any]:
    """The codes, and what they come back as."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    attrs = {} if affine.axis is None else {"axis": affine.axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attrs),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], **attrs),
    ]
    code = TensorProto.UINT8 if affine.zero.dtype == np.uint8 else TensorProto.INT8
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, array.shape)],
        [helper.make_tensor_value_info("q", code, array.shape), helper.make_tensor_value_info("d", TensorProto.FLOAT, array.shape)],
        [numpy_helper.from_array(affine.scale, "s"), numpy_helper.from_array(affine.zero, "z")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"]).run(None, {"x": array})


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if not s.reduced and not s.narrow])
def test_codes_are_those_of_onnxruntime(scheme: Scheme) -> None:
    rng = np.random.default_rng(0)
    array = np.concatenate([rng.standard_normal(5000) * 3, [0.0, -0.0, 1e30, -1e30], np.arange(-300, 300) / 2]).astype(np.float32)
    affine = affine_of(-2.0, 3.0, scheme)
    codes, back = in_onnxruntime(array, affine)
    np.testing.assert_array_equal(quantize(array, affine), codes)
    np.testing.assert_array_equal(dequantize(codes, affine), back)
    halves = Affine(np.array(1.0, np.float32), affine.zero, affine.low, affine.high)  # ties
    np.testing.assert_array_equal(quantize(array, halves), in_onnxruntime(array, halves)[0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_codes_by_channel(axis: int) -> None:
    rng = np.random.default_rng(axis)
    array = rng.standard_normal((3, 4, 5)).astype(np.float32) * 5
    others = tuple(i for i in range(3) if i != axis)
    affine = affine_of(array.min(others), array.max(others), Scheme(U8), axis)
    codes, back = in_onnxruntime(array, affine)
    np.testing.assert_array_equal(quantize(array, affine), codes)
    np.testing.assert_array_equal(dequantize(codes, affine), back)
    assert (np.abs(back - array).max(others) <= error_bound(affine)).all()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SCHEMES), numbers, numbers, st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_error_is_half_a_step_at_most(scheme: Scheme, a: float, b: float, places: list[float]) -> None:
    low, high = min(a, b), max(a, b)
    affine = affine_of(low, high, scheme)
    array = np.clip(np.float32([low + (high - low) * t for t in places] + [low, high]), np.float32(low), np.float32(high))
    codes = quantize(array, affine)
    assert codes.min() >= scheme.low and codes.max() <= scheme.high
    scale, zero = Fraction(float(affine.scale)), int(affine.zero)
    bound = Fraction(float(error_bound(affine)))
    for number, code in zip(array.tolist(), codes.tolist()):
        assert abs(Fraction(number) - (code - zero) * scale) <= bound
    least, most = represented(affine)
    assert least - bound <= min(low, 0) and most + bound >= max(high, 0)


@given(st.sampled_from(SCHEMES), numbers, numbers)
def test_zero_has_a_code(scheme: Scheme, a: float, b: float) -> None:
    affine = affine_of(min(a, b), max(a, b), scheme)
    assert dequantize(quantize(np.zeros(1, np.float32), affine), affine)[0] == 0
    if scheme.symmetric:
        assert int(affine.zero) == scheme.middle


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ranges_of_nothing(scheme: Scheme) -> None:
    affine = affine_of(0.0, 0.0, scheme)
    assert float(affine.scale) == SMALLEST_SCALE
    array = np.zeros(3, np.float32)
    np.testing.assert_array_equal(dequantize(quantize(array, affine), affine), array)


def test_saturation() -> None:
    affine = affine_of(-1.0, 1.0, Scheme(I8, symmetric=True))
    array = np.float32([-np.inf, -1e38, -2, 2, 1e38, np.inf])
    assert quantize(array, affine).tolist() == [-128, -128, -128, 127, 127, 127]


def test_bad_ranges() -> None:
    for low, high in ((float("nan"), 1.0), (0.0, float("inf")), (2.0, 1.0)):
        with pytest.raises(ValueError, match="a range"):
            affine_of(low, high, Scheme(U8))
    with pytest.raises(ValueError, match="NaN has no code"):
        quantize(np.float32([np.nan]), affine_of(0.0, 1.0, Scheme(U8)))
    with pytest.raises(ValueError, match="u16"):
        Scheme(U16)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 10, width=32), st.floats(-1e4, 1e4, width=32)), min_size=1, max_size=6),
    st.floats(2.0**-20, 1.0),
)
def test_biases_of_dead_channels_fit(channels: list[tuple[float, float]], activation: float) -> None:
    largest, bias = (np.array(row) for row in zip(*channels))
    scale = affine_of(-largest, largest, WEIGHTS, 0).scale
    fitting = without_overflow(scale, activation, bias.astype(np.float32))
    assert (fitting >= scale).all()
    steps = (fitting * np.float32(activation)).astype(np.float32)
    codes = quantized_bias(bias.astype(np.float32), steps)
    assert (np.abs(codes.astype(np.int64)) < 2**31 - 2**19).all()
    assert (np.abs(codes * steps.astype(np.float64) - bias) <= 0.5000001 * steps).all()


def test_a_bias_that_does_not_fit() -> None:
    with pytest.raises(OverflowError):
        quantized_bias(np.float32([1.0]), np.float32([2.0**-60]))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_codes_of_weights_in_parts_are_those_of_the_whole(axis: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).standard_normal((37, 24, 3)).astype(np.float32)
    affine = weights.weight_affine(Tensor.from_array(array), axis, weights.weight_scheme(False))
    monkeypatch.setattr(weights, "_BLOCK", 5 * 72)
    found = weights.as_codes(Tensor.from_array(array), affine).codes.array()
    np.testing.assert_array_equal(found, quantize(array, affine))

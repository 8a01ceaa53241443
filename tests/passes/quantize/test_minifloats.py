"""Floats of 8 and 4 bits: against onnxruntime, the ONNX reference evaluator, and the formats' own tables."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoc.passes.quantize.minifloats import (
    SMALLEST_SCALE,
    error_bound,
    mxfp8,
    nvfp4,
    power_of_two,
    scale_of,
    to_e2m1,
    to_e4m3,
    whole_scale,
)  # fmt: skip

E4M3 = ml_dtypes.float8_e4m3fn
scales = st.floats(2.0**-14, 2.0**10, width=32)


def in_onnxruntime(array: np.ndarray, scale: np.ndarray) -> Any:
    """What comes back of QuantizeLinear to float8e4m3fn."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    operands = ["s", "z"]
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", *operands], ["q"]), helper.make_node("DequantizeLinear", ["q", *operands], ["d"])],
        "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, array.shape)],
        [helper.make_tensor_value_info("d", TensorProto.FLOAT, array.shape)],
        [numpy_helper.from_array(scale, "s"), helper.make_tensor("z", TensorProto.FLOAT8E4M3FN, [], b"\0", raw=True)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": array})[0]


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0123, 3.7])
def test_codes_are_those_of_onnxruntime(scale: float) -> None:
    s = np.asarray(scale, np.float32)
    rng = np.random.default_rng(0)
    numbers = np.arange(127, dtype=np.uint8).view(E4M3).astype(np.float32)
    ties = (numbers[1:] + numbers[:-1]) / 2
    array = np.concatenate([rng.standard_normal(5000) * 100, numbers, ties, -ties, [460, 1e30, -1e30, np.inf, -np.inf]])
    array = (array * s).astype(np.float32)
    np.testing.assert_array_equal(to_e4m3(array, s).astype(np.float32) * s, in_onnxruntime(array, s))


def test_every_number_of_e4m3_has_its_own_code() -> None:
    codes = np.array([c for c in range(256) if c & 0x7F != 0x7F], np.uint8)  # 0x7F and 0xFF are NaN
    for scale in (1.0, 2.0**-14, 0.75):
        s = np.asarray(scale, np.float32)
        np.testing.assert_array_equal(to_e4m3(codes.view(E4M3).astype(np.float32) * s, s).view(np.uint8), codes)


@settings(max_examples=300, deadline=None)
@given(scales, st.integers(-20, 8), st.lists(st.floats(1.0, 2.0), min_size=1, max_size=8))
def test_the_error_in_each_binade(scale: float, binade: int, places: list[float]) -> None:
    """Half a unit in the last place at most, of a number of 2^-6 and more; of smaller ones half of 2^-9."""
    s = scale_of(scale * 448)
    array = np.minimum(np.float32(places) * np.float32(2.0**binade), 448).astype(np.float32) * s
    array = np.concatenate([array, -array])
    off = np.abs(to_e4m3(array, s).astype(np.float64) * float(s) - array.astype(np.float64))
    assert (off <= error_bound(array, s)).all()
    exact = max(2.0**binade * 2.0**-3, 2.0**-9) * float(s)  # the unit in the last place of this binade
    assert (off <= exact * (0.5 + 2.0**-19)).all() or binade == 8


@given(st.floats(0, 1e9, width=32))
def test_scales_reach_and_are_exact_in_half_precision(largest: float) -> None:
    scale = scale_of(largest)
    assert 448 * float(scale) >= largest and float(scale) <= max(SMALLEST_SCALE, largest / 448 * (1 + 2.0**-7))
    assert float(scale.astype(ml_dtypes.bfloat16)) == float(scale)
    assert largest > 2.0**23 or float(scale.astype(np.float16)) == float(scale)


def test_nothing_and_saturation() -> None:
    assert float(scale_of(0.0)) == SMALLEST_SCALE
    zeros = np.zeros(3, np.float32)
    np.testing.assert_array_equal(to_e4m3(zeros, scale_of(0.0)).astype(np.float32), zeros)
    s = scale_of(2.0)
    ends = to_e4m3(np.float32([-np.inf, -1e30, -2.1, 2.1, np.inf]), s).astype(np.float32)
    assert ends.tolist() == [-448, -448, -448, 448, 448]


def test_what_has_no_code() -> None:
    for bad in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="largest magnitude"):
            scale_of(bad)
    with pytest.raises(ValueError, match="NaN has no code"):
        to_e4m3(np.float32([np.nan]), np.float32(1))


def test_e2m1_against_the_reference_evaluator() -> None:
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    array = np.concatenate([np.arange(-64, 65) / 8, [100.0, -100.0]]).astype(np.float32)
    nodes = [helper.make_node("Cast", ["x"], ["q"], to=TensorProto.FLOAT4E2M1), helper.make_node("Cast", ["q"], ["y"], to=1)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, array.shape)], [helper.make_tensor_value_info("y", 1, array.shape)]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    np.testing.assert_array_equal(to_e2m1(array).astype(np.float32), ReferenceEvaluator(model).run(None, {"x": array})[0])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-30, 10), st.sampled_from([1.0, 30.0]))
def test_blocks_of_four_bits(seed: int, size: float, outlier: float) -> None:
    """No number is off by more than one scale: half the largest step, and what rounding the scale cuts off."""
    rng = np.random.default_rng(seed)
    matrix = (rng.standard_normal((3, 64)) * 2.0**size).astype(np.float32)
    matrix[0, 5] *= outlier
    matrix[1, 16:32] = 0
    found = nvfp4(matrix, whole_scale(float(np.abs(matrix).max())))
    assert found.codes.shape == matrix.shape and found.scales.shape == (3, 4)
    back = found.dequantized()
    largest = np.abs(matrix.reshape(3, 4, 16)).max(2)
    factors = found.scales.astype(np.float32) * found.whole
    bound = np.repeat(np.maximum(factors, largest * 2.0**-4) + 2.0**-10 * float(found.whole) * 6, 16, 1)
    assert (np.abs(back - matrix) <= bound * (1 + 1e-6)).all()
    assert not back[1, 16:32].any()
    plain = np.clip(largest / 6 / found.whole, 0, 448).astype(E4M3).astype(np.float32) * found.whole
    blocks = matrix.reshape(3, 4, 16)
    step = plain[..., None]
    codes = np.divide(blocks, step, out=np.zeros_like(blocks), where=step > 0).clip(-6, 6).astype(ml_dtypes.float4_e2m1fn)
    six = ((codes.astype(np.float32) * step - blocks) ** 2).sum(2)
    assert (((back - matrix).reshape(3, 4, 16) ** 2).sum(2) <= six * (1 + 1e-6)).all()  # of 6 and 4 the better


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-40, 40))
def test_blocks_with_powers_of_two(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    matrix = (rng.standard_normal((2, 96)) * 2.0**size).astype(np.float32)
    matrix[1, 32:64] = 0
    found = mxfp8(matrix)
    factors = power_of_two(found.exponents)
    largest = np.abs(matrix.reshape(2, 3, 32)).max(2)
    assert (largest <= 448 * factors).all()
    used = largest > 0
    assert (largest[used] > 224 * factors[used]).all()  # the next smaller scale would saturate
    spread = np.repeat(factors, 32, 1)
    assert (np.abs(found.dequantized() - matrix) <= error_bound(matrix, spread)).all()
    assert not found.dequantized()[1, 32:64].any()


def test_powers_of_two_are_those_of_e8m0() -> None:
    exponents = np.arange(255, dtype=np.uint8)
    np.testing.assert_array_equal(power_of_two(exponents), exponents.view(ml_dtypes.float8_e8m0fnu).astype(np.float32))

"""Every conformance case of single operators that is written natively gives on the CPU plugin what the case expects.

What deviates is listed with its reason, and what is listed must deviate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.lowering.openvino.graph import Unmapped, to_openvino

from ...conformance.cases import Case, node_cases
from .running import run

BATCHES = 4
FEWEST = 1300  # cases that are written natively
OUR_FAULTS = ("AttributeError", "KeyError", "IndexError", "AssertionError", "NameError")
_F8 = [f"{kind}_{source}_to_FLOAT8{to}" for kind in ("cast", "castlike") for source in ("FLOAT", "FLOAT16") for to in ("E4M3FN", "E5M2")]
_DOUBLE = [f"{kind}_{pair}" for kind in ("cast", "castlike") for pair in ("FLOAT_to_DOUBLE", "FLOAT16_to_DOUBLE", "DOUBLE_to_FLOAT")]
_WITH_EXPANDED = [name for base in (*_F8, *_DOUBLE) for name in ([base, f"{base}_expanded"] if "like" in base else [base])]
# Limits of the plugin: what openvino's own reader makes of these deviates as well or is refused, but for one of the shifts.
DEVIATIONS: dict[str, list[str]] = {
    "Convert gives the largest finite number for infinities": [f"test_{name}" for name in _WITH_EXPANDED],
    "ReduceMax begins at the lowest finite number, so that rows of -inf are not seen as such": [
        "test_reduce_max_empty_set",
        "test_attention_23_fullymasked_qk_matmul_output_mode3_zero_expanded",
        "test_attention_23_boolmask_fullymasked_row_nan_robustness_expanded",
        "test_attention_4d_causal_nonpad_negative_offset_structural_empty_expanded",
    ],
    "NonMaxSuppression drops what overlaps by just the threshold": ["test_nonmaxsuppression_iou_threshold_boundary"],
    "FloorMod of infinities and zeros": [f"test_mod_float_edge_cases_fmod_0_float{bits}" for bits in (16, 32, 64)],
    "Interpolate takes other points with antialias": [
        "test_resize_downsample_scales_linear_antialias", "test_resize_downsample_sizes_linear_antialias",
    ],
    "Interpolate aligns corners to the rounded size, not to the scale": [
        "test_resize_downsample_scales_linear_align_corners", "test_resize_downsample_scales_cubic_align_corners",
    ],
    "half a step away: FakeQuantize works in floats, and divides by the scale's inverse": [
        "test_dynamicquantizelinear", "test_dynamicquantizelinear_expanded", "test_quantizelinear_uint16",
    ],
    "shifts by less than nothing or more than the width": [
        f"test_bitshift_{way}_int32_{how}" for way in ("left", "right") for how in ("shift_ge_width", "negative_shift")
    ],
}  # fmt: skip
if "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
    DEVIATIONS["Convert from bf16 gives finite numbers for infinities, so that rows of -inf are not seen as such"] = [
        "test_attention_4d_causal_padded_kv_bf16"
    ]


def _is_defined(case: Case, expected: np.ndarray) -> np.ndarray:
    """Where the standard says what integers are: a float that they cannot hold is cast to whatever the runtime likes."""
    source = np.asarray(next(iter(case.feeds.values())))
    if not case.name.startswith("test_cast") or source.dtype.kind != "f":
        return np.ones(expected.shape, bool)
    limits = ml_dtypes.iinfo(expected.dtype)
    return np.asarray((source >= float(limits.min)) & (source <= float(limits.max)))


def deviation(case: Case, found: list[Any]) -> str | None:
    """How outputs differ from what is expected; the plugin computes halves and doubles in single precision."""
    if len(found) != len(case.expected):
        return f"{len(found)} outputs"
    for index, (a, b) in enumerate(zip(case.expected, found)):
        expected = np.asarray(a)
        if expected.shape != b.shape or expected.dtype != b.dtype:
            return f"output {index}: {b.dtype}{list(b.shape)}, not {expected.dtype}{list(expected.shape)}"
        if expected.dtype.kind in "biu" or expected.dtype.name in ("int4", "uint4"):
            defined = _is_defined(case, expected)
            if not np.array_equal(expected[defined], b[defined]):
                return f"output {index}: other integers"
            continue
        small = expected.dtype.itemsize < 4
        x, y = expected.astype(np.float64), b.astype(np.float64)
        rtol, atol = max(case.rtol, 2e-2 if small else 1e-4), max(case.atol, 1e-2 if small else 1e-5)
        if not np.allclose(y, x, rtol=rtol, atol=atol, equal_nan=True):
            return f"output {index}: {np.nanmax(np.abs(x - y)):.2g} away"
    return None


def outcomes(number: int) -> dict[str, str]:
    """By the names of the cases of a batch: "fallback", "refused: why", "differs: how" or ""."""
    found = {}
    for case in node_cases()[number::BATCHES]:
        model = load_onnx(case.data)
        try:
            made = to_openvino(model)
        except Unmapped as error:
            assert not any(fault in str(error) for fault in OUR_FAULTS), f"{case.name}: {error}"
            found[case.name] = "fallback"
            continue
        try:
            outputs = run(made, case.feeds)
        except RuntimeError as error:
            found[case.name] = "refused: " + " ".join(str(error).split())[-150:]
            continue
        fault = deviation(case, outputs)
        found[case.name] = "" if fault is None else f"differs: {fault}"
    return found


@pytest.mark.parametrize("number", range(BATCHES))
def test_node_cases(number: int) -> None:
    found = outcomes(number)
    listed = {name for names in DEVIATIONS.values() for name in names} & found.keys()
    wrong = {name: how for name, how in found.items() if how.startswith("differs")}
    refused = {name: how for name, how in found.items() if how.startswith("refused")}
    assert wrong.keys() == listed, {n: wrong.get(n, "is right") for n in wrong.keys() ^ listed}
    assert not refused
    assert sum(how != "fallback" for how in found.values()) >= FEWEST / BATCHES - 30

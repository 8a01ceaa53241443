"""Operators as openvino's own ONNX import spells them, against the outputs that ONNX's conformance cases expect."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import openvino
import pytest

from geoc.ir.errors import UnsupportedModel

from ...conformance.cases import Case, node_cases
from .running import read, run_onnx

PART = 60  # one case of so many
# By what the name begins with, why nothing is compared.
LEFT_OUT = {
    "test_cast": "element types that numpy has no arrays of", "test_dequantizelinear": "element types that numpy has no arrays of",
    "test_min_uint16": "onnxruntime has no kernel", "test_attention": "slow; test_layers.py has it",
    "test_bernoulli": "random", "test_random": "random", "test_training": "random", "test_bitshift": "of more than the width",
    "test_averagepool_2d_ceil_last_window": "counts padding in a window that is cut off", "test_div_int32": "openvino says that it rounds down",
    "test_div_int": "openvino says that it rounds down", "test_maxpool_with_argmax_2d_precomputed_pads": "indices of another place",
}  # fmt: skip
# What is refused, with the reason.
REFUSED = {"test_identity_sequence": "layer 0 (Parameter 'x'): there is no element type 'dynamic'"}
ALWAYS = (
    "test_argmax_default_axis_random_select_last_index", "test_convinteger_without_padding", "test_convtranspose_output_shape",
    "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True", "test_dft", "test_hardmax_axis_1",
    "test_reduce_log_sum_desc_axes", "test_onehot_without_axis", "test_tril_neg", "test_expand_dim_changed", "test_lstm_bidirectional", "test_scan9_sum",
)  # fmt: skip


def cases() -> list[Case]:
    found = [case for case in node_cases() if not case.name.endswith("_expanded") and not case.name.startswith(tuple(LEFT_OUT))]
    chosen = {case.name: case for case in found[::PART]}
    return list(({case.name: case for case in found if case.name in ALWAYS} | chosen).values())


def outcome(case: Case, folder: Path) -> str:
    """ "not imported" by openvino, "right", or what is wrong."""
    try:
        model = openvino.convert_model(io.BytesIO(case.data))
        openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    except Exception:  # openvino has several kinds of them
        return "not imported"
    try:
        read_back = read(str(folder / "model.xml"))
    except UnsupportedModel as error:
        return str(error)
    found = run_onnx(read_back, [case.feeds[name] for name in read_back.graph.input_names], folder)
    for expected, ours in zip(case.expected, found):
        limit = (1e-2 if expected.dtype.itemsize < 4 else 1e-5) * max(1e-3, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
        if not np.allclose(ours, expected, rtol=0, atol=limit, equal_nan=True):
            return "other values"
    return "right"


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases()])
def test_an_operator(case: Case, tmp_path: Path) -> None:
    found = outcome(case, tmp_path)
    if found == "not imported":
        pytest.skip("openvino does not import it")
    assert found.endswith(REFUSED.get(case.name, "right"))

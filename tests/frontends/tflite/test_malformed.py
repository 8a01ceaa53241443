"""Damaged files are refused in one line or are valid models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.frontends.tflite import load_tflite

from ...fuzz.mutations import COUNT, check_mutations
from .building import File
from .test_control import _doubling
from .test_custom import _detection
from .test_files import _counter, _sparse
from .test_recurrent import _lstm
from .test_shapes import _three_operators


def _mixed() -> bytes:
    """Something of every kind of table: options, scales, half precision, sparse weights, a variable-free graph."""
    f, rng = File(), np.random.default_rng(5)
    sparsity, stored = _sparse(f, np.where(rng.random((4, 24)) < 0.3, 1, 0).astype(np.float16))
    x = f.input("int8", (1, 4, 4, 3), scale=0.1, zero=2)
    w = f.const(rng.integers(-9, 9, (6, 3, 3, 3)).astype(np.int8), scale=[0.1] * 6)
    codes = f.op("CONV_2D", [x, w, -1], [f.tensor("int8", (1, 2, 2, 6), scale=0.2)], "Conv2DOptions", StrideW=2, StrideH=2)
    numbers = f.op("DEQUANTIZE", [codes], [f.tensor("float32", (1, 2, 2, 6))])
    pads = f.const(np.array([[0, 0], [1, 1], [1, 1], [0, 0]]))
    wide = f.op("PAD", [numbers, pads], [f.tensor("float32", (1, 4, 4, 6))])
    cut = f.op("STRIDED_SLICE", [wide, f.const(np.array([0, 1, 1, 0])), f.const(np.array([1, 3, 3, 6])), f.const(np.array([1, 1, 1, 1]))], [f.tensor("float32", (1, 2, 2, 6))], "StridedSliceOptions")  # fmt: skip
    size = f.op("RESIZE_BILINEAR", [cut, f.const(np.array([2, 2]))], [f.tensor("float32", (1, 2, 2, 6))], "ResizeBilinearOptions", HalfPixelCenters=True)
    flat = f.op("RESHAPE", [size, f.const(np.array([1, 24]))], [f.tensor("float32", (1, 24))], "ReshapeOptions")
    dense = f.op("DENSIFY", [f.const(stored, (4, 24), sparsity=sparsity)], [f.tensor("float16", (4, 24))])
    single = f.op("DEQUANTIZE", [dense], [f.tensor("float32", (4, 24))])
    scores = f.op("FULLY_CONNECTED", [flat, single], [f.tensor("float32", (1, 4))], "FullyConnectedOptions")
    parts = [f.tensor("float32", (1, 2)), f.tensor("float32", (1, 2))]
    f.op("SPLIT", [f.const(np.array(1), ()), scores], parts, "SplitOptions", NumSplits=2)
    return f.data(f.op("SOFTMAX", [parts[0]], [f.tensor("float32", (1, 2))], "SoftmaxOptions", Beta=1.0), parts[1])


def test_damaged_files(tmp_path: Path) -> None:
    found = check_mutations(load_tflite, _mixed(), COUNT, 0, tmp_path, ".tflite")
    assert found["refused"] > COUNT // 4


FILES = {
    "variables": _counter,
    "subgraphs": lambda: _doubling(),
    "states": lambda: _lstm(0.6, False, True, False)[0],
    "options of a custom operator": lambda: _detection(True, True)[0],
    "three operators that are one": lambda: _three_operators(1)[0],
}


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_with(kind: str, tmp_path: Path) -> None:
    found = check_mutations(load_tflite, FILES[kind](), COUNT, 1, tmp_path, ".tflite")
    assert found["refused"] > COUNT // 5

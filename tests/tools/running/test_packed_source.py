"""A source with packed weights is run as it is meant: onnxruntime needs its scales to be constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import geoc


def packed(path: Path) -> Path:
    """A product with weights of 4 bits at accuracy level 4, whose scales are stored in half precision, as geoc writes them."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.integers(0, 256, (16, 2, 16)).astype(np.uint8), "codes"),
        numpy_helper.from_array(rng.uniform(0.01, 0.02, 32).astype(np.float16), "half"),
    ]
    attributes = {"K": 64, "N": 16, "bits": 4, "block_size": 32, "accuracy_level": 4}
    nodes = [
        helper.make_node("Cast", ["half"], ["scales"], to=TensorProto.FLOAT),
        helper.make_node("MatMulNBits", ["x", "codes", "scales"], ["p"], domain="com.microsoft", **attributes),
        helper.make_node("Identity", ["p"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", size]) for n, size in (("x", 64), ("y", 16))]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "main", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_its_numbers_are_right(tmp_path: Path) -> None:
    report = geoc.compile(packed(tmp_path / "m.onnx"), tmp_path / "out.onnx", level=1, check="end")
    assert report.ok and not report.repairs and report.after.nodes == 1, report.summary()
    assert report.accuracy.error is not None and report.accuracy.error < 1e-5

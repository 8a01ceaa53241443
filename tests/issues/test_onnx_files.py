"""Faults that only a file shows: in reading old spellings and declarations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.frontends.onnx import load_onnx
from geoc.lowering.onnx import model_bytes


def model(graph: onnx.GraphProto, opset: int) -> bytes:
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
    return bytes(made.SerializeToString())


def run(data: bytes, feeds: dict[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def optimized(data: bytes) -> bytes:
    loaded = load_onnx(data)
    geoc.optimize(loaded, level=2, check="off")
    return model_bytes(loaded, max_opset=26, max_ir=13)


@pytest.mark.parametrize("shape", [[2, 0], [1, 2, 0], [2, 3, 0, 4]])
def test_an_old_softmax_of_nothing(shape: list[int]) -> None:
    """Its matrix is given its sizes back by a Reshape, for which 0 meant: copy."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"], axis=1)], "g", [x], [y])
    data = model(graph, 11)
    assert run(optimized(data), {"x": np.zeros(shape, np.float32)}).shape == tuple(shape)


def test_names_that_onnx_gives_to_slices_at_opset_10() -> None:
    """Its inference calls the rest of S elements S as well, so that the Slice looked like one of everything."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["S", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])
    end = helper.make_tensor_value_info("end", TensorProto.INT64, [1])
    numbers = [numpy_helper.from_array(np.array([n]), name) for name, n in (("start", 1), ("end", 1 << 31), ("axis", 0))]
    nodes = [
        helper.make_node("Slice", ["x", "start", "end", "axis"], ["part"]),
        helper.make_node("Neg", ["part"], ["y"]),
    ]
    source = onnx.ModelProto.FromString(model(helper.make_graph(nodes, "g", [x, end], [y], numbers), 10))
    declared = onnx.shape_inference.infer_shapes(source)
    dims = declared.graph.value_info[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "S"
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(3, 2)}
    assert np.array_equal(run(optimized(declared.SerializeToString()), feeds), -feeds["x"][1:])

"""Constants of codes as floats: what onnxruntime dequantizes, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.passes.quantize.floats import dequantize_constants, floats_of

TYPES = {
    "i8": TensorProto.INT8, "u8": TensorProto.UINT8, "i16": TensorProto.INT16, "u16": TensorProto.UINT16,
    "i32": TensorProto.INT32, "i4": TensorProto.INT4, "u4": TensorProto.UINT4,
}  # fmt: skip
ROWS, COLUMNS = 96, 64


def model_file(path: Path, dtype: str, axis: int | None, block: int, zeros: bool, computed: bool = False) -> None:
    """DequantizeLinear of a constant, returned; with `computed` its scale is an input."""
    rng = np.random.default_rng(0)
    info = {"i4": (-8, 8), "u4": (0, 16), "i32": (-70_000, 70_000)}
    low, high = info.get(dtype) or (np.iinfo(f"{'u' * (dtype[0] == 'u')}int{dtype[1:]}").min, np.iinfo(f"{'u' * (dtype[0] == 'u')}int{dtype[1:]}").max + 1)
    size = [1] if axis is None else [ROWS, COLUMNS][axis : axis + 1]
    if block:
        size = [n // block if i == axis else n for i, n in enumerate((ROWS, COLUMNS))]
    shape = [] if axis is None else size
    codes = helper.make_tensor("q", TYPES[dtype], [ROWS, COLUMNS], rng.integers(low, high, ROWS * COLUMNS).tolist())
    scale = numpy_helper.from_array(rng.uniform(1e-3, 3, size).astype(np.float32).reshape(shape), "s")
    inputs, constants = ["q", "s"], [codes] if computed else [codes, scale]
    if zeros:
        constants.append(helper.make_tensor("z", TYPES[dtype], shape, rng.integers(low, high, int(np.prod(size))).tolist()))
        inputs.append("z")
    attributes = {} if axis is None else {"axis": axis, **({"block_size": block} if block else {})}
    nodes = [helper.make_node("DequantizeLinear", inputs, ["w"], **attributes), helper.make_node("Add", ["w", "x"], ["y"])]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, COLUMNS])]
    given += [helper.make_tensor_value_info("s", TensorProto.FLOAT, shape)] if computed else []
    graph = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [ROWS, COLUMNS])], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("axis, block", [(None, 0), (0, 0), (1, 0), (1, 16), (0, 32)])
@pytest.mark.parametrize("zeros", [False, True])
def test_numbers_are_those_of_the_kernel(dtype: str, axis: int | None, block: int, zeros: bool, tmp_path: Path) -> None:
    if dtype == "i32" and (zeros or block):
        pytest.skip("integers of 32 bits have no zero points, and no blocks here")
    path = tmp_path / "m.onnx"
    model_file(path, dtype, axis, block, zeros)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": np.zeros((ROWS, COLUMNS), np.float32)})[0]
    model = geoc.load(str(path))
    (node,) = [node for node in model.graph if node.op.name == "DequantizeLinear"]
    floats = floats_of(node)
    assert floats is not None
    np.testing.assert_array_equal(floats.array(), expected)
    dequantize_constants(model)
    assert [node.op.name for node in model.graph] == ["Add"]


def test_scales_that_are_computed_stay(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model_file(path, "i8", 0, 0, True, computed=True)
    model = geoc.load(str(path))
    dequantize_constants(model)
    assert [node.op.name for node in model.graph] == ["DequantizeLinear", "Add"]

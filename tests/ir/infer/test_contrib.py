"""com.microsoft operators: inferred types against results of onnxruntime with optimizations disabled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import normalize_attrs
from geoc.ir.core import Graph, Node, Value, constant
from geoc.ir.dims import substitute, symbol
from geoc.ir.infer import infer_node
from geoc.ir.ops import op
from geoc.ir.tensor import Tensor, dtype_of
from geoc.ir.types import TensorType, tensor_type

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(3)


def f32(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def u8(*shape: int) -> Array:
    return RNG.integers(0, 255, shape).astype(np.uint8)


def i8(*shape: int) -> Array:
    return RNG.integers(-100, 100, shape).astype(np.int8)


def i32(*values: int) -> Array:
    return np.array(values, np.int32)


SCALE, ZERO, ZERO_I8 = np.array(0.1, np.float32), np.array(3, np.uint8), np.array(0, np.int8)

Case = tuple[str, list[Any], dict[str, Any], int]
CASES: list[Case] = [
    ("Gelu", [f32(2, 3, 8)], {}, 1),
    ("FastGelu", [f32(2, 3, 8), f32(8)], {}, 1),
    ("QuickGelu", [f32(2, 3, 8)], {}, 1),
    ("BiasGelu", [f32(2, 3, 8), f32(8)], {}, 1),
    ("FusedMatMul", [f32(2, 3, 4), f32(2, 5, 4)], {"transB": 1}, 1),
    ("FusedMatMul", [f32(2, 4, 3), f32(4, 5)], {"transA": 1, "alpha": 0.5}, 1),
    ("TransposeMatMul", [f32(4, 3), f32(4, 5)], {"transA": 1}, 1),
    ("FusedConv", [f32(1, 3, 9, 9), f32(4, 3, 3, 3), f32(4)], {"activation": "Relu", "strides": [2, 2]}, 1),
    ("FusedGemm", [f32(2, 3), f32(5, 3), f32(5)], {"transB": 1, "activation": "Relu"}, 1),
    ("SkipLayerNormalization", [f32(2, 3, 8), f32(2, 3, 8), f32(8), f32(8), f32(8)], {}, 4),
    ("SkipSimplifiedLayerNormalization", [f32(2, 3, 8), f32(2, 3, 8), f32(8)], {}, 4),
    (
        "EmbedLayerNormalization",
        [
            np.ones((2, 3), np.int32), np.zeros((2, 3), np.int32), f32(10, 8), f32(6, 8), f32(2, 8), f32(8), f32(8),
            np.ones((2, 3), np.int32),
        ],
        {}, 2,
    ),
    ("Attention", [f32(2, 3, 8), f32(8, 24), f32(24)], {"num_heads": 2}, 1),
    ("Attention", [f32(2, 3, 8), f32(8, 24), f32(24), None, f32(2, 2, 2, 5, 4)], {"num_heads": 2}, 2),
    ("MultiHeadAttention", [f32(2, 3, 8), f32(2, 5, 8), f32(2, 5, 12)], {"num_heads": 2}, 1),
    ("MultiHeadAttention", [f32(2, 3, 8), f32(2, 2, 5, 4), f32(2, 2, 5, 4)], {"num_heads": 2}, 1),
    (
        "MultiHeadAttention",
        [f32(2, 3, 8), f32(2, 3, 8), f32(2, 3, 8), None, None, None, f32(2, 2, 5, 4), f32(2, 2, 5, 4)],
        {"num_heads": 2}, 3,
    ),
    (
        "GroupQueryAttention",
        [
            f32(2, 1, 32), f32(2, 1, 16), f32(2, 1, 16), f32(2, 2, 5, 8), f32(2, 2, 5, 8), i32(5, 5),
            np.array(6, np.int32),
        ],
        {"num_heads": 4, "kv_num_heads": 2}, 3,
    ),
    (
        "RotaryEmbedding",
        [f32(2, 3, 16), np.zeros((2, 3), np.int64), f32(10, 4), f32(10, 4)], {"num_heads": 2}, 1,
    ),
    ("MatMulNBits", [f32(2, 3, 32), u8(5, 1, 16), f32(5, 1)], {"K": 32, "N": 5, "bits": 4, "block_size": 32}, 1),
    ("DynamicQuantizeMatMul", [f32(2, 3, 4), u8(4, 5), SCALE, ZERO], {}, 1),
    ("MatMulIntegerToFloat", [u8(2, 3, 4), u8(4, 5), SCALE, SCALE, ZERO, ZERO], {}, 1),
    ("QLinearAdd", [u8(2, 3, 4), SCALE, ZERO, u8(3, 1), SCALE, ZERO, SCALE, ZERO], {}, 1),
    ("QLinearMul", [u8(2, 3, 4), SCALE, ZERO, u8(4), SCALE, ZERO, SCALE, ZERO], {}, 1),
    ("QLinearSigmoid", [u8(2, 3), SCALE, ZERO, SCALE, ZERO], {}, 1),
    ("QLinearLeakyRelu", [u8(2, 3), SCALE, ZERO, SCALE, ZERO], {"alpha": 0.1}, 1),
    ("QLinearConcat", [SCALE, ZERO, u8(2, 3), SCALE, ZERO, u8(2, 4), SCALE, ZERO], {"axis": 1}, 1),
    (
        "QLinearAveragePool", [u8(1, 3, 7, 8), SCALE, ZERO, SCALE, ZERO],
        {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]}, 1,
    ),
    (
        "QLinearAveragePool", [u8(1, 7, 8, 3), SCALE, ZERO, SCALE, ZERO],
        {"kernel_shape": [3, 2], "channels_last": 1}, 1,
    ),
    ("QLinearGlobalAveragePool", [u8(1, 3, 7, 8), SCALE, ZERO, SCALE, ZERO], {}, 1),
    ("QLinearGlobalAveragePool", [u8(1, 7, 8, 3), SCALE, ZERO, SCALE, ZERO], {"channels_last": 1}, 1),
    ("QLinearSoftmax", [u8(2, 3), SCALE, ZERO, SCALE, ZERO], {"opset": 13, "axis": -1}, 1),
    (
        "QLinearConv",
        [u8(1, 7, 8, 3), SCALE, ZERO, u8(4, 3, 3, 3), SCALE, ZERO, SCALE, ZERO],
        {"channels_last": 1, "strides": [2, 2], "kernel_shape": [3, 3]}, 1,
    ),
    ("QGemm", [u8(2, 3), SCALE, ZERO, u8(3, 5), SCALE, ZERO, None, SCALE, ZERO], {}, 1),
    ("QGemm", [u8(2, 3), SCALE, ZERO, u8(5, 3), SCALE, ZERO], {"transB": 1}, 1),
    ("QAttention", [u8(2, 3, 8), u8(8, 24), f32(24), SCALE, SCALE, None, ZERO, ZERO], {"num_heads": 2}, 1),
    ("QLinearWhere", [np.ones((2, 1), bool), u8(2, 3), SCALE, ZERO, u8(3), SCALE, ZERO, SCALE, ZERO], {}, 1),
    ("QuantizeLinear", [f32(2, 3), SCALE, ZERO], {}, 1),
    ("DequantizeLinear", [u8(2, 3), SCALE, ZERO], {}, 1),
    (
        "DynamicQuantizeLSTM",
        [
            f32(4, 2, 3), i8(1, 3, 20), i8(1, 5, 20), f32(1, 40), None, None, None, None, SCALE.reshape(1),
            ZERO_I8.reshape(1), SCALE.reshape(1), ZERO_I8.reshape(1),
        ],
        {"hidden_size": 5}, 3,
    ),
    ("GatherND", [f32(3, 4, 5), np.zeros((2, 2), np.int64)], {}, 1),
    ("Pad", [f32(2, 3), np.array([0, 1, 2, 0], np.int64)], {}, 1),
    ("Range", [np.array(1, np.int64), np.array(9, np.int64), np.array(3, np.int64)], {}, 1),
    ("Inverse", [f32(2, 3, 3)], {}, 1),
    ("Trilu", [f32(3, 4)], {}, 1),
    ("NhwcMaxPool", [u8(1, 7, 8, 3)], {"kernel_shape": [3, 2], "strides": [2, 1]}, 1),
]  # fmt: skip


def run(case: Case) -> list[Any]:
    """What onnxruntime computes."""
    name, arrays, attrs, count = case
    inputs = ["" if a is None else f"i{index}" for index, a in enumerate(arrays)]
    node = onnx.helper.make_node(name, inputs, [f"o{i}" for i in range(count)], domain="com.microsoft", **attrs)
    weights = [onnx.numpy_helper.from_array(a, n) for a, n in zip(arrays, inputs) if a is not None]
    infos = [onnx.helper.make_empty_tensor_value_info(o) for o in node.output]
    graph = onnx.helper.make_graph([node], "g", [], infos, weights)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Any] = session.run(None, {})
    return results


def infer(case: Case, symbolic: bool) -> tuple[Value, ...]:
    """The outputs of an IR node for the same operands; sizes above 1 are symbols when `symbolic`."""
    name, arrays, attrs, count = case
    graph = Graph()
    operands: list[Value | None] = []
    for index, array in enumerate(arrays):
        if array is None:
            operands.append(None)
        elif array.ndim < 2 or (array.ndim > 2 and array.dtype == np.uint8 and name == "MatMulNBits"):
            operands.append(constant(Tensor.from_array(array)))
        else:
            free = symbolic and array.dtype != np.int64  # the rank depends on the size of indices
            dims = tuple(symbol(f"n{d}") if free and d > 1 else d for d in array.shape)
            operands.append(graph.add_input(f"i{index}", tensor_type(dtype_of(array.dtype), dims)))
    kind = op(f"com.microsoft::{name}")
    node = Node(kind, operands, [Value(None) for _ in range(count)], normalize_attrs(kind, attrs))
    infer_node(node)
    assert not infer_node(node)
    return node.outputs


@pytest.mark.parametrize("case", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_agrees_with_onnxruntime(case: Case) -> None:
    results = run(case)
    env = {f"n{d}": d for d in range(50)}
    for value, symbolic, actual in zip(infer(case, False), infer(case, True), results):
        if actual.size == 0 and value.type is not None and actual.ndim < 2:
            continue  # statistics that the kernel leaves out
        assert value.type is tensor_type(dtype_of(actual.dtype), actual.shape)
        assert isinstance(symbolic.type, TensorType) and symbolic.type.shape is not None
        found = [substitute(d, env.get) for d in symbolic.type.shape]
        assert len(found) == actual.ndim
        assert all(not isinstance(d, int) or d == n for d, n in zip(found, actual.shape))

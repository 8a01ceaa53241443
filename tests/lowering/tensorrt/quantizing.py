"""Small networks, quantized as users quantize theirs: by onnxruntime's quantizer, or by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Feeds = dict[str, np.ndarray[Any, Any]]


class Sketch:
    """An ONNX graph in the making; weights are random, and the same each time."""

    def __init__(self, shape: list[int], opset: int = 17) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]

    def constant(self, value: Any) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def floats(self, *shape: int, scale: float = 0.1) -> str:
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"/{name}", **attributes))
        return name

    def quantize(self, x: str, scale: Any, zero: Any = None, **attributes: Any) -> str:
        zero = np.zeros(np.shape(scale), np.int8) if zero is None else zero
        return self.op("QuantizeLinear", x, self.constant(np.float32(scale)), self.constant(zero), **attributes)

    def dequantize(self, q: str, scale: Any, zero: Any = None, **attributes: Any) -> str:
        zero = np.zeros(np.shape(scale), np.int8) if zero is None else zero
        return self.op("DequantizeLinear", q, self.constant(np.float32(scale)), self.constant(zero), **attributes)

    def rounded(self, x: str, scale: Any, zero: Any = None) -> str:
        return self.dequantize(self.quantize(x, scale, zero), scale, zero)

    def integers(self, *shape: int) -> str:
        """Weights of i8 with a scale for each index of the first axis."""
        scales = self.rng.uniform(0.005, 0.02, shape[0]).astype(np.float32)
        return self.dequantize(self.constant(self.rng.integers(-127, 128, shape).astype(np.int8)), scales, axis=0)

    def model(self, result: str, shape: list[int]) -> onnx.ModelProto:
        outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self.nodes, "main", self.inputs, outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


def convolutions() -> onnx.ModelProto:
    """Convolutions with Relu, pooling, a residual sum, a concatenation and a Gemm: 7 products."""
    s = Sketch([1, 16, 16, 16])

    def conv(x: str, channels: int, size: int = 3, relu: bool = True, out: int = 32) -> str:
        w = s.floats(out, channels, size, size, scale=1.4 / np.sqrt(channels * size * size))
        y = s.op("Conv", x, w, s.floats(out), pads=[size // 2] * 4)
        return s.op("Relu", y) if relu else y

    y = s.op("MaxPool", conv("x", 16), kernel_shape=[2, 2], strides=[2, 2])
    y = s.op("Relu", s.op("Add", conv(conv(y, 32), 32, relu=False), y))
    y = conv(s.op("Concat", conv(y, 32, 1), conv(y, 32), axis=1), 64, 1)
    y = s.op("Flatten", s.op("GlobalAveragePool", y))
    return s.model(s.op("Gemm", y, s.floats(16, 32, scale=0.3), s.floats(16), transB=1), [1, 16])


def transformer() -> onnx.ModelProto:
    """One layer: attention with 4 heads, a feed-forward network, norms; 6 products with weights and 2 of attention."""
    length, width, heads = 16, 64, 4
    s = Sketch([1, length, width])

    def linear(x: str, inner: int, outer: int) -> str:
        return s.op("Add", s.op("MatMul", x, s.floats(inner, outer, scale=inner**-0.5)), s.floats(outer))

    def norm(x: str) -> str:
        return s.op("LayerNormalization", x, s.constant(np.ones(width, np.float32)), s.floats(width), axis=-1)

    def head(x: str, perm: list[int]) -> str:
        apart = s.op("Reshape", linear(x, width, width), s.constant(np.array([1, length, heads, width // heads])))
        return s.op("Transpose", apart, perm=perm)

    h = norm("x")
    q, k, v = head(h, [0, 2, 1, 3]), head(h, [0, 2, 3, 1]), head(h, [0, 2, 1, 3])
    weights = s.op("Softmax", s.op("Mul", s.op("MatMul", q, k), s.constant(np.float32(0.25))), axis=-1)
    joined = s.op("Transpose", s.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    y = s.op("Add", "x", linear(s.op("Reshape", joined, s.constant(np.array([1, length, width]))), width, width))
    inner = s.op("Relu", linear(norm(y), width, 4 * width))
    return s.model(s.op("Add", y, linear(inner, 4 * width, width)), [1, length, width])


NETWORKS = {"convolutions": (convolutions, 7), "transformer": (transformer, 8)}


def statically(model: onnx.ModelProto, path: Path, form: str, **options: Any) -> Path:
    """The model quantized by onnxruntime for activations seen on random inputs.

    `form`: i8 or u8 activations around zero, with weights per channel (``i8``, ``u8``), the same as operators on integers
    (``i8 operators``, ``u8 operators``), or what the quantizer does by default (``default``).
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = random_feeds(model, 4)

        def get_next(self) -> Feeds | None:
            return next(self.feeds, None)

    source = path.with_suffix(".float.onnx")
    onnx.save(onnx.shape_inference.infer_shapes(model), source)
    activations = QuantType.QUInt8 if form.startswith("u8") or form == "default" else QuantType.QInt8
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True} if form != "default" else {}
    quantize_static(
        str(source),
        str(path),
        Reader(),
        quant_format=QuantFormat.QOperator if form.endswith("operators") else QuantFormat.QDQ,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        per_channel=form != "default",
        reduce_range=form == "u8 operators",  # what runs them on this machine may add in 16 bits
        extra_options={**symmetric, **options},
    )
    return path


def dynamically(model: onnx.ModelProto, path: Path) -> Path:
    """The model with u8 weights and activations that are quantized at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = path.with_suffix(".float.onnx")
    onnx.save(onnx.shape_inference.infer_shapes(model), source)
    quantize_dynamic(str(source), str(path), weight_type=QuantType.QUInt8)
    return path


def random_feeds(model: onnx.ModelProto, count: int) -> Iterator[Feeds]:
    """Inputs of normal numbers."""
    rng = np.random.default_rng(3)
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    for _ in range(count):
        yield {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def run(path: Path, feeds: Feeds) -> np.ndarray[Any, Any]:
    """What onnxruntime computes without optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: np.ndarray[Any, Any] = session.run(None, feeds)[0]
    return found

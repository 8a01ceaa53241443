"""Short ways to write ONNX models, to run them, and to see what the importer made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model, Node
from geoc.ir.verify import verify

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name: str, shape: Sequence[int | str | None] | None = (2, 3), dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def untyped(name: str) -> onnx.ValueInfoProto:
    return helper.make_empty_tensor_value_info(name)


def weight(name: str, array: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """Names are separated by blanks; "-" is an absent one."""
    names = [["" if n == "-" else n for n in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, **attributes)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto] = (),
    outputs: Sequence[onnx.ValueInfoProto] = (),
    weights: Sequence[onnx.TensorProto] = (),
    name: str = "g",
    **more: Any,
) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, inputs, outputs, list(weights), **more)


def model(
    body: onnx.GraphProto,
    opset: int = 17,
    ir: int = 8,
    domains: Mapping[str, int] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    imports = {"": opset, **(domains or {})}
    return helper.make_model(
        body,
        ir_version=ir,
        opset_imports=[helper.make_opsetid(d, v) for d, v in imports.items()],
        functions=functions,
    )


def one(
    op: str, inputs: Mapping[str, Any], n_outputs: int = 1, opset: int = 17, **attributes: Any
) -> onnx.ModelProto:
    """A model of one node, whose inputs have the shapes and dtypes of these arrays; output types are inferred."""
    declared = [
        value(n, a.shape, helper.np_dtype_to_tensor_dtype(a.dtype)) for n, a in inputs.items()
    ]
    outputs = [f"y{i}" for i in range(n_outputs)]
    body = graph(
        [helper.make_node(op, list(inputs), outputs, **attributes)],
        declared,
        [onnx.ValueInfoProto(name=n) for n in outputs],
    )
    return model(body, opset=opset)


def run(proto: onnx.ModelProto | bytes, feeds: Mapping[str, Any]) -> list[Any]:
    """Outputs on onnxruntime, nothing optimized."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def load(proto: onnx.ModelProto) -> Model:
    """The model, verified."""
    loaded = load_onnx(proto.SerializeToString())
    verify(loaded)
    return loaded


def nodes(model: Model) -> list[Node]:
    return list(model.walk())


def keys(model: Model) -> list[str]:
    return [n.op.key for n in model.walk()]


def same(a: Sequence[Any], b: Sequence[Any], rtol: float = 1e-5, atol: float = 1e-6) -> bool:
    """Equal dtypes, shapes and, up to rounding, values."""
    return len(a) == len(b) and all(
        x.dtype == y.dtype
        and x.shape == y.shape
        and (
            np.allclose(x, y, rtol, atol, equal_nan=True)
            if x.dtype.kind == "f"
            else np.array_equal(x, y)
        )
        for x, y in zip(a, b)
    )

"""The ONNX conformance cases that are one node, and running them on onnxruntime at any opset."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx.backend.test.case.node import collect_testcases


class Use(NamedTuple):
    """One node as the arguments of `min_opset` and its fellows, the operator left out."""

    present: list[bool]
    input_types: list[str | None]
    attributes: dict[str, Any]
    n_outputs: int
    output_types: list[str | None]


class Case(NamedTuple):
    """One conformance case of a single node."""

    name: str
    model: onnx.ModelProto
    node: onnx.NodeProto
    opset: int
    use: Use
    feeds: dict[str, Any]


def _type_string(proto: onnx.TypeProto) -> str | None:
    kind = proto.WhichOneof("value")
    if kind == "tensor_type" and proto.tensor_type.elem_type:
        return f"tensor({onnx.TensorProto.DataType.Name(proto.tensor_type.elem_type).lower()})"
    if kind in ("sequence_type", "optional_type"):
        element = _type_string(getattr(proto, kind).elem_type)
        return element and f"{'seq' if kind == 'sequence_type' else 'optional'}({element})"
    return None


def _attribute(proto: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    if proto.type in (proto.INTS, proto.FLOATS, proto.STRINGS):
        return tuple(item.decode() if isinstance(item, bytes) else item for item in value)
    return value


def use_of(node: onnx.NodeProto, graph: onnx.GraphProto) -> Use:
    types = {info.name: _type_string(info.type) for info in (*graph.input, *graph.output)}
    return Use(
        [bool(name) for name in node.input],
        [types.get(name) for name in node.input],
        {attribute.name: _attribute(attribute) for attribute in node.attribute},
        len(node.output),
        [types.get(name) for name in node.output],
    )


def _feed(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


@cache
def single_node_cases() -> tuple[Case, ...]:
    """About 1,460 cases, default and ai.onnx.ml domain."""
    cases = []
    with warnings.catch_warnings():
        # The cases divide by zero and overflow on purpose.
        warnings.simplefilter("ignore", RuntimeWarning)
        collected = collect_testcases(None)
    for found in collected:
        model = found.model
        if model is None or len(model.graph.node) != 1 or not found.data_sets:
            continue
        node = model.graph.node[0]
        imported = {entry.domain: entry.version for entry in model.opset_import}
        names = [info.name for info in model.graph.input]
        feeds = dict(zip(names, map(_feed, found.data_sets[0][0]), strict=False))
        use = use_of(node, model.graph)
        cases.append(Case(found.name, model, node, imported[node.domain], use, feeds))
    return tuple(cases)


def run(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> list[Any]:
    """Outputs on onnxruntime's CPU provider without graph optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds)))


def node_model(node: onnx.NodeProto, feeds: Mapping[str, Any], opset: int) -> onnx.ModelProto:
    """A model of one node whose inputs are all fed; output types are left to be inferred."""
    inputs = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "one", inputs, outputs)
    domain = onnx.helper.make_opsetid(node.domain, opset if not node.domain else 1)
    imports = [domain] if not node.domain else [domain, onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8 if opset < 23 else 11)


def same(first: list[Any], second: list[Any]) -> bool:
    """Equal, arrays up to 1e-5 relative."""
    if len(first) != len(second):
        return False
    for a, b in zip(first, second, strict=True):
        if isinstance(a, list):
            if not same(a, b):
                return False
        elif isinstance(a, np.ndarray):
            if a.dtype != b.dtype or a.shape != b.shape:
                return False
            if a.dtype.kind == "f" and np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True):
                continue
            if not np.array_equal(a, b):
                return False
        elif a != b:
            return False
    return True

"""Running a model on onnxruntime without optimizations, or on onnx's reference evaluator, and comparing outputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from .cases import Case

# Element types that onnxruntime's Python interface does not take or give: they travel as float, which holds them all.
_FOREIGN = frozenset(
    number
    for name, number in TensorProto.DataType.items()
    if name.startswith(("BFLOAT16", "FLOAT8", "FLOAT4", "INT4", "UINT4", "INT2", "UINT2"))
)
_RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
)


class CannotRun(Exception):
    """A judge does not run a model."""


def on_onnxruntime(data: bytes, feeds: Mapping[str, Any]) -> list[Any]:
    """Outputs on onnxruntime's CPU provider, nothing optimized. Raises CannotRun."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    model, fed = _with_floats(onnx.ModelProto.FromString(data), feeds)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return list(session.run(None, fed))
    except Exception as error:  # its bindings raise a dozen unrelated classes
        raise CannotRun(f"onnxruntime: {error}") from error


def loads_in_onnxruntime(data: bytes) -> bool:
    """True if onnxruntime makes a session of the model as it is."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def on_reference(data: bytes, feeds: Mapping[str, Any]) -> list[Any]:
    """Outputs of onnx's reference evaluator. Raises CannotRun."""
    from onnx.reference import ReferenceEvaluator

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(ReferenceEvaluator(onnx.ModelProto.FromString(data)).run(None, dict(feeds)))
    except Exception as error:  # whatever numpy raises inside
        raise CannotRun(f"reference: {type(error).__name__}: {error}") from error


def is_random(data: bytes) -> bool:
    """True if some node draws random numbers, dropout in training mode included."""
    model = onnx.ModelProto.FromString(data)
    return any(_draws(node) for node in all_nodes(model.graph))


def all_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes of a graph and of every graph inside it."""
    found: list[onnx.NodeProto] = []
    graphs = [graph]
    for each in graphs:
        found.extend(each.node)
        for node in each.node:
            for attribute in node.attribute:
                graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)
    return found


def _draws(node: onnx.NodeProto) -> bool:
    return node.op_type in _RANDOM or (node.op_type == "Dropout" and len(node.input) > 2)


def difference(
    case: Case, expected: Sequence[Any], found: Sequence[Any], *, random: bool = False
) -> str | None:
    """How two lists of outputs differ beyond the case's tolerance; None where they agree."""
    if len(expected) != len(found):
        return f"{len(found)} outputs instead of {len(expected)}"
    for index, (a, b) in enumerate(zip(expected, found)):
        fault = _fault(a, b, case.rtol, case.atol, random)
        if fault is not None:
            return f"output {index}: {fault}"
    return None


def _fault(a: Any, b: Any, rtol: float, atol: float, random: bool) -> str | None:
    if isinstance(a, list) or isinstance(b, list):
        if not isinstance(a, list) or not isinstance(b, list) or len(a) != len(b):
            return "sequences of different lengths"
        return next((f for x, y in zip(a, b) if (f := _fault(x, y, rtol, atol, random))), None)
    if a is None or b is None or isinstance(a, dict):
        return None if a is b or a == b else f"{b} instead of {a}"
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind in "OUS" and b.dtype.kind in "OUS":
        return None if np.array_equal(a.astype(str), b.astype(str)) else "different strings"
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind or a.dtype.itemsize != b.dtype.itemsize:
        return f"{b.dtype}{list(b.shape)} instead of {a.dtype}{list(a.shape)}"
    if random:
        return None
    if a.dtype.kind == "b":
        return None if np.array_equal(a, b) else "different elements"
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    x, y = a.astype(wide), b.astype(wide)
    with np.errstate(invalid="ignore"):
        close = np.isclose(y, x, rtol=rtol, atol=atol, equal_nan=True)
    if close.all():
        return None
    worst = np.abs(np.where(close, 0, y - x)).max()
    return f"{int((~close).sum())} of {close.size} elements differ, by up to {worst:.3g}"


def _with_floats(
    model: onnx.ModelProto, feeds: Mapping[str, Any]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The model with casts at its border where onnxruntime's interface lacks an element type."""
    graph, fed = model.graph, dict(feeds)
    for info in graph.input:
        number = info.type.tensor_type.elem_type
        if number in _FOREIGN and info.name in fed:
            outside = f"{info.name} as float"
            cast = helper.make_node("Cast", [outside], [info.name], to=number)
            graph.node.insert(0, cast)
            fed[outside] = np.asarray(fed.pop(info.name)).astype(np.float32)
            info.name = outside
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    for info in graph.output:
        if info.type.tensor_type.elem_type in _FOREIGN:
            outside = f"{info.name} as float"
            graph.node.append(helper.make_node("Cast", [info.name], [outside], to=TensorProto.FLOAT))
            info.name = outside
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    return model, fed

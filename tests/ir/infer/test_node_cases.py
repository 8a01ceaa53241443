"""Inferred types against ONNX's operator test cases, which hold inputs and expected outputs.

Each case is inferred four times: as it is; with small inputs as constants; and so with every input
dimension replaced by a symbol, one per dimension or one per size. Dimensions that come out known must be
those of the expected outputs.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.dims import DimLike, atoms, substitute
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import dtype_of
from geoc.ir.types import OptionalType, SequenceType, TensorType, Type

onnx = pytest.importorskip("onnx")

MODES = ("given", "constants", "by_axis", "by_size")
SMALL = 64

# Sizes that only the data decides, or that differ from element to element.
DATA_DEPENDENT = {
    "Compress", "ImageDecoder", "Loop", "NonMaxSuppression", "NonZero", "Scan", "SequenceInsert",
    "SplitToSequence", "StringNormalizer", "StringSplit", "Unique",
}  # fmt: skip
# A sequence declared without a rank, and a range that counts in bfloat16.
NOT_GIVEN = {"test_identity_sequence", "test_range_bfloat16_type_positive_delta"}


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return collect_testcases(None)


def as_model(case: Any, mode: str, env: dict[str, int]) -> Model:
    """The case's model without declared results, its inputs as `mode` says; fills `env`."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    graph = proto.graph
    del graph.value_info[:]
    for output in graph.output:
        output.ClearField("type")
    kept = []
    for number, (info, array) in enumerate(zip(graph.input, case.data_sets[0][0])):
        if mode != "given" and is_small(array):
            graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
            continue
        kept.append(info)
        if mode.startswith("by_") and info.type.HasField("tensor_type"):
            for axis, dim in enumerate(info.type.tensor_type.shape.dim):
                name = f"n{number}_{axis}" if mode == "by_axis" else f"size{dim.dim_value}"
                if dim.HasField("dim_value"):
                    env[name] = dim.dim_value
                    dim.dim_param = name
    inputs = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in kept]
    del graph.input[:]
    graph.input.extend(inputs)
    model = load_onnx(proto)
    for node in model.walk():
        for value in node.outputs:
            value.type = value.content = None
    return model


def is_small(array: Any) -> bool:
    if not isinstance(array, (np.ndarray, np.generic)) or array.dtype.kind not in "iufb":
        return False
    return array.ndim < 2 and array.size <= SMALL


def wrong(found: Type | None, expected: Any, env: dict[str, int]) -> str | None:
    """How an inferred type contradicts an actual result."""
    if found is None:
        return None
    if isinstance(found, OptionalType):
        return None if expected is None else wrong(found.element, expected, env)
    if isinstance(found, SequenceType):
        return next((w for item in expected if (w := wrong(found.element, item, env))), None)
    assert isinstance(found, TensorType), found
    if isinstance(expected, onnx.TensorProto):
        expected = onnx.numpy_helper.to_array(expected)
    actual = np.asarray(expected)
    if dtype_of(actual.dtype) is not found.dtype:
        return f"{found}, a result of {actual.dtype}"
    if found.shape is None:
        return None
    shape = [value_of(d, env) for d in found.shape]
    if len(shape) != actual.ndim or any(a is not None and a != b for a, b in zip(shape, actual.shape)):
        return f"{found} = {shape}, a result of {list(actual.shape)}"
    return None


def value_of(dim: DimLike, env: dict[str, int]) -> int | None:
    found = substitute(dim, env.get)
    return found if isinstance(found, int) else None


def is_open(type: Type | None) -> bool:
    """True if something about a result is not known."""
    if isinstance(type, (SequenceType, OptionalType)):
        return is_open(type.element)
    if not isinstance(type, TensorType) or type.shape is None:
        return True
    return any(a.is_unknown for d in type.shape for a in atoms(d))


@pytest.mark.parametrize("mode", MODES)
def test_agrees_with_expected_outputs(cases: list[Any], mode: str) -> None:
    faults = []
    checked = 0
    for case in cases:
        env: dict[str, int] = {}
        model = as_model(case, mode, env)
        infer_graph(model.graph)
        if infer_graph(model.graph):
            faults.append(f"{case.name}: a second run changed something")
        for value, expected in zip(model.graph.outputs, case.data_sets[0][1]):
            fault = wrong(value.type, expected, env)
            checked += 1
            if fault:
                faults.append(f"{case.name}: {fault}")
    assert not faults, "\n".join(faults[:40])
    assert checked > 1000


def test_static_inputs_leave_nothing_open(cases: list[Any]) -> None:
    left = []
    for case in cases:
        model = as_model(case, "constants", {})
        infer_graph(model.graph)
        ops = {node.op.name for node in model.walk()}
        if ops & DATA_DEPENDENT or case.name in NOT_GIVEN:
            continue
        left += [f"{case.name}: {v.type}" for v in model.graph.outputs if is_open(v.type)]
    assert not left, "\n".join(left)

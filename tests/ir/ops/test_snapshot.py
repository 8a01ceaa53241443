"""The snapshot against the packages it was taken from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import defs
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from geoc.ir.ops import known_opsets
from geoc.ir.ops.schema import Param, Schema, known_keys, sources, versions

needs_onnx = pytest.mark.skipif(
    onnx.__version__ != sources()["onnx"], reason="the snapshot is of another onnx"
)
needs_runtime = pytest.mark.skipif(
    onnxruntime.__version__ != sources()["onnxruntime"],
    reason="the snapshot is of another onnxruntime",
)


def find(domain: str, name: str, since: int) -> Schema:
    return next(schema for schema in versions(domain, name) if schema.since == since)


def shown(param: Param) -> tuple[str, str, str]:
    return param.name, param.type_str, param.option


@needs_onnx
def test_every_onnx_version_is_there_and_no_other() -> None:
    expected = {(s.domain, s.name, s.since_version) for s in defs.get_all_schemas_with_history()}
    found = set()
    for key in known_keys():
        domain, _, name = key.rpartition("::")
        if domain not in ("com.microsoft", "trt") and name != "SimplifiedLayerNormalization":
            found |= {(s.domain, s.name, s.since) for s in versions(domain, name)}
    assert found == expected


@needs_onnx
def test_signatures_are_those_of_onnx() -> None:
    for theirs in defs.get_all_schemas_with_history():
        ours = find(theirs.domain, theirs.name, theirs.since_version)
        for mine, other in ((ours.inputs, theirs.inputs), (ours.outputs, theirs.outputs)):
            assert [shown(p) for p in mine] == [
                (p.name, p.type_str, p.option.name.lower()) for p in other
            ]
            for a, b in zip(mine, other, strict=True):
                assert ours.types_of(a) == set(b.types), (ours, a.name)
                if a.option == "variadic":
                    assert (a.homogeneous, a.min_arity) == (b.is_homogeneous, b.min_arity)
        assert (ours.min_inputs, ours.max_inputs) == (theirs.min_input, theirs.max_input)
        assert (ours.min_outputs, ours.max_outputs) == (theirs.min_output, theirs.max_output)
        assert ours.deprecated == theirs.deprecated
        assert ours.has_function == (theirs.has_function or theirs.has_context_dependent_function)
        assert set(ours.type_constraints) == {c.type_param_str for c in theirs.type_constraints}


def plain(proto: onnx.AttributeProto) -> Any:
    if not proto.name:
        return None
    if proto.type == proto.FLOAT:
        return float(np.float32(proto.f))
    if proto.type == proto.INT:
        return proto.i
    if proto.type == proto.STRING:
        return proto.s.decode()
    if proto.type == proto.STRINGS:
        return tuple(item.decode() for item in proto.strings)
    return tuple(onnx.helper.get_attribute_value(proto))


@needs_onnx
def test_attributes_are_those_of_onnx() -> None:
    for theirs in defs.get_all_schemas_with_history():
        ours = find(theirs.domain, theirs.name, theirs.since_version)
        assert list(ours.attributes) == sorted(theirs.attributes)
        for name, spec in ours.attributes.items():
            other = theirs.attributes[name]
            assert (spec.kind, spec.required) == (other.type.name.lower(), other.required)
            assert spec.default == plain(other.default_value), (ours, name)


@needs_onnx
def test_known_opsets() -> None:
    assert known_opsets("") == (1, defs.onnx_opset_version())
    assert known_opsets("ai.onnx") == known_opsets("")
    assert known_opsets("ai.onnx.ml") == (1, 5)
    assert known_opsets("com.microsoft") == (1, 1)
    assert known_opsets("org.example") is None


@needs_runtime
def test_contributed_operators_are_those_of_onnxruntime() -> None:
    theirs = [s for s in runtime.get_all_operator_schema() if s.domain == "com.microsoft"]
    assert {f"com.microsoft::{s.name}" for s in theirs} == {
        key for key in known_keys() if key.startswith("com.microsoft::")
    }
    for schema in theirs:
        (ours,) = versions("com.microsoft", schema.name)
        assert [p.name for p in ours.inputs] == [p.name for p in schema.inputs]
        assert (ours.min_inputs, ours.max_inputs) == (schema.min_input, schema.max_input)
        assert (ours.min_outputs, ours.max_outputs) == (schema.min_output, schema.max_output)
        for param, other in zip(ours.inputs, schema.inputs, strict=True):
            assert ours.types_of(param) == set(other.types)
        for name, spec in ours.attributes.items():
            default = onnx.AttributeProto.FromString(schema.attributes[name]._default_value)
            assert spec.default == plain(default)
            assert spec.required == schema.attributes[name].required

"""The conformance cases that come with the onnx package, as bytes of a model and data."""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

FOLDER_KINDS = ("simple", "pytorch-operator", "pytorch-converted")


class Case(NamedTuple):
    """One model with one set of inputs and the outputs that are expected; `feeds` is by name."""

    name: str
    data: bytes
    feeds: dict[str, Any]
    expected: list[Any]
    rtol: float
    atol: float


@cache
def node_cases() -> tuple[Case, ...]:
    """The 1,884 cases of single operators and their expansions; making them takes some seconds."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        # The cases divide by zero and overflow on purpose.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = collect_testcases(None)
    return tuple(
        _case(c.name, c.model, c.data_sets[0][0], c.data_sets[0][1], c.rtol, c.atol) for c in found
    )


@cache
def folder_cases() -> tuple[Case, ...]:
    """The cases that are stored as files: small graphs, and layers as PyTorch and Caffe2 wrote them."""
    from onnx.backend.test.loader import load_model_tests

    cases = []
    for kind in FOLDER_KINDS:
        for test in sorted(load_model_tests(kind=kind), key=lambda t: t.name):
            model = onnx.load(os.path.join(test.model_dir, "model.onnx"))
            folder = os.path.join(test.model_dir, "test_data_set_0")
            weights = {t.name for t in model.graph.initializer}
            given = [i for i in model.graph.input if i.name not in weights]
            feeds = [_stored(folder, f"input_{i}.pb", info.type) for i, info in enumerate(given)]
            expected = [
                _stored(folder, f"output_{i}.pb", info.type)
                for i, info in enumerate(model.graph.output)
            ]
            named = {info.name: value for info, value in zip(given, feeds)}
            data = model.SerializeToString()
            cases.append(Case(test.name, data, named, expected, test.rtol, test.atol))
    return tuple(cases)


def _case(
    name: str, model: onnx.ModelProto, inputs: Any, outputs: Any, rtol: float, atol: float
) -> Case:
    feeds = {info.name: _plain(value) for info, value in zip(model.graph.input, inputs)}
    return Case(name, model.SerializeToString(), feeds, [_plain(v) for v in outputs], rtol, atol)


def _plain(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None else np.asarray(value)


def _stored(folder: str, name: str, type_: onnx.TypeProto) -> Any:
    with open(os.path.join(folder, name), "rb") as file:
        data = file.read()
    kind = type_.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))

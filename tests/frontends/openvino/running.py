"""Models made with openvino's own operators: saved, run by openvino, and read by geoc and run as ONNX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
from openvino import opset15 as o

from geoc.frontends.openvino import load_openvino
from geoc.ir.core import Model
from geoc.ir.verify import verify
from geoc.tools.api import save

CONFIG = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def constant(values: Any, dtype: Any = None) -> Any:
    return o.constant(np.array(values, dtype=dtype))


def parameter(*shape: int, dtype: str = "f32", name: str = "") -> Any:
    """-1 for an open size."""
    made = o.parameter(list(shape), getattr(openvino.Type, dtype))
    if name:
        made.friendly_name = name
        made.output(0).set_names({name})
    return made


def saved(folder: Path, made: Any, inputs: Sequence[Any], *, half: bool = False, sinks: Sequence[Any] = ()) -> str:
    """MODEL.xml of what computes an operator or several outputs."""
    ends = made if isinstance(made, list) else made.outputs() if len(made.outputs()) > 1 else [made]
    model = openvino.Model([o.result(end) for end in ends], list(sinks), list(inputs), "model")
    path = os.path.join(folder, "model.xml")
    openvino.save_model(model, path, compress_to_fp16=half)
    return path


def read(path: str) -> Model:
    """The model, verified."""
    model = load_openvino(path)
    verify(model)
    return model


def ops(model: Model) -> list[str]:
    return [node.op.name for node in model.graph.walk()]


def run_onnx(model: Model, feeds: Sequence[Any], folder: Path) -> list[Any]:
    """In onnxruntime, without its optimizer."""
    path = os.path.join(folder, "imported.onnx")
    save(model, path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, {given.name: feed for given, feed in zip(session.get_inputs(), feeds)})
    return found


def check(folder: Path, path: str, feeds: Sequence[Any], limit: float = 1e-5) -> Model:
    """Assert that what is read computes what openvino computes, to `limit` of an output's largest value."""
    model = read(path)
    got = run_onnx(model, feeds, folder)
    program = openvino.Core().compile_model(path, "CPU", CONFIG)
    found = program(list(feeds))
    assert len(program.outputs) == len(got)
    for output, ours in zip(program.outputs, got):
        theirs = np.asarray(found[output])
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        largest = max(float(np.abs(theirs.astype(np.float64)).max(initial=0)), 1e-9)
        assert float(np.abs(ours.astype(np.float64) - theirs).max(initial=0)) <= limit * largest
    return model

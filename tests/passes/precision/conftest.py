"""Models as text, and how passes of this folder change them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from geoc.ir.core import Model, Node
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.precision.autocast import Autocast
from geoc.passes.precision.ranges import Range
from geoc.tools.calibration.ranges import Watcher
from geoc.tools.running.emulate import emulated

# A machine on which arithmetic decides and nothing is lost by casting what is small.
FAST = SimpleNamespace(
    max_opset=22, hardware=SimpleNamespace(rates={"fp32": 1e9, "fp16": 1e10, "bf16": 1e10}, bandwidth=1e15, launch=0.0)
)
Feeds = dict[str, Any]


def model_of(body: str) -> Model:
    """A model from the text of its graph."""
    model = parse_model(f'geoc 1\nopset "" 21\n\n{body}\n')
    infer_graph(model.graph)
    verify(model)
    return model


def write(model: Model, path: str) -> None:
    with open(path, "wb") as file:
        file.write(model_bytes(model, max_opset=21, max_ir=10))


def measured(*feeds: Feeds) -> Callable[[Model], dict[Any, Range]]:
    """What passes ask for ranges, from these inputs."""

    def measure(model: Model) -> dict[Any, Range]:
        with Watcher(model, write) as watcher:
            for each in feeds:
                assert watcher.run(each), watcher.refusal
            return watcher.ranges

    return measure


def autocast(model: Model, *feeds: Feeds, **options: Any) -> Model:
    """Run the pass, on ranges from `feeds` if there are any; the result is verified."""
    ctx = Context(capabilities=FAST, measure=measured(*feeds) if feeds else None)
    run_pipeline(model, [Autocast(**options)], ctx)
    verify(model)
    return model


def run(model: Model, feeds: Feeds) -> list[Any]:
    """The outputs in onnxruntime without optimizations, half precision rounded after each node."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    data = model_bytes(emulated(model), max_opset=21, max_ir=10)
    return list(onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds))


def nodes(model: Model, op: str) -> list[Node]:
    return [node for node in model.walk() if node.op.key == op]


def dtypes(model: Model, op: str) -> list[str]:
    """The element types of the first results of all nodes of an operator, in order."""
    return [node.output.dtype.name for node in nodes(model, op)]


def relative(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-30))

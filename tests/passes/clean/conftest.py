"""What the tests of clean-up passes share: running a model, and running one before and after a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest

from geoc.ir.core import Graph, Model
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model, print_model
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes
from geoc.passes.base import Context, Instrument, Pass, Remark

Feeds = dict[str, Any]


class Remarks(Instrument):
    """Keeps what passes remark."""

    def __init__(self) -> None:
        self.seen: list[Remark] = []

    def on_remark(self, remark: Remark) -> None:
        self.seen.append(remark)

    @property
    def text(self) -> str:
        return "\n".join(f"{r.kind}: {r.message}" for r in self.seen)


def run_model(model: Model, feeds: Feeds) -> list[Any]:
    """The outputs that onnxruntime computes for a model, without its optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    data = model_bytes(model, max_opset=21, max_ir=10)
    session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    return session.run(None, feeds)


def op_counts(graph: Graph) -> dict[str, int]:
    """How many nodes of each operator a graph and its regions have."""
    return dict(Counter(node.op.key for node in graph.walk()))


@pytest.fixture
def remarks() -> Remarks:
    return Remarks()


@pytest.fixture
def apply(remarks: Remarks) -> Callable[..., bool]:
    """apply(step, model, *feeds): run a pass; the model must stay valid and compute the same for all feeds.

    A second run must change nothing, and refusing every rewrite must leave the model as it was.
    """

    def run(step: Pass, model: Model, *feeds: Feeds, tolerance: float = 0.0) -> bool:
        verify(model)
        source = print_model(model, weights="digest")
        assert not step.run(model, Context(bisect_limit=0)) or type(step).required
        assert print_model(model, weights="digest") == source
        before = [run_model(model, f) for f in feeds]
        names = (list(model.graph.input_names), list(model.graph.output_names))
        changed = step.run(model, Context(instruments=[remarks]))
        verify(model)
        assert names == (model.graph.input_names, model.graph.output_names)
        assert changed == (print_model(model, weights="digest") != source)
        for given, wanted in zip(feeds, before):
            for a, b in zip(run_model(model, given), wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
                assert np.asarray(a).dtype == np.asarray(b).dtype
        assert not step.run(model, Context())
        return changed

    return run


@pytest.fixture
def run() -> Callable[[Model, Feeds], list[Any]]:
    return run_model


@pytest.fixture
def ops() -> Callable[[Graph], dict[str, int]]:
    return op_counts


@pytest.fixture
def gir() -> Callable[[str], Model]:
    """The model of a .gir text without its first lines, its types completed."""

    def parse(text: str) -> Model:
        model = parse_model(f'geoc 1\nopset "" 20\n\n{text}')
        for root in model.roots():
            infer_graph(root)
        return model

    return parse

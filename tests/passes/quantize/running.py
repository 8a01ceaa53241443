"""Small models with random weights, and what onnxruntime makes of them: shared by the tests of this folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from geoc.ir.core import Model, Value
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.lowering.backend import Order
from geoc.lowering.emit import write_onnx
from geoc.lowering.targets import Target, get_target
from geoc.passes.base import Context, Instrument, Observer, Remark
from geoc.passes.instruments import Verify
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry
from geoc.tools.calibration.observing import observe

Feeds = dict[str, np.ndarray]

CONVOLUTIONS = """
graph @main(%x: f32[B,16,8,8]) -> (%y) {
  weight %w1: f32[32,16,3,3] = random
  weight %b1: f32[32] = random
  weight %w2: f32[32,1,3,3] = random
  weight %w3: f32[32,32,1,1] = random
  weight %b3: f32[32] = random
  weight %zero: f32[] = 0.0
  weight %six: f32[] = 2.0
  %c1 = Conv(%x, %w1, %b1) {pads=[1, 1, 1, 1]}
  %r1 = Relu(%c1)
  %c2 = Conv(%r1, %w2) {pads=[1, 1, 1, 1], group=32}
  %k2 = Clip(%c2, %zero, %six)
  %c3 = Conv(%k2, %w3, %b3)
  %s = Add(%c3, %r1)
  %p = MaxPool(%s) {kernel_shape=[2, 2], strides=[2, 2]}
  %y = Conv(%p, %w3)
}"""
PRODUCTS = """
graph @main(%i: i64[B,S]) -> (%y) {
  weight %t: f32[50,32] = random
  weight %g: f32[32] = random
  weight %wq: f32[32,32] = random
  weight %bq: f32[32] = random
  weight %wk: f32[32,32] = random
  weight %wu: f32[32,64] = random
  weight %bu: f32[64] = random
  weight %wd: f32[64,32] = random
  weight %rows: i64[2] = [-1, 32]
  weight %wh: f32[40,32] = random
  weight %bh: f32[40] = random
  %e = Gather(%t, %i)
  %n = LayerNormalization(%e, %g)
  %mq = MatMul(%n, %wq)
  %q = Add(%mq, %bq)
  %k = MatMul(%n, %wk)
  %m = Mul(%q, %k)
  %h = Add(%m, %n)
  %mu = MatMul(%h, %wu)
  %u = Add(%mu, %bu)
  %a = Gelu(%u)
  %d = MatMul(%a, %wd)
  %f = Reshape(%d, %rows)
  %y = Gemm(%f, %wh, %bh) {transB=1}
}"""


def model_of(text: str, seed: int = 0) -> Model:
    """A model; ``= random`` is a weight drawn so that layers keep the size of numbers."""
    spelled = re.sub(r"= random", "= splat(0.5)", text)
    model = parse_model('geoc 1\nopset "" 21\n' + spelled)
    infer_graph(model.graph)
    rng = np.random.default_rng(seed)
    drawn = set(re.findall(r"weight %(\w+): \S+ = random", text))
    done: set[Value] = set()
    for node in model.graph:
        node.loc = node.loc or (f"/{node.output.hint}",)
        for value in node.inputs:
            if value is not None and value.const is not None and value.hint in drawn and value not in done:
                done.add(value)
                shape = value.const.shape
                fan = np.prod(shape[1:]) if len(shape) == 4 else shape[0] if len(shape) == 2 else 1
                value.const = Tensor.from_array((rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32))
    return model


def feeds_of(model: Model, count: int, seed: int = 1) -> list[Feeds]:
    """Normal numbers, and ids below 50; symbolic dimensions are 2."""
    rng = np.random.default_rng(seed)
    found: list[Feeds] = []
    for _ in range(count):
        feeds: Feeds = {}
        for name, value in zip(model.graph.input_names, model.graph.inputs):
            assert value.shape is not None
            shape = [d if isinstance(d, int) else 2 for d in value.shape]
            is_float = value.dtype is not None and value.dtype.is_float
            feeds[name] = rng.standard_normal(shape).astype(np.float32) if is_float else rng.integers(0, 50, shape)
        found.append(feeds)
    return found


class Remarks(Instrument):
    """Keeps all remarks."""

    def __init__(self) -> None:
        self.all: list[Remark] = []

    def on_remark(self, remark: Remark) -> None:
        self.all.append(remark)


def write(model: Model, path: str) -> None:
    write_onnx(model, path, Order(get_target("cpu-vnni"), None, "inline"))


def context(samples: Iterable[Feeds] | None, target: str | Target = "cpu-vnni", **options: Any) -> Context:
    """A context whose samples are these."""

    def seen(model: Model, observers: Mapping[Value, Observer], limit: int | None = None) -> int:
        return observe(model, observers, islice(samples or (), limit), write)

    capabilities = get_target(target) if isinstance(target, str) else target
    instruments = [Verify(), *options.pop("instruments", ())]
    return Context(capabilities=capabilities, observe=None if samples is None else seen, instruments=instruments, **options)


def run(model: Model, passes: str, ctx: Context) -> bool:
    """Run a pipeline of the library's passes and of those of the context's target."""
    registry = Registry(get_target("cpu-vnni").rule_sets)
    return run_pipeline(model, registry.resolve(parse(passes)), ctx)


def outputs(model: Model, folder: Path, feeds: Iterable[Feeds], level: str = "ORT_ENABLE_ALL") -> tuple[list[list[Any]], Counter[str]]:
    """What a session gives for each sample, and the operators of its graph after its own optimization."""
    import onnx
    import onnxruntime

    path, optimized = folder / "model.onnx", folder / "optimized.onnx"
    write(model, str(path))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(optimized)
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return [session.run(None, f) for f in feeds], Counter(n.op_type for n in onnx.load(optimized).graph.node)


def distance(ours: list[list[Any]], theirs: list[list[Any]]) -> float:
    """The mean relative L2 error over samples and outputs."""
    return float(np.mean([np.linalg.norm(a - b) / np.linalg.norm(b) for x, y in zip(ours, theirs) for a, b in zip(x, y)]))

"""``--measure``: how much faster each layer is in integers, timed on this machine by itself, once for each shape.

A layer becomes a model of its own, in floats and as the pipeline makes it in integers. Where integers come from and go
to integers, as between convolutions, neither quantizing the operand nor the way back counts: that is a cost of changing
between the two, which the choice of layers reckons with (`passes.quantize.knapsack`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Graph, Model, Node, Value
from ...ir.types import F32, tensor_type
from ...passes.base import Context, Observer, place_of
from ...passes.manager import run_pipeline
from ...passes.quantize.knapsack import chosen
from ...passes.quantize.placement import layers_of, numbers_of, tail
from ...passes.quantize.quantize import Quantize
from ...passes.quantize.speed import IntegerSpeed
from ..calibration.observing import observe
from ..report import Refusal, Speed
from ..running.timing import loaded, measure
from .mixed import named
from .profit import can_time

if TYPE_CHECKING:
    from ..compiler import Compilation

RUNS, PATIENCE = 7, 0.5  # of one layer; seconds after which no further run begins
FLOATS, INTEGERS = "floats", "integers"
Shape = tuple[int, ...]


class LayerTimes:
    """Times of layers in one compilation; each shape is timed once."""

    def __init__(self, run: Compilation) -> None:
        self.run = run
        self.speed = IntegerSpeed(run.target.integers, run.target.hardware)
        self._known: dict[object, Speed] = {}

    def of(self, model: Model, step: Quantize, layers: Sequence[Node]) -> dict[Node, Speed]:
        """Seconds of each layer of a model that `step` comes to, in floats and in integers.

        Layers that are not quantized by themselves are left out.
        """
        assert self.run.calibration is not None
        operands = [value for node in layers for value in node.inputs[:1] if value is not None]
        shapes: dict[Value, _Seen] = {value: _Seen() for value in operands}
        self.run.calibration.observe(model, shapes, 1)
        found: dict[Node, Speed] = {}
        for number, node in enumerate(layers):
            self.run.progress.stage(f"timing layers, {number + 1} of {len(layers)}", 0.1, 0.2)
            x = node.inputs[0]
            assert x is not None
            speed = self._timed(node, shapes[x].shape, step)
            if speed is not None:
                found[node] = speed
        return found

    def gain(self, node: Node, times: Mapping[Node, Speed]) -> float:
        """Seconds that a layer saves in integers; the estimate where it was not timed."""
        speed = times.get(node)
        if speed is None:
            return self.speed.gain(node)
        return (speed.ratios[FLOATS][0] - 1) * speed.seconds[INTEGERS]

    def _timed(self, node: Node, shape: Shape, step: Quantize) -> Speed | None:
        w = node.inputs[1]
        assert w is not None and w.const is not None
        attrs = tuple(sorted((key, repr(value)) for key, value in node.attrs.items()))
        behind = [n.op.key for n in _with_behind(node, step, self.run)]
        key = (node.op.key, attrs, shape, w.const.shape, len(node.inputs), tuple(behind), step.static)
        if key not in self._known:
            forms = self._forms(node, shape, step)
            if forms is None:
                return None
            self._known[key] = self._measured(*forms)
        return self._known[key]

    def _forms(self, node: Node, shape: Shape, step: Quantize) -> tuple[Model, Model] | None:
        """The layer in floats and in integers; None where the step does not take it by itself."""
        run = self.run
        floats = _alone(_with_behind(node, step, run), shape)
        integers, _ = clone_model(floats)
        kernels = replace(step.kernels(Context(capabilities=run.target.capabilities)), float_stem=False)
        samples = [{"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}]

        def seen(model: Model, observers: Mapping[Value, Observer], limit: int | None = None) -> int:
            return observe(model, observers, samples, run.export_placed)

        ctx = Context(capabilities=SimpleNamespace(integers=kernels), observe=seen)
        plain = replace(step, method="minmax", weights="minmax", rounding="nearest", correct=0, keep=())
        if not plain.run(integers, ctx):
            return None
        if node.op.key in kernels.closed:
            _cut(integers)
        after = run.steps[run.steps.index(step) + 1 :]
        run_pipeline(integers, after, Context(capabilities=run.target.capabilities))
        return floats, integers

    def _measured(self, floats: Model, integers: Model) -> Speed:
        with tempfile.TemporaryDirectory(prefix="geoc-layer-") as folder:
            calls: dict[str, Any] = {}
            for name, model in ((INTEGERS, integers), (FLOATS, floats)):
                call = loaded(self.run, model, os.path.join(folder, name))
                calls[name] = partial(call, _feeds(model))
            return measure(calls, (INTEGERS,), self.run.settings.threads or 1, "", RUNS, PATIENCE)


def refuse_slow(run: Compilation) -> None:
    """Time the layers that the chosen pipeline quantizes, and keep those in floats that save no time: `run.slow`.

    A layer stays where the integers between its neighbours save less than it loses. Said in the report.
    """
    step = next((step for step in run.steps if isinstance(step, Quantize)), None)
    if step is None or not can_time(run):
        return
    model = run.before(step)
    kernels = step.kernels(Context(capabilities=run.target.capabilities))
    layers = layers_of(model.graph, kernels, step.keep)
    times = LayerTimes(run)
    found = times.of(model, step, layers)
    gains = [times.gain(node, found) for node in layers]
    takes = chosen(gains, [0.0] * len(layers), [times.speed.switch(node) for node in layers], 1.0)
    stay = [node for node, is_taken in zip(layers, takes) if not is_taken]
    run.layer_times = {place_of(step.name, "", node): times.gain(node, found) for node in layers}
    run.slow = {place_of(step.name, "", node): _why(node, found) for node in stay}
    run.kept = dict(run.slow)
    run.keep = {step.name: numbers_of(stay, model.graph, kernels)} if stay else {}
    if stay:
        worst = min(stay, key=lambda node: gains[layers.index(node)])
        run.report.refused.append(Refusal(f"w8a8 in {len(stay)} layers", f"{named(worst)}: {_why(worst, found)}"))


def _why(node: Node, times: Mapping[Node, Speed]) -> str:
    speed = times.get(node)
    if speed is None:
        return "layers beside it are faster in floats"
    floats, integers = speed.seconds[FLOATS] * 1e3, speed.seconds[INTEGERS] * 1e3
    return f"MEASURED {floats:.3g} ms in floats, {integers:.3g} ms in integers"


class _Seen:
    """Notes the shape of a value."""

    def __init__(self) -> None:
        self.shape: Shape = ()

    def add(self, array: np.ndarray) -> None:
        self.shape = array.shape


def _with_behind(node: Node, step: Quantize, run: Compilation) -> list[Node]:
    """A layer with what runtimes compute together with it: a clipping activation, or the bias of a product."""
    use = node.output.sole_use
    if use is None:
        return [node]
    kernels = step.kernels(Context(capabilities=run.target.capabilities))
    if tail(node, kernels) is not node.output:
        return [node, use[0]]
    other = use[0].inputs[1 - use[1]] if use[0].op.key == "Add" else None
    is_bias = other is not None and other.const is not None and len(other.const.shape) == 1
    return [node, use[0]] if is_bias and node.op.key == "MatMul" else [node]


def _alone(nodes: Sequence[Node], shape: Shape) -> Model:
    """A model of nodes in a row, the first of which reads an input of this shape."""
    model = Model(Graph("main"))
    value = model.graph.add_input("x", tensor_type(F32, shape))
    b = Builder(model.graph)
    last = nodes[0].inputs[0]
    for node in nodes:
        operands = [value if operand is last else operand for operand in node.inputs]
        value = b.node(node.op, operands, dict(node.attrs)).output
        last = node.output
    model.graph.set_outputs([value], ["y"])
    return model


def _cut(model: Model) -> None:
    """Let the model read codes and give codes: take away the quantization of its input, and the way back at its end."""
    graph = model.graph
    (x,) = graph.inputs
    first = x.sole_use
    last = graph.outputs[0].producer
    assert first is not None and first[0].op.key == "QuantizeLinear" and last is not None
    codes = graph.add_input("codes", first[0].output.type)
    first[0].output.replace_with(codes)
    graph.erase(first[0])
    graph.remove_input(0)
    if last.op.key == "DequantizeLinear" and last.inputs[0] is not None:
        graph.set_outputs([last.inputs[0]], ["y"])
        graph.erase(last)


def _feeds(model: Model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for name, value in zip(model.graph.input_names, model.graph.inputs):
        assert value.shape is not None and value.dtype is not None
        shape = [int(dim) for dim in value.shape if isinstance(dim, int)]
        is_float = value.dtype is F32
        numbers = rng.standard_normal(shape) if is_float else rng.integers(0, 128, shape)
        found[name] = np.asarray(numbers, value.dtype.numpy)
    return found

"""Ranges of all values of a model, by running it in onnxruntime with a minimum and a maximum after each.

    with Watcher(model, write) as watcher:
        watcher.run(feeds)
        watcher.ranges[value].low, watcher.ranges[value].high

Nothing but those numbers is kept, so it takes the memory of a plain run. Values in nested graphs are watched as well:
a branch hands its numbers out as further outputs (the other branch gives what changes nothing), a loop carries them
from trip to trip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Graph, Model, Node, Value
from ...ir.tensor import Tensor
from ...ir.types import F32
from ...passes.precision.ranges import FAR, Range
from ...passes.quantize.observers import Statistics
from ..running.placed import PlacedWeights
from ..running.temporary import Running

Feeds = Mapping[str, Any]
_LOW, _HIGH = float("inf"), float("-inf")  # what the minimum and the maximum of nothing are


class _Watched(NamedTuple):
    """Two vectors, the minima and the maxima of `values`, in the graph at hand."""

    low: Value
    high: Value
    values: list[Value]


class Watcher(Running):
    """A model that is run for the ranges of its f32 values. `ranges` grows with each run; values of graphs that never
    ran are missing from it."""

    def __init__(
        self,
        model: Model,
        write: Callable[[Model, str], None],
        far: float = FAR,
        weights: PlacedWeights | None = None,
    ) -> None:
        """`write` makes an ONNX file of a model; `far` is what float inputs are multiplied by in a second run.

        Raises CannotCheck where onnxruntime does not load the model.
        """
        copy, of = clone_model(model)
        self._original = {twin: value for value, twin in of.items()}
        self._groups = _watch(copy)
        self._far = far
        self.ranges: dict[Value, Range] = {}
        self.refusal = ""  # why the last run failed
        super().__init__(copy, write, "the model with its ranges", weights)

    def run(self, feeds: Feeds) -> bool:
        """Run the model on `feeds`, and on them with float inputs scaled up; False where it does not take them."""
        from ..running.sessions import first_line, refusals

        try:
            near = self._session.run(None, dict(feeds))
            far = scaled(feeds, self._far)
            beyond = near if far is None else self._session.run(None, far)
        except refusals() as error:
            self.refusal = first_line(error)
            return False
        for group, low, high, far_low, far_high in zip(self._groups, near[::2], near[1::2], beyond[::2], beyond[1::2]):
            for value, *numbers in zip(group.values, low, high, far_low, far_high):
                _note(self.ranges, self._original[value], *map(float, numbers))
        return True


class RangeTable(Statistics):
    """Ranges that can be kept: a row of low, high and far for each f32 value of a model, NaN for what never ran."""

    grows = ("numbers",)

    def __init__(self, model: Model) -> None:
        self.numbers = np.full((len(_values(model)), 3), np.nan)

    def put(self, model: Model, ranges: Mapping[Value, Range]) -> None:
        """Take the ranges of its values."""
        for row, value in zip(self.numbers, _values(model)):
            if value in ranges:
                row[:] = ranges[value]

    def ranges(self, model: Model) -> dict[Value, Range]:
        """The ranges of the values of a model with the same structure."""
        rows = zip(_values(model), self.numbers.tolist())
        return {value: Range(*row) for value, row in rows if not math.isnan(row[2])}


def _values(model: Model) -> list[Value]:
    """The values that are watched, in an order that models of one structure share."""
    found: list[Value] = []
    for graph in model.graph.graphs():
        found += graph.inputs
        found += [value for node in graph for value in node.outputs]
    return [value for value in found if value.dtype is F32]


def _note(found: dict[Value, Range], value: Value, low: float, high: float, far_low: float, far_high: float) -> None:
    if low == _LOW and high == _HIGH:  # it never ran, or was empty
        return
    if math.isnan(low) or math.isnan(high):
        low, high = -math.inf, math.inf
    far = max(abs(low), abs(high))
    if far_low != _LOW or far_high != _HIGH:
        beyond = max(abs(far_low), abs(far_high))
        far = math.inf if math.isnan(beyond) else max(far, beyond)
    new, known = Range(low, high, far), found.get(value)
    found[value] = new if known is None else known.joined(new)


def scaled(feeds: Feeds, factor: float) -> dict[str, Any] | None:
    """The same feeds with float tensors multiplied, masks no further than numbers go; None where there are none."""
    found: dict[str, Any] = {}
    for name, value in feeds.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            largest = float(np.finfo(value.dtype).max)
            found[name] = np.clip(value.astype(np.float64) * factor, -largest, largest).astype(value.dtype)
    return {**feeds, **found} if found else None


def _watch(model: Model) -> list[_Watched]:
    """Make the model return its ranges and nothing else."""
    of_graph: dict[Graph, list[_Watched]] = {}
    for graph in reversed(model.graph.graphs()):  # inner graphs first
        found = []
        for node in list(graph):
            if node.regions and node.op.key in _FORWARD:
                inner = {name: of_graph[region] for name, region in node.regions.items()}
                if any(inner.values()):
                    found += _FORWARD[node.op.key](node, inner)
        own = [value for node in graph for value in node.outputs if value.dtype is F32]
        own += [value for value in graph.inputs if value.dtype is F32]
        forwarded = {value for watched in found for value in (watched.low, watched.high)}
        own = [value for value in own if value not in forwarded]
        if own:
            found.append(_extremes(graph, own))
        of_graph[graph] = found
    groups = of_graph[model.graph]
    vectors = [vector for watched in groups for vector in (watched.low, watched.high)]
    model.graph.set_outputs(vectors, [f"range{i}" for i in range(len(vectors))])
    return groups


def _extremes(graph: Graph, values: list[Value]) -> _Watched:
    """The minima and maxima of values, each after the node that makes it, joined at the end of the graph."""
    ends: tuple[list[Value], list[Value]] = ([], [])
    for value in values:
        before = value.producer.next if value.producer is not None else graph.first
        b = Builder(graph, before)
        one = b.ints([1])
        for kind, end in zip(("ReduceMin", "ReduceMax"), ends):
            end.append(b.op("Reshape", b.op(kind, value, keepdims=0), one))
    b = Builder(graph)
    low, high = (b.node("Concat", end, {"axis": 0}).output for end in ends)
    return _Watched(low, high, values)


def _nothing(watched: _Watched) -> tuple[Value, Value]:
    """The vectors of a graph that does not run."""
    size = (len(watched.values),)
    low, high = (Value(watched.low.type) for _ in range(2))
    low.const = Tensor.from_array(np.full(size, _LOW, np.float32))
    high.const = Tensor.from_array(np.full(size, _HIGH, np.float32))
    return low, high


def _add_outputs(node: Node, at: int, like: list[Value]) -> list[Value]:
    """Further outputs of a node, from place `at` on."""
    new = [Value(value.type) for value in like]
    node.outputs = (*node.outputs[:at], *new, *node.outputs[at:])
    for index, value in enumerate(node.outputs):
        value.producer, value.index = node, index
    return new


def _returns(region: Graph, at: int, values: list[Value]) -> None:
    outputs = (*region.outputs[:at], *values, *region.outputs[at:])
    region.set_outputs(outputs, [f"out{i}" for i in range(len(outputs))])


def _out_of_if(node: Node, inner: dict[str, list[_Watched]]) -> list[_Watched]:
    found = []
    for name, groups in inner.items():
        for watched in groups:
            at = len(node.outputs)
            low, high = _add_outputs(node, at, [watched.low, watched.high])
            for other, region in node.regions.items():
                pair = (watched.low, watched.high) if other == name else _nothing(watched)
                _returns(region, at, list(pair))
            found.append(_Watched(low, high, watched.values))
    return found


def _out_of_loop(node: Node, inner: dict[str, list[_Watched]]) -> list[_Watched]:
    """New states, behind those that there are, in front of what is scanned."""
    (body,) = node.regions.values()
    is_scan = node.op.key == "Scan"
    scanned = node.attrs["num_scan_inputs"] if is_scan else 0
    states = len(node.inputs) - (scanned if is_scan else 2)
    found = []
    for watched in inner[next(iter(node.regions))]:
        start = _nothing(watched)
        inputs, names = body.inputs, body.input_names
        place = len(inputs) - scanned
        carried = []
        for vector in (watched.low, watched.high):
            carried.append(body.add_input(f"range{len(inputs)}", vector.type))
        # Their place is in front of what is scanned.
        body.inputs = [*inputs[:place], *carried, *inputs[place:-2]]
        body.input_names = [*names[:place], *names[-2:], *names[place:-2]]
        for index, value in enumerate(body.inputs):
            value.index = index
        b = Builder(body)
        joined = [b.op("Min", carried[0], watched.low), b.op("Max", carried[1], watched.high)]
        _returns(body, states if is_scan else states + 1, joined)
        place = len(node.inputs) - scanned
        node.set_inputs((*node.inputs[:place], *start, *node.inputs[place:]))
        low, high = _add_outputs(node, states, [watched.low, watched.high])
        states += 2
        found.append(_Watched(low, high, watched.values))
    return found


_FORWARD: dict[str, Callable[[Node, dict[str, list[_Watched]]], list[_Watched]]] = {
    "If": _out_of_if, "Loop": _out_of_loop, "Scan": _out_of_loop,
}  # fmt: skip

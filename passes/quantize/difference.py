"""How far a changed model is from the original, on samples: both in one graph, so that nothing is kept between them.

    errors = differences(original, changed, observe, limit=16)       # one for each output
"""

from __future__ import annotations

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Graph, Model, Value
from ...ir.tensor import Array
from ...ir.types import F32, F64
from ..base import Context, Observe, Observer
from ..clean.cse import Cse
from .observers import Statistics


class _Number(Statistics):
    """Collects one number of each sample."""

    grows = ("numbers",)

    def __init__(self) -> None:
        self.numbers = np.zeros(0)

    def add(self, array: Array) -> None:
        number = float(array)
        if not np.isfinite(number):
            raise ValueError("the outputs hold NaN or infinity")
        self.numbers = np.append(self.numbers, number)


def differences(original: Model, changed: Model, observe: Observe, limit: int | None = None) -> list[float]:
    """The mean relative L2 error of each floating-point output over (at most `limit`) samples.

    An error is the norm of the difference over the norm of the original's output, 0 where both are zero. The models
    have the same inputs and outputs; what they have in common is computed once.
    """
    both, pairs = _side_by_side(original, changed)
    b = Builder(both.graph)
    seen: list[tuple[_Number, _Number]] = []
    observers: dict[Value, Observer] = {}
    for ours, theirs in pairs:
        numbers = _Number(), _Number()
        for value, number in zip((b.op("Sub", theirs, ours), ours), numbers):
            observers[b.op("ReduceSumSquare", b.op("Cast", value, to=F64.onnx), keepdims=0)] = number
        seen.append(numbers)
    both.graph.set_outputs(list(observers), [f"square.{number}" for number in range(len(observers))])
    Cse().run(both, Context())
    _drop_dead(both.graph)
    observe(both, observers, limit)
    return [_mean(off.numbers, size.numbers) for off, size in seen]


def _mean(off: Array, size: Array) -> float:
    found = [np.sqrt(a / b) if b else (1.0 if a else 0.0) for a, b in zip(off, size)]
    return float(np.mean(found)) if found else 0.0


def _side_by_side(original: Model, changed: Model) -> tuple[Model, list[tuple[Value, Value]]]:
    """One model with the nodes of both, and their floating-point outputs in pairs."""
    result, _ = clone_model(original)
    other, _ = clone_model(changed)
    ours, theirs = result.graph, other.graph
    by_name = dict(zip(ours.input_names, ours.inputs))
    for name, value in zip(theirs.input_names, theirs.inputs):
        value.replace_with(by_name[name])
    shared: dict[int, Value] = {}
    for graph in [*ours.graphs(), *theirs.graphs()]:
        for node in [*graph, graph.ret]:
            for index, operand in enumerate(node.inputs):
                if operand is not None and operand.const is not None:
                    node.set_input(index, shared.setdefault(id(operand.const), operand))
    pairs = [(a, b) for a, b in zip(ours.outputs, theirs.outputs) if a.dtype is F32]
    theirs.set_outputs([], [])
    for node in list(theirs):
        ours.move(node, None)
    return result, pairs


def _drop_dead(graph: Graph) -> None:
    for node in graph.reversed():
        if not node.in_use:
            graph.erase(node)

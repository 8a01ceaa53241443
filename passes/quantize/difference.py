"""How far a changed model is from the original, on samples: both in one graph, so that nothing is kept between them.

    errors = differences(original, changed, observe, limit=16)       # one for each output
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Graph, Model, Value
from ...ir.tensor import Array
from ...ir.types import F32, F64
from ..base import Context, Observe
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
    outputs = zip(original.graph.outputs, changed.graph.outputs)
    pairs = {(a, b): None for a, b in outputs if a.dtype is F32}
    return [found.l2 for found in distances(original, changed, pairs, observe, limit)]


class Distance(NamedTuple):
    """How far a value is from the original's, on samples.

    `l2`: the mean of the relative L2 errors of the samples. `sqnr`: signal to noise of all samples together, in dB, 10
    log10 of the sum of squares over that of the differences; infinite where there is no difference. `constant`: the
    share of the squared differences that is the same in all rows of a sample, a shift of each channel.
    """

    l2: float
    sqnr: float
    constant: float = 0.0


def distances(
    original: Model, changed: Model, pairs: Mapping[tuple[Value, Value], int | None], observe: Observe,
    limit: int | None = None,
) -> list[Distance]:  # fmt: skip
    """How far values of `changed` are from those of `original`, pair by pair; floats of main graphs, of equal shapes.

    With each pair comes the axis of its channels, None where a shift of these is of no interest. Nothing but sums of
    squares leaves the runtime, which computes what the models have in common once.
    """
    both, of = _side_by_side(original, changed)
    b = Builder(both.graph)
    squares: list[Value] = []
    for pair, axis in pairs.items():
        ours, theirs = (v if v.dtype is F32 else b.op("Cast", v, to=F32.onnx) for v in (of[value] for value in pair))
        off = b.op("Sub", theirs, ours)
        others = [] if axis is None or off.rank is None else [i for i in range(off.rank) if i != axis % off.rank]
        varying = b.op("Sub", off, b.op("ReduceMean", off, b.ints(others))) if others else off
        for value in (off, ours, varying):
            squares.append(b.op("ReduceSumSquare", b.op("Cast", value, to=F64.onnx), keepdims=0))
    both.graph.set_outputs(squares, [f"square.{number}" for number in range(len(squares))])
    _drop_dead(both.graph)
    Cse().run(both, Context())
    seen = {value: _Number() for value in both.graph.outputs}  # equal ones are one by now
    observe(both, seen, limit)
    found = [seen[value].numbers for value in both.graph.outputs]
    return [distance_of(*three) for three in zip(found[::3], found[1::3], found[2::3])]


def distance_of(off: Array, size: Array, varying: Array | None = None) -> Distance:
    """The distance of samples with these sums of squares: of the differences, of the original, of what varies of the
    differences from row to row (None: all of them)."""
    found = [np.sqrt(a / b) if b else (1.0 if a else 0.0) for a, b in zip(off, size)]
    noise, signal = off.sum(), size.sum()
    sqnr = float(10 * np.log10(signal / noise)) if noise and signal else (-np.inf if noise else np.inf)
    constant = 0.0 if varying is None or not noise else max(0.0, 1.0 - float(varying.sum() / noise))
    return Distance(float(np.mean(found)) if found else 0.0, sqnr, constant)


def _side_by_side(original: Model, changed: Model) -> tuple[Model, dict[Value, Value]]:
    """One model with the nodes of both, and what has become of the values of either."""
    result, of = clone_model(original)
    other, of_other = clone_model(changed)
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
    theirs.set_outputs([], [])
    for node in list(theirs):
        ours.move(node, None)
    for name, value in zip(changed.graph.input_names, changed.graph.inputs):
        of_other[value] = by_name[name]
    return result, {**of, **of_other}


def _drop_dead(graph: Graph) -> None:
    for node in graph.reversed():
        if not node.in_use:
            graph.erase(node)

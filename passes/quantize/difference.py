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

_MOMENTS = 6  # sums for each pair with channels
_ROWS = 16  # without which a factor and a shift say nothing
_SMALLEST = 1e-3  # factor that is one


class _Numbers(Statistics):
    """Each number of the samples, or the sum of vectors."""

    grows = ("numbers", "total")

    def __init__(self) -> None:
        self.numbers = np.zeros(0)
        self.total = np.zeros(())

    def add(self, array: Array) -> None:
        if not np.isfinite(array).all():
            raise ValueError("the outputs hold NaN or infinity")
        self.total = self.total + array.astype(np.float64)
        if not array.ndim:
            self.numbers = np.append(self.numbers, float(array))


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
    log10 of the sum of squares over that of the differences; infinite where there is no difference. `moved`: the share
    of the squared differences that a factor and a shift for each channel would take away, as what was put into another
    place does: a bias, the scale of a normalization.
    """

    l2: float
    sqnr: float
    moved: float = 0.0


def distances(
    original: Model, changed: Model, pairs: Mapping[tuple[Value, Value], int | None], observe: Observe,
    limit: int | None = None,
) -> list[Distance]:  # fmt: skip
    """How far values of `changed` are from those of `original`, pair by pair; floats of main graphs, of equal shapes.

    With each pair comes the axis of its channels, None where `moved` is of no interest. Nothing but sums leaves the
    runtime, which computes what the models have in common once.
    """
    both, of = side_by_side(original, changed)
    b = Builder(both.graph)
    wanted: list[Value] = []
    for pair, axis in pairs.items():
        ours, theirs = (v if v.dtype is F32 else b.op("Cast", v, to=F32.onnx) for v in (of[value] for value in pair))
        for value in (b.op("Sub", theirs, ours), ours):
            wanted.append(b.op("ReduceSumSquare", b.op("Cast", value, to=F64.onnx), keepdims=0))
        if axis is not None and ours.rank is not None and ours.rank > 1:
            wanted += _moments(b, ours, theirs, axis % ours.rank)
        else:
            wanted += wanted[-1:] * _MOMENTS
    both.graph.set_outputs(wanted, [f"sum.{number}" for number in range(len(wanted))])
    drop_dead(both.graph)
    Cse().run(both, Context())
    seen = {value: _Numbers() for value in both.graph.outputs}  # equal ones are one by now
    observe(both, seen, limit)
    found = [seen[value] for value in both.graph.outputs]
    result = []
    for start in range(0, len(found), 2 + _MOMENTS):
        off, size, *moments = found[start : start + 2 + _MOMENTS]
        distance = distance_of(off.numbers, size.numbers)
        result.append(distance._replace(moved=_moved(off.numbers.sum(), [m.total for m in moments])))
    return result


def _moments(b: Builder, ours: Value, theirs: Value, axis: int) -> list[Value]:
    """Sums over the rows, for each channel: of both, of their squares and product, and the number of elements."""
    assert ours.rank is not None
    others = b.ints([i for i in range(ours.rank) if i != axis])
    x, y = (b.op("Cast", value, to=F64.onnx) for value in (ours, theirs))
    sums = (x, y, b.op("Mul", x, x), b.op("Mul", x, y), b.op("Mul", y, y))
    return [*(b.op("ReduceSum", value, others, keepdims=0) for value in sums), b.op("Size", ours)]


def _moved(noise: float, moments: list[Array]) -> float:
    """The share of the noise that is gone when y = factor x + shift is taken back, the best for each channel."""
    x, y, xx, xy, yy, size = moments
    if not x.ndim or not noise or size < _ROWS * x.size:
        return 0.0
    rows = size / x.size
    of_x, both, of_y = xx - x * x / rows, xy - x * y / rows, yy - y * y / rows
    factor = np.divide(both, of_x, out=np.zeros_like(both), where=of_x > 0)
    left = np.maximum(of_y - factor * both, 0.0)
    near = np.abs(factor) > _SMALLEST
    own = np.where(near, left / np.where(near, factor, 1.0) ** 2, of_y)
    return float(min(1.0, max(0.0, 1.0 - own.sum() / noise)))


def distance_of(off: Array, size: Array) -> Distance:
    """The distance of samples with these sums of squares: of the differences, and of the original."""
    found = [np.sqrt(a / b) if b else (1.0 if a else 0.0) for a, b in zip(off, size)]
    noise, signal = off.sum(), size.sum()
    sqnr = float(10 * np.log10(signal / noise)) if noise and signal else (-np.inf if noise else np.inf)
    return Distance(float(np.mean(found)) if found else 0.0, sqnr)


def side_by_side(original: Model, changed: Model) -> tuple[Model, dict[Value, Value]]:
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


def drop_dead(graph: Graph) -> None:
    """Erase what nothing uses."""
    for node in graph.reversed():
        if not node.in_use:
            graph.erase(node)

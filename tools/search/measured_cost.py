"""``--measure`` for passes that make layers smaller: products and convolutions timed on this machine, each size once.

The times of a matrix product are taken at few sizes and what lies between two of them is found along the line between:
kernels are faster at some sizes than at their neighbours, which a machine with other work on it cannot tell from noise.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from math import log2
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value
from ...ir.ops.cost import CostModel
from ...ir.tensor import Tensor
from ...ir.types import F32, Type, tensor_type
from ..running.timing import loaded
from .profit import can_time

if TYPE_CHECKING:
    from ..compiler import Compilation

TIMED = frozenset({"MatMul", "Gemm", "Conv"})
STEPS = 2  # sizes that are timed from one power of two to the next
RUNS, PATIENCE = 9, 0.05  # of one size at the most, and at the least three; seconds after which no further one begins

Timer = Callable[[Model], float]
Shapes = tuple[tuple[int, ...], ...]


class MeasuredCost(CostModel):
    """A `CostModel` whose products and convolutions of f32 with constant weights are timed; the rest is estimated."""

    __slots__ = ("_timer", "_known")

    source = "MEASURED"

    def __init__(self, estimate: CostModel, timer: Timer) -> None:
        """`timer` gives the seconds of one run of a model whose only input is "x", f32."""
        super().__init__(estimate.machine)
        self._timer = timer
        self._known: dict[object, float] = {}

    def seconds(self, node: Node, types: Mapping[Value, Type | None] | None = None) -> float | None:
        """Timed where it can be, else the estimate."""
        shapes = self._shapes(node, types)
        if shapes is None:
            return super().seconds(node, types)
        attrs = tuple(sorted((name, repr(value)) for name, value in node.attrs.items()))
        key = (node.op.key, attrs, shapes)
        if key not in self._known:
            self._known[key] = self._timer(alone(node.op.key, dict(node.attrs), shapes))
        return self._known[key]

    def product_seconds(self, rows: int, inner: int, columns: int) -> float:
        """Timed at the nearest smaller and larger size of the shorter side of the matrix."""
        side = min(inner, columns)
        low, high = _around(side)
        below, above = (
            self._product(rows, *((size, columns) if side == inner else (inner, size))) for size in (low, high)
        )
        return below if low == high else below + (above - below) * (side - low) / (high - low)

    def _product(self, rows: int, inner: int, columns: int) -> float:
        key = (rows, inner, columns)
        if key not in self._known:
            self._known[key] = self._timer(alone("MatMul", {}, ((rows, inner), (inner, columns))))
        return self._known[key]

    def _shapes(self, node: Node, types: Mapping[Value, Type | None] | None) -> Shapes | None:
        """The sizes of all operands; None for a node that is not timed."""
        if node.op.key not in TIMED or any(value is None or value.dtype is not F32 for value in node.inputs):
            return None
        if any(value is None or value.const is None for value in node.inputs[1:]):
            return None
        shapes = [self.shape(value, types) for value in node.inputs]
        return None if any(shape is None for shape in shapes) else tuple(shape for shape in shapes if shape is not None)


def _around(size: int) -> tuple[int, int]:
    """The nearest sizes of a geometric row at or around one, multiples of 8 from 16 on."""

    def at(step: int) -> int:
        exact = float(2.0 ** (step / STEPS))
        return round(exact / 8) * 8 if exact >= 16 else max(1, round(exact))

    step = int(log2(max(size, 1)) * STEPS)
    while at(step) > size:
        step -= 1
    while at(step + 1) <= size:
        step += 1
    return at(step), at(step) if at(step) == size else at(step + 1)


def alone(op: str, attrs: dict[str, object], shapes: Shapes) -> Model:
    """A model of one node that reads "x" and constants of these shapes, drawn."""
    rng = np.random.default_rng(0)
    model = Model(Graph("main"))
    x = model.graph.add_input("x", tensor_type(F32, shapes[0]))
    b = Builder(model.graph)
    weights = [b.const(Tensor.from_array(rng.standard_normal(s).astype(np.float32) * 0.05)) for s in shapes[1:]]
    model.graph.set_outputs([b.node(op, [x, *weights], attrs).output], ["y"])
    return model


def measured_cost(run: Compilation) -> CostModel | None:
    """The times of this machine where --measure asks for them and it is the target; None otherwise."""
    if not run.settings.measure or not can_time(run):
        return None
    estimate = getattr(run.target.capabilities, "cost_model", None) or CostModel()
    return MeasuredCost(estimate, partial(_timed, run))


def _timed(run: Compilation, model: Model) -> float:
    """Seconds of one run in the target's runtime: the best of a few, since other processes can only add to it."""
    (x,) = model.graph.inputs
    assert x.shape is not None
    sizes = [size for size in x.shape if isinstance(size, int)]
    feeds = {"x": np.random.default_rng(1).standard_normal(sizes).astype(np.float32)}
    with tempfile.TemporaryDirectory(prefix="geoc-size-") as folder:
        call = loaded(run, model, os.path.join(folder, "model"))
        call(feeds)
        best, begun = float("inf"), perf_counter()
        for number in range(RUNS):
            if number >= 3 and perf_counter() - begun > PATIENCE:
                break
            start = perf_counter()
            call(feeds)
            best = min(best, perf_counter() - start)
    return best

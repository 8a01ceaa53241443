"""Layers fitted by least squares to the original's outputs: distillation in closed form.

    original = Original(model)
    ...                                    # change some layers
    refit(model, layers, original, ctx, limit=16)

Layer by layer in the order of the graph, because each reads what the changed ones before it give: with h what a layer
reads now and r what is missing of the original's output, its weights and bias change by the (D, d) for which the
squares of r - h D - d are least. Both models run side by side, and nothing but sums of products leaves the runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Model, Node, Value, constant
from ...ir.tensor import Array, Tensor
from ...ir.types import F32
from ..base import Context
from ..clean.cse import Cse
from ..quantize.difference import drop_dead, side_by_side
from ..quantize.observers import Statistics
from .bias import is_bias_of, shift_bias

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the mean variance of what a layer reads: the larger, the less changes


class Original:
    """A model as it is before layers are changed."""

    def __init__(self, model: Model) -> None:
        self.model, self._of = clone_model(model)

    def result_of(self, node: Node) -> Value | None:
        """What the original of a layer gives, its bias added; None for a node that it does not have."""
        found = self._of.get(node.output)
        return None if found is None or found.producer is None else result(found.producer)


def result(node: Node) -> Value:
    """What a layer gives with the bias behind it, if there is one."""
    use = node.output.sole_use
    return use[0].output if use is not None and is_bias_of(use[0], node) else node.output


def refit(model: Model, layers: Sequence[Node], original: Original, ctx: Context, limit: int) -> None:
    """Change weights and biases of `layers` (MatMul, Gemm, 1 x 1 Conv) of the main graph, on at most `limit` samples.

    Raises UsageError where a sample does not run.
    """
    for group in depths(layers):
        pairs = {node: end for node in group if (end := original.result_of(node)) is not None}
        for node, sums in _seen(model, original, pairs, ctx, limit):
            _change(node, sums)


def depths(layers: Sequence[Node]) -> list[list[Node]]:
    """The layers in groups: each depends on earlier groups alone."""
    if not layers:
        return []
    graph = layers[0].graph
    assert graph is not None
    chosen = set(layers)
    depth: dict[Node, int] = {}
    groups: dict[int, list[Node]] = {}
    for node in graph:
        below = [depth.get(v.producer, 0) for v in node.inputs if v is not None and v.producer is not None]
        here = max(below, default=0)
        if node in chosen:
            groups.setdefault(here, []).append(node)
            here += 1
        depth[node] = here
    return [groups[number] for number in sorted(groups)]


class _Sum(Statistics):
    """The sums of a value over every other sample, f64 [2, ...]."""

    grows = ("totals", "count")

    def __init__(self) -> None:
        self.totals: Array = np.zeros(())
        self.count = 0

    def add(self, array: Array) -> None:
        if not np.isfinite(array).all():
            raise ValueError("it holds NaN or infinity")
        if not self.count:
            self.totals = np.zeros((2, *array.shape))
        self.totals[self.count % 2] += array
        self.count += 1


class Half(NamedTuple):
    """Sums over the vectors that a layer reads (h) and what is missing of its outputs (r)."""

    hh: Array  # [inputs, inputs]
    h: Array  # [inputs]
    hr: Array  # [inputs, outputs]
    r: Array  # [outputs]
    rows: Array  # how many vectors

    def means(self) -> tuple[Array, Array]:
        """Of h and of r."""
        rows = max(float(self.rows), 1.0)
        return self.h / rows, self.r / rows

    def covariance(self) -> Array:
        """Of h."""
        mean, _ = self.means()
        return np.asarray(self.hh / max(float(self.rows), 1.0) - np.outer(mean, mean))

    def cross(self) -> Array:
        """The covariance of h and r."""
        mean_h, mean_r = self.means()
        return np.asarray(self.hr / max(float(self.rows), 1.0) - np.outer(mean_h, mean_r))

    def change(self, ridge: float) -> Array:
        """The D for which h D is near to r up to a constant, its squares weighed by `ridge` mean variances of h."""
        c = self.covariance()
        size = max(ridge * float(np.trace(c)) / len(c), 1e-30)
        return np.linalg.solve(c + size * np.eye(len(c)), self.cross())

    def loss(self, change: Array) -> float:
        """How much of the mean square of r a D leaves, up to what is the same for all."""
        return float(np.sum(change * (self.covariance() @ change - 2 * self.cross())))


class Sums(NamedTuple):
    """The same over every other sample each, so that how far the fit may go is found on samples that it did not see."""

    first: Half
    second: Half

    @property
    def all(self) -> Half:
        """Over all samples."""
        return Half(*(a + b for a, b in zip(self.first, self.second)))

    def change(self) -> Array:
        """The D [inputs, outputs] for which h D is as near to r as a constant added to it lets it be.

        Its ridge is the one of `RIDGES` whose D of either half of the samples serves the other half best; no change at
        all where none does.
        """
        halves = ((self.first, self.second), (self.second, self.first))
        losses = [sum(other.loss(half.change(ridge)) for half, other in halves) for ridge in RIDGES]
        least = int(np.argmin(losses))
        return self.all.change(RIDGES[least]) if losses[least] < 0 else np.zeros_like(self.first.hr)


def _seen(
    model: Model, original: Original, pairs: dict[Node, Value], ctx: Context, limit: int
) -> Iterator[tuple[Node, Sums]]:
    both, of = side_by_side(original.model, model)
    b = Builder(both.graph)
    wanted: list[Value] = []
    for node, end in pairs.items():
        read = node.inputs[0]
        assert read is not None
        wanted += _products(b, node, _where_read(b, node, of[read]), of[end], of[result(node)])
    both.graph.set_outputs(wanted, [f"sum.{number}" for number in range(len(wanted))])
    drop_dead(both.graph)
    Cse().run(both, Context())
    sums = {value: _Sum() for value in both.graph.outputs}
    assert ctx.observe is not None
    ctx.observe(both, sums, limit)
    totals = iter([sums[value].totals for value in both.graph.outputs])
    for node in pairs:
        part = list(islice(totals, len(Half._fields)))
        yield node, Sums(*(Half(*(total[index] for total in part)) for index in range(2)))


def _products(b: Builder, node: Node, read: Value, wanted: Value, given: Value) -> list[Value]:
    rows, missing = (_rows(b, node, value) for value in (read, b.op("Sub", wanted, given)))
    turned = b.op("Transpose", rows, perm=(1, 0))
    first = b.ints([0])
    return [
        b.op("MatMul", turned, rows), b.op("ReduceSum", rows, first, keepdims=0),
        b.op("MatMul", turned, missing), b.op("ReduceSum", missing, first, keepdims=0),
        b.op("Gather", b.op("Shape", rows), b.const(np.array(0, np.int64))),
    ]  # fmt: skip


def _where_read(b: Builder, reader: Node, value: Value) -> Value:
    """The places of a picture that a 1 x 1 convolution reads; all of it for others."""
    strides = reader.attr("strides") if reader.op.key == "Conv" else None
    if not strides or all(step == 1 for step in strides):
        return value
    axes = range(2, 2 + len(strides))
    ends = [np.iinfo(np.int64).max] * len(strides)
    return b.op("Slice", value, b.ints([0] * len(strides)), b.ints(ends), b.ints(axes), b.ints(strides))


def _rows(b: Builder, node: Node, value: Value) -> Value:
    """Vectors [rows, channels] of what a layer reads or gives."""
    if node.op.key == "Conv":
        rank = value.rank
        assert rank is not None
        value = b.op("Transpose", value, perm=(0, *range(2, rank), 1))
    width = value.shape[-1] if value.shape is not None else None
    assert isinstance(width, int)
    return b.op("Reshape", value, b.ints([-1, width]))


def _change(node: Node, sums: Sums) -> None:
    weight = node.inputs[1]
    assert weight is not None and weight.const is not None
    change = sums.change()
    old = weight.const.array()
    turned = change.T.reshape(old.shape) if node.op.key == "Conv" or node.attr("transB") else change
    new = (old.astype(np.float64) + turned).astype(np.float32)
    node.set_input(1, constant(Tensor.from_array(np.ascontiguousarray(new), F32), weight.hint))
    mean_h, mean_r = sums.all.means()
    shift_bias(node, mean_r - mean_h @ change)

"""Layers fitted by least squares to the original's outputs: distillation in closed form.

    original = Original(model)
    ...                                    # change some layers
    refit(model, layers, original, ctx, limit=64)

Layer by layer in the order of the graph, because each reads what the changed ones before it give: with h what a layer
reads now and r what is missing of the original's output, its weights and bias change by the (D, d) for which the
squares of r - h D - d, and a little of those of D, are least. How little is told by fitting to one half of the samples
and judging by the other: the most that leaves hardly more missing than the best; where no change serves, there is none.
Both models run side by side, and nothing but sums of products leaves the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Model, Node, Value, constant
from ...ir.tensor import Array, Tensor
from ...ir.types import F32
from ..base import Context
from ..depths import depths
from ..quantize.difference import side_by_side
from .bias import is_bias_of, shift_bias
from .products import (
    Halves,
    is_convolution,
    matrices,
    products,
    read_rows,
    result_rows,
    row_count,
    row_sum,
    summed,
    weights_of,
)

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean square of what is read: what holds directions that hardly vary
NEARLY = 1.1  # times what the best ridge leaves is hardly more
_ROUNDING = 1e-6  # of what is missing
_SUMS = 6  # for each layer


class Original:
    """A model as it is before layers are changed."""

    def __init__(self, model: Model) -> None:
        self.model, self._of = clone_model(model)

    def node_of(self, node: Node) -> Node:
        """What a node was before layers were changed. Raises KeyError for one that is new."""
        found = self._of[node.output].producer
        assert found is not None
        return found

    def result_of(self, node: Node) -> Value | None:
        """What the original of a layer gives, its bias added; None for a node that it does not have."""
        found = self._of.get(node.output)
        return None if found is None or found.producer is None else result(found.producer)


def result(node: Node) -> Value:
    """What a layer gives with the bias behind it, if there is one."""
    use = node.output.sole_use
    return use[0].output if use is not None and is_bias_of(use[0], node) else node.output


def refit(
    model: Model, layers: Sequence[Node], original: Original, ctx: Context, limit: int,
    kept: Mapping[Node, Array] | None = None, skip: int = 0,
) -> None:  # fmt: skip
    """Change weights and biases of `layers` of the main graph (MatMul, Gemm, Conv), on at most `limit` samples.

    The first `skip` samples are left for who judges what that did.
    `kept`: which outputs of the original a layer still has, where it has not all. Raises UsageError where a sample does
    not run.
    """
    for group in depths(layers):
        pairs = {node: end for node in group if (end := original.result_of(node)) is not None}
        for node, sums in _seen(model, original, pairs, kept or {}, ctx, limit, skip).items():
            _change(node, sums)


class _Sums(NamedTuple):
    """Over all vectors that a layer reads (h) and what is missing of its outputs (r), of each group of channels."""

    hh: Array  # [groups, inputs, inputs]
    h: Array  # [groups, inputs]
    hr: Array  # [groups, inputs, outputs]
    r: Array  # [groups, outputs]
    rr: Array  # squares, [groups, outputs]
    rows: Array  # how many vectors

    def missing(self) -> float:
        """The variance of what is missing, of all outputs together."""
        return float(np.sum(self.rr / self.rows - (self.r / self.rows) ** 2))

    def moments(self) -> tuple[Array, Array]:
        """The covariance of what is read, and with what is missing."""
        h, r = self.h / self.rows, self.r / self.rows
        return self.hh / self.rows - h[:, :, None] * h[:, None, :], self.hr / self.rows - h[:, :, None] * r[:, None, :]


def _seen(
    model: Model, original: Original, pairs: Mapping[Node, Value], kept: Mapping[Node, Array], ctx: Context,
    limit: int, skip: int,
) -> dict[Node, tuple[_Sums, _Sums]]:  # fmt: skip
    """The sums over every second sample, and over the others."""
    both, of = side_by_side(original.model, model)
    b = Builder(both.graph)
    wanted: list[Value] = []
    for node, end in pairs.items():
        read = node.inputs[0]
        assert read is not None
        aim = of[end]
        if node in kept:
            axis = 1 if is_convolution(node) else (aim.rank or 0) - 1
            aim = b.op("Gather", aim, b.const(kept[node].astype(np.int64)), axis=axis)
        wanted += _products(b, node, of[read], b.op("Sub", aim, of[result(node)]))
    halves = summed(both, wanted, ctx, limit, skip)
    parts = [halves[start : start + _SUMS] for start in range(0, len(halves), _SUMS)]
    return {node: (_sums(part, "even"), _sums(part, "odd")) for node, part in zip(pairs, parts)}


def _sums(halves: Sequence[Halves], name: str) -> _Sums:
    return _Sums(*(getattr(half, name) for half in halves))


def _products(b: Builder, node: Node, read: Value, missing: Value) -> list[Value]:
    h, r = read_rows(b, node, read), result_rows(b, node, missing)
    squares = row_sum(b, b.op("Mul", r, r))
    return [products(b, h, h), row_sum(b, h), products(b, h, r), row_sum(b, r), squares, row_count(b, h)]


def _change(node: Node, halves: tuple[_Sums, _Sums]) -> None:
    weight = node.inputs[1]
    assert weight is not None
    one, other = halves
    both = one if not other.rows else _Sums(*(a + b for a, b in zip(one, other)))
    ridge = RIDGES[1] if not other.rows else _best_ridge(one, other)
    change = np.zeros_like(both.hr) if ridge is None else _solved(*both.moments(), ridge, both)
    if ridge is not None:
        new = weights_of(node, matrices(node) + change)
        node.set_input(1, constant(Tensor.from_array(new, F32), weight.hint))
    shift = both.r / both.rows - np.einsum("gi,gio->go", both.h / both.rows, change)
    shift_bias(node, shift.reshape(-1))


def _best_ridge(one: _Sums, other: _Sums) -> float | None:
    """The largest ridge that leaves hardly more missing than the best one does, None where none leaves less than all.

    By samples that a change was not fitted to. What users run is less like the samples than those are like each other.
    """
    halves = ((one, one.moments()), (other, other.moments()))
    missing = one.missing() + other.missing()
    left = []
    for ridge in RIDGES:
        gain = 0.0
        for (fitting, seen), (_, (covariance, cross)) in (halves, halves[::-1]):
            change = _solved(*seen, ridge, fitting)
            gain += float(2 * np.sum(cross * change) - np.sum((covariance @ change) * change))
        left.append(missing - gain)
    enough = min(NEARLY * max(min(left), 0.0) + _ROUNDING * missing, missing)
    return max((ridge for ridge, rest in zip(RIDGES, left) if rest < missing and rest <= enough), default=None)


def _solved(covariance: Array, cross: Array, ridge: float, of: _Sums) -> Array:
    """The change [groups, inputs, outputs] with the least squares."""
    inputs = covariance.shape[-1]
    size = np.trace(of.hh, axis1=1, axis2=2) / (of.rows * inputs)
    held = np.maximum(ridge * size, 1e-30)[:, None, None] * np.eye(inputs)
    return np.asarray(np.linalg.solve(covariance + held, cross))

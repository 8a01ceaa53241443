"""What is left of a layer's inputs takes the part of those that go: least squares by what the whole model gives them.

    changes = compensations(reads, alive, seen)      # before the cut: weights are changed, biases are not yet
    apply_cut(found, alive)
    shift_biases(changes, found, alive)

With C the covariance of what a layer reads, K what is kept and G what goes, the weights that lose the least are
W_K + (C_KK + d I)^-1 C_KG W_G, and the bias takes the difference of the means: the surgeon's update (Hassibi, Stork,
1993) for many inputs at once. Each layer is fitted on its own, to what it reads in the whole model: what other cuts do
to its inputs is not made up for. How large d is is told by fitting to one half of the samples and judging by the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ...ir.core import Node, constant
from ...ir.tensor import Array, Tensor
from ...ir.types import F32
from ..base import Context
from ..portions import within
from ..repair.bias import shift_bias
from ..repair.products import Moment, covariance_bytes, groups_of, is_float, matrices, moments, weights_of
from ..repair.refit import NEARLY, RIDGES, Original
from .follow import Following, Read
from .scores import DAMPING


def compensations(reads: Iterable[Read], alive: Array, seen: Mapping[Node, Moment]) -> dict[Node, Array]:
    """Change the weights of the layers that lose inputs; what their biases lack, f64 [outputs].

    `alive` bool [labels]. `seen`: the moments of what they read.
    """
    shifts = {}
    for node, labels in reads:
        if alive[labels].all():
            continue
        weights, shift = _fitted(matrices(node), seen[node], alive[labels].reshape(groups_of(node), -1))
        weight = node.inputs[1]
        assert weight is not None
        node.set_input(1, constant(Tensor.from_array(weights_of(node, weights), F32), weight.hint))
        shifts[node] = shift.reshape(-1)
    return shifts


def compensate(
    original: Original, found: Following, alive: Array, ctx: Context, limit: int, held: int, memory: int
) -> dict[Node, Array]:
    """`compensations` for all layers of a model that lose inputs, on at most `limit` samples behind the first `held`.

    `memory`: bytes of covariances at a time.
    """
    shifts: dict[Node, Array] = {}
    cut = [read for read in found.reads if not alive[read.labels].all() and is_float(read.node)]
    for part in within(cut, lambda read: covariance_bytes(read.node), memory):
        whole = {read.node: original.node_of(read.node) for read in part}
        seen = moments(original.model, list(whole.values()), ctx, limit, held)
        shifts |= compensations(part, alive, {node: seen[theirs] for node, theirs in whole.items()})
    return shifts


def shift_biases(shifts: Mapping[Node, Array], found: Following, alive: Array) -> None:
    """Once labels are cut, add to the biases of layers what `compensations` gave for them."""
    for node, shift in shifts.items():
        made = found.made.get(node)
        shift_bias(node, shift if made is None else shift[alive[made]])


def _fitted(weights: Array, seen: Moment, kept: Array) -> tuple[Array, Array]:
    """Weights [groups, inputs, outputs] and a shift [groups, outputs]; `kept` bool [groups, channels]."""
    inputs = np.repeat(kept, weights.shape[1] // kept.shape[1], axis=1)
    fitted = _solved(weights, seen, inputs, _best_ridge(weights, seen, inputs))
    return fitted, np.einsum("gi,gio->go", seen.mean, weights - fitted)


def _best_ridge(weights: Array, seen: Moment, inputs: Array) -> float:
    """The largest ridge that loses hardly more than the best one on samples that nothing was fitted to."""
    lost = [0.0] * len(RIDGES)
    for ours, theirs in (seen.halves, seen.halves[::-1]) if seen.halves else ():
        moved = theirs.mean - ours.mean
        around = theirs.covariance + moved[:, :, None] * moved[:, None, :]
        for number, ridge in enumerate(RIDGES):
            missing = weights - _solved(weights, ours, inputs, ridge)
            lost[number] += float(np.sum((around @ missing) * missing))
    return max(ridge for ridge, loss in zip(RIDGES, lost) if loss <= NEARLY * min(lost)) if seen.halves else DAMPING


def _solved(weights: Array, seen: Moment, inputs: Array, ridge: float) -> Array:
    """W_K + (C_KK + d I)^-1 C_KG W_G for the inputs that are kept, bool [groups, inputs]; 0 for the others."""
    fitted = np.where(inputs[:, :, None], weights, 0.0)
    for group, left in enumerate(inputs):
        covariance = seen.covariance[group]
        size = (np.trace(covariance) + np.square(seen.mean[group]).sum()) / len(covariance)
        held = covariance[np.ix_(left, left)] + max(ridge * float(size), 1e-30) * np.eye(int(left.sum()))
        fitted[group, left] += np.linalg.solve(held, covariance[np.ix_(left, ~left)] @ weights[group, ~left])
    return fitted

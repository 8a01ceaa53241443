"""What is left of a layer's inputs takes the part of those that go: least squares by what the whole model gives them.

    changes = compensations(reads, alive, seen)      # before the cut: weights are changed, biases are not yet
    apply_cut(found, alive)
    shift_biases(changes, found, alive)

With C the covariance of what a layer reads, K what is kept and G what goes, the weights that lose the least are
W_K + (C_KK + d I)^-1 C_KG W_G, and the bias takes the difference of the means: the surgeon's update (Hassibi, Stork,
1993) for many inputs at once. Each layer is fitted on its own, to what it reads in the whole model: what other cuts do
to its inputs is not made up for.
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
from ..repair.refit import Original
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
    fitted = weights.copy()
    shift = np.zeros((len(weights), weights.shape[2]))
    for group, channels in enumerate(kept):
        inputs = np.repeat(channels, weights.shape[1] // len(channels))
        covariance, mean = seen.covariance[group], seen.mean[group]
        damping = DAMPING * max(float(np.trace(covariance)) / len(covariance), 1e-30)
        left = covariance[np.ix_(inputs, inputs)] + damping * np.eye(int(inputs.sum()))
        fitted[group, inputs] += np.linalg.solve(left, covariance[np.ix_(inputs, ~inputs)] @ weights[group, ~inputs])
        fitted[group, ~inputs] = 0.0
        shift[group] = mean @ (weights[group] - fitted[group])
    return fitted, shift

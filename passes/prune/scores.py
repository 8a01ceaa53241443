"""What is lost when units (channels, heads, neurons that are cut together) go: an order, and a loss for each number.

    curve = by_magnitude(unit_of, units, squares)
    curve.losses[k]           # the share that is lost when the first k units of curve.order are gone

Three measures. *magnitude*: the squares of all weights of a unit. *activations*: the mean square of what a layer reads
of a unit, times the squares of the weights it meets, as Wanda weighs single weights (M. Sun et al., arXiv 2306.11695);
of the part that varies, because a bias makes up for the rest. *reconstruction*: the squared error of the outputs that
is left once the other weights make up for a unit as well as they can, tr(W_u^T (H^-1)_uu^-1 W_u) with H the covariance
of what is read: Optimal Brain Surgeon for blocks (Hassibi, Stork, 1993), unit after unit as in ZipLM (Kurtic et al.,
arXiv 2302.04089). The last two are shares of the variance of the outputs of the layers that read a unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...ir.tensor import Array

DAMPING = 1e-3  # of the mean variance of what is read
_STEPS = 48  # in which the units of one family go


@dataclass(frozen=True)
class Curve:
    """`order`: units as they go, i64 [units]. `losses`: f64 [units + 1], of the first k of them, rising."""

    order: Array
    losses: Array


@dataclass
class Reader:
    """What multiplies units: a covariance f64 [inputs, inputs] and weights f64 [inputs, outputs] of one group.

    `units` i64 [inputs]: of each input, -1 for what is of other families. `size`: the variance of all outputs of the
    layer.
    """

    covariance: Array
    weights: Array
    units: Array
    size: float


def by_magnitude(squares: Array) -> Curve:
    """Of the sum of squares of the weights of each unit, f64 [units]."""
    return _sorted(squares, max(float(squares.sum()), 1e-300))


def by_activations(readers: Sequence[Reader], units: int) -> Curve:
    """Mean square by mean square, each input for itself."""
    scores: Array = np.zeros(units)
    for reader in readers:
        of_input = np.diag(reader.covariance) * np.square(reader.weights).sum(1)
        own = reader.units >= 0
        np.add.at(scores, reader.units[own], of_input[own] / reader.size)
    return _sorted(scores, 1.0)


def by_reconstruction(readers: Sequence[Reader], units: int) -> Curve:
    """With what the other weights make up for, unit after unit (a few at a time where there are many)."""
    problems = [_Problem(reader) for reader in readers]
    alive = np.arange(units)
    order: list[int] = []
    losses = [0.0]
    step = max(1, units // _STEPS)
    while len(alive):
        scores = np.sum([problem.scores(alive) for problem in problems], axis=0)
        going = alive[np.argsort(scores, kind="stable")[:step]]
        each = np.sort(scores)[: len(going)]
        lost = sum(problem.remove(going) for problem in problems)
        shares = np.cumsum(each) / each.sum() if each.sum() > 0 else np.arange(1, len(going) + 1) / len(going)
        losses += list(losses[-1] + lost * shares)
        order += going.tolist()
        alive = np.setdiff1d(alive, going)
    return Curve(np.array(order, np.int64), np.array(losses))


def _sorted(scores: Array, total: float) -> Curve:
    order = np.argsort(scores, kind="stable")
    return Curve(order, np.concatenate([[0.0], np.cumsum(scores[order]) / total]))


class _Problem:
    """What is left of a reader while units go."""

    def __init__(self, reader: Reader) -> None:
        inputs = len(reader.covariance)
        damping = DAMPING * max(float(np.trace(reader.covariance)) / inputs, 1e-30)
        self.inverse: Array = np.linalg.inv(reader.covariance + damping * np.eye(inputs))
        self.weights = np.array(reader.weights)
        self.units = reader.units
        self.size = reader.size

    def scores(self, alive: Array) -> Array:
        """What each unit costs that goes alone, f64 [alive]."""
        own = np.flatnonzero(self.units >= 0)
        found: Array = np.zeros(int(alive.max()) + 1)
        members = own[np.argsort(self.units[own], kind="stable")]
        kinds, counts = np.unique(self.units[own], return_counts=True)
        if len(kinds) and (counts == counts[0]).all():
            places = members.reshape(len(kinds), -1)
            blocks, weights = self.inverse[places[:, :, None], places[:, None, :]], self.weights[places]
            found[kinds] = (weights * np.linalg.solve(blocks, weights)).sum((1, 2))
        else:
            for unit, at in zip(kinds, np.split(members, np.cumsum(counts)[:-1])):
                found[unit] = self._loss(at)
        return np.asarray(found[alive] / self.size)

    def remove(self, units: Array) -> float:
        """Let units go, and the others make up for them; what that costs."""
        at = np.flatnonzero(np.isin(self.units, units))
        if not len(at):
            return 0.0
        lost = self._loss(at) / self.size
        rest = np.setdiff1d(np.arange(len(self.units)), at)
        across = self.inverse[np.ix_(rest, at)]
        block = self.inverse[np.ix_(at, at)]
        self.weights = self.weights[rest] - across @ np.linalg.solve(block, self.weights[at])
        self.inverse = self.inverse[np.ix_(rest, rest)] - across @ np.linalg.solve(block, across.T)
        self.units = self.units[rest]
        return lost

    def _loss(self, at: Array) -> float:
        weights = self.weights[at]
        return float((weights * np.linalg.solve(self.inverse[np.ix_(at, at)], weights)).sum())

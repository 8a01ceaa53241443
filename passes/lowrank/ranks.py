"""Which rank each layer gets: what loses the least for what it costs.

A layer's loss at a rank is the share of its outputs' variance that is gone. With a price on cost each layer takes the
rank whose loss and cost together are least, or stays whole; the price is found at which all of them cost what they may
(Lagrange multipliers, as rate allocation does it: Shoham and Gersho, 1988). What that leaves of the limit, because a
matrix is cheaper in two only far below its full rank, goes to whatever gains the most for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...ir.tensor import Array

PARAMETERS, TIME = "parameters", "time"  # what ranks may cost
_STEPS = 60  # of the bisection over prices


@dataclass(frozen=True)
class Choice:
    """What one layer, or several that share their left factor, may be: each rank with its cost and loss.

    Index 0 is the whole matrix, `ranks[0]` is 0.
    """

    ranks: Array
    costs: Array
    losses: Array

    def best(self, price: float) -> int:
        """The index of what loses least when `price` is paid for cost."""
        return int(np.argmin(self.losses + price * self.costs))


def choice(energies: Array, most: int, whole: float, cost: Callable[[int], float], multiple: int) -> Choice:
    """The ranks up to `most` that cost less than the `whole` matrix: multiples of `multiple`, as kernels like them."""
    tails = np.concatenate([np.cumsum(energies[::-1])[::-1], [0.0]])
    total = tails[0] if tails[0] > 0 else 1.0
    ranks = [0]
    costs = [whole]
    for rank in range(multiple, most + 1, multiple):
        price = cost(rank)
        if price < whole:
            ranks.append(rank)
            costs.append(price)
    losses = [0.0, *(tails[rank] / total for rank in ranks[1:])]
    return Choice(np.array(ranks), np.array(costs), np.array(losses))


def allocate(choices: Sequence[Choice], limit: float) -> list[int]:
    """For each choice the index of what it becomes, so that all together cost at most `limit`.

    The cheapest of each where even that costs more.
    """
    low, high = 0.0, 1e-12
    while high < 1e12 and _total(choices, high) > limit:
        low, high = high, high * 10
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _total(choices, middle) <= limit else (middle, high)
    chosen = [each.best(high) for each in choices]
    left = limit - float(sum(each.costs[index] for each, index in zip(choices, chosen)))
    while left > 0:
        steps = [_step(each, index, left) for each, index in zip(choices, chosen)]
        gain, where = max((step.gain, number) for number, step in enumerate(steps))
        if gain <= 0:
            break
        left -= float(choices[where].costs[steps[where].to] - choices[where].costs[chosen[where]])
        chosen[where] = steps[where].to
    return chosen


class _Step(NamedTuple):
    """What a choice may become instead, and the loss that it is spared for each unit of cost."""

    gain: float
    to: int


def _step(choice: Choice, index: int, left: float) -> _Step:
    more = choice.costs - choice.costs[index]
    fits = (more > 0) & (more <= left)
    if not fits.any():
        return _Step(0.0, index)
    gains = np.where(fits, (choice.losses[index] - choice.losses) / np.where(fits, more, 1.0), 0.0)
    best = int(np.argmax(gains))
    return _Step(float(gains[best]), best)


def _total(choices: Sequence[Choice], price: float) -> float:
    return float(sum(each.costs[each.best(price)] for each in choices))


def rank_for_energy(energies: Array, share: float, multiple: int) -> int:
    """The least multiple whose ranks keep `share` of the energy."""
    kept = np.cumsum(energies) / max(float(energies.sum()), 1e-300)
    rank = int(np.searchsorted(kept, share - 1e-12)) + 1
    return -(-rank // multiple) * multiple

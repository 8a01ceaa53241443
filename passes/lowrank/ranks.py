"""Which rank each layer gets: what loses the least for what it costs.

A layer's loss at a rank is the share of its outputs' variance that is gone. With a price on cost each layer takes the
rank whose loss and cost together are least, or stays whole; the price is found at which all of them cost what they may
(Lagrange multipliers, as rate allocation does it: Shoham and Gersho, 1988).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...ir.tensor import Array

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
    return [each.best(high) for each in choices]


def _total(choices: Sequence[Choice], price: float) -> float:
    return float(sum(each.costs[each.best(price)] for each in choices))


def rank_for_energy(energies: Array, share: float, multiple: int) -> int:
    """The least multiple whose ranks keep `share` of the energy."""
    kept = np.cumsum(energies) / max(float(energies.sum()), 1e-300)
    rank = int(np.searchsorted(kept, share - 1e-12)) + 1
    return -(-rank // multiple) * multiple

"""Which ranks a layer may get, what each costs and loses; `passes.allocation` takes one for each layer.

A layer's loss at a rank is the share of its outputs' variance that is gone. A matrix is cheaper in two only far below
its full rank.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...ir.tensor import Array
from ..allocation import Choice

PARAMETERS, TIME = "parameters", "time"  # what ranks may cost


def choice(energies: Array, most: int, whole: float, cost: Callable[[int], float], multiple: int) -> Choice:
    """The ranks up to `most` that cost less than the `whole` matrix: multiples of `multiple`, as kernels like them.

    Rank 0 stands for the whole matrix.
    """
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


def rank_for_energy(energies: Array, share: float, multiple: int) -> int:
    """The least multiple whose ranks keep `share` of the energy."""
    kept = np.cumsum(energies) / max(float(energies.sum()), 1e-300)
    rank = int(np.searchsorted(kept, share - 1e-12)) + 1
    return -(-rank // multiple) * multiple

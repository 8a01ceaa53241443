"""What is taken of many things that may each be had at several costs: what loses the least for what it costs.

    choice = Choice(counts, costs, losses)          # of one layer: what it may become
    taken = allocate([choice, ...], limit)          # for each the index of what it becomes

With a price on cost each layer takes what loses and costs the least together; the price is found at which all of them
cost what they may (Lagrange multipliers, as rate allocation does it: Shoham and Gersho, 1988).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..ir.tensor import Array

_LOWEST, _HIGHEST = 1e-12, 1e12  # prices, in loss for a unit of cost
_STEPS = 60  # of the bisection over them


@dataclass(frozen=True)
class Choice:
    """What one layer, or several together, may be: `ranks` (or counts) with the cost and the loss of each.

    Index 0 is the whole layer.
    """

    ranks: Array
    costs: Array
    losses: Array

    def best(self, price: float) -> int:
        """The index of what loses least when `price` is paid for cost."""
        return int(np.argmin(self.losses + price * self.costs))


def lowest_price(cost: Callable[[float], float], limit: float) -> float:
    """The lowest price at which `cost(price)`, which falls, is at most `limit`; the highest there is where none is so.

    What is cheapest at that one costs the least that can be.
    """
    low, high = 0.0, _LOWEST
    while high < _HIGHEST and cost(high) > limit:
        low, high = high, high * 10
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= limit else (middle, high)
    return high


def allocate(choices: Sequence[Choice], limit: float) -> list[int]:
    """For each choice the index of what it becomes, so that all together cost at most `limit`.

    The cheapest of each where even that costs more. What one price for all leaves of the limit, because choices have
    gaps, goes to whatever gains the most for it.
    """

    def total(price: float) -> float:
        return float(sum(each.costs[each.best(price)] for each in choices))

    price = lowest_price(total, limit)
    chosen = [each.best(price) for each in choices]
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

"""Which of the layers in a row to change, for the most gain within a budget of harm: a knapsack of neighbours.

    chosen([2.0, 3.0, 1.0], [0.5, 0.9, 0.1], [0.0, 0.2, 0.2], allowed=1.0)      # [False, True, True]

An exact 0/1 knapsack by dynamic programming over a grid of the budget (S. Martello and P. Toth, Knapsack Problems,
1990, section 2.6), with a cost where neighbours are treated differently, so that what is chosen comes in stretches.
Harms are rounded up to the grid: the budget is never passed, and at most 1/`FINE` of it is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FINE, FEWEST = 16, 1024  # bins: for each item, and at the least


def chosen(gains: Sequence[float], harms: Sequence[float], switches: Sequence[float], allowed: float) -> list[bool]:
    """For each item whether to take it. The harms of those taken sum to at most `allowed`, and what they gain less the
    switches is the most that the grid allows.

    `switches[i]`: the cost where items i - 1 and i are not treated alike (the first counts for nothing). Harms are not
    negative; those that are infinite are never taken.
    """
    count = len(gains)
    if not count:
        return []
    bins = max(FEWEST, FINE * count)
    weights = [_weight(harm, allowed, bins) for harm in harms]
    best = np.full((2, bins + 1), -np.inf)  # by (is the last item taken, bins used): the most gained
    best[0, 0] = 0.0
    came: list[np.ndarray] = []  # for each item, by the same: was the one before it taken?
    for index, (gain, weight) in enumerate(zip(gains, weights)):
        switch = switches[index] if index else 0.0
        left, left_from = _better(best[0], best[1] - switch)
        taken, taken_from = _better(best[0] - switch, best[1])
        after = np.full_like(best, -np.inf)
        origin = np.zeros(best.shape, bool)
        after[0], origin[0] = left, left_from
        if weight <= bins:
            after[1, weight:] = taken[: bins + 1 - weight] + gain
            origin[1, weight:] = taken_from[: bins + 1 - weight]
        best = after
        came.append(origin)
    # Of equal gains the one with less harm: the first in the order of bins.
    is_taken, used = divmod(int(best.argmax()), bins + 1)
    found: list[bool] = []
    for index in range(count - 1, -1, -1):
        found.append(bool(is_taken))
        before = came[index][is_taken, used]
        used -= weights[index] if is_taken else 0
        is_taken = int(before)
    return found[::-1]


def _weight(harm: float, allowed: float, bins: int) -> int:
    if harm <= 0:
        return 0
    return int(min(np.ceil(harm / allowed * bins), bins + 1)) if allowed > 0 else bins + 1


def _better(unchosen: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.maximum(unchosen, taken), taken > unchosen

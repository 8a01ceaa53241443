"""The few numbers that stand for many with the least squared error: k-means on a line.

    numbers = palette(values, 16)              # f32 [16], rising
    codes = nearest(values, numbers)           # u8, like `values`

On a line the clusters are intervals, so that dynamic programming finds the best ones (H. Wang, M. Song: Ckmeans.1d.dp,
The R Journal 3/2, 2011). That is done for the numbers themselves where they are few, and for a histogram else; from
there Lloyd's steps go on with the numbers themselves, each of them a look into sums that are made once.
"""

from __future__ import annotations

import numpy as np

from ...ir.tensor import Array

_BINS = 512  # that dynamic programming works on
_STEPS = 100  # of Lloyd's at most
_SAMPLE = 1 << 21  # numbers from which a palette is made; of more, as many evenly spread


def palette(values: Array, count: int, importance: Array | None = None) -> Array:
    """`count` numbers f32, rising, that the squared distances of `values` to the nearest one are about least for.

    `importance` (as many, not negative) says how much each distance counts. Exact for up to 512 different values; where
    there are at most `count`, they are the palette, and the last is repeated.
    """
    flat = values.reshape(-1)
    step = -(-flat.size // _SAMPLE)
    counted = np.ones(flat.size) if importance is None else importance.reshape(-1)
    flat, counted = flat[::step].astype(np.float64), counted[::step].astype(np.float64)
    order = np.argsort(flat, kind="stable")
    found, starts = np.unique(flat[order], return_index=True)
    if len(found) <= count:
        return np.concatenate([found, np.full(count - len(found), found[-1])]).astype(np.float32)
    weights = np.add.reduceat(counted[order], starts)
    weights += 1e-12 * max(float(weights.max()), 1e-300)  # what never counts still belongs somewhere
    sums = _Sums(found, weights)
    return _lloyd(found, sums, _intervals(sums, _edges(found, weights), count))


def nearest(values: Array, numbers: Array) -> Array:
    """The index u8 of the nearest of `numbers` (rising, at most 256) for each value."""
    return np.searchsorted((numbers[1:] + numbers[:-1]) / 2, values).astype(np.uint8)


class _Sums:
    """Sums over intervals of sorted numbers, each by two look-ups."""

    def __init__(self, numbers: Array, weights: Array) -> None:
        self.middle = float(np.average(numbers, weights=weights))  # differences of squares lose fewer digits around it
        centered = numbers - self.middle
        parts = np.stack([weights, weights * centered, weights * centered**2], axis=1)
        self.table = np.concatenate([np.zeros((1, 3)), parts.cumsum(0)])

    def means(self, ends: Array) -> Array:
        """The mean of each interval between two of `ends`."""
        parts = np.diff(self.table[ends], axis=0)
        return np.asarray(parts[:, 1] / parts[:, 0] + self.middle)

    def errors(self, ends: Array) -> Array:
        """f64 [ends, ends]: the squared distances from their mean, from one end to another; infinite backwards."""
        weight, first, second = (self.table[ends][None, :, i] - self.table[ends][:, None, i] for i in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(weight > 0, np.maximum(second - first**2 / weight, 0.0), np.inf)


def _edges(numbers: Array, weights: Array) -> Array:
    """Where the intervals of a histogram begin and end: half of them as wide, half of them as heavy as each other."""
    if len(numbers) <= _BINS:
        return np.arange(len(numbers) + 1)
    wide = np.searchsorted(numbers, np.linspace(numbers[0], numbers[-1], _BINS // 2 + 1))
    heavy = np.searchsorted(weights.cumsum(), np.linspace(0, 1, _BINS // 2 + 1) * weights.sum())
    return np.unique(np.concatenate([[0], wide, heavy, [len(numbers)]]).clip(0, len(numbers)))


def _intervals(sums: _Sums, edges: Array, count: int) -> Array:
    """The ends [count + 1] of the intervals, among `edges`, that leave the least error."""
    errors = sums.errors(edges)
    count = min(count, len(edges) - 1)
    least, cuts = errors[0], []
    for _ in range(count - 1):
        every = least[:, None] + errors
        cut = every.argmin(0)
        cuts.append(cut)
        least = every[cut, np.arange(len(edges))]
    at = len(edges) - 1
    ends = [at]
    for cut in reversed(cuts):
        at = int(cut[at])
        ends.append(at)
    return np.asarray(edges[[*ends, 0][::-1]])


def _lloyd(numbers: Array, sums: _Sums, ends: Array) -> Array:
    """The means of intervals that end half way between them, from given ones on."""
    means = sums.means(ends)
    for _ in range(_STEPS):
        cuts = np.searchsorted(numbers, (means[1:] + means[:-1]) / 2, side="right")
        moved = np.concatenate([[0], cuts, [len(numbers)]])
        if (moved == ends).all() or (np.diff(moved) == 0).any():
            break
        ends, means = moved, sums.means(moved)
    return means.astype(np.float32)

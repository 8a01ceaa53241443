"""Statistics of a value over samples, from which its range is chosen. Each grows by `add` and keeps no tensors.

    observer = Histogram()
    for array in arrays:
        observer.add(array)
    low, high = mse_range(observer, Scheme(U8))

All refuse NaN and infinity with ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ...ir.tensor import Array
from .scheme import Scheme, affine_of

BINS = 4096  # on each side of zero
_PIECE = 1 << 20  # elements that are counted at a time


class Statistics:
    """What can be kept and gone on with later: an observer whose attributes `grows` are all that `add` changes.

    Numbers and arrays alone, None where nothing was seen yet. What else it has are settings, which decide what it sees.
    """

    grows: ClassVar[tuple[str, ...]] = ()

    def add(self, array: Array) -> None:
        """Take in the value on one sample. Raises ValueError for NaN and infinity."""
        raise NotImplementedError

    @property
    def settings(self) -> str:
        """Its kind and all that does not grow: two with equal settings see the same of the same values."""
        fixed = sorted((name, value) for name, value in vars(self).items() if name not in self.grows)
        return f"{type(self).__name__}{fixed}"

    def state(self) -> dict[str, Array]:
        """What it has seen, bit for bit."""
        return {name: np.asarray(value) for name in self.grows if (value := getattr(self, name)) is not None}

    def restore(self, state: dict[str, Array]) -> None:
        """Go on from a `state` of one with equal settings. Raises KeyError where the state is not one."""
        for name in self.grows:
            fresh = getattr(self, name)
            if fresh is None:
                setattr(self, name, state.get(name))
            else:
                setattr(self, name, state[name].item() if isinstance(fresh, (int, float)) else state[name])


class Count(Statistics):
    """How many samples there are."""

    grows = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, array: Array) -> None:
        """One more."""
        self.count += 1


class Several(Statistics):
    """Several statistics of one value."""

    def __init__(self, members: Sequence[Statistics]) -> None:
        self.members = members

    def add(self, array: Array) -> None:
        for member in self.members:
            member.add(array)

    @property
    def settings(self) -> str:
        return str([member.settings for member in self.members])

    def state(self) -> dict[str, Array]:
        states = [member.state() for member in self.members]
        return {f"{number}.{name}": array for number, state in enumerate(states) for name, array in state.items()}

    def restore(self, state: dict[str, Array]) -> None:
        for number, member in enumerate(self.members):
            prefix = f"{number}."
            member.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})


class MinMax(Statistics):
    """The smallest and the largest number: of all, or of each channel along `axis`."""

    grows: ClassVar[tuple[str, ...]] = ("low", "high")

    def __init__(self, axis: int | None = None) -> None:
        self.axis = axis
        self.low: Array | None = None
        self.high: Array | None = None

    def add(self, array: Array) -> None:
        """Take in the value on one sample. Raises ValueError for NaN and infinity."""
        if not array.size:
            return
        axes = None if self.axis is None else _others(array.ndim, self.axis)
        low, high = np.asarray(array.min(axes), np.float64), np.asarray(array.max(axes), np.float64)
        _check(low, high)
        if self.low is None or self.high is None:
            self.low, self.high = low, high
        else:
            self._join(low, high)

    def _join(self, low: Array, high: Array) -> None:
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)  # type: ignore[arg-type]

    @property
    def range(self) -> tuple[Array, Array]:
        """What was seen; zeros where nothing was."""
        if self.low is None or self.high is None:
            return np.zeros(()), np.zeros(())
        return self.low, self.high

    @property
    def magnitude(self) -> Array:
        """The largest absolute value."""
        low, high = self.range
        return np.asarray(np.maximum(np.abs(low), np.abs(high)))


class MovingAverage(MinMax):
    """A running average of each sample's range: m <- (1 - weight) m + weight * new, from the first sample on.

    As in B. Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference.
    """

    def __init__(self, axis: int | None = None, weight: float = 0.01) -> None:
        super().__init__(axis)
        self.weight = weight

    def _join(self, low: Array, high: Array) -> None:
        old_low, old_high = self.range
        self.low = old_low + self.weight * (low - old_low)
        self.high = old_high + self.weight * (high - old_high)


class Mean(Statistics):
    """The mean of each channel along `axis`."""

    grows = ("total", "count")

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.total: Array | None = None
        self.count = 0

    def add(self, array: Array) -> None:
        """Take in the value on one sample. Raises ValueError for NaN and infinity."""
        if not array.size:
            return
        sums = array.sum(_others(array.ndim, self.axis), dtype=np.float64)
        _check(sums, sums)
        self.total = sums if self.total is None else self.total + sums
        self.count += array.size // sums.size

    @property
    def mean(self) -> Array:
        """The mean; zero where nothing was seen."""
        return np.zeros(()) if self.total is None else np.asarray(self.total / self.count)


class Channels(MinMax):
    """The largest magnitude and the mean square of each channel along `axis`."""

    grows = ("low", "high", "total", "count")

    def __init__(self, axis: int) -> None:
        super().__init__(axis)
        self.total: Array | None = None
        self.count = 0

    def add(self, array: Array) -> None:
        """Take in the value on one sample. Raises ValueError for NaN and infinity."""
        if not array.size:
            return
        super().add(array)
        assert self.axis is not None
        sums = np.square(array, dtype=np.float64).sum(_others(array.ndim, self.axis))
        self.total = sums if self.total is None else self.total + sums
        self.count += array.size // sums.size

    @property
    def square(self) -> Array:
        """The mean square of each channel; zero where nothing was seen."""
        return np.zeros(()) if self.total is None else np.asarray(self.total / self.count)


class Histogram(Statistics):
    """How often numbers of each size occur: `bins` equal bins from 0 to `reach`, and as many below 0.

    When a number beyond `reach` comes, that doubles, and bins are joined in pairs: counts stay exact, memory the same.
    """

    grows = ("counts", "reach", "low", "high", "count")

    def __init__(self, bins: int = BINS) -> None:
        if bins < 2 or bins % 2:
            raise ValueError("an even number of bins is needed")
        self.bins = bins
        self.counts = np.zeros(2 * bins, np.int64)  # bin `bins` begins at 0
        self.reach = 0.0
        self.low = self.high = 0.0
        self.count = 0

    def add(self, array: Array) -> None:
        """Take in the value on one sample. Raises ValueError for NaN and infinity."""
        if not array.size:
            return
        low, high = float(array.min()), float(array.max())
        _check(np.asarray(low), np.asarray(high))
        self.low = low if not self.count else min(self.low, low)
        self.high = high if not self.count else max(self.high, high)
        self.count += array.size
        largest = max(-low, high)
        if not self.reach and largest:
            # The next power of two, so that any order of samples gives the same bins.
            self.reach = float(2.0 ** np.ceil(np.log2(largest)))
            self.counts[self.bins] = self.counts.sum()
        while self.reach < largest:
            self._double()
        flat = array.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            self._count(flat[start : start + _PIECE])

    def _count(self, piece: Array) -> None:
        if not self.reach:
            self.counts[self.bins] += piece.size
            return
        places = np.floor(piece.astype(np.float64) * (self.bins / self.reach)).astype(np.int64)
        np.clip(places, -self.bins, self.bins - 1, out=places)
        self.counts += np.bincount(places + self.bins, minlength=2 * self.bins)

    def _double(self) -> None:
        half = self.bins // 2
        joined = self.counts.reshape(-1, 2).sum(1)
        self.counts = np.zeros_like(self.counts)
        self.counts[self.bins - half : self.bins + half] = joined
        self.reach *= 2

    @property
    def centers(self) -> Array:
        """The middle of each bin."""
        return np.asarray((np.arange(-self.bins, self.bins) + 0.5) * (self.reach / self.bins))


def _others(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(rank) if i != axis % rank)


def _check(low: Array, high: Array) -> None:
    if np.isnan(low).any() or np.isnan(high).any():
        raise ValueError("it holds NaN")
    if np.isinf(low).any() or np.isinf(high).any():
        raise ValueError("it holds infinity")


def percentile_range(seen: Histogram, percentile: float = 99.999) -> tuple[float, float]:
    """The range without (100 - percentile) / 2 % of the numbers on each side, as onnxruntime's calibration cuts it."""
    if not 0 < percentile <= 100:
        raise ValueError(f"a percentile of {percentile}")
    if not seen.reach:
        return seen.low, seen.high
    share = (100.0 - percentile) / 200.0
    below = np.cumsum(seen.counts) / seen.count
    width = seen.reach / seen.bins
    first = int(np.searchsorted(below, share, side="right"))
    last = int(np.searchsorted(below, 1.0 - share, side="left"))
    low, high = (first - seen.bins) * width, (min(last, 2 * seen.bins - 1) + 1 - seen.bins) * width
    return max(low, seen.low), min(high, seen.high)


def entropy_range(seen: Histogram, levels: int = 128, step: int = 8) -> tuple[float, float]:
    """The range [-t, t], cut to what was seen, whose quantized distribution tells most of the real one.

    t has the least Kullback-Leibler divergence between the magnitudes up to t, with all beyond counted in the last bin,
    and the same in `levels` steps, as S. Migacz, 8-bit inference with TensorRT (GTC 2017) defines it. (onnxruntime's
    calibration has one histogram of both signs: it cuts long tails off earlier, and one-sided ones later.) Every
    `step`-th number of bins is tried.
    """
    if not seen.reach:
        return seen.low, seen.high
    magnitudes = seen.counts[seen.bins :] + seen.counts[: seen.bins][::-1]
    used = int(np.flatnonzero(magnitudes)[-1]) + 1
    best, reach = np.inf, used
    for size in [*range(levels, used, step), used]:
        if size < levels:
            break
        divergence = _divergence(magnitudes, size, levels)
        if divergence < best:
            best, reach = divergence, size
    limit = reach * seen.reach / seen.bins
    return max(-limit, seen.low), min(limit, seen.high)


def _divergence(magnitudes: Array, size: int, levels: int) -> float:
    """Of the first `size` bins with the outliers in the last, from the same joined to `levels` and spread again."""
    kept = magnitudes[:size]
    real = kept.astype(np.float64)
    real[-1] += magnitudes[size:].sum()
    starts = np.arange(levels) * size // levels
    occupied = kept > 0
    sums = np.add.reduceat(kept.astype(np.float64), starts)
    holders = np.maximum(np.add.reduceat(occupied.astype(np.int64), starts), 1)
    spread = np.repeat(sums / holders, np.diff([*starts, size])) * occupied
    total = spread.sum()
    if not total:
        return float(np.inf)
    p, q = real / real.sum(), spread / total
    where = p > 0
    if (q[where] == 0).any():  # outliers in a bin that was empty: smoothed, as onnxruntime does
        q = np.where(q == 0, 1e-4 / size, q)
    return float((p[where] * np.log(p[where] / q[where])).sum())


def mse_range(seen: Histogram, scheme: Scheme, steps: int = 40) -> tuple[float, float]:
    """The range with the least mean squared error of quantizing and dequantizing what was seen.

    Both ends shrink together by `steps` equal parts of 80 %, then the lower, then the upper one alone.
    """
    if not seen.reach:
        return seen.low, seen.high
    where = np.flatnonzero(seen.counts)
    numbers, counts = seen.centers[where], seen.counts[where].astype(np.float64)
    shares = 1.0 - 0.8 * np.arange(steps) / steps

    def error(low: float, high: float) -> float:
        affine = affine_of(low, high, scheme)
        scale, zero = float(affine.scale), float(affine.zero)
        codes = np.clip(np.rint(numbers / scale), affine.low - zero, affine.high - zero)
        return float((counts * (numbers - codes * scale) ** 2).sum())

    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    both = min(shares, key=lambda s: error(low * s, high * s))
    low, high = low * both, high * both
    if not scheme.symmetric:
        low *= min(shares, key=lambda s: error(low * s, high))
        high *= min(shares, key=lambda s: error(low, high * s))
    return low, high


METHODS = ("minmax", "average", "percentile", "entropy", "mse")

Statistic = MinMax | Histogram
"""What sees a value for its range."""


def statistic(method: str) -> Statistic:
    """What has to see the samples for a method. Raises ValueError for an unknown one."""
    if method not in METHODS:
        raise ValueError(f"ranges are chosen by {', '.join(METHODS)}, not {method!r}")
    if method == "minmax":
        return MinMax()
    return MovingAverage() if method == "average" else Histogram()


def chosen_range(seen: Statistic, method: str, scheme: Scheme, percentile: float = 99.999) -> tuple[float, float]:
    """The range that a method takes of what `statistic(method)` has seen."""
    if isinstance(seen, MinMax):
        low, high = seen.range
        return float(low), float(high)
    if method == "percentile":
        return percentile_range(seen, percentile)
    return entropy_range(seen) if method == "entropy" else mse_range(seen, scheme)

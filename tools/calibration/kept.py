"""One walk over the samples whose statistics are kept: what was seen of it before, and what is to be saved of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

from ...ir.core import Model
from ...passes.base import Observer
from ...passes.quantize.observers import Statistics
from . import statistics
from .statistics import StatisticsCache, key_of

_SHARE = 20  # times as long as saving took, nothing is saved again


class Kept(NamedTuple):
    """Where statistics are kept, and what names the samples: the digest of all and how many of them are run at most."""

    cache: StatisticsCache
    samples: str
    limit: int | None = None


class Saved:
    """What is kept of a walk over the samples; nothing where an observer is no statistic.

    `samples`: how many were seen before; `complete`: they are all.
    """

    def __init__(self, kept: Kept | None, model: Model, observers: Sequence[Observer]) -> None:
        """Gives the observers what was seen before of the outputs of `model`."""
        self.samples, self.complete = 0, False
        self._statistics = [observer for observer in observers if isinstance(observer, Statistics)]
        self._cache = kept.cache if kept is not None and len(self._statistics) == len(observers) else None
        self._last, self._pause = perf_counter(), 0.0
        if self._cache is not None:
            assert kept is not None
            self._key = key_of(model, self._statistics, kept.samples, kept.limit)
            self.samples, self.complete = self._cache.load(self._key, self._statistics)

    def after(self, count: int, put: Callable[[], None] = lambda: None) -> None:
        """Save from time to time, so that an interrupted run goes on from there; `put` is called before.

        What takes long to save is saved less often: that takes a twentieth of the time at most.
        """
        now = perf_counter()
        if self._cache is not None and count > self.samples and now - self._last >= max(statistics.EVERY, self._pause):
            put()
            self._cache.save(self._key, self._statistics, count, False)
            self._last = perf_counter()
            self._pause = _SHARE * (self._last - now)

    def end(self, count: int, put: Callable[[], None] = lambda: None) -> None:
        """Save what was seen of all samples."""
        if self._cache is not None:
            put()
            self._cache.save(self._key, self._statistics, count, True)

"""Forms timed in turn with the source: how many times as long each takes, and what the source takes.

    found = in_turn(open_source, [open_a, open_b], threads=1, seconds=4.0)
    found.ratios[0]              # Ratio(middle=0.41, low=0.40, high=0.43)

By rounds of short blocks with sessions opened anew (`bench.rounds`), and on one thread net of waiting for a processor
(`running.stopwatch`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..bench.rounds import Block, Budget, Ratio, Rounds, Samples, compete
from ..running.stopwatch import Stopwatch

Open = Callable[[], Callable[[], Any]]
"""Loads a model and binds its inputs; what it gives runs it once."""
NARROW = 0.03  # of a ratio: an interval that is enough to go on with
_SOURCE, _WHAT = "source", "latency"


class Turns(NamedTuple):
    """`ratios`: of the time of each form to that of the source; `source`: its seconds, in the median; `rounds`."""

    ratios: list[Ratio]
    source: float
    rounds: int


def in_turn(
    source: Open, forms: Sequence[Open], threads: int, seconds: float, most: float | None = None, seed: int = 0
) -> Turns:
    """Time them for about so many seconds; less, as soon as all forms surely have ratios of more than `most`, or of
    less, known to `NARROW`."""
    every = {_SOURCE: source, **{str(number): form for number, form in enumerate(forms)}}

    def opened() -> dict[str, Block]:
        return {name: partial(_block, threads, load()) for name, load in every.items()}

    def enough(found: Rounds) -> bool:
        ratios = [found.ratio(str(number), _WHAT) for number in range(len(forms))]
        return most is not None and all(
            each.low > most or (each.high < most and each.high - each.low < NARROW * each.middle) for each in ratios
        )

    found = compete(opened, Budget(seconds), seed, enough=enough)
    ratios = [found.ratio(str(number), _WHAT) for number in range(len(forms))]
    return Turns(ratios, float(np.median(found.samples(_SOURCE, _WHAT))), found.count)


def _block(threads: int, call: Callable[[], Any], count: int) -> Samples:
    with Stopwatch(threads) as watch:
        return {_WHAT: [watch.time(call) for _ in range(count)]}

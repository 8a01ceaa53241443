"""Timing several calls so that their ratios hold on a machine with other work, and saying how far they hold.

    found = compete({"a": run_a, "b": run_b}, Budget(seconds=10.0), seed=0)
    found.ratio("b", "latency")          # Ratio(middle=0.52, low=0.51, high=0.53)

A round is one short block of each contender, in random order. What else the machine does falls on neighbours in time
alike, so each round gives one ratio, block by block; the ratio is the median of those, with an interval from their
order statistics, which assumes no distribution (Conover, Practical Nonparametric Statistics, 3.2). The first contender
has a second block in every round, the control: its ratio to itself is 1 but for noise, and what is not farther from 1
than the noise is called the same. Sessions are opened anew a few times, because where their memory lies changes times
by a per cent or two for as long as they live.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

Samples = dict[str, list[float]]
"""Seconds by what was timed, of one block: ``{"latency": [0.011, 0.0102]}``."""
Block = Callable[[int], Samples]
"""Runs so many times; what that took."""

BLOCK = 0.03  # seconds that a block takes at the least: a few ticks of the scheduler
LONG = 0.3  # seconds of a run that warms up by itself
FEWEST = 6  # rounds: with fewer, no interval between two of them holds the median with `CONFIDENCE`
OPENINGS = 3  # times that sessions are opened
CONFIDENCE = 0.95
NEVER = 0.01  # a difference that is not claimed, however narrow the interval
DRIFT = 0.1  # of the control's time between the first and the last third, that is worth a word


@dataclass(frozen=True)
class Budget:
    """Seconds of timing, and rounds at the most."""

    seconds: float
    rounds: int | None = None


@dataclass(frozen=True)
class Ratio:
    """A median of paired ratios, and where that median lies with `CONFIDENCE`."""

    middle: float
    low: float
    high: float

    def verdict(self, noise: float) -> str:
        """"slower", "faster" or "same": beyond one only where the whole interval is farther from 1 than the noise."""
        margin = max(noise, NEVER)
        return "slower" if math.log(self.low) > margin else "faster" if math.log(self.high) < -margin else "same"


def ratio_of(ratios: list[float]) -> Ratio:
    """The median of some ratios with the interval between two order statistics."""
    ordered = sorted(ratios)
    low, high = interval(len(ordered))
    return Ratio(float(np.median(ordered)), ordered[low], ordered[high])


def interval(count: int, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """The places, from 0, of the order statistics of `count` numbers between which their median lies.

    The number below the median is binomial with p = 1/2, whatever the distribution. All of them where there are too few
    for the confidence.

    >>> interval(10)     # the 2nd and the 9th: 97.9 %, the first beyond 95 %
    (1, 8)
    """
    tail = 0.0
    for low in range(count):
        tail += math.comb(count, low) / 2**count
        if 2 * tail > 1 - confidence:
            return max(0, low - 1), count - 1 - max(0, low - 1)
    return 0, count - 1


@dataclass
class Rounds:
    """What was timed: of each contender the samples of its block in each round. `control`: of the first one again."""

    blocks: dict[str, list[Samples]] = field(default_factory=dict)
    control: list[Samples] = field(default_factory=list)
    openings: int = 1

    @property
    def first(self) -> str:
        return next(iter(self.blocks))

    @property
    def count(self) -> int:
        """Rounds."""
        return len(self.control)

    def samples(self, name: str, what: str) -> list[float]:
        """All that was timed of one contender; of the first, the control as well."""
        blocks = [*self.blocks[name], *(self.control if name == self.first else ())]
        return [seconds for block in blocks for seconds in block[what]]

    def ratio(self, name: str, what: str) -> Ratio:
        """How many times as long as the first one; of the first one, the control's ratio.

        The first one's time of a round is the mean of its two blocks.
        """
        base, again = _middles(self.blocks[self.first], what), _middles(self.control, what)
        if name == self.first:
            return ratio_of([b / a for a, b in zip(base, again)])
        mine = _middles(self.blocks[name], what)
        return ratio_of([m * 2 / (a + b) for m, a, b in zip(mine, base, again)])

    def noise(self, what: str) -> float:
        """How far from 1 the control's ratio to itself may be, as a logarithm: what is nearer is no difference."""
        found = self.ratio(self.first, what)
        return max(abs(math.log(found.low)), abs(math.log(found.high)))

    def drift(self, what: str) -> float:
        """By how much the first contender became slower (above 0) or faster from the first third to the last."""
        found = _middles(self.blocks[self.first], what)
        third = max(1, len(found) // 3)
        return float(np.median(found[-third:]) / np.median(found[:third])) - 1


def _middles(blocks: list[Samples], what: str) -> list[float]:
    return [float(np.median(block[what])) for block in blocks]


def compete(
    opened: Callable[[], Mapping[str, Block]],
    budget: Budget,
    seed: int = 0,
    said: Callable[[str, float], None] | None = None,
    enough: Callable[[Rounds], bool] = lambda found: False,
) -> Rounds:
    """Time what `opened` gives, block by block, until the budget is used up.

    `opened` opens all contenders and is called again while the ones before are let go. At least `FEWEST` rounds are
    timed, and no more than that many where the budget is too short. The first blocks of an opening warm up and are not
    kept. `said` hears what is done, and which part of it is. Once `enough` says so, after `FEWEST` rounds or more,
    nothing more is timed.
    """
    found = Rounds()
    rng = np.random.default_rng(seed)
    begun = perf_counter()
    spent = 0.0  # of the budget
    calls: Mapping[str, Block] = {}
    planned = OPENINGS
    for opening in range(OPENINGS):
        if opening >= planned:
            break
        at = perf_counter()
        del calls
        calls = opened()
        loading = perf_counter() - at
        counts = {name: _warmed(block) for name, block in calls.items()}
        warming = perf_counter() - at
        if opening == 0:
            # Opening costs time as well: only as often as it takes little of the budget.
            planned = min(OPENINGS, 1 + int(budget.seconds * 0.4 / max(warming, loading, 1e-9)))
        found.openings = opening + 1
        for name in calls:
            found.blocks.setdefault(name, [])
        share = (budget.seconds - spent) / (planned - opening)
        start = perf_counter()
        least = math.ceil(FEWEST / planned)
        most = math.inf if budget.rounds is None else math.ceil((budget.rounds - found.count) / (planned - opening))
        done = 0
        while done < most and (done < least or perf_counter() - start < share):
            _round(found, calls, counts, rng)
            done += 1
            if said is not None:
                said(f"round {found.count}", min(1.0, (perf_counter() - begun) / max(budget.seconds, 1e-9)))
            if found.count >= FEWEST and enough(found):
                return found
        spent += perf_counter() - start
    return found


def _round(found: Rounds, calls: Mapping[str, Block], counts: Mapping[str, int], rng: np.random.Generator) -> None:
    """A block of each, and one more of the first, in random order."""
    names = list(calls)
    for place in rng.permutation(len(names) + 1):
        name = names[place % len(names)]
        into = found.control if place == len(names) else found.blocks[name]
        into.append(calls[name](counts[name]))


def _warmed(block: Block) -> int:
    """Run a few times; how many runs make a block of `BLOCK` seconds."""
    once = math.inf
    for _ in range(2):  # the first run allocates
        begun = perf_counter()
        block(1)
        once = min(once, perf_counter() - begun)
        if once > LONG:
            break
    return max(1, math.ceil(BLOCK / max(once, 1e-7)))

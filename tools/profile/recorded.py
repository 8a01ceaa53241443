"""What a runtime reports of the nodes that it ran, and what reporting costs.

Each runtime's recorder runs the model with and without its profiler, in turns (`bench.rounds`). The time of a node is
the mean of the middle half of its times: where others take the processor away for some milliseconds, a few nodes of
each run seem slow, other ones each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..bench.rounds import Ratio, Rounds
from .attribution import Key, Origin

PLAIN, PROFILED, WHAT = "plain", "profiled", "latency"
RUNS = 20  # of one block at the most: each leaves a line for each node


@dataclass
class Row:
    """A node that is run: seconds in one run of the model, without those of the bodies in it, and how often it runs."""

    name: str
    op: str
    inside: str = ""
    kernel: str = ""
    seconds: float = 0.0
    calls: float = 0.0
    origin: Origin = field(default_factory=Origin)


Run = dict[Key, tuple[float, int]]
"""One run of the model: of each node its time, and how often it ran."""


@dataclass
class Recorded:
    """Seconds of a run with the profiler (`wall`) and without (`plain`), and the ratio of the two, run by run."""

    rows: list[Row]
    wall: float
    plain: float
    overhead: Ratio
    noise: float
    runs: int


def summed(runs: list[Run], rows: Mapping[Key, Row], rounds: Rounds) -> Recorded:
    """What some runs have in common; `rows` says what each key is."""
    for key, row in rows.items():
        found = [run[key] for run in runs if key in run]
        none = [0.0] * (len(runs) - len(found))
        row.seconds = midmean([seconds for seconds, _ in found] + none)
        row.calls = sum(calls for _, calls in found) / len(runs)
    ran = sorted((row for row in rows.values() if row.calls), key=lambda row: -row.seconds)
    wall, plain = (midmean(rounds.samples(name, WHAT)) for name in (PROFILED, PLAIN))
    return Recorded(ran, wall, plain, rounds.ratio(PROFILED, WHAT), rounds.noise(WHAT), len(runs))


def midmean(numbers: list[float]) -> float:
    """The mean of the middle half: as hard to disturb as the median, and finer than the clock's microseconds."""
    ordered = sorted(numbers)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)

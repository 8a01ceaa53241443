"""What a runtime reports of the nodes that it ran, and what reporting costs.

Each runtime's recorder runs the model with and without its profiler, in turns (`bench.rounds`). Where each run is
reported, the time of a node is the mean of the fastest quarter of its times: where others take the processor away for
some milliseconds, a few nodes of each run seem slow, other ones each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..bench.rounds import Ratio, Rounds
from .attribution import Key, Origin

PLAIN, PROFILED, WHAT = "plain", "profiled", "latency"
WARM = 2  # runs of a session that do not count: the first ones allocate
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
    place: int = 0  # in the order in which they first ran
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


def summed(runs: list[Run], rows: Mapping[Key, Row], rounds: Rounds, number: int) -> Recorded:
    """What some runs have in common; `rows` says what each key is, `number` how many runs they stand for."""
    for place, (key, row) in enumerate(rows.items()):
        row.place = place
        found = [run[key] for run in runs if key in run]
        none = [0.0] * (len(runs) - len(found))
        row.seconds = undisturbed([seconds for seconds, _ in found] + none)
        row.calls = sum(calls for _, calls in found) / len(runs)
    ran = sorted((row for row in rows.values() if row.calls), key=lambda row: -row.seconds)
    wall, plain = (undisturbed(rounds.samples(name, WHAT)) for name in (PROFILED, PLAIN))
    return Recorded(ran, wall, plain, rounds.ratio(PROFILED, WHAT), rounds.noise(WHAT), number)


def undisturbed(numbers: list[float]) -> float:
    """The mean of the fastest quarter: others can only add to a time, and the clock's microseconds average out."""
    ordered = sorted(numbers)
    kept = ordered[: max(1, len(ordered) // 4)]
    return sum(kept) / len(kept)

"""The end of a search: the best are timed once more, in turn, and the winner is made by its own command.

    winner = Ending(search).winner()
    found = write(winner, output, cache)

Single measurements are noisy, so the one that came out first need not be the best: the first few are timed beside each
other, run by run, and what wins that is the winner.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..settings import Settings
from .front import Outcome
from .process import run_job
from .refine import CLOSE
from .search import Search, suffix_of
from .space import LEVEL
from .worker import TRIAL, TURNS, plain

FINALISTS = 3
AGAIN = 120.0  # seconds that timing in turn may take, where forms have to be made again for it


@dataclass
class Winner:
    """What won, and the compilation that makes it: `settings` without an output. `again` says what timing in turn gave:
    for each finalist the ratio to the time of the source."""

    outcome: Outcome
    settings: Settings
    again: dict[int, float]
    note: str = ""


class Ending:
    """The end of one search."""

    def __init__(self, search: Search, with_turns: bool = True) -> None:
        """`with_turns` False: the best are not timed again, as somebody is waiting."""
        self.with_turns = with_turns
        self.search = search
        self.order = search.order

    def winner(self) -> Winner | None:
        """The best of what fits; None where nothing does."""
        search, order = self.search, self.order
        fitting = search.fitting
        if not fitting:
            return None
        if not self.with_turns or not order.is_timed or fitting[0].result.get("how") != "MEASURED":
            return self._won(fitting[0], {}, "")
        finalists = self._finalists(fitting)
        search.now = f"timing the best {len(finalists)} in turn"
        search.tell()
        found = self._in_turn(finalists)
        if "failed" in found:
            return self._won(finalists[0], {}, f"the best were not timed again: {found['failed']}")
        again = {outcome.number: ratio for outcome, ratio in zip(finalists, found["ratios"])}
        target = order.latency_target
        if target is not None:
            kept = [o for o in finalists if again[o.number] * _source(o) <= target]
            if not kept:
                said = f"timed in turn, the best take longer than {target * 1e3:g} ms: the machine is busy"
                return self._won(min(finalists, key=lambda o: again[o.number]), again, said)
            return self._won(kept[0], again, "")
        return self._won(min(finalists, key=lambda o: (again[o.number], o.number)), again, "")

    def _finalists(self, fitting: Sequence[Outcome]) -> list[Outcome]:
        first = fitting[0]
        if self.order.is_by_accuracy:
            return list(fitting[:FINALISTS])
        most = CLOSE * first.value(self.order)
        return [outcome for outcome in fitting if outcome.value(self.order) <= most][:FINALISTS]

    def _in_turn(self, finalists: Sequence[Outcome]) -> dict[str, Any]:
        search, order = self.search, self.order
        if len({o.settings.threads for o in finalists}) == len(finalists) == 1 and not order.is_by_accuracy:
            return {"ratios": [finalists[0].result["ratio"]], "source": finalists[0].result["source"]}
        forms = [plain(replace(o.settings, output=search.file_of(o), cache=search.cache)) for o in finalists]
        first = order.plain(order.targets[0])
        settings = replace(first, level=LEVEL, threads=finalists[0].settings.threads, cache=search.cache)
        job = {
            "kind": TURNS, "settings": plain(settings), "forms": forms, "many": order.goal in ("throughput", "cost"),
        }  # fmt: skip
        future = search.executor.submit(job, AGAIN)
        ((_, found),) = search.executor.completed([future])
        return found

    def _won(self, outcome: Outcome, again: dict[int, float], note: str) -> Winner:
        return Winner(outcome, self.order.bounded(outcome.settings), again, note)


def _source(outcome: Outcome) -> float:
    """Seconds of the source, on the scale that all times of a search have."""
    assert outcome.seconds is not None
    return outcome.seconds / float(outcome.result["ratio"])


def write(winner: Winner, output: str, cache: str | None) -> dict[str, Any]:
    """Run the winner's command, in a process of its own; what came out ({"failed": why} where it was refused).

    What is printed as the command is without the cache, which changes no result.
    """
    settings = replace(winner.settings, output=output, cache=cache)
    job = {
        "kind": TRIAL, "settings": plain(settings), "suffix": os.path.splitext(output)[1], "goal": "size",
        "timed": False, "many": False, "metric": None, "no_worse_than": None,
    }  # fmt: skip
    return run_job(job, 3600.0)


def output_for(winner: Winner, output: str) -> str:
    """Where the winner is written: with the suffix of its target's own form, where the user left that open."""
    if os.path.splitext(output)[1].lower() in (".onnx", ".xml", ".gir", ".ort"):
        return output
    return output + suffix_of(winner.settings.target)

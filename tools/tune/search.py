"""The search: points in batches, from recipes first, then from beside the best and from Optuna; trials; what is best.

Each batch is asked for before any of it is run, and what came out is told in the order in which it was asked for. So
the same results lead to the same search, whoever ran the trials and in whichever order they ended: on one machine, on
several, or in part before the search was killed, where the journal gives what is known already.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from statistics import median
from time import monotonic
from typing import Any

from ...lowering.targets import get_target
from .executors import Executor
from .front import Outcome, bound_of, ranked
from .journal import Journal
from .offer import Offer
from .order import Order
from .proposals import Batch, Proposals
from .space import Space
from .worker import MADE, PROBE, TRIAL, plain

WORTH = 1.02  # times what the best takes: what is slower than that is not scored
LIMIT, LEAST_LIMIT = 0.35, 20.0  # of the time of the search that one trial may take; seconds
RESERVE = 1.3  # times what the best took: for the end, in which it is made once more
LAST = 25.0  # seconds of the end, in which the best are timed in turn
IDLE = 3  # batches in a row without anything new to try, after which there is nothing left
_KEPT = 3  # of the best, as files


class Search:
    """One search. `outcomes` are all trials so far, in order."""

    def __init__(
        self, order: Order, executor: Executor, journal: Journal, folder: str, say: Callable[[Search], None]
    ) -> None:
        """`folder` is where files of trials are kept while they may win; `say` is called after each trial."""
        self.order = order
        self.executor = executor
        self.journal = journal
        self.folder = folder
        self.outcomes: list[Outcome] = []
        self.repeated = 0  # results that the journal knew
        self.why_over = ""
        self._unfinished: tuple[Batch, dict[int, dict[str, Any]]] = (), {}
        self._say = say
        self._begun = monotonic()
        self._before = journal.elapsed
        self._bases: dict[int | None, float] = {}  # seconds of the source, by threads
        self._is_local = executor.__class__.__name__ == "Local"
        self.source_score: float | None = None
        self.now = ""

    def tell(self) -> None:
        """Let whoever watches know."""
        self._say(self)

    # What is known

    @property
    def elapsed(self) -> float:
        """Seconds that were spent, in this run and those before."""
        return self._before + monotonic() - self._begun

    @property
    def left(self) -> float:
        """Seconds until the end begins."""
        took = self._took(self.fitting[:1]) or self._took(self.outcomes)
        last = LAST if self.order.is_timed else 0.0
        return self.order.seconds - RESERVE * max(took, default=0.0) - last - self.elapsed

    @property
    def is_time_for_more(self) -> bool:
        """True if a trial that begins now is likely to be done before the end."""
        took = self._took(self.outcomes)
        return self.left > (median(took) if took else 0.0)

    @staticmethod
    def _took(outcomes: Sequence[Outcome]) -> list[float]:
        """Seconds of trials."""
        return [float(outcome.result.get("took", 0.0)) for outcome in outcomes if not outcome.failed]

    @property
    def fitting(self) -> list[Outcome]:
        """What fits the bound, the best first."""
        return ranked(self.outcomes, self.order, self.source_score)

    @property
    def bound(self) -> float | None:
        """What may be lost."""
        return bound_of(self.order, self.source_score)

    # The search itself

    def run(self) -> None:
        """Go on until the time or the number of trials is over, or nothing is left to try. Raises UsageError where not
        even the source compiles."""
        self._probe()
        proposals = Proposals(self.space, self.source_score)
        idle = 0
        while not self._is_over() and idle < IDLE:
            batch = proposals.batch(self.outcomes)
            idle = 0 if batch else idle + 1
            if not batch:
                continue
            done = self._tried(batch)
            self.outcomes += done
            proposals.tell(done)
            self._keep_best()
        if idle >= IDLE:
            self.why_over = "nothing that may be better is left to try"

    def _probe(self) -> None:
        order = self.order
        found = self.journal.found(PROBE)
        if found is None:
            self.now = "looking at the model"
            self.tell()
            given = {**plain_order(order), "cache": self.cache}
            future = self.executor.submit({"kind": PROBE, "order": given}, order.seconds)
            ((_, found),) = self.executor.completed([future])
            if "failed" not in found:
                self.journal.add({"command": PROBE, "result": found, "elapsed": round(self.elapsed, 3)})
        if "failed" in found:
            raise SourceFailed(found["failed"])
        self.source_score = found["score"]
        self.space = Space(order, Offer.from_json(found["offer"]))

    @property
    def cache(self) -> str | None:
        """Where trials share what they measure on samples; each machine has its own, where there are several."""
        return self.order.cache or (os.path.join(self.folder, "statistics") if self._is_local else None)

    def _is_over(self) -> bool:
        trials = self.order.trials
        if trials is not None and len(self.outcomes) >= trials:
            self.why_over = f"{trials} trials were made"
        elif not self.is_time_for_more and not self._is_known_further:
            self.why_over = "the time is over"
        else:
            return False
        return True

    @property
    def _is_known_further(self) -> bool:
        """True while the journal holds more trials than were gone through: those cost nothing."""
        return len(self.outcomes) < sum("trial" in entry for entry in self.journal.entries)

    # Trials

    def _tried(self, batch: Batch) -> list[Outcome]:
        """The outcomes of a batch, in its order; without those for which there was no time."""
        fitting = self.fitting
        limit = fitting[0].value(self.order) * WORTH if fitting and not self.order.is_by_accuracy else None
        first = len(self.outcomes)
        results: dict[int, dict[str, Any]] = {}
        self._unfinished = batch, results
        jobs, places = [], []
        for place, (_, settings) in enumerate(batch):
            known = self.journal.found(settings.command())
            if known is not None:
                results[place] = known
                self.repeated += 1
            else:
                places.append(place)
                jobs.append(self._job(first + place, settings, limit))
        if not self.is_time_for_more:
            places, jobs = [], []  # what the journal knows is all there is time for
        patience = max(LEAST_LIMIT, LIMIT * self.order.seconds)
        futures = [self.executor.submit(job, patience) for job in jobs]
        self.now = "; ".join(self.space.title(batch[place][0]) for place in places[:1])
        if futures:
            self.tell()
        for number, found in self.executor.completed(futures, max(self.left, 0.0)):
            place = places[number]
            results[place] = found
            point, settings = batch[place]
            self.journal.add({
                "trial": first + place, "command": settings.command(), "point": point, "result": found,
                "elapsed": round(self.elapsed, 3),
            })  # fmt: skip
            self.tell()
        return self._finished()

    def _finished(self) -> list[Outcome]:
        """What the batch at hand has brought, in its order."""
        batch, results = self._unfinished
        self._unfinished = (), {}
        first = len(self.outcomes)
        return [self._outcome(first + place, *batch[place], results[place]) for place in sorted(results)]

    def interrupted(self) -> None:
        """Take what the batch at hand has brought so far for all there is."""
        self.outcomes += self._finished()
        self.why_over = "interrupted"

    def _job(self, number: int, settings: Any, limit: float | None) -> dict[str, Any]:
        order = self.order
        suffix = suffix_of(settings.target)
        output = self._file(number, suffix) if self._is_local else None
        base = self._bases.get(settings.threads)
        if limit is not None and order.goal != "size":
            limit = None if base is None else limit / base
        return {
            "kind": TRIAL, "settings": plain(replace(settings, cache=self.cache, output=output)), "suffix": suffix,
            "goal": order.goal, "timed": order.is_timed, "many": order.goal in ("throughput", "cost"),
            "metric": order.metric, "no_worse_than": limit,
        }  # fmt: skip

    def _outcome(self, number: int, point: dict[str, Any], settings: Any, result: dict[str, Any]) -> Outcome:
        outcome = Outcome(number, point, self.space.title(point), settings, result)
        if outcome.failed:
            return outcome
        if "ratio" in result:
            base = self._bases.setdefault(settings.threads, result["source"])
            outcome.seconds = result["ratio"] * base
        if self.order.metric is None:
            outcome.lost = result["error"]
        elif "score" in result:
            assert self.source_score is not None
            outcome.lost = self.source_score - result["score"]
        if outcome.lost is not None and not math.isfinite(outcome.lost):
            outcome.lost = math.inf
        return outcome

    def _keep_best(self) -> None:
        """Take away the files of trials that cannot win any more."""
        kept = {outcome.number for outcome in self.fitting[:_KEPT]}
        for outcome in self.outcomes:
            if outcome.number not in kept:
                self.forget(outcome)

    def file_of(self, outcome: Outcome) -> str:
        """Where the file of a trial is while it may win; not where trials are made elsewhere."""
        return self._file(outcome.number, suffix_of(outcome.settings.target))

    def _file(self, number: int, suffix: str) -> str:
        # Files of the same names hold the same bytes, whichever trial they are of.
        return os.path.join(self.folder, "trials", str(number), f"{MADE}{suffix}")

    def forget(self, outcome: Outcome) -> None:
        """Take away the files of a trial."""
        shutil.rmtree(os.path.dirname(self.file_of(outcome)), ignore_errors=True)


class SourceFailed(Exception):
    """Not even the source could be looked at, for the reason given."""


def plain_order(order: Order) -> dict[str, Any]:
    """An order as plain data."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(order).items()}


def suffix_of(target: str) -> str:
    """What a target's own form of a model ends in."""
    backend = get_target(target).backend
    return backend.emitters()[backend.default].suffix

"""The search: points in batches, from recipes first, then from beside the best and from Optuna; trials; what is best.

Each batch is asked for before any of it is run, and what came out is told in the order in which it was asked for. So
the same results lead to the same search, whoever ran the trials and in whichever order they ended: on one machine, on
several, or in part before the search was killed, where the journal gives what is known already.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from statistics import median
from time import monotonic
from typing import Any

from ...lowering.targets import get_target
from .executors import Executor
from .front import Outcome, bound_of, ranked
from .journal import Journal
from .order import Order
from .refine import is_hopeless, steps_beside
from .sampler import Sampler
from .space import Offer, Point, Space
from .starts import is_smaller, settings_of, starting_points, weaker
from .worker import MADE, PROBE, TRIAL, plain

WORTH = 1.02  # times what the best takes: what is slower than that is not scored
FAR = 10.0  # times the bound, beyond which no milder form is tried either
SURELY = 1.3  # times the same, beyond which not even a recipe's form is tried: so far off no guess is
LIMIT, LEAST_LIMIT = 0.35, 20.0  # of the time of the search that one trial may take; seconds
RESERVE = 1.6  # times what a trial took: for the end, in which the winner is made once more
LAST = 25.0  # seconds of it, in which the best are timed in turn
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
        self._unfinished: tuple[Sequence[tuple[dict[str, Any], Any]], dict[int, dict[str, Any]]] = (), {}
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
        """Seconds until no further trial begins."""
        took = max((float(o.result.get("took", 0.0)) for o in self.outcomes if not o.failed), default=0.0)
        last = LAST if self.order.is_timed else 0.0
        return self.order.seconds - RESERVE * took - last - self.elapsed

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
        self.sampler = Sampler(self.order.seed, self.space)
        waiting = starting_points(self.space)
        self._of_recipes = list(waiting)
        known: set[str] = set()
        idle = 0
        while not self._is_over() and idle < IDLE:
            batch = self._batch(waiting, known)
            idle = 0 if batch else idle + 1
            if not batch:
                continue
            done = self._tried(batch)
            self.outcomes += done
            self.sampler.tell([(o.point, o.value(self.order), self._excess(o)) for o in done])
            waiting = self._followers(done) + waiting
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
        elif self.left <= 0 and not self._is_known_further:
            self.why_over = "the time is over"
        else:
            return False
        return True

    @property
    def _is_known_further(self) -> bool:
        """True while the journal holds more trials than were gone through: those cost nothing."""
        return len(self.outcomes) < sum("trial" in entry for entry in self.journal.entries)

    def _batch(self, waiting: list[dict[str, Any]], known: set[str]) -> list[tuple[dict[str, Any], Any]]:
        """The next points with their compilations, none of which was tried."""
        size = self.order.batch
        if self.order.trials is not None:
            size = min(size, self.order.trials - len(self.outcomes))
        if not self.outcomes:
            size = 1  # what is compared with comes first
        found: list[tuple[dict[str, Any], Any]] = []
        for point in self._proposed(waiting, size, found):
            settings = settings_of(self.space, point)
            command = settings.command()
            if command not in known:
                known.add(command)
                found.append((point, settings))
            if len(found) == size:
                break
        return found

    def _proposed(self, waiting: list[dict[str, Any]], size: int, found: list[Any]) -> Iterator[dict[str, Any]]:
        fitting = self.fitting
        kinds = set()
        while waiting:
            kinds.add(is_smaller(waiting[0]))
            if len(kinds) > 1 and found:
                return  # what whole layers lose says which of the smaller ones are tried
            point = waiting.pop(0)
            if not is_hopeless(point, self.outcomes, fitting) and self._may_gain(point, fitting, SURELY):
                yield point
        if fitting and not self.order.is_by_accuracy:
            # Half of each batch from beside the best, so that what Optuna has learned is asked as well.
            for point in steps_beside(self.space, fitting[0], self.outcomes, fitting, self.bound):
                if len(found) * 2 >= size and size > 1:
                    break
                if not is_hopeless(point, self.outcomes, fitting):
                    yield point
        for point in self.sampler.ask(size - len(found)):
            if not is_hopeless(point, self.outcomes, fitting) and self._may_gain(point, fitting):
                yield point

    def _may_gain(self, point: Point, fitting: Sequence[Outcome], slack: float = WORTH) -> bool:
        """False for what is slower, or larger, than the best by the sizes of its layers and by what others gave that
        are in the same precision."""
        if not fitting or self.order.is_by_accuracy or "form" in point:
            return True
        known = [
            outcome.value(self.order) / guess
            for outcome in self.outcomes
            if "form" not in outcome.point and math.isfinite(outcome.value(self.order))
            and all(outcome.point[name] == point[name] for name in ("target", "precision"))
            and (guess := self.space.guessed(outcome.point)) > 0
        ]  # fmt: skip
        return not known or median(known) * self.space.guessed(point) <= slack * fitting[0].value(self.order)

    def _followers(self, done: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Milder forms of what recipes have and what lost too much."""
        found = []
        for outcome in done:
            is_known = not outcome.failed and outcome.lost is not None and outcome.point in self._of_recipes
            is_far = self.bound is not None and (outcome.lost or 0.0) > FAR * self.bound
            if is_known and not is_far and not outcome.fits(self.order, self.source_score):
                found += weaker(self.space, outcome.point)
        self._of_recipes += found
        return found

    # Trials

    def _tried(self, batch: Sequence[tuple[dict[str, Any], Any]]) -> list[Outcome]:
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
        if self.left <= 0:
            places, jobs = [], []  # what the journal knows is all there is time for
        patience = max(LEAST_LIMIT, LIMIT * self.order.seconds)
        futures = [self.executor.submit(job, patience) for job in jobs]
        self.now = "; ".join(self.space.title(batch[place][0]) for place in places[:1])
        if futures:
            self.tell()
        for number, found in self.executor.completed(futures):
            place = places[number]
            results[place] = found
            point, settings = batch[place]
            self.journal.add({
                "trial": first + place, "command": settings.command(), "point": point, "result": found,
                "elapsed": round(self.elapsed, 3),
            })  # fmt: skip
            self.tell()
            if self.left <= 0 and self._is_local:
                break
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

    def _excess(self, outcome: Outcome) -> float | None:
        """By how much an outcome is over what it may be, as a share; below 0 where it is not, None where that is not
        known."""
        if outcome.failed or outcome.lost is None:
            return None
        over = -1.0 if self.bound is None else outcome.lost / self.bound - 1 if self.bound else outcome.lost
        target = self.order.latency_target
        late = -1.0 if target is None or outcome.seconds is None else outcome.seconds / target - 1
        return max(over, late)

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

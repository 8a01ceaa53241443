"""One job in a process of its own: a model is compiled, weighed, timed and scored, or looked at; or some take turns.

    python -m geoc.tools.tune.worker JOB.json RESULT.json

Whatever ends this process, be it memory, a crash of a runtime or the clock, ends one job. The result is plain data;
an error of geoc's own is a result too: {"failed": "one line"}.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from time import perf_counter
from typing import Any

from ...ir.core import Model
from ...ir.equal import structural_hash
from ...ir.errors import GeocError, UsageError
from ...lowering.targets import get_target
from ..cli import one_line
from ..compiler import Compilation
from ..files import load_any
from ..metric import Drop, Metric
from ..recipes.clock import many_rows
from ..running.timing import (
    RUNNERS,
    declared_feeds,
    loaded_source,
    threads_of,
)
from ..search.profit import can_time
from ..search.weighing import estimated
from ..settings import Settings
from ..writing import example_feeds
from .locks import HostLock
from .order import Order
from .probe import probed
from .turns import in_turn

PATIENCE, LAST_PATIENCE = 4.0, 15.0  # seconds of timing: of one trial beside the source; of the best in turn
WAITING = ".waiting"
MADE = "model"  # what the file of a trial is called
PROBE, TRIAL, TURNS = "probe", "trial", "turns"
MEASURED, ESTIMATED = "MEASURED", "ESTIMATED"


class Job(Compilation):
    """A compilation whose result is looked at: what is `found`."""

    def __init__(self, settings: Settings, job: Mapping[str, Any], lock: HostLock) -> None:
        super().__init__(settings)
        self.job = job
        self.lock = lock
        self.found: dict[str, Any] = {}


class Trial(Job):
    """One that is weighed, timed and scored."""

    def finished(self, model: Model) -> None:
        if not self.report.ok:
            return
        job, found = self.job, self.found
        paths = [*self.report.files, *self.report.reused]
        found["size"] = sum(os.path.getsize(path) for path in dict.fromkeys(map(os.path.realpath, paths)))
        found["error"] = self.report.accuracy.error or 0.0
        found["content"] = structural_hash(model)
        if job["timed"]:
            found |= self.beside_source(model)
        limit, value = job["no_worse_than"], found["size"] if job["goal"] == "size" else found.get("ratio")
        is_worse = limit is not None and value is not None and value > limit
        if job["metric"] is not None and not is_worse:
            assert self.judge is not None
            found["score"] = Metric(job["metric"], None, self.settings.threads).of(self.judge, model)

    def beside_source(self, model: Model) -> dict[str, Any]:
        """Seconds of a run, those of the source, and their ratio, MEASURED in turn or ESTIMATED."""
        if not can_time(self):
            ours, theirs = (estimated(self, form)[0].seconds for form in (model, self.model()))
            return {"seconds": ours, "source": theirs, "ratio": ours / theirs, "how": ESTIMATED}
        feeds = feeds_of(self, model)
        made = self.report.files[0]
        with self.lock.alone(), tempfile.TemporaryDirectory(prefix="geoc-tune-") as folder:
            source = partial(opened_source, self, folder, feeds)
            form = partial(opened_form, made, self.settings, feeds)
            # What is surely slower than what fits need not be known any better.
            limit = self.job["no_worse_than"] if self.job["goal"] != "size" else None
            found = in_turn(source, [form], threads_of(self), PATIENCE, limit)
        (ratio,) = found.ratios
        return {
            "seconds": found.source * ratio.middle, "source": found.source, "ratio": ratio.middle,
            "low": ratio.low, "high": ratio.high, "how": MEASURED,
        }  # fmt: skip


def feeds_of(run: Job, model: Model) -> dict[str, Any]:
    """What a model is timed on, many rows where that is what counts. Raises UsageError where there is nothing."""
    feeds = (many_rows(run, model) if run.job["many"] else None) or example_feeds(run, model)
    if not feeds and model.graph.inputs:
        raise UsageError("no inputs can be made up to time it on: give samples, --calib")
    return feeds


def opened_source(run: Compilation, folder: str, feeds: dict[str, Any]) -> Callable[[], Any]:
    """The source in onnxruntime, with its inputs."""
    return partial(loaded_source(run, folder), feeds)


def opened_form(path: str, settings: Settings, feeds: dict[str, Any]) -> Callable[[], Any]:
    """A file that a compilation wrote, in its target's runtime, with its inputs."""
    made = None if path.endswith(".xml") else load_any(path)
    call = RUNNERS[get_target(settings.target).runtime](path, settings.threads or 1, made)
    return partial(call, feeds if made is None else declared_feeds(made, feeds))


def tried(job: Mapping[str, Any], lock: HostLock) -> dict[str, Any]:
    """The result of one trial; its file is `output` of the settings, or goes again."""
    settings = settings_from(job["settings"])
    with tempfile.TemporaryDirectory(prefix="geoc-tune-") as folder:
        settings.output = settings.output or os.path.join(folder, f"{MADE}{job['suffix']}")
        os.makedirs(os.path.dirname(settings.output) or ".", exist_ok=True)
        run = Trial(settings, job, lock)
        report = run.run()
    return run.found if report.ok else {"failed": report.failure}


class Last(Job):
    """The plain form of a model, whose inputs several finished forms are timed on, in turn with the source."""

    def finished(self, model: Model) -> None:
        feeds = feeds_of(self, model)
        with tempfile.TemporaryDirectory(prefix="geoc-tune-") as folder:
            forms = []
            for number, given in enumerate(self.job["forms"]):
                settings = settings_from(given)
                assert settings.output is not None
                path = settings.output
                if not os.path.exists(path):  # it was made on another machine
                    path = os.path.join(folder, f"{number}{os.path.splitext(path)[1]}")
                    Compilation(replace(settings, output=path)).run()
                forms.append(partial(opened_form, path, settings, feeds))
            most = max(form.get("threads", 1) for form in self.job["forms"])
            with self.lock.alone():
                source = partial(opened_source, self, folder, feeds)
                found = in_turn(source, forms, most, LAST_PATIENCE)
        self.found = {
            "ratios": [ratio.middle for ratio in found.ratios], "source": found.source, "runs": found.rounds,
            "ends": [[ratio.low, ratio.high] for ratio in found.ratios],
        }  # fmt: skip


def timed_in_turn(job: Mapping[str, Any], lock: HostLock) -> dict[str, Any]:
    """For each of `forms`, settings with an output each, the ratio of its time to that of the source."""
    run = Last(settings_from(job["settings"]), job, lock)
    run.run()
    return run.found


def done(job: Mapping[str, Any], waiting: str) -> dict[str, Any]:
    """The result of a job of any kind; the file `waiting` is there while it waits for the machine, and `waited` says
    how many seconds it did."""
    if job["kind"] == PROBE:
        return probed(order_from(job["order"]))
    with HostLock(waiting) as lock:
        found = (timed_in_turn if job["kind"] == TURNS else tried)(job, lock)
    return {**found, "waited": round(lock.waited, 3)}


def main(job: str, result: str) -> None:
    """Do the job in one file and write its result into another, whole or not at all."""
    _end_with_parent()
    with open(job, encoding="utf-8") as file:
        given = json.load(file)
    begun = perf_counter()
    try:
        found = done(given, f"{result}{WAITING}")
    except (GeocError, OSError, MemoryError) as error:
        found = {"failed": one_line(error)}
    found["took"] = round(perf_counter() - begun - found.get("waited", 0.0), 3)
    with open(f"{result}.tmp", "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.replace(f"{result}.tmp", result)


def _end_with_parent() -> None:
    """Have the system end this process when the one that waits for it is no more, and prefer it where memory is short
    (Linux: prctl(2), PR_SET_PDEATHSIG, and proc(5), oom_score_adj)."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, 9)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def settings_from(data: Mapping[str, Any]) -> Settings:
    """Settings from plain data."""
    return Settings(**_tuples(data))


def plain(settings: Settings) -> dict[str, Any]:
    """Settings as plain data, without what has its default."""
    default = Settings(settings.source)
    found = {each.name: getattr(settings, each.name) for each in fields(settings)}
    kept = {name: value for name, value in found.items() if name == "source" or value != getattr(default, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def order_from(data: Mapping[str, Any]) -> Order:
    """An order from plain data."""
    return Order(**_tuples(data))


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """With tuples where JSON has lists."""
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    if found.get("max_drop") is not None:
        found["max_drop"] = Drop(*found["max_drop"])
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])

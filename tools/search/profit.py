"""Whether integers pay: finished models timed on this machine, where it is the target."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

from ...ir.core import Model
from ..precision import Attempt
from ..running.timing import RUNNERS, SOURCE, declared_feeds, loaded, loaded_source, measure, shape_of, threads_of
from ..writing import example_feeds

if TYPE_CHECKING:
    from ..compiler import Compilation
    from ..report import Speed

FLOATS = "floats"
LARGE = 500_000_000  # bytes of a source: two sessions of it beside each other only with --measure
RUNS, PATIENCE = 12, 4.0  # to see whether integers pay, without --measure; seconds after which no further run begins


def can_time(run: Compilation) -> bool:
    """True if what is measured on this machine holds for the target."""
    return run.target.is_here and run.target.runtime in RUNNERS


def loss(run: Compilation, model: Model, attempt: Attempt, surely: bool) -> str:
    """What to say where a model takes longer than the same in floats; "" otherwise.

    In the median of interleaved runs, or `surely`: in nine of ten.
    """
    if not can_time(run) or (run.report.before.bytes > LARGE and not run.settings.measure):
        return ""
    forms = {attempt.precision: model, FLOATS: in_floats(run, attempt)}
    speed = timed(run, forms, RUNS, PATIENCE)
    if speed is None:
        return ""
    middle, _, high = speed.ratios[FLOATS]
    if (high if surely else middle) >= 1:
        return ""
    floats, low = (f"{speed.seconds[name] * 1e3:.3g} ms in {name}" for name in (FLOATS, attempt.precision))
    return f"MEASURED {floats}, {low}: x{middle:.2f}, shape {speed.shape}"


def measure_result(run: Compilation, model: Model) -> None:
    """Time the source and the finished model, for the report; a note where this machine says nothing of the target."""
    if not can_time(run):
        run.report.notes.append(f"--measure: this machine is not {run.target.name}; nothing was timed")
        return
    run.progress.stage("timing", 0.85, 0.9)
    name = run.report.precision or "the result"
    speed = timed(run, {name: model}, None, None, with_source=True)
    if speed is None:
        run.report.notes.append("--measure: no inputs can be made up; nothing was timed")
        return
    speed.before = SOURCE
    run.report.speed = speed


def in_floats(run: Compilation, attempt: Attempt) -> Model:
    """The model that is written where nothing is lowered."""
    kept, pipeline = run.kept, run.report.pipeline
    run.kept = {}
    run.choose(run.plain)
    try:
        return run.optimize(run.model(), [])
    finally:
        run.choose(attempt)
        run.kept, run.report.pipeline = kept, pipeline


def timed(
    run: Compilation, forms: dict[str, Model], runs: int | None, patience: float | None, with_source: bool = False,
    given: dict[str, Any] | None = None,
) -> Speed | None:  # fmt: skip
    """The first of `forms` timed beside the others, on `given` inputs or some that the source ran on; None where there
    is nothing to run them on."""
    first = next(iter(forms))
    feeds = given or example_feeds(run, forms[first])
    if not feeds and forms[first].graph.inputs:
        return None
    with tempfile.TemporaryDirectory(prefix="geoc-time-") as folder:
        calls: dict[str, Any] = {}
        for number, (name, model) in enumerate(forms.items()):
            call = loaded(run, model, os.path.join(folder, f"form{number}"))
            calls[name] = partial(call, declared_feeds(model, feeds))
        if with_source:
            calls[SOURCE] = partial(loaded_source(run, folder), feeds)
        return measure(calls, (first,), threads_of(run), shape_of(feeds), runs, patience)

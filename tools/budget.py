"""Lower precisions within an error budget: the fastest as a whole, else as much of it as fits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..ir.core import Model
from ..passes.base import Context, Instrument, Pass
from ..passes.pipelines import names
from ..passes.precision.autocast import Autocast
from .check import CannotCheck, Judge, Verdict
from .mixed import Mixed, measure
from .precision import MAX_ERROR, Attempt
from .report import CHECKED, WRONG, Accuracy, Refusal

if TYPE_CHECKING:
    from .compiler import Compilation

ROUNDS = 5  # models that are made in part in lower precision, each with a smaller error in view
MARGIN = 0.95  # of the budget: predictions are not exact


class Lowered(Instrument):
    """Notes whether a lossy pass changed anything."""

    def __init__(self) -> None:
        self.found = False

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        self.found |= changed and step.lossy


class Trial:
    """A model that an attempt made, whether anything in it is in a lower precision, and how it compares.

    `refusal`: what to say where it does not fit.
    """

    def __init__(self, attempt: Attempt, model: Model, lowered: bool, verdict: Verdict) -> None:
        self.attempt = attempt
        self.model = model
        self.lowered = lowered
        self.verdict = verdict
        is_number = math.isfinite(verdict.error)
        unlock = f"--max-error {math.ceil(verdict.error * 1000) / 10:g}%" if is_number else ""
        self.refusal = Refusal(attempt.precision, verdict.message, 1, unlock)


def within_budget(run: Compilation, judge: Judge, model: Model) -> Model | None:
    """The model of the first attempt with a lower precision that stays inside the budget, in the report; None for none.

    Where none does as a whole, it is as much of the first one as does. Where one precision was asked for, its model is
    the result, inside the budget or not.
    """
    automatic = len(run.attempts) > 1
    given = run.settings.max_error
    failed: list[Trial] = []
    for number, attempt in enumerate(run.attempts):
        if number and attempt.without and not any(name in attempt.without for name, _ in run.tally.counts):
            continue  # the attempt before did nothing that this one leaves out
        run.choose(attempt)
        if not run.is_lossy:
            break
        judge.max_error = given if given is not None else MAX_ERROR if automatic else math.inf
        trial = _try(run, judge, attempt, run.model() if number else model)
        if trial.verdict.ok and automatic and not trial.lowered:
            run.report.refused.append(Refusal(attempt.precision, "it saves no time anywhere"))
        elif trial.verdict.ok:
            return _accepted(run, judge, trial)
        else:
            failed.append(trial)
    if failed:
        part = _in_part(run, judge, failed[0])
        run.report.refused += [trial.refusal for trial in failed]
        if part is not None or not automatic:
            return _accepted(run, judge, part or failed[0])
        run.choose(run.attempts[-1])
    judge.max_error = None
    return None


def _try(run: Compilation, judge: Judge, attempt: Attempt, model: Model) -> Trial:
    lowered = Lowered()
    made = run.optimize(model, [*run.final_instruments(), lowered])
    run.progress.stage("comparing", 0.7, 0.9)
    return Trial(attempt, made, lowered.found, judge.compare(made))


def _accepted(run: Compilation, judge: Judge, trial: Trial) -> Model:
    found = trial.verdict
    run.report.accuracy = Accuracy(
        CHECKED if found.ok else WRONG, found.message, found.error, found.limit, found.output,
        judge.shapes, judge.notes(), judge.samples, judge.held_back, "relative L2"
    )  # fmt: skip
    return trial.model


def _in_part(run: Compilation, judge: Judge, whole: Trial) -> Trial | None:
    """A model with as much in a lower precision as fits; the refusal of the whole says what came of it."""
    refusal = whole.refusal
    limit, error = judge.max_error, whole.verdict.error
    if limit is None or math.isinf(limit) or not any(step.name == Autocast.name for step in names(whole.attempt.items)):
        return None
    run.choose(whole.attempt)
    try:
        mixed = _measured(run, judge, limit)
    except CannotCheck as problem:
        refusal.why += f"; what rounding harms cannot be told: {problem}"
        return None
    # The errors that count are those on other inputs; what rounding makes on these is in proportion.
    wanted = limit * MARGIN * (mixed.error / error if math.isfinite(error) else 1.0)
    for _ in range(ROUNDS):
        kept = mixed.kept(wanted, Autocast.name)
        if kept is None:
            break
        if not kept.reasons:  # on these inputs it fits
            wanted /= 2
            continue
        run.kept = kept.reasons
        trial = _try(run, judge, whole.attempt, run.model())
        if not trial.lowered:
            break
        if trial.verdict.ok:
            refusal.what += f" in {len(kept.reasons)} nodes"
            refusal.why += f" with it everywhere; these stay: {kept.text()}"
            return trial
        wanted *= MARGIN * (limit / trial.verdict.error if math.isfinite(trial.verdict.error) else 0.5)
    run.kept = {}
    refusal.why += "; no part that fits saves time"
    return None


def _measured(run: Compilation, judge: Judge, limit: float) -> Mixed:
    """What roundings do to the model as it is before its precision is lowered. Raises CannotCheck."""
    assert run.calibration is not None  # what is compared is measured
    step = next(step for step in run.steps if isinstance(step, Autocast))
    model = run.before(step)
    context = Context(capabilities=run.target.capabilities, measure=run.calibration.ranges, skip=run.skip)
    placement = step.placement(model, context)
    if placement is None or not run.calibration.samples:
        raise CannotCheck(run.calibration.problem or "nothing in it is in single precision")
    run.progress.stage("measuring what may be rounded", 0.3, 0.7)
    return measure(
        model, placement, run.calibration.samples, limit, run.export_placed,
        ignored=judge.random_outputs, progress=lambda text: run.progress.stage(text, 0.5, 0.7)
    )  # fmt: skip

"""Lower precisions within a budget of accuracy: the fastest as a whole, else as much of it as fits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...ir.core import Model
from ...passes.base import Instrument, Pass
from ...passes.instruments import Refusals, Tally
from ...passes.pipelines import apply_edits, parse, render
from ...passes.quantize.quantize import Quantize
from ...passes.quantize.smooth import Smooth
from ..comparing.check import Judge, Verdict
from ..precision import MAX_ERROR, QUANTIZED, Attempt
from ..report import CHECKED, WRONG, Accuracy, Refusal
from .weighing import Candidate, is_weighed

if TYPE_CHECKING:
    from ..compiler import Compilation


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

    def __init__(
        self, attempt: Attempt, model: Model, lowered: bool, verdict: Verdict, watching: tuple[Tally, Refusals]
    ) -> None:
        """`watching`: what was noted while the model was made."""
        self.attempt = attempt
        self.model = model
        self.lowered = lowered
        self.verdict = verdict
        self.watching = watching
        is_number = math.isfinite(verdict.error)
        unlock = verdict.unlock or (f"--max-error {math.ceil(verdict.error * 1000) / 10:g}%" if is_number else "")
        self.refusal = Refusal(attempt.name, verdict.message, 1, unlock)


def within_budget(run: Compilation, judge: Judge, model: Model) -> Model | None:
    """The model of the first attempt with a lower precision that stays inside the budget, in the report; None for none.

    Where none does as a whole, it is as much of the first one as does. Numbers of 8 bits are weighed against half
    precision where the target has both (`weighing`). One precision that was asked for is an order: without a budget its
    model is the result whatever comes out.
    """
    taken = fastest_within(run, judge, model)
    if taken is None:
        return None
    return accepted(run, judge, taken.choose(run))


def fastest_within(run: Compilation, judge: Judge, model: Model) -> Candidate | None:
    """That attempt, chosen in the report; None for the model as it is without a lower precision."""
    automatic = len(run.attempts) > 1
    failed: list[Trial] = []
    small: list[Candidate] = []  # in numbers of 8 bits, that fit
    taken: Candidate | None = None
    for number, attempt in enumerate(run.attempts):
        if number and attempt.without and not any(name in attempt.without for name, _ in run.tally.counts):
            continue  # the attempt before did nothing that this one leaves out
        run.choose(attempt)
        if not run.is_lossy:
            break
        judge.max_error = limit_of(run, automatic)
        if run.settings.measure and not number:
            from .layer_times import refuse_slow  # these bring all that quantizes: only where something is lowered

            refuse_slow(run)
        trial = try_out(run, judge, attempt, run.model() if number else model)
        if not trial.verdict.ok:
            failed.append(trial)
        elif automatic and not trial.lowered:
            run.report.refused.append(Refusal(attempt.precision, "it saves no time anywhere"))
        elif is_weighed(attempt, run.attempts):
            small.append(Candidate.of(run, trial))
        elif _pays(run, trial, automatic):
            taken = Candidate.of(run, trial)
            break
    if failed and not small:
        taken = _in_part(run, judge, failed, small, taken)
    run.report.refused += [trial.refusal for trial in failed]
    if small:
        taken = _weighed(run, small, taken)
    if taken is not None:
        return taken
    if failed and len(run.attempts) == 1 and not run.attempts[0].precision:  # --passes says what to run: nothing else
        return Candidate.of(run, failed[0])
    run.kept = dict(run.slow)
    run.report.stays = None
    if failed and not automatic:
        precision = failed[0].attempt.precision
        run.report.notes.append(f"nothing of --precision {precision} is inside the budget: it is as without")
    run.choose(run.plain)
    judge.max_error = None
    return None


def _in_part(
    run: Compilation, judge: Judge, failed: list[Trial], small: list[Candidate], taken: Candidate | None
) -> Candidate | None:
    """What to take where nothing, or half precision alone (`taken`), fits as a whole: as much of the first as does.

    Of numbers of 8 bits with half precision around them, which fits then, that goes to `small` instead.
    """
    from .partly import PartSearch

    weighed = [trial for trial in failed if is_weighed(trial.attempt, run.attempts)]
    others = [trial for trial in failed if trial not in weighed]
    chosen = weighed if taken is not None or not others else others
    part = PartSearch(run, judge, chosen[0]).best() if chosen else None
    if part is None or not _pays(run, part, len(run.attempts) > 1):
        return taken
    if chosen is not weighed:
        return Candidate.of(run, part)
    small.append(Candidate.of(run, part))
    return taken


def _weighed(run: Compilation, small: list[Candidate], taken: Candidate | None) -> Candidate | None:
    from .weighing import faster

    run.progress.stage("estimating", 0.9, 0.95)
    found = faster(run, small, taken)
    if found is not None and run.outputs.is_written:  # what is looked into is that of the model that was made last
        found.choose(run)
        found.trial.model = run.optimize(run.model(), run.final_instruments())
        found.trial.watching = run.tally, run.refusals
    return found


def limit_of(run: Compilation, automatic: bool) -> float:
    """The relative L2 error that outputs may have: by default what `auto` allows, unless a metric limits it instead."""
    given, drop = run.settings.max_error, run.settings.max_drop
    return given if given is not None else MAX_ERROR if automatic and drop is None else math.inf


def try_out(run: Compilation, judge: Judge, attempt: Attempt, model: Model) -> Trial:
    """Run the pipeline that is chosen over the source, and judge what comes out."""
    lowered = Lowered()
    made = run.optimize(model, [*run.final_instruments(), lowered])
    return judged(run, judge, attempt, made, lowered.found)


def judged(run: Compilation, judge: Judge, attempt: Attempt, made: Model, lowered: bool) -> Trial:
    """What comparison and metric say of a model that was made last."""
    run.progress.stage("comparing", 0.7, 0.9)
    verdict = judge.compare(made)
    if run.metric is not None and verdict.ok:
        run.progress.stage("measuring by --metric", 0.8, 0.9)
        run.metric.limit(verdict, judge, made)
    return Trial(attempt, made, lowered, verdict, (run.tally, run.refusals))


def _pays(run: Compilation, trial: Trial, automatic: bool) -> bool:
    """True unless integers were measured to be no faster than floats and nobody ordered them."""
    if trial.attempt.precision not in QUANTIZED or not trial.lowered:
        return True
    from .profit import loss

    slower = loss(run, trial.model, trial.attempt, surely=not automatic)
    if slower and automatic:
        run.report.refused.append(Refusal(trial.attempt.precision, slower, 1, f"--precision {trial.attempt.precision}"))
        return False
    if slower:
        run.report.notes.append(f"{trial.attempt.precision} was ordered and is slower here than floats: {slower}")
    return True


def accepted(run: Compilation, judge: Judge, trial: Trial) -> Model:
    """The model of a trial as the result: what the report says is of it."""
    found = trial.verdict
    run.tally, run.refusals = trial.watching
    run.report.accuracy = Accuracy(
        CHECKED if found.ok else WRONG, found.message, found.error, found.limit, found.output,
        judge.shapes, judge.notes(), judge.samples, judge.held_back, "relative L2"
    )  # fmt: skip
    if run.keep and run.report.precision:
        options = {name: {"keep": keep} for name, keep in run.keep.items()}
        if Quantize.name in options:
            options[Smooth.name] = options[Quantize.name]  # it leaves the same alone
        run.report.pipeline = render(apply_edits(parse(run.report.pipeline), {"options": options}))
    if run.metric is not None and found.score is not None:
        run.report.metric = run.metric.score(judge, found.score)
    return trial.model

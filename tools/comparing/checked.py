"""Compiling under comparison: on a wrong result, find the rewrite to blame, leave it out, and run again.

``end`` compares the finished model and bisects over the count of rewrites; ``each`` compares after every
pass that changed something, and runs again without a pass that fails.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ...lowering.onnx.declared import with_shapes
from ...passes.base import Instrument, Pass, Place
from ...passes.manager import Repeat
from ..files import is_onnx
from ..inputs.shapes import fixed_shape
from ..report import CHECKED, NOT_CHECKED, WRONG, Accuracy, Repair
from ..running.runtimes import REFERENCE, own_runtime
from ..running.sessions import CannotCheck, unoptimized_session
from ..search.budget import within_budget
from .blame import Last, first_bad
from .check import Judge, Verdict

if TYPE_CHECKING:
    from ..compiler import Compilation

MAX_REPAIRS = 5


class WrongAfter(Exception):
    """Raised by `CheckEach`: the model is wrong after this pass."""

    def __init__(self, pass_name: str, verdict: Verdict) -> None:
        super().__init__(pass_name)
        self.pass_name = pass_name
        self.verdict = verdict


class CheckEach(Instrument):
    """Compares after each pass that changed something."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        if changed and not isinstance(step, Repeat):
            verdict = self.judge.compare(model)
            if not verdict.ok:
                raise WrongAfter(step.name, verdict)


def compile_checked(run: Compilation, model: Model, mode: str) -> Model:
    """Optimize with comparison; sets `run.report.accuracy` and the repairs. Returns the model to keep."""
    judge = _judge(run, model)
    if judge is None:
        run.choose_unchecked()
        return run.optimize(model, run.final_instruments())
    was_lossy = run.is_lossy or bool(run.plan.kind)
    if run.plan.kind:
        from ..recipes.search import FormSearch  # most compilations try no forms

        chosen = FormSearch(run, judge).model(model)
    else:
        chosen = within_budget(run, judge, model)
    if chosen is not None:
        return chosen
    model = run.model() if was_lossy else model
    repair = _Repair(run, judge)
    model, verdict = repair.each(model) if mode == "each" else repair.end(model)
    status = CHECKED if verdict.ok else WRONG
    run.report.accuracy = Accuracy(
        status, verdict.message, verdict.error, verdict.limit, verdict.output, judge.shapes, judge.notes(),
        judge.samples, judge.held_back
    )
    if run.metric is not None and verdict.ok:
        run.progress.stage("measuring by --metric", 0.8, 0.9)
        run.report.metric = run.metric.score(judge, run.metric.of(judge, model))
    return model


def _judge(run: Compilation, model: Model) -> Judge | None:
    """A judge with reference results; None, with the reason in the report, where there can be none."""
    run.progress.stage("running the source", 0.05, 0.1)
    try:
        reference = run.reference(model)
        judge = Judge(
            reference, model, run.export, run.shapes, run.settings.seed, run.interface,
            stand_in=run.target.runtime != REFERENCE, runtime=own_runtime(run),
        )  # fmt: skip
        judge.prepare(run.samples)
        run.judge = judge
        return judge
    except CannotCheck as error:
        reason = str(error)
    except UnsupportedModel as error:
        reason = f"the source cannot be written for onnxruntime: {error.message}"
    except ImportError as error:
        reason = f"onnxruntime is not there to run it: {error}"
    if run.metric is not None:
        raise UsageError(f"cannot be measured: {reason}", source="--metric")
    run.report.accuracy = Accuracy(NOT_CHECKED, reason)
    return None


def refused_source(run: Compilation) -> str:
    """Why onnxruntime does not load the source once its inputs have the sizes of --shape; "" where it does.

    A branch that is never taken at these sizes may have no shapes at them. It tells when it knows constants: here they
    are initializers, in the source it folds them to such by default.
    """
    if run.settings.path is None or not is_onnx(run.settings.path) or not run.settings.shape:
        return ""  # what it was loaded from is no ONNX file, or says these sizes itself
    model = run.model()
    sizes = {
        name: shape
        for name, value in zip(model.graph.input_names, model.graph.inputs)
        if (shape := fixed_shape(value)) is not None
    }
    path = os.path.join(run.scratch_folder(), "declared.onnx")
    try:
        if not with_shapes(run.reference(model), path, sizes):
            return ""
        unoptimized_session(path, "it", fold=True)
    except CannotCheck as error:
        return str(error).removeprefix("onnxruntime does not load it: ").rpartition(f"{path} failed:")[2]
    return ""


class _Repair:
    """Runs and repairs one compilation."""

    def __init__(self, run: Compilation, judge: Judge) -> None:
        self.run = run
        self.judge = judge
        self.disabled: set[int | Place] = set()
        self.skip: set[str] = set()
        self.blamed: Counter[tuple[str, str]] = Counter()
        self.unsupported: UnsupportedModel | None = None

    def end(self, model: Model) -> tuple[Model, Verdict]:
        """Compare at the end; bisect, disable and run again while it is wrong."""
        for attempt in range(MAX_REPAIRS + 1):
            if attempt:
                model = self.run.model()
            last = Last()
            model = self._optimize(model, [*self.run.final_instruments(), last])
            self.run.progress.stage("comparing", 0.7, 0.9)
            verdict = self._verdict(model)
            if verdict.ok or attempt == MAX_REPAIRS or not self._blame(last.count, verdict):
                break
        return model, verdict

    def each(self, model: Model) -> tuple[Model, Verdict]:
        """Compare after each changing pass; run again without a pass that fails."""
        for attempt in range(MAX_REPAIRS + 1):
            if attempt:
                model = self.run.model()
            try:
                watching = [*self.run.final_instruments(), CheckEach(self.judge)]
                model = self._optimize(model, watching)
                break
            except WrongAfter as wrong:
                if attempt == MAX_REPAIRS:
                    return model, wrong.verdict
                if not self._can_skip(wrong.pass_name):
                    return model, wrong.verdict
                self.skip.add(wrong.pass_name)
                what = f"pass {wrong.pass_name} left out"
                self.run.report.repairs.append(Repair(what, wrong.verdict.message))
        return model, self._verdict(model)

    def _can_skip(self, name: str) -> bool:
        return name not in self.skip and not self.run.registry.find(name).required

    def _optimize(self, model: Model, watching: list[Instrument], limit: int | None = None) -> Model:
        return self.run.optimize(
            model,
            watching,
            skip=frozenset(self.skip),
            disabled=frozenset(self.disabled),
            limit=limit,
        )

    def _verdict(self, model: Model) -> Verdict:
        self.unsupported = None
        try:
            return self.judge.compare(model)
        except UnsupportedModel as error:
            self.unsupported = error
            return Verdict(False, float("inf"), message=f"cannot be written: {error.message}")

    def _blame(self, rewrites: int, verdict: Verdict) -> bool:
        """Find the first rewrite that makes the model wrong and disable it; False if none does."""
        refused = self.unsupported  # the finished model; what stands between may have no form for the target either
        last = Last()

        def is_good(limit: int) -> bool:
            nonlocal last
            found = Last()
            model = self._optimize(self.run.model(), [found], limit)
            if self._verdict(model).ok:
                return True
            last = found
            return False

        def tell(left: int) -> None:
            self.run.progress.stage(f"bisecting, {left} rewrites left", 0.7, 0.9)

        _, bad = first_bad(is_good, -1, rewrites, tell)
        if bad == 0 and refused is not None:
            raise refused  # nothing that passes did: what was asked for cannot hold the model
        if bad == 0 and self.unsupported is not None:
            verdict.message += "; the target has no form of the model before it, so that no rewrite can be blamed"
            return False
        if bad == 0:
            reason = refused_source(self.run)
            if reason:
                verdict.message = f"onnxruntime does not load the source itself at the sizes of --shape: {reason}"
                return False
            declared = "" if self.run.interface is None else f"{self.run.interface} inputs and outputs, "
            verdict.message += f"; wrong before any rewrite: {declared}import, inference or export is to blame"
            return False
        if last.count != bad:  # the full run was the first bad one
            last = Last()
            self._optimize(self.run.model(), [last], bad)
        assert last.place is not None
        self._disable(last, bad, verdict)
        return True

    def _disable(self, last: Last, number: int, verdict: Verdict) -> None:
        """Disable one rewrite; a rule (or pass) that is to blame again goes altogether."""
        assert last.place is not None
        pass_name, rule = last.place[:2]
        self.blamed[pass_name, rule] += 1
        if self.blamed[pass_name, rule] > 1:
            self.skip.add(rule or pass_name)
            what = f"{'rule ' + rule if rule else 'pass ' + pass_name} left out"
        else:
            self.disabled.add(last.place)
            what = f"rewrite {number}, {last.text}, left out"
        self.run.report.repairs.append(Repair(what, verdict.message, number))

"""As much of a model in a lower precision as a budget allows, where all of it is too much.

What lowering does to parts of the model is measured on calibration samples (`mixed`, `mixed_integers`), which gives for
each error that is asked for what must stay as it was. Which error to ask for is found by trials: each is the model made
anew, compared on the samples that were held back, and by the user's metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ...ir.core import Node
from ...ir.types import F32
from ...passes.base import Context, Pass, Place, place_of
from ...passes.pipelines import names
from ...passes.precision.autocast import Autocast
from ...passes.quantize.quantize import Quantize
from ...passes.quantize.sensitivity import Parts
from ...passes.quantize.speed import IntegerSpeed
from ...passes.quantize.weight_only import QuantizeWeights
from ...passes.quantize.weight_parts import WeightParts
from ..comparing.check import Judge, Verdict
from ..report import Stays
from ..running.sessions import CannotCheck
from .mixed import Kept, measure
from .mixed_integers import measure_integers
from .weighing import is_weighed

if TYPE_CHECKING:
    from ..compiler import Compilation
    from .budget import Trial

ROUNDS = 5  # models that are made in part in lower precision
QUESTIONS = 12  # errors that are asked for, which may give the same model
MARGIN = 0.95  # of the budget: predictions are not exact
CLOSE = 0.75  # of the budget: a model that uses so much of it is not improved
FIRST = 0.7  # of the error of the whole, where it is the user's metric that refuses that
_LOWERING = (Quantize, QuantizeWeights, Autocast)


class Mixture(Protocol):
    """A model, and what lowering the precision of parts of it does on calibration samples."""

    @property
    def error(self) -> float:
        """The relative L2 error of the worst output when all of it is lowered."""

    def kept(self, error: float, pass_name: str) -> Kept | None:
        """What must stay for an error; None where nothing would be left to lower."""


class PartSearch:
    """The search for one attempt that does not fit as a whole."""

    def __init__(self, run: Compilation, judge: Judge, whole: Trial) -> None:
        self.run = run
        self.judge = judge
        self.whole = whole
        assert judge.max_error is not None
        self.limit = judge.max_error

    def best(self) -> Trial | None:
        """The fastest model found that fits, chosen and described in the report; the refusal of the whole says more."""
        run, refusal = self.run, self.whole.refusal
        steps = {step.name for step in names((*self.whole.attempt.first, *self.whole.attempt.items))}
        if not math.isfinite(self.limit) and self.whole.verdict.score is None:
            return None
        run.choose(self.whole.attempt)
        step = next((s for kind in _LOWERING for s in run.steps if isinstance(s, kind) and s.name in steps), None)
        if step is None:
            return None
        try:
            mixture = self._measured(step)
        except CannotCheck as problem:
            refusal.why += f"; what rounding harms cannot be told: {problem}"
            return None
        found = self._search(mixture, step)
        if found is None:
            run.kept = dict(run.slow)
            refusal.why += "; no part that fits saves time"
            return None
        trial, kept, is_last = found
        run.kept = {**run.slow, **kept.reasons}
        if not is_last and run.outputs.is_written:
            trial.model = run.optimize(run.model(), run.final_instruments())
            trial.watching = run.tally, run.refusals
        refusal.what += f" in {len(kept.reasons)} nodes"
        refusal.why += f" with it everywhere; these stay: {kept.text()}"
        reasons = {" ".join(loc) or hint: why for (_, _, loc, hint), why in kept.reasons.items()}
        worst, error = kept.worst[0]
        run.report.stays = Stays(f"{worst}: {error:.2%} alone", refusal.unlock, reasons)
        run.keep = {step.name: (*run.keep.get(step.name, ()), *kept.keep)} if kept.keep else run.keep
        return trial

    def _search(self, mixture: Mixture, step: Pass) -> tuple[Trial, Kept, bool] | None:
        """Ask for smaller errors while results do not fit, and for larger ones again while they leave much unused.

        The best one, what stays in it, and whether it was made last.
        """
        from .budget import try_out

        low, high = 0.0, mixture.error  # errors on calibration samples that were found to fit, and not to
        best: tuple[Trial, Kept] | None = None
        wanted = self._first(mixture)
        tried: dict[frozenset[Place], Verdict] = {}
        for _ in range(QUESTIONS):
            kept = mixture.kept(wanted, step.name)
            if kept is None:
                break
            if not kept.reasons:  # on these samples it fits
                high, wanted = min(high, wanted), wanted / 2
                continue
            places = frozenset(kept.reasons)
            if places not in tried and len(tried) == ROUNDS:
                break
            if places not in tried:
                self.run.kept = {**self.run.slow, **kept.reasons}
                last = try_out(self.run, self.judge, self.whole.attempt, self.run.model())
                if not last.lowered:
                    break
                tried[places] = last.verdict
                best = (last, kept) if last.verdict.ok else best
            verdict = tried[places]
            if verdict.ok and self._is_close(verdict):
                break
            low, high = (max(low, wanted), high) if verdict.ok else (low, min(high, wanted))
            wanted = self._next(verdict, wanted, low, high)
        return None if best is None else (*best, best[0] is last)

    def _first(self, mixture: Mixture) -> float:
        """The errors that count are those on other inputs; what lowering makes on these is in proportion."""
        error = self.whole.verdict.error
        if error > self.limit:
            return self.limit * MARGIN * (mixture.error / error if math.isfinite(error) else 1.0)
        return FIRST * mixture.error  # the metric refused it

    def _next(self, verdict: Verdict, wanted: float, low: float, high: float) -> float:
        error = verdict.error
        if error > self.limit and not low:
            return wanted * MARGIN * (self.limit / error if math.isfinite(error) else 0.5)
        return math.sqrt(low * high) if low else wanted / 2

    def _is_close(self, verdict: Verdict) -> bool:
        """True if there is little to gain by asking for more."""
        if self.run.settings.max_drop is not None:
            return False  # scores jump
        return verdict.error >= CLOSE * self.limit

    def _measured(self, step: Pass) -> Mixture:
        """What lowering parts does to the model as it is before its precision is lowered. Raises CannotCheck."""
        run = self.run
        assert run.calibration is not None  # what is compared is measured
        model = run.before(step)
        run.progress.stage("measuring what may be lowered", 0.3, 0.7)

        def progress(text: str) -> None:
            run.progress.stage(text, 0.5, 0.7)

        if isinstance(step, Autocast):
            context = Context(capabilities=run.target.capabilities, measure=run.calibration.ranges, skip=run.skip)
            placement = step.placement(model, context)
            if placement is None or not run.calibration.samples:
                raise CannotCheck(run.calibration.problem or "nothing in it is in single precision")
            return measure(
                model, placement, run.calibration.samples, self.limit, run.export_placed,
                ignored=self.judge.random_outputs, progress=progress
            )  # fmt: skip
        if run.calibration.problem:
            raise CannotCheck(run.calibration.problem)
        run.kept = dict(run.slow)
        context = Context(capabilities=run.target.capabilities, observe=run.calibration.observe, kept=run.slow)
        halves = [step.half for step in run.steps if isinstance(step, Autocast)]
        around = next(filter(None, halves), F32)
        is_weighing = is_weighed(self.whole.attempt, run.attempts)  # an order is carried out where it gains little
        speed = IntegerSpeed(run.target.integers, run.target.hardware, around, run.shapes.best, is_weighing)
        parts: Parts | WeightParts
        if isinstance(step, QuantizeWeights):
            parts = weights = WeightParts(model, step, context)
            gains: Mapping[Node, float] = {node: weights.saved(node) / speed.bandwidth for node in parts.nodes}
            switches = dict.fromkeys(parts.nodes, 0.0)
        else:
            assert isinstance(step, Quantize)
            parts = Parts(model, step, context)
            timed, places = run.layer_times, {node: place_of(step.name, "", node) for node in parts.nodes}
            gains = {node: timed[place] if place in timed else speed.gain(node) for node, place in places.items()}
            switches = {node: speed.switch(node) for node in parts.nodes}
        random = self.judge.random_outputs
        counted = [n not in random for n, value in enumerate(model.graph.outputs) if value.dtype is F32]
        limit = self.limit if math.isfinite(self.limit) else self.whole.verdict.error
        return measure_integers(parts, gains, switches, limit, counted, progress)

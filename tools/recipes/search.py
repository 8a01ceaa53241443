"""The search among forms: each is made, weighed against limits, compared with the source, and timed; the best is taken.

No more is ever lost than the budget says: what is over it is refused, and where nothing fits the model is what it is
without all of this. After `PATIENCE` no further form is begun.
"""

from __future__ import annotations

from collections import deque
from time import process_time
from typing import TYPE_CHECKING

from ...ir.core import Model
from ...ir.errors import UnsupportedModel
from ..comparing.check import Judge
from ..precision import SMALL, Attempt
from ..report import megabytes
from ..search.budget import Lowered, accepted, fastest_within, judged, limit_of
from ..search.profit import FLOATS, in_floats
from ..search.weighing import WORTH, Candidate, is_weighed
from .clock import BEST, FORM, Clock
from .forms import Form, present_in, why_not
from .found import Found, left_for_limit, missed
from .gains import costs_of, guess_of
from .limits import MEMORY, SIZE, Limits
from .planning import GOAL, LIMITS, RECIPE, Plan
from .said import BEATEN, NOT_TRIED, OVER, TAKEN, Limit, Tried

if TYPE_CHECKING:
    from ..compiler import Compilation

PATIENCE = 600.0  # seconds of the processor: what else the machine does decides nothing
RETRIES = 2  # of a form with more, or less, left of its layers
LEAST_LEFT = 0.25  # of layers
EQUAL = 0.02  # of a size that is no difference
FAR = 2.5  # times the budget: half of what goes would be too much as well


class FormSearch:
    """One search."""

    def __init__(self, run: Compilation, judge: Judge) -> None:
        self.run = run
        self.judge = judge
        self.plan: Plan = run.plan
        self.limits = Limits(run)
        self.goal = run.settings.goal or "latency"
        # Where limits are all that was asked for, what is most exact inside them is best.
        self.by_accuracy = bool(self.limits) and run.settings.goal is None
        self.best: Found | None = None
        self.made: list[Found] = []
        self.floats_limits: list[Limit] = []

    def model(self, model: Model) -> Model | None:
        """The model of the best form, in the report; None where the model stays as it is without them."""
        run, begun = self.run, process_time()
        for title, why in self.plan.absent.items():
            run.report.tried.append(Tried(title, NOT_TRIED, why))
        run.progress.window("without forms", 0.0, 0.1)
        floats = in_floats(run, run.chosen)
        self.clock = Clock(run, self.goal, floats)
        self.floats_limits = self.limits.found(floats)
        usual = self._usual(model) if self.plan.kind != RECIPE else None
        if usual is not None:
            self._consider(usual)
        if not self._is_done(usual):
            self._try_all(floats, begun)
        if self.best is None and self.plan.kind != GOAL:
            self._in_part()
        run.progress.window("", 0.0, 1.0)
        return self._taken()

    # Trying

    def _is_done(self, usual: Found | None) -> bool:
        """True if limits were all that was asked for, and what there is anyway meets them."""
        if self.plan.kind != LIMITS:
            return False
        is_plain = usual is None and all(limit.ok for limit in self.floats_limits)
        return (is_plain and not self._is_ordered) or (usual is not None and usual.fits)

    @property
    def _is_ordered(self) -> bool:
        return self.run.settings.precision not in (None, "auto", "fp32")

    def _usual(self, model: Model) -> Found | None:
        """What -O3 takes by itself."""
        run = self.run
        if run.settings.level < 3 or self._is_ordered:
            return None
        run.progress.window("as -O3 alone", 0.1, 0.25)
        candidate = fastest_within(run, self.judge, model)
        if candidate is None or not candidate.trial.attempt.precision:
            return None
        said = Tried(f"{candidate.trial.attempt.precision}, as -O3 alone")
        return self._weighed(None, candidate, said)

    def _try_all(self, floats: Model, begun: float) -> None:
        waiting = deque(self._ordered(floats))
        done: set[tuple[object, ...]] = set()  # the fastest precision fits, or passes find nothing
        attempts = [form.attempt for form in self.plan.forms]
        number = 0
        while waiting:
            form = waiting.popleft()
            if form.family in done:
                continue
            said = Tried(form.title, recipe=form.origin if self.plan.kind == GOAL else "")
            self.run.report.tried.append(said)
            why = why_not(form, floats) or self._hopeless(form)
            if not why and process_time() - begun > PATIENCE:
                why = f"{PATIENCE / 60:.0f} minutes were over"
            if why:
                said.status, said.why = NOT_TRIED, why
                continue
            number += 1
            share = 0.25 + 0.7 * number / (number + len(waiting) + 1)
            self.run.progress.window(f"{number} of {number + len(waiting)}, {form.title[:20]}", share - 0.1, share)
            found = self._make(form, said)
            if found is None:
                done.update([form.family] if form.passes else [])
                continue
            self._consider(found)
            # Half precision may be faster than numbers of 8 bits: only the estimates of both tell.
            if found.fits and not is_weighed(form.attempt, attempts):
                done.add(form.family)
            other = self._other(form, found)
            if other is not None:
                waiting.appendleft(other)
            if self.by_accuracy and self.best is not None:
                if waiting:
                    names = f"{len(waiting)} others, {waiting[0].title} to {waiting[-1].title}"
                    self.run.report.tried.append(Tried(names, NOT_TRIED, "what fits is likely to be more exact"))
                break

    def _hopeless(self, form: Form) -> str:
        """Why a form with smaller layers is not tried: its precision alone is over the budget; "" where that is not."""
        precision = form.attempt.precision
        if not form.is_structural or not precision:
            return ""
        over = {
            found.candidate.trial.attempt.precision
            for found in self.made
            if (found.form is None or not found.form.passes) and not found.candidate.trial.verdict.ok
        }
        budgets = ("--max-error", "--max-drop")
        over |= {each.what.split()[0] for each in self.run.report.refused if each.unlock.startswith(budgets)}
        return f"{precision} alone is over the budget" if precision in over else ""

    def _ordered(self, floats: Model) -> list[Form]:
        """For a goal the one that is likely to gain most first; a recipe's author and limits have an order."""
        forms = self.plan.forms
        if self.plan.kind == RECIPE and self.limits:
            return sorted(forms, key=lambda form: form.is_structural)  # what is left of layers follows from the others
        if self.plan.kind != GOAL:
            return forms
        place = "bytes" if self.goal == "size" else "seconds"
        costs = costs_of(floats, self.run.target, dict(self.run.shapes.best))
        return sorted(forms, key=lambda f: float(getattr(guess_of(f.attempt.precision, f.left, costs), place)))

    def _make(self, form: Form, said: Tried) -> Found | None:
        """The form, weighed and compared; None, with the reason said, where there is nothing of it."""
        run = self.run
        run.kept, run.keep, run.report.stays = {}, {}, None
        run.choose(form.attempt)
        # What somebody ordered is limited by what they say alone; what is chosen for them by the default as well.
        is_chosen = self.plan.kind == GOAL or (self.plan.kind == LIMITS and not (self._is_ordered and not form.passes))
        self.judge.max_error = limit_of(run, is_chosen)
        lowered = Lowered()
        made = run.optimize(run.model(), [*run.final_instruments(), lowered])
        own = {step.name for step in form.steps}
        if own and not any(name in own for name, _ in run.tally.counts):
            said.status, said.why = NOT_TRIED, f"{' and '.join(sorted(own))} found nothing that pays"
            return None
        if not own and not lowered.found:
            said.status, said.why = NOT_TRIED, "it changes nothing"
            return None
        try:
            limits = self.limits.found(made)
        except UnsupportedModel as error:
            said.status, said.why = NOT_TRIED, error.message
            return None
        metric = run.metric
        if not all(limit.ok for limit in limits):
            run.metric = None  # which may take minutes
        try:
            trial = judged(run, self.judge, form.attempt, made, lowered.found)
        finally:
            run.metric = metric
        return self._weighed(form, Candidate.of(run, trial), said, limits)

    def _weighed(
        self, form: Form | None, candidate: Candidate, said: Tried, limits: list[Limit] | None = None
    ) -> Found:
        found = Found(form, candidate, self.limits.found(candidate.trial.model) if limits is None else limits, said)
        verdict = candidate.trial.verdict
        said.error, said.score = verdict.error, verdict.score
        sizes = {limit.option: limit.found for limit in found.limits}
        said.size = sizes[SIZE] if SIZE in sizes else self.limits.size(found.model).bytes
        said.memory = sizes.get(MEMORY)
        if form is None:
            self.run.report.tried.append(said)
        self.made.append(found)
        over = [limit for limit in found.limits if not limit.ok]
        if over:
            said.status = OVER
            said.why = " and ".join(f"{megabytes(each.found - each.limit)} MB over {each.option}" for each in over)
        elif not verdict.ok:
            refusal = candidate.trial.refusal
            said.status, said.why, said.unlock = OVER, refusal.why, refusal.unlock
        return found

    # Choosing

    def _consider(self, found: Found) -> None:
        """Let a form that fits take the place of the best one where it is better."""
        said, best = found.said, self.best
        if not found.fits:
            found.forget()
            return
        times = self.clock.times(found.model, None if best is None else best.model)
        if times:
            said.seconds, said.faster, said.timed = times[FORM], times[FLOATS] / times[FORM], self.clock.how
        why = "" if best is None else self._why_no_better(found, best, times)
        if why:
            said.status, said.why = BEATEN, why
            found.forget()
            return
        if best is not None:
            best.forget()
            best.said.status, best.said.why = BEATEN, f"{said.name} is better: {self._measure(said)}"
        said.status, self.best = TAKEN, found

    def _why_no_better(self, found: Found, best: Found, times: dict[str, float]) -> str:
        """Why a form is not to be preferred to the best so far; "" where it is."""
        name, size = best.said.name, (found.said.size or 0) / (best.said.size or 1)
        if self.by_accuracy:
            a, b = found.candidate.trial.verdict, best.candidate.trial.verdict
            return f"{name} is more exact" if a.error >= b.error else ""
        ratio = times[FORM] / times[BEST] if BEST in times else 1.0
        if self.goal == "size":
            if abs(size - 1) > EQUAL:
                return f"{name} is smaller: {megabytes(best.said.size or 0)} MB" if size > 1 else ""
            return f"{name} is as small" if ratio > WORTH else ""
        if ratio > WORTH:
            return f"it takes {ratio:.2f} of the time of {name}"
        return ""

    def _measure(self, said: Tried) -> str:
        if self.by_accuracy:
            return f"off by {said.error:.2%}"
        if self.goal == "size":
            return f"{megabytes(said.size or 0)} MB"
        return f"x{said.faster:.2f} {said.timed}" if said.faster is not None else "by its place in the list"

    def _other(self, form: Form, found: Found) -> Form | None:
        """The same with more left of layers where too much is lost, or with less where that meets the limit."""
        if not form.is_structural or form.retries >= RETRIES or found.fits:
            return None
        present = present_in(form.base, self.plan.level)
        left = left_for_limit(found, self.made, self.run.settings.max_size)
        if left is not None:
            is_new = abs(left - form.left) > 0.01 and left >= LEAST_LEFT
            return form.with_left(left, present) if is_new and (not found.is_within or left > form.left) else None
        verdict = found.candidate.trial.verdict
        is_far = verdict.error > FAR * (self.judge.max_error or 0.0)
        if found.is_within and not form.retries and not is_far:
            return form.with_left((1 + form.left) / 2, present)
        return None

    def _in_part(self) -> None:
        """Where nothing fits: as much of a lower precision as does."""
        from ..search.partly import PartSearch

        for found in self.made:
            trial = found.candidate.trial
            if found.form is None or found.form.passes or trial.verdict.ok or trial.attempt.precision not in SMALL:
                continue
            self.judge.max_error = limit_of(self.run, self.plan.kind != RECIPE)
            self.run.progress.window(f"{trial.attempt.precision} in part", 0.9, 1.0)
            part = PartSearch(self.run, self.judge, trial).best()
            if part is not None:
                said = Tried(f"{trial.attempt.precision} in part")
                said.why = trial.refusal.why
                self.run.report.tried.append(said)
                self._consider(self._weighed(found.form, Candidate.of(self.run, part), said))
            return

    def _taken(self) -> Model | None:
        run, best = self.run, self.best
        if best is not None and not self.by_accuracy and not self._gains(best):
            gain = "smaller" if self.goal == "size" else "faster"
            best.said.status, best.said.why = BEATEN, f"it is no {gain} than without"
            best = None
        if best is None:
            if not all(limit.ok for limit in self.floats_limits):
                has_scores = run.metric is None or run.metric.drop is None
                run.report.limits = missed(self.made, self.floats_limits, has_scores)
            run.kept, run.keep, run.report.stays = {}, {}, None
            run.choose(Attempt("", ()))
            self.judge.max_error = None
            return None
        trial = best.candidate.choose(run)
        self.judge.max_error = trial.verdict.limit
        if run.outputs.is_written:  # what is looked into is that of the model that was made last
            trial.model = run.optimize(run.model(), run.final_instruments())
            trial.watching = run.tally, run.refusals
        run.report.limits = best.limits
        if run.report.recipe and best.form is not None:
            run.report.recipe["steps"] = [step.name for step in best.form.steps]
        return accepted(run, self.judge, trial)

    def _gains(self, best: Found) -> bool:
        """True if a form is better for the goal than the model without any, or that is over a limit."""
        if not all(limit.ok for limit in self.floats_limits):
            return True
        if self.goal == "size":
            return (best.said.size or 0) < self.limits.size(self.clock.floats).bytes
        return best.said.faster is None or best.said.faster * WORTH > 1

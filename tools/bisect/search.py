"""Finding the one step that breaks a model, and making sure that it is the one.

    found = search(case)
    found.status         # "right", "rewrite", "pass", "source"
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

from ...ir.core import Model
from ...ir.errors import UsageError
from ...passes.base import Instrument, Pass, Place
from ...passes.manager import Repeat
from ..comparing.blame import Last, first_bad
from .case import Case, Stop
from .local import Local, local_difference
from .outcome import GOOD, SKIP, Outcome
from .region import Capture, Change, PassCapture
from .tests import OPTION

RIGHT, REWRITE, PASS, SOURCE = "right", "rewrite", "pass", "source"


@dataclass
class Found:
    """What came out.

    `status`: "right" (nothing is wrong), "rewrite" (number `bad` of `total` makes it wrong), "pass" (a pass that does
    not number what it does, run `bad` of `total` that change something), "source" (it is wrong without any pass).
    `good` is the last count at which it was right; between it and `bad` are `suspects` that the test could not judge.
    `alone`: the outcome of everything but this rewrite; `without_rule`: of everything but its rule, or pass.
    """

    status: str
    outcome: Outcome
    total: int = 0
    good: int = 0
    bad: int = 0
    limit: int | None = None  # rewrites that were allowed while passes were counted
    at_bad: Outcome | None = None
    place: Place | None = None
    step: Pass | None = None
    change: Change | None = None
    local: Local | None = None
    alone: Outcome | None = None
    without_rule: Outcome | None = None
    left_out: list[str] = field(default_factory=list)  # lossy passes, without which it was looked for
    suspects: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tests: int = 0
    seconds: float = 0.0


def search(case: Case) -> Found:
    """Find it. Raises UsageError for a test that cannot judge either end, or changes its mind."""
    found = _search(case)
    found.tests, found.seconds = case.tests, perf_counter() - case.begun
    return found


def _search(case: Case) -> Found:
    case.tell("testing with all rewrites", 0.1)
    last = Last()
    outcome = case.outcome(watching=[last])
    _steady(outcome, case.outcome(), "with all rewrites")
    if outcome.good:
        return Found(RIGHT, outcome, last.count)
    outcome = case.without_lossy(outcome)
    if case.left_out:
        outcome = case.outcome(watching=[last := Last()])  # without them there are fewer rewrites
    case.test.narrow()
    case.tell("testing without any rewrite", 0.15)
    first = case.outcome(0)
    _steady(first, case.outcome(0), "without any rewrite")
    if not first.good:
        return search_passes(case, first, 0)
    number = last.count
    good, bad = first_bad(
        lambda limit: judged(case.outcome(limit), outcome), 0, number,
        lambda left: case.tell(f"bisecting, {left} rewrites left", 0.85 - 0.65 * left / max(number, 1)),
    )  # fmt: skip
    found = _confirmed(case, Found(REWRITE, outcome, number, good, bad))
    if case.left_out:
        found.left_out = sorted(case.left_out)
        found.notes.append(
            f"wrong by the limits of a lossless compilation, without {', '.join(found.left_out)}: "
            "what changes numbers on purpose was left out of the search"
        )
    elif found.step is not None and found.step.lossy and outcome.kind == "numbers":
        found.notes.append(
            f"pass {found.step.name} changes numbers on purpose: errors add up, and here the sum passes the limit. "
            "Without lossy passes nothing is wrong; a larger --max-error looks for a larger step"
        )
    return found


def _steady(first: Outcome, second: Outcome, when: str) -> None:
    """Raise UsageError unless a test said the same twice, and something."""
    if first.kind != second.kind:
        said = f"{when} it says {first.text!r} once and {second.text!r} the next time"
        raise UsageError(f"the test is not steady: {said}; nothing can be found with it", source=OPTION)
    if first.kind == SKIP:
        raise UsageError(f"{when} the test says nothing ({first.text}); nothing can be found with it", source=OPTION)


def judged(found: Outcome, wanted: Outcome) -> bool | None:
    """Bad in the way that is looked for, good, or neither: what fails earlier shows nothing of what comes later."""
    if found.good or found.family == wanted.family:
        return found.good
    if found.stage == wanted.stage:
        return False
    return True if found.stage > wanted.stage else None


def _confirmed(case: Case, found: Found) -> Found:
    """Look at the rewrite that was found, and leave it out alone."""
    case.tell("looking at the rewrite", 0.86)
    capture, skipped = Capture(found.bad), _Numbers(found.good, found.bad)
    found.at_bad = case.outcome(found.bad, watching=[capture, skipped])
    found.suspects = skipped.texts
    found.place, found.step, found.change = capture.place, capture.step, capture.change
    if capture.together > 1:
        found.notes.append(f"the pass did {capture.together} rewrites at once: what is shown is all of them")
    assert found.place is not None
    case.tell("testing all rewrites but this one", 0.9)
    found.alone = case.outcome(disabled=frozenset([found.place]))
    name = found.place[1] or found.place[0]
    if not found.alone.good:
        found.without_rule = case.outcome(skip=frozenset([name]))
    found.local = local_difference(case, found.change)
    if found.local is not None and found.local.within and found.outcome.kind == "numbers":
        # It keeps values itself: some pass that does not ask must have gone wrong over it.
        inner = search_passes(case, found.at_bad, found.bad)
        if inner.status == PASS and inner.step is not None and inner.step is not found.step:
            inner.notes.append(
                f"it goes wrong over what rewrite {found.bad} makes ({found.place[0]} {found.place[1]}".rstrip()
                + "), which keeps values itself"
            )
            return inner
    return found


class _Numbers(Instrument):
    """The rewrites between two counts, in words."""

    def __init__(self, good: int, bad: int) -> None:
        self.range = range(good + 1, bad + 1)
        self.texts: list[str] = []
        self._last = Last()

    def on_allow(self, number: int, pass_name: str, rule: str, node: object, allowed: bool) -> None:
        if len(self.range) > 1 and number + 1 in self.range:
            self._last.on_allow(number, pass_name, rule, node, allowed)  # type: ignore[arg-type]
            self.texts.append(f"{number + 1} {self._last.text}")


# Passes that do not number what they do


class _StopAfter(Instrument):
    """Stops behind so many passes that changed something."""

    def __init__(self, count: int) -> None:
        self.left = count

    def start(self, model: Model, ctx: object) -> None:
        self._stop_at_none()

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        if changed and not isinstance(step, Repeat):
            self.left -= 1
            self._stop_at_none()

    def _stop_at_none(self) -> None:
        if self.left == 0:
            raise Stop


def search_passes(case: Case, outcome: Outcome, limit: int) -> Found:
    """Find the pass that makes a model wrong while only `limit` rewrites are allowed; `outcome` is what that gives."""
    case.tell("testing before any pass", 0.5)
    before = case.outcome(limit, watching=[_StopAfter(0)])
    if before.kind not in (GOOD, SKIP):
        return Found(SOURCE, before)
    counting = PassCapture()
    case.outcome(limit, watching=[counting])
    total = counting.count
    crashed = outcome.family == "crash"
    if crashed:
        return Found(PASS, outcome, total, total, total + 1, limit, outcome)
    good, bad = first_bad(
        lambda count: judged(case.outcome(limit, watching=[_StopAfter(count)]), outcome), 0, total,
        lambda left: case.tell(f"bisecting, {left} passes left", 0.85 - 0.3 * left / max(total, 1)),
    )  # fmt: skip
    capture = PassCapture(bad)
    at_bad = case.outcome(limit, watching=[capture, _StopAfter(bad)])
    found = Found(PASS, outcome, total, good, bad, limit, at_bad, None, capture.step, capture.change)
    found.local = local_difference(case, found.change)
    if capture.step is not None and not capture.step.required:
        found.alone = case.outcome(skip=frozenset([capture.step.name]))
    return found

"""Where in a source the rewrite to blame is: its nodes by location, which are unique here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ...ir.core import Model
from ..bisect.case import Case
from ..bisect.outcome import Outcome
from ..bisect.region import Capture
from ..bisect.search import judged, search_passes
from ..comparing.blame import Last, first_bad

_MARK = "geoc.reduce node "


@dataclass
class Guilty:
    """`place` in words, `locations` of what it replaces, the `name` of its rule, or pass, where that can be left out;
    each empty where nothing can be said.
    """

    place: str = ""
    locations: list[str] = field(default_factory=list)
    name: str = ""


def mark(model: Model) -> None:
    """Give every node a location of its own behind those that it has, in place."""
    for number, node in enumerate(model.walk()):
        node.loc = (*node.loc, f"{_MARK}{number}")


def unmark(model: Model) -> None:
    """Take away what `mark` gave."""
    for node in model.walk():
        node.loc = tuple(at for at in node.loc if not at.startswith(_MARK))


def guilty(case: Case, wanted: Outcome, tell: Callable[[int], None]) -> Guilty:
    """Find the first rewrite, or else pass, after which the source fails as wanted."""
    last = Last()
    case.outcome(watching=[last])
    start = case.outcome(0)
    if judged(start, wanted) is not True:
        found = search_passes(case, start, 0)
        if found.change is None or found.step is None:
            return Guilty()
        name = "" if found.step.required else found.step.name
        return Guilty(f"pass {found.step.name}", _marks(found.change.locations), name)
    _, bad = first_bad(lambda limit: judged(case.outcome(limit), wanted), 0, last.count, tell)
    capture = Capture(bad)
    case.outcome(bad, watching=[capture])
    if capture.place is None:
        return Guilty()
    # Where it never came to an end, what it began at is known.
    locations = capture.place[2] if capture.change is None else capture.change.locations
    pass_name, rule = capture.place[:2]
    return Guilty(f"{pass_name} {rule}".rstrip(), _marks(locations), rule or pass_name)


def _marks(locations: Iterable[str]) -> list[str]:
    return [at for at in locations if at.startswith(_MARK)]

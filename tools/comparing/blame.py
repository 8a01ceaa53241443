"""Which rewrite made a model wrong: bisection over their count (`--bisect-limit`), and what the last one was.

    good, bad = first_bad(lambda limit: compiles_right(limit), 0, last.count)
"""

from __future__ import annotations

from collections.abc import Callable

from ...ir.core import Node
from ...passes.base import Instrument, Place, place_of
from ...passes.instruments import where


class Last(Instrument):
    """Remembers the last rewrite that was allowed."""

    def __init__(self) -> None:
        self.count = 0
        self.place: Place | None = None
        self.text = ""

    def on_allow(self, number: int, pass_name: str, rule: str, node: Node, allowed: bool) -> None:
        if allowed:
            self.count = number + 1
            self.place = place_of(pass_name, rule, node)
            self.text = f"{pass_name} {rule}".rstrip() + f" @ {where(node)}"


MAX_SKIPPED = 24  # steps that could not be judged, after which the rest between two that could stays unknown


def first_bad(
    is_good: Callable[[int], bool | None], good: int, bad: int, tell: Callable[[int], None] = lambda left: None
) -> tuple[int, int]:
    """(g, b): the result is right after g steps and wrong after b, and those between cannot be judged.

    `good` and `bad` are such ends already and are not tried again. `is_good` gives None for what cannot be judged:
    its neighbours are tried instead, the nearest to the middle first (as `git bisect skip` does), up to `MAX_SKIPPED`
    of them. Where nothing is skipped b = g + 1. `tell` hears how many steps are left.
    """
    skipped: set[int] = set()
    while True:
        middle = (good + bad) // 2
        left = [number for number in range(good + 1, bad) if number not in skipped]
        if not left or len(skipped) > MAX_SKIPPED:
            return good, bad
        tell(len(left))
        number = min(left, key=lambda each: abs(each - middle))
        found = is_good(number)
        if found is None:
            skipped.add(number)
        elif found:
            good = number
        else:
            bad = number

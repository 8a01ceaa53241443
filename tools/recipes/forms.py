"""Forms: the ways to make one model that are tried beside each other, and what a compilation runs for each.

    forms = forms_of(recipe.forms[0], "edge", attempts(target, "int8", ...), names_of_the_level)

A recipe gives passes and a precision, the precision gives a target's own passes (`precision.attempts`). A pass that the
pipeline has already gets the recipe's options where it stands; others stand where the recipe says, or before the
target's forms of operators.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...ir.core import Model
from ...ir.errors import UsageError
from ...lowering.backend import CACHES
from ...passes.caches import caches
from ...passes.pipelines import Step, names, render
from ..precision import Attempt
from .recipe import FormText, Placed

STRUCTURAL = {"low-rank": 0.75, "low-rank-conv": 0.5, "prune": 0.75}
"""Passes that make layers smaller, and the share that they leave where nothing else is said (`left`)."""
_OTHER_SHARES = frozenset(("rank", "energy", "channels", "heads", "neurons", "streams"))
_WHOLE = 0.97  # of a layer: nothing to speak of goes


@dataclass(frozen=True)
class Form:
    """One form by its title: its passes, the precision it is in, and what is run for it.

    `text` is what it was read from, `origin` the recipe that that is in; `retries` says how often it was made weaker or
    stronger since.
    """

    passes: tuple[Placed, ...]
    attempt: Attempt
    base: Attempt
    text: FormText
    origin: str = ""
    retries: int = 0

    @property
    def title(self) -> str:
        """What the report calls it."""
        family = f"{self.text.title} at {self.left:g}" if self.retries else self.text.title
        return ", ".join(filter(None, [family, self.attempt.precision])) or "as it is"

    @property
    def family(self) -> tuple[object, ...]:
        """Equal for the same passes in the precisions that one text means, whichever recipe it is of."""
        return (*(placed.step for placed in self.text.passes), self.text.precision)

    @property
    def steps(self) -> list[Step]:
        """Its own passes, those in groups included."""
        return list(names(placed.step for placed in self.passes))

    @property
    def is_structural(self) -> bool:
        """True if layers of it are smaller."""
        return any(step.name in STRUCTURAL for step in self.steps)

    @property
    def left(self) -> float:
        """The share of layers that is left, as far as its passes say it by `left`."""
        found = 1.0
        for step in self.steps:
            if step.name in STRUCTURAL:
                given = dict(step.options).get("left")
                found = min(found, float(given) if isinstance(given, (int, float)) else STRUCTURAL[step.name])
        return found

    def with_left(self, left: float, present: Collection[str]) -> Form | None:
        """The same with another share left of layers; None where its passes do not say it by `left`, or nothing goes.

        `present`: the names of the passes that the pipeline has without it.
        """
        if not self.is_structural or left >= _WHOLE or left <= 0:
            return None
        passes = []
        for placed in self.passes:
            step = placed.step
            if isinstance(step, Step) and step.name in STRUCTURAL:
                options = dict(step.options)
                if _OTHER_SHARES & options.keys():
                    return None
                step = replace(step, options=tuple({**options, "left": round(left, 3)}.items()))
            passes.append(placed._replace(step=step))
        made = tuple(passes)
        return replace(self, passes=made, attempt=attempt_with(self.base, made, present), retries=self.retries + 1)


def attempt_with(base: Attempt, passes: Iterable[Placed], present: Collection[str]) -> Attempt:
    """An attempt with passes of a recipe; `present` are the names of passes in the pipeline without them."""
    own, options, inserted = [], {}, []
    for placed in passes:
        step = placed.step
        if placed.anchor:
            inserted.append({"pass": render((step,)), placed.side: placed.anchor})
        elif isinstance(step, Step) and step.name in present:
            options[step.name] = dict(step.options)
        else:
            own.append(step)
    edits: dict[str, Any] = {}
    if options:
        edits["options"] = options
    if inserted:
        edits["insert"] = inserted
    return base._replace(first=(*own, *base.first), edits=edits or None)


def forms_of(text: FormText, origin: str, bases: Iterable[Attempt], level: Collection[str]) -> Iterator[Form]:
    """A recipe's form with each of a target's attempts at its precision; `level`: the passes of the -O level."""
    for base in bases:
        if not text.passes and not base.precision:
            continue  # the model as it is
        yield Form(text.passes, attempt_with(base, text.passes, present_in(base, level)), base, text, origin)


def present_in(base: Attempt, level: Collection[str]) -> set[str]:
    """The names of passes that run without a recipe's own."""
    return {*level, *(step.name for step in names((*base.first, *base.items)))}


def check_anchors(form: Form, known: Collection[str], path: str) -> None:
    """Raise UsageError for a pass that is to stand beside one that the pipeline does not have."""
    from difflib import get_close_matches

    for placed in form.passes:
        if placed.anchor and placed.anchor not in known:
            near = get_close_matches(placed.anchor, sorted(known), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            said = f"{placed.side} = {placed.anchor!r} names no pass of the pipeline{hint}"
            raise UsageError(said, source=path, place=f"line {placed.line}" if placed.line else "")


def why_not(form: Form, model: Model) -> str:
    """Why a form is not tried on a model at all; "" where it is."""
    if not form.attempt.precision.endswith(CACHES):
        return ""
    places = caches(model.graph)
    if not places:
        return "the model is called with no caches of keys and values"
    batches = {shape[0] for place in places if (shape := model.graph.inputs[place].shape)}
    return "" if batches == {1} else "caches in 8 bits are fast for a batch of 1 alone: --shape says so"

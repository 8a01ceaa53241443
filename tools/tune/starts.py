"""What a search begins with: the plain levels, and every form of every recipe that comes with geoc.

So a search ends with nothing worse than any of them. A form that `Space` has a point for is one, which Optuna learns
from; another one keeps its own pipeline: {"target": ..., "form": title, "passes": text}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...ir.errors import UsageError
from ...lowering.targets import get_target
from ...passes.pipelines import level_items, names
from ..precision import attempts
from ..recipes.forms import Form, forms_of
from ..recipes.recipe import find_recipe, shipped
from ..settings import Settings
from .codes import choices_of
from .refine import on_grid
from .space import INTEGERS, LEVEL, MOST_LEFT, STRUCTURES, Point, Space

_CACHES = "kv8"
_PARTS = 4  # of the ladder of layers that stay, tried where all in integers is too much


def starting_points(space: Space) -> list[dict[str, Any]]:
    """All of them, each once: the source's precision, then whole layers in others, then smaller ones, which are not
    tried in what is over the bound by itself; each kind by what it is likely to give."""
    found: dict[str, dict[str, Any]] = {}
    for target in space.order.targets:
        plain = {"target": target, "precision": ""}
        points = [plain, *(point_of(space, target, form) for form in forms(space, target))]
        for point in points:
            if space.chooses_threads and "form" not in point:
                point = {**point, "threads": space.threads[0]}
            found.setdefault(settings_of(space, point).command(), point)
    first, *rest = found.values()
    return [first, *sorted(rest, key=lambda point: (is_smaller(point), guessed(space, point)))]


def forms(space: Space, target: str) -> Iterator[Form]:
    """The forms of all recipes on a target, and what -O3 tries by itself; not those with caches in 8 bits, which would
    change how the model is called."""
    order = space.order
    level = frozenset(step.name for step in names(level_items(LEVEL, get_target(target).pipeline)))
    for name in shipped():
        recipe = find_recipe(name)
        for text in recipe.forms:
            precision = text.precision or recipe.options.get("precision")
            if str(precision).endswith(_CACHES):
                continue
            try:
                bases = attempts(get_target(target), precision, 3, None, order.calib, order.goal)
                yield from forms_of(text, name, bases, level)
            except UsageError:
                continue  # the target does not have it, or there are no samples


def point_of(space: Space, target: str, form: Form) -> dict[str, Any]:
    """A form as a point, or with its own pipeline where no point has that."""
    wanted = space.of_attempt(space.order.plain(target), form.attempt).passes
    for point in _candidates(space, target, form):
        if point["precision"] in space.precisions[target] and space.settings(point).passes == wanted:
            return point
    return {"target": target, "form": form.title, "passes": wanted or ""}


def _candidates(space: Space, target: str, form: Form) -> Iterator[dict[str, Any]]:
    """Points that may be a form."""
    codes = choices_of(form.base)
    for structure in ("", *STRUCTURES):
        left = {"structure": structure, "left": form.left} if structure else {}
        yield space.normal({"target": target, "precision": form.attempt.precision, **codes, **left})


def settings_of(space: Space, point: Point) -> Settings:
    """The compilation of a point, or of a form that is none."""
    if "form" in point:
        return replace(space.order.plain(point["target"]), passes=point["passes"])
    return space.settings(point)


def is_smaller(point: Point) -> bool:
    """True for a point with smaller layers."""
    return bool(point.get("structure"))


def guessed(space: Space, point: Point) -> float:
    """What the goal is about, before anything is run; a form that is no point comes first: nothing is known of it."""
    return 0.0 if "form" in point else space.guessed(point)


def weaker(space: Space, point: Point) -> list[dict[str, Any]]:
    """What recipes try where a form is over the bound: half of what goes; and where all in integers is too much, ever
    more of it in floats."""
    if "form" in point:
        return []
    found = []
    if point.get("structure"):
        left = (1 + point["left"]) / 2
        found += [{**point, "left": on_grid(left)}] if left <= MOST_LEFT else []
    elif point["precision"] == INTEGERS and not point.get("keep"):
        ladder = space.offer.ladder.get(point["target"], ())
        places = sorted({round((len(ladder) - 1) * part / _PARTS) for part in range(1, _PARTS + 1)} - {0})
        found += [{**point, "keep": ladder[place]} for place in places]
    return found

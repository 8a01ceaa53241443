"""Which forms a compilation tries: those of its recipe, those of all recipes for a goal, or ever smaller ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...ir.errors import UsageError
from ...passes.pipelines import level_items, names
from ..calibration.calibration import RANDOM
from ..precision import ALIASES, Attempt, attempts
from ..settings import converted
from .forms import Form, check_anchors, forms_of, present_in
from .recipe import FormText, Recipe, find_recipe, shipped

if TYPE_CHECKING:
    from ...lowering.targets import Target
    from ...passes.registry import Registry
    from ..settings import Settings

RECIPE, GOAL, LIMITS = "recipe", "goal", "limits"
_LIKELY = ("fp16", "bf16", "w8a16", "w8a8", "w4a16")  # precisions, the most exact first


@dataclass
class Plan:
    """What is tried, and why: for a `recipe`, a `goal` or `limits`; "" where nothing but the usual is.

    `absent`: forms of a recipe that the target does not have, and why.
    """

    kind: str = ""
    recipe: Recipe | None = None
    forms: list[Form] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    level: frozenset[str] = frozenset()  # the passes of the -O level

    def ordered(self, precision: str | None) -> Attempt:
        """What a recipe orders where nothing can be compared: its precision alone, as --precision would; or nothing."""
        is_order = precision not in (None, "auto")
        alone = (form for form in self.forms if not form.passes and (is_order or form.text.precision))
        return next((form.attempt for form in alone), Attempt("", ()))


class Planner:
    """Plans one compilation."""

    def __init__(self, settings: Settings, target: Target) -> None:
        self.settings = settings
        self.target = target
        self.plan = Plan(recipe=None if settings.recipe is None else find_recipe(settings.recipe))
        items = () if settings.passes is not None else level_items(settings.level, target.pipeline)
        self.plan.level = frozenset(step.name for step in names(items))

    def made(self) -> Plan:
        """The plan. Raises UsageError for a recipe of which the target has no form at all."""
        plan, settings = self.plan, self.settings
        if settings.passes is not None:
            return plan
        is_automatic = settings.level == 3 and settings.precision in (None, "auto")
        if plan.recipe is not None and plan.recipe.has_forms:
            plan.kind = RECIPE
            plan.forms = list(self._of_recipe(plan.recipe))
            self._check(plan.recipe)
        elif is_automatic and settings.goal is not None and settings.calib not in (None, RANDOM):
            plan.kind = GOAL
            plan.forms = list(self._of_all(with_caches=False))
        elif settings.level >= 2 and (settings.max_size is not None or settings.max_memory is not None):
            plan.kind = LIMITS
            plan.forms = list(self._smaller())
        return plan

    def _attempts(self, precision: str | None) -> list[Attempt]:
        settings = self.settings
        level = settings.level if precision is None else None
        return attempts(self.target, precision, level, settings.io_precision, settings.calib, settings.goal)

    def _of_recipe(self, recipe: Recipe) -> Iterator[Form]:
        """Each form at its own precision, unless the command line says another one than the recipe."""
        settings = self.settings
        is_ordered = settings.precision != recipe.options.get("precision")
        problems: list[UsageError] = []
        for text in recipe.forms:
            precision = settings.precision if is_ordered or text.precision is None else text.precision
            try:
                yield from forms_of(text, recipe.name, self._attempts(precision), self.plan.level)
            except UsageError as error:
                problems.append(error)
                self.plan.absent[", ".join(filter(None, [text.title, precision])) or "as it is"] = error.message
        if len(problems) == len(recipe.forms):
            raise problems[0]

    def _check(self, recipe: Recipe) -> None:
        for form in self.plan.forms:
            own = {step.name for step in form.steps}
            check_anchors(form, present_in(form.base, self.plan.level) | own, recipe.path)

    def _of_all(self, with_caches: bool) -> Iterator[Form]:
        """The forms of all of geoc's recipes, each once; the usual ones are there without them."""
        usual = {attempt.precision for attempt in self._attempts(None)}
        seen: set[tuple[object, str]] = set()
        for name in shipped():
            recipe = find_recipe(name)
            for text in recipe.forms:
                precision = text.precision or recipe.options.get("precision")
                if not with_caches and str(precision).endswith("kv8"):
                    continue
                try:
                    found = list(forms_of(text, name, self._attempts(precision), self.plan.level))
                except UsageError:
                    continue  # the target does not have it
                for form in found:
                    key = tuple(placed.step for placed in form.passes), form.attempt.precision
                    if key not in seen and (form.passes or form.attempt.precision not in usual):
                        seen.add(key)
                        yield form

    def _smaller(self) -> Iterator[Form]:
        """Lower precisions, then smaller layers in those, the most exact first as far as one can know beforehand."""
        ordered = self.settings.precision
        ordered = None if ordered in (None, "auto") else ALIASES.get(str(ordered), ordered)
        bases: dict[str, Attempt] = {}
        for precision in _LIKELY if ordered is None else (ordered,):
            try:
                bases.update({attempt.precision: attempt for attempt in self._attempts(precision)[:1]})
            except UsageError:
                if ordered is not None:
                    raise
        structural = [text for text in find_recipe("edge").forms if text.passes]
        for precision, base in bases.items():
            if precision or ordered is None:
                yield from forms_of(FormText(precision=precision), LIMITS, [base], self.plan.level)
        last = [p for p in ("w8a8", "w8a16", "w4a16") if p in bases] if ordered is None else list(bases)
        for precision in last[:1] + last[1:][-1:]:
            for text in structural:
                own = replace(text, precision=precision)
                yield from forms_of(own, LIMITS, [bases[precision]], self.plan.level)


def described(plan: Plan, settings: Settings, registry: Registry) -> dict[str, Any]:
    """What the report says of the recipe: its name, a path if it is the user's, its description, and those of its
    options that count beside what was said otherwise.

    Raises UsageError, with its file, for passes and options of them that there are not.
    """
    recipe = plan.recipe
    assert recipe is not None
    for form in plan.forms:
        for placed in form.passes:
            try:
                registry.resolve((placed.step,))
            except UsageError as error:
                place = f"line {placed.line}" if placed.line else ""
                raise UsageError(error.message, source=recipe.path, place=place) from None
    options = {k: v for k, v in recipe.options.items() if converted({k: v})[k] == getattr(settings, k)}
    path = "" if recipe.is_shipped else recipe.path
    return {"name": recipe.name, "path": path, "description": recipe.description, "options": options, "steps": []}

"""The passes and rules that a command line names, and the model as one of them meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.errors import UsageError
from .args import Arguments

if TYPE_CHECKING:
    from ..ir.core import Model, Node
    from ..ir.rewrite import Rule
    from ..lowering.targets import Target
    from ..passes.base import Context, Pass
    from ..passes.pipelines import Item
    from ..passes.registry import Registry


def one_model(arguments: Arguments) -> str:
    """The one word of the command line. Raises UsageError for none or several."""
    if len(arguments.words) != 1:
        raise UsageError(f"give one model: geoc {arguments.verb} MODEL")
    return arguments.words[0]


def registry_of(arguments: Arguments) -> Registry:
    """The passes at hand: built in, of the target, and the user's."""
    from ..lowering.targets import get_target
    from ..passes.registry import Registry

    registry = Registry(get_target(arguments.get("target", "cpu")).rule_sets)
    registry.add_user_code(arguments.get("plugin", ()), arguments.get("rules", ()))
    return registry


def resolved(arguments: Arguments, registry: Registry) -> tuple[Item, ...]:
    """The pipeline without the passes that --skip and --only leave out."""
    from ..lowering.targets import get_target
    from ..passes.pipelines import apply_edits
    from .pipeline import plan
    from .selection import selected
    from .settings import Settings

    settings = Settings(
        None,
        level=arguments.get("level", 2),
        passes=arguments.get("passes"),
        target=arguments.get("target", "cpu"),
    )
    items = plan(settings, registry, get_target(settings.target).pipeline)
    steps = registry.resolve(items)
    left_out = selected(steps, arguments.get("skip", ()), arguments.get("only", ()))
    return apply_edits(items, {"drop": left_out})


def pipelines_of(arguments: Arguments, registry: Registry) -> list[str]:
    """The pipeline of each form that a recipe tries, as text, as if there were samples."""
    from ..lowering.targets import get_target
    from ..passes.pipelines import render
    from .calibration.calibration import RANDOM
    from .pipeline import items_of
    from .recipes.planning import Planner
    from .settings import Settings

    given = {key: arguments.values[key] for key in ("level", "target", "recipe") if key in arguments.values}
    settings = Settings(None, calib=RANDOM, **given).with_recipe()
    target = get_target(settings.target)
    forms = Planner(settings, target).made().forms
    found = [items_of(form.attempt, settings, registry, target.pipeline) for form in forms]
    for items in found:
        registry.resolve(items)
    return [render(items) for items in found]


def all_rules(registry: Registry) -> list[tuple[str, Rule]]:
    """Every rule with the pass that it belongs to, the user's first."""
    from ..passes.rulepass import RulePass

    names = registry.names(installed=False)
    found: list[tuple[str, Rule]] = []
    for name in (*registry.added_rules, *(n for n in names if n not in registry.added_rules)):
        cls = registry.find(name)
        if issubclass(cls, RulePass):
            found.extend((name, rule) for rule in cls.rules())
    return found


def all_rows(target: Target | None = None) -> list[tuple[str, Rule]]:
    """Every capability row of a target's runtime, None of all runtimes, with the set that it belongs to."""
    from ..lowering.backend import all_row_sets
    from ..lowering.rows import load_rows

    sets = all_row_sets() if target is None else target.backend.row_sets()
    return [(name, rule) for name, place in sets.items() for rule in load_rows(*place)]


def rule_called(registry: Registry, wanted: str, option: str) -> tuple[str, Rule]:
    """The rule of that name and its pass; the user's hides a built-in one. Raises UsageError."""
    rules = all_rules(registry)
    for owner, rule in rules:
        if rule.name == wanted:
            return owner, rule
    from difflib import get_close_matches

    near = get_close_matches(wanted, [rule.name for _, rule in rules], 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"there is no rule {wanted!r}{hint}", source=option)


def read_model(arguments: Arguments, source: str) -> Model:
    """The model with the sizes of --shape."""
    from .files import load_any
    from .inputs.shapes import read_shapes, specialise

    model = load_any(source)
    specialise(model, read_shapes(arguments.get("shape", ()), model))
    return model


def prepared(arguments: Arguments, registry: Registry) -> tuple[list[Pass], Context]:
    """The pipeline that the arguments give, and a fresh context to run it in."""
    from ..lowering.targets import get_target
    from ..passes.base import Context
    from .selection import selected

    steps = registry.resolve(resolved(arguments, registry))
    ctx = Context(
        capabilities=get_target(arguments.get("target", "cpu")).capabilities,
        skip=selected(steps, arguments.get("skip", ()), arguments.get("only", ())),
        seed=arguments.get("seed", 0),
    )
    return steps, ctx


def model_before(arguments: Arguments, registry: Registry, source: str, owner: str) -> Model:
    """The model as the pass `owner` first meets it in the pipeline that the arguments give."""
    from ..passes.manager import Repeat, run_step

    model = read_model(arguments, source)
    steps, ctx = prepared(arguments, registry)
    waiting = list(steps)
    while waiting:
        step = waiting.pop(0)
        if step.name == owner:
            break
        if isinstance(step, Repeat):
            waiting = [*step.steps, *waiting]
        else:
            run_step(model, step, ctx)
    return model


def names_of(model: Model) -> dict[str, Node]:
    """Nodes by source location and by the names of their outputs; the first of equals."""
    names: dict[str, Node] = {}
    for node in model.walk():
        for name in (*node.loc, *(value.hint for value in node.outputs)):
            names.setdefault(name, node)
    return names


def no_node(at: str, names: dict[str, Node], when: str) -> UsageError:
    """The error for a node that is not there, with the nearest names."""
    from difflib import get_close_matches

    near = get_close_matches(at, names, 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return UsageError(f"no node is at {at!r} in the model{when}{hint}", source="--node")

"""The verbs that look: dump, passes, rules, targets, explain."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..ir.errors import UsageError
from .args import Arguments

if TYPE_CHECKING:
    from ..ir.core import Model, Node
    from ..ir.rewrite import Rule
    from ..passes.pipelines import Item
    from ..passes.registry import Registry

SHOWN = 5  # near misses that explain prints


def dump_verb(arguments: Arguments) -> int:
    """``geoc dump MODEL``: the model as text."""
    from ..ir.text import print_model
    from .files import format_of, load_any, protect, write_text
    from .shapes import read_shapes, specialise

    source = _one_model(arguments)
    output = arguments.get("output")
    if output is not None and format_of(output) != "gir":
        raise UsageError("dump writes text; give a name that ends in .gir", source=output)
    model = load_any(source)
    specialise(model, read_shapes(arguments.get("shape", ()), model))
    folder = None if output is None else os.path.dirname(os.path.abspath(output))
    weights = "inline" if arguments.get("weights") == "inline" else "auto"
    text = print_model(model, weights=weights, full=bool(arguments.get("full")), folder=folder)  # type: ignore[arg-type]
    if output is None:
        sys.stdout.write(text)
    else:
        protect([output], [source])
        write_text(output, text)
    return 0


def _one_model(arguments: Arguments) -> str:
    if len(arguments.words) != 1:
        raise UsageError(f"give one model: geoc {arguments.verb} MODEL")
    return arguments.words[0]


def passes_verb(arguments: Arguments) -> int:
    """``geoc passes``: the list, or with -O or --passes the resolved pipeline on one line."""
    from ..passes.pipelines import render

    registry = _registry(arguments)
    if any(key in arguments.values for key in ("level", "passes", "target", "skip", "only")):
        print(render(_resolved(arguments, registry)))
        return 0
    names = arguments.words or registry.names()
    for name in names:
        _print_pass(registry, name, full=bool(arguments.words))
    return 0


def _registry(arguments: Arguments) -> Registry:
    """The passes at hand: built in, of the target, and the user's."""
    from ..lowering.targets import get_target
    from ..passes.registry import Registry

    registry = Registry(get_target(arguments.get("target", "cpu")).rule_sets)
    registry.add_user_code(arguments.get("plugin", ()), arguments.get("rules", ()))
    return registry


def _resolved(arguments: Arguments, registry: Registry) -> tuple[Item, ...]:
    """The pipeline without the passes that --skip and --only leave out."""
    from ..lowering.targets import get_target
    from ..passes.pipelines import apply_edits
    from .compiler import plan
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


def _print_pass(registry: Registry, name: str, full: bool) -> None:
    from ..passes.pipelines import render_option
    from ..passes.registry import options_of

    cls = registry.find(name)
    doc = (cls.__doc__ or "").strip()
    options = ", ".join(f"{key}={render_option(value)}" for key, value in options_of(cls).items())
    if not full:
        first = doc.split("\n\n")[0].split("\n")[0]
        print(f"{name:<16}{first}" + (f"  {{{options}}}" if options else ""))
        return
    print(f"{name}{{{options}}}" if options else name)
    print("\n".join("    " + line.strip() if line.strip() else "" for line in doc.splitlines()))
    rules = cls().rule_names()
    if rules:
        print(f"    rules: {', '.join(rules)}")


def targets_verb(arguments: Arguments) -> int:
    """``geoc targets``: names and what each stands for on this machine."""
    from ..lowering.targets import get_target, list_targets

    for name in arguments.words or list_targets():
        target = get_target(name)
        print(f"{name:<16}{target.describe()}; up to opset {target.max_opset}")
    return 0


def rules_verb(arguments: Arguments) -> int:
    """``geoc rules``: one line per rule, or the text of those that are named."""
    from ..passes.registry import match_names

    registry = _registry(arguments)
    found = _all_rules(registry)
    if not arguments.words:
        for owner, rule in found:
            first = rule.doc.strip().split("\n")[0]
            print(f"{owner:<16}{rule.name:<32}{first}")
        return 0
    wanted = match_names(arguments.words, sorted({rule.name for _, rule in found}), "rules")
    print("\n\n".join(_rule_text(owner, rule) for owner, rule in found if rule.name in wanted))
    return 0


def _all_rules(registry: Registry) -> list[tuple[str, Rule]]:
    """Every rule with the pass that it belongs to, the user's first."""
    from ..passes.rulepass import RulePass

    names = registry.names(installed=False)
    found: list[tuple[str, Rule]] = []
    for name in (*registry.added_rules, *(n for n in names if n not in registry.added_rules)):
        cls = registry.find(name)
        if issubclass(cls, RulePass):
            found.extend((name, rule) for rule in cls.rules())
    return found


def _rule_text(owner: str, rule: Rule) -> str:
    """A rule as it stands in its file, below a line that says where."""
    line = rule.place[0]
    if not rule.source.endswith(".rules"):
        return f"# {owner}: {rule.location}\n# {rule.doc}"
    with open(rule.source, encoding="utf-8") as file:
        lines = file.read().split("\n")
    end = next((i for i in range(line, len(lines)) if lines[i].startswith("}")), line)
    return "\n".join([f"# {owner}: {rule.location}", *lines[line - 1 : end + 1]])


def explain_verb(arguments: Arguments) -> int:
    """``geoc explain MODEL --rule NAME``: where a rule matches, and how near it came elsewhere."""
    from ..ir.rewrite import explain, find_matches
    from ..passes.instruments import where

    source, wanted = _one_model(arguments), arguments.get("rule")
    if wanted is None:
        raise UsageError("give the rule to explain: geoc explain MODEL --rule NAME")
    registry = _registry(arguments)
    owner, rule = _rule_called(registry, wanted)
    model = _model_before(arguments, registry, source, owner)
    node = _node_at(model, arguments.get("node"))
    matches = [m for m in find_matches(rule, model) if node is None or node in m.nodes]
    for match in matches:
        print(f"matches  {where(match.nodes[0])}: {', '.join(n.op.key for n in match.nodes)}")
    misses = explain(rule, model, node)
    for miss in misses[:SHOWN]:
        print(f"misses   {where(miss.node)}: {miss}")
    if len(misses) > SHOWN:
        print(f"         {len(misses) - SHOWN} more places, less near; --node NODE shows one")
    if not matches and not misses:
        operators = ", ".join(dict.fromkeys(op.key for entry in rule.entries for op in entry.ops))
        at = "there" if node is not None else "in the model as it is before that pass"
        print(f"{wanted} starts at {operators}, and none is {at}")
    return 0


def _rule_called(registry: Registry, wanted: str) -> tuple[str, Rule]:
    """The rule of that name and its pass; the user's hides a built-in one. Raises UsageError."""
    rules = _all_rules(registry)
    for owner, rule in rules:
        if rule.name == wanted:
            return owner, rule
    from difflib import get_close_matches

    near = get_close_matches(wanted, [rule.name for _, rule in rules], 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"there is no rule {wanted!r}{hint}", source="--rule")


def _model_before(arguments: Arguments, registry: Registry, source: str, owner: str) -> Model:
    """The model as the pass `owner` first meets it in the pipeline that the arguments give."""
    from ..passes.base import Context
    from ..passes.manager import Repeat, run_step
    from .files import load_any
    from .selection import selected
    from .shapes import read_shapes, specialise

    model = load_any(source)
    specialise(model, read_shapes(arguments.get("shape", ()), model))
    steps = registry.resolve(_resolved(arguments, registry))
    ctx = Context(
        skip=selected(steps, arguments.get("skip", ()), arguments.get("only", ())),
        seed=arguments.get("seed", 0),
    )
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


def _node_at(model: Model, at: str | None) -> Node | None:
    """The node with this source location or output name. Raises UsageError with the nearest."""
    if at is None:
        return None
    names: dict[str, Node] = {}
    for node in model.walk():
        for name in (*node.loc, *(value.hint for value in node.outputs)):
            names.setdefault(name, node)
    if at in names:
        return names[at]
    from difflib import get_close_matches

    near = get_close_matches(at, names, 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"no node is at {at!r} in the model as it is before that pass{hint}", source="--node")

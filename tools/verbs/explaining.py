"""The verbs that ask about rules: explain, which says why one fires or does not, and match, which only finds."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from ...ir.errors import UsageError
from ...passes.base import Instrument, Pass, Remark
from ..args import Arguments
from ..library import (
    model_before,
    names_of,
    no_node,
    one_model,
    prepared,
    read_model,
    registry_of,
    rule_called,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...ir.core import Model, Node, Value
    from ...ir.rewrite import Match, NearMiss, Rule
    from ...passes.registry import Registry
    from ...passes.rulepass import RulePass

SHOWN = 5  # near misses of one rule that explain prints
_BEFORE = " as it is before that pass"


def explain_verb(arguments: Arguments) -> int:
    """``geoc explain MODEL``: how near each rule came, or where one rule matches and came near."""
    source, registry = one_model(arguments), registry_of(arguments)
    wanted, at = arguments.get("rule"), arguments.get("node")
    if wanted is not None:
        _explain_rule(arguments, registry, source, wanted)
    elif at is not None:
        _explain_node(arguments, registry, source, at)
    else:
        _explain_all(arguments, registry, source)
    return 0


def _explain_rule(arguments: Arguments, registry: Registry, source: str, wanted: str) -> None:
    from ...ir.rewrite import explain, find_matches
    from ...passes.instruments import where_and_line

    owner, rule = rule_called(registry, wanted, "--rule")
    model = model_before(arguments, registry, source, owner)
    _name_all(model)
    node = None
    if (at := arguments.get("node")) is not None:
        names = names_of(model)
        if at not in names:
            raise no_node(at, names, _BEFORE)
        node = names[at]
    matches = [m for m in find_matches(rule, model) if node is None or node in m.nodes]
    for match in matches:
        print(f"matches  {where_and_line(match.nodes[0])}: {', '.join(n.op.key for n in match.nodes)}")
    misses = explain(rule, model, node)
    for miss in misses[:SHOWN]:
        print(f"misses   {where_and_line(miss.node)}: {_reason(miss)}")
    if len(misses) > SHOWN:
        print(f"         {len(misses) - SHOWN} more places, less near; --node NODE shows one")
    if not matches and not misses:
        operators = ", ".join(dict.fromkeys(op.key for entry in rule.entries for op in entry.ops))
        place = "there" if node is not None else f"in the model{_BEFORE}"
        print(f"{wanted} starts at {operators}, and none is {place}")


def _reason(miss: NearMiss) -> str:
    """What stopped an attempt, and where in the model that is unless at the root."""
    at = "" if miss.at is None or miss.at is miss.node or not miss.at.loc else f" at {miss.at.loc[0]}"
    source = miss.rule.source
    own = source.startswith(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))  # its name says enough
    return (miss.reason.replace(source, os.path.basename(source)) if own else miss.reason) + at


def _name_all(model: Model) -> None:
    """Give values without a name one, so that a text can speak of them."""
    count = 0
    for node in model.walk():
        for value in (*node.inputs, *node.outputs):
            if value is not None and not value.hint and value.uses:
                kind = "constant" if value.producer is None else value.producer.op.name.lower()
                value.hint = f"{kind}.{count}"
                count += 1


# All rules


class _Runs(Instrument):
    """Counts how often each rule pass runs and each rule is applied; notes what is done to the node `at`."""

    wants_details = False

    def __init__(self, at: str | None = None) -> None:
        self.runs: Counter[str] = Counter()
        self.applied: Counter[tuple[str, str]] = Counter()
        self.at = at
        self.changes: dict[str, None] = {}  # "pass.rule" of the rewrites of that node
        self.refused: dict[tuple[str, tuple[str, ...]], str] = {}

    def before_pass(self, model: Model, step: Pass) -> None:
        self.runs[step.name] += 1

    def on_remark(self, remark: Remark) -> None:
        if remark.rule and (self.at is None or self.at in remark.loc):  # details of misses are not asked for
            where = f" at {remark.loc[0]}" if remark.loc else ""
            unlock = f"; {remark.unlock} allows it" if remark.unlock else ""
            text = f"{remark.pass_name}.{remark.rule}{where}: {remark.message}{unlock}"
            self.refused[f"{remark.pass_name}.{remark.rule}", remark.loc] = text

    def before_rewrite(self, pass_name: str, rule: str, nodes: Sequence[Node]) -> None:
        self.applied[pass_name, rule] += 1
        if self.at is not None:
            for node in nodes:
                if self.at in node.loc or any(value.hint == self.at for value in node.outputs):
                    self.changes[f"{pass_name}.{rule}" if rule else pass_name] = None


class _LastRuns(Instrument):
    """Calls `look` before the last run of each rule pass, when what the others could do for it is done."""

    def __init__(self, runs: Counter[str], look: Callable[[Model, RulePass], None]) -> None:
        self.left = Counter(runs)
        self.look = look

    def before_pass(self, model: Model, step: Pass) -> None:
        from ...passes.rulepass import RulePass

        self.left[step.name] -= 1
        if not self.left[step.name] and isinstance(step, RulePass):
            self.look(model, step)


def _run_twice(
    arguments: Arguments, registry: Registry, source: str, runs: _Runs, look: Callable[[Model, RulePass], None]
) -> None:
    from ...passes.base import Context
    from ...passes.manager import run_pipeline

    steps, ctx = prepared(arguments, registry)
    for instrument in (runs, None):
        watching = instrument or _LastRuns(runs.runs, look)
        again = Context(capabilities=ctx.capabilities, instruments=[watching], skip=ctx.skip, seed=ctx.seed)
        run_pipeline(read_model(arguments, source), steps, again)


def _explain_all(arguments: Arguments, registry: Registry, source: str) -> None:
    from ...ir.rewrite.explain import nearest
    from ...passes.instruments import where_and_line

    runs = _Runs()
    rows: list[tuple[float, str, str]] = []

    def look(model: Model, step: RulePass) -> None:
        _name_all(model)
        for miss in nearest(step.rules().rewriting(), model):
            name = f"{step.name}.{miss.rule.name}"
            count = runs.applied[step.name, miss.rule.name]
            times = f", applied {count} {'time' if count == 1 else 'times'} elsewhere" if count else ""
            rows.append((-miss.score, name, f"{name}{times}\n    misses {where_and_line(miss.node)}: {_reason(miss)}"))

    _run_twice(arguments, registry, source, runs, look)
    rows.sort()
    for _, _, text in rows:
        print(text)
    for text in runs.refused.values():
        print(f"matches, and is not applied: {text}")
    near = {name for _, name, _ in rows}
    others = [
        f"{owner}.{rule} ({count})"
        for (owner, rule), count in sorted(runs.applied.items())
        if rule and f"{owner}.{rule}" not in near
    ]
    if others:
        print(f"applied, and not near a match anywhere else: {', '.join(others)}")
    if not rows:
        print("no other rule came near a match" if others else "no rule matches or comes near a match")


def _explain_node(arguments: Arguments, registry: Registry, source: str, at: str) -> None:
    from ...ir.rewrite.explain import nearest_at
    from ...ir.text import print_node
    from ...passes.instruments import where_and_line

    runs = _Runs(at)
    rows: list[tuple[float, str, str]] = []
    shown: dict[str, None] = {}

    def look(model: Model, step: RulePass) -> None:
        _name_all(model)
        node = names_of(model).get(at)
        if node is None:
            return
        shown[print_node(node)] = None
        for miss in nearest_at(step.rules().rewriting(), node):
            name = f"{step.name}.{miss.rule.name}"
            root = "" if miss.node is node else f" from {where_and_line(miss.node)}"
            rows.append((-miss.score, name, f"{name}{root}: {_reason(miss)}"))

    _run_twice(arguments, registry, source, runs, look)
    if not shown and not runs.changes:
        raise no_node(at, names_of(read_model(arguments, source)), "")
    for name in runs.changes:
        print(f"rewritten by {name}")
    for text in runs.refused.values():
        print(f"refused      {text}")
    if shown:
        print(f"at the end   {list(shown)[-1]}")
    for _, _, text in sorted(rows):
        print(f"misses       {text}")
    if shown and not rows:
        print("no rule has a pattern that it could be part of")


# match


def match_verb(arguments: Arguments) -> int:
    """``geoc match RULE MODEL``: the places where a rule or a pattern matches; 1 if there is none."""
    from ...ir.rewrite import find_matches

    if len(arguments.words) != 2:
        raise UsageError("give a rule or a pattern in quotes, and a model: geoc match RULE MODEL")
    wanted, source = arguments.words
    registry = registry_of(arguments)
    rule, model = _rule_and_model(arguments, registry, wanted, source)
    _name_all(model)
    matches = find_matches(rule, model)
    if arguments.get("json"):
        import json

        for match in matches:
            print(json.dumps(_match_json(match)))
    elif not arguments.get("quiet"):
        for match in matches:
            print("\n    ".join(_match_lines(match)))
    return 0 if matches else 1


def _rule_and_model(arguments: Arguments, registry: Registry, wanted: str, source: str) -> tuple[Rule, Model]:
    """The rule, and the model as its pass first meets it; a pattern looks at the model as it is written, or as
    the pipeline leaves it where one is given."""
    if wanted.isidentifier():
        owner, rule = rule_called(registry, wanted, "RULE")
        return rule, model_before(arguments, registry, source, owner)
    from ...ir.rewrite.pattern import pattern_rule
    from ...passes.manager import run_pipeline

    rule = pattern_rule(wanted, "RULE")
    model = read_model(arguments, source)
    if any(key in arguments.values for key in ("level", "passes")):
        steps, ctx = prepared(arguments, registry)
        run_pipeline(model, steps, ctx)
    return rule, model


def _match_lines(match: Match) -> list[str]:
    from ...passes.instruments import where_and_line

    lines = [f"{where_and_line(match.nodes[0])}: {', '.join(node.op.key for node in match.nodes)}"]
    lines += [f"%{name} is {_shown(value)}" for name, value in match.values.items()]
    lines += [f"${name} is {found}" for name, found in match.captures.items()]
    lines += [f"{name} is {_plain(found)}" for name, found in match.dims.items()]
    return lines


def _shown(value: Value | tuple[Value, ...]) -> str:
    if isinstance(value, tuple):
        return ", ".join(_shown(v) for v in value) or "nothing"
    kind = "constant " if value.const is not None else ""
    return f"{kind}%{value.hint}: {value.type}"


def _match_json(match: Match) -> dict[str, Any]:
    return {
        "rule": match.rule.name,
        "nodes": [
            {"op": node.op.key, "loc": list(node.loc), "outputs": [value.hint for value in node.outputs]}
            for node in match.nodes
        ],
        "values": {name: _value_json(value) for name, value in match.values.items()},
        "captures": {name: _plain(found) for name, found in match.captures.items()},
        "dims": {name: _plain(found) for name, found in match.dims.items()},
    }


def _value_json(value: Value | tuple[Value, ...]) -> Any:
    if isinstance(value, tuple):
        return [_value_json(v) for v in value]
    found: dict[str, Any] = {"name": value.hint, "type": str(value.type), "constant": value.const is not None}
    if value.const is not None and value.const.size == 1:
        found["value"] = _plain(value.const.item())
    return found


def _plain(found: Any) -> Any:
    """A bound thing as JSON can hold it: numbers and texts as they are, others as text."""
    if found is None or isinstance(found, (bool, int, str)):
        return found
    if isinstance(found, float):
        return found if found - found == 0 else str(found)
    if isinstance(found, (tuple, list)):
        return [_plain(part) for part in found]
    return str(found)

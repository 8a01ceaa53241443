"""Rules that refuse: which nodes of a graph match one, and the reason that it gives.

    for node, rule, reason in refusals(load_rules("limits.rules"), model):
        print(node, reason, rule.location)

Rules about one kind of operator are found by it, as those that rewrite are. What rules about any operator say mostly
follows from the types of its operands and results, of which a model has few kinds: each is asked about once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..core import Graph, Model, Node
from .guards import Env
from .match import Matcher
from .native import begin_run, end_run
from .rule import Entry, Rule, RuleSet
from .syntax import Call, Hole, Invoke, Var, walk

# Functions whose answer follows from the types of values and from whether they are constant.
_OF_KINDS: Final = frozenset({
    "has", "proven", "shape", "rank", "dim", "dtype", "numel", "const", "is_float", "is_int", "is_static", "is_tensor",
    "len", "item", "prod", "floor", "mod", "min", "max", "abs", "sqrt",
})  # fmt: skip


class Refusal(NamedTuple):
    """A node that a rule refuses, and why."""

    node: Node
    rule: Rule
    reason: str


def refusals(rules: RuleSet, target: Model | Graph) -> list[Refusal]:
    """The nodes that rules refuse, those in regions too, each with the first rule in order that does; rules that
    rewrite are passed over."""
    rules = rules.refusing()
    wild = _Wild(rules.everywhere)
    found: list[Refusal] = []
    begin_run()
    try:
        for node in target.walk():
            entries = rules.candidates(node) if node.op in rules.root_ops else ()
            if rules.everywhere:
                more = wild.candidates(node)
                if more:
                    entries = tuple(sorted((*entries, *more), key=rules.ranks.__getitem__))
            for entry in entries:
                told = _attempt(entry, node)
                if told is not None:
                    found.append(Refusal(node, entry.rule, told()))
                    break
    finally:
        end_run()
    return found


def _attempt(entry: Entry, node: Node) -> Callable[[], str] | None:
    """What gives the reason, where an entry matches a node."""
    if not node.outputs:
        return None
    matcher, _ = entry.compiled()
    env = matcher.begin(node)
    return (lambda: _told(entry.rule, matcher, env)) if matcher.start(env) else None


def _told(rule: Rule, matcher: Matcher, env: Env) -> str:
    """The reason, with what its names stand for."""
    from .show import fact

    reason = rule.decl.refuse
    assert reason is not None
    return reason.text.format(*[fact(env[matcher.layout.name(name)]) for name in reason.names])


class _Wild:
    """Entries that begin at any operator, without those that are known to fail for nodes of a kind."""

    def __init__(self, entries: list[Entry]) -> None:
        self.of_kinds = [entry for entry in entries if _follows_from_kinds(entry.rule)]
        self.others = tuple(entry for entry in entries if entry not in self.of_kinds)
        self.known: dict[Any, tuple[Entry, ...]] = {}

    def candidates(self, node: Node) -> tuple[Entry, ...]:
        """The entries worth trying at a node."""
        operands = tuple([None if v is None else (v.type, v.const is None) for v in node.inputs])
        key = (node.op, operands, tuple([v.type for v in node.outputs]))
        found = self.known.get(key)
        if found is None:
            fitting = [entry for entry in self.of_kinds if _attempt(entry, node) is not None]
            found = self.known[key] = (*fitting, *self.others)
        return found


def _follows_from_kinds(rule: Rule) -> bool:
    """Whether a match depends on the operator, on the types of values, and on whether they are constant alone."""
    names: list[str] = []
    for item in rule.match:
        for part in walk(item.term):
            if isinstance(part, Var):
                names.append(part.name)
            elif not isinstance(part, (Call, Hole)) or (isinstance(part, Call) and part is not item.term):
                return False
    calls = [part for guard in rule.where for part in walk(guard) if isinstance(part, Invoke)]
    of_contents = any(call.name in ("min", "max") and isinstance(call.args[0], Var) for call in calls)
    return len(set(names)) == len(names) and not of_contents and all(call.name in _OF_KINDS for call in calls)

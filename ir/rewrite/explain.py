"""Why a rule did not fire: the failed attempts that got furthest, and what stopped them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..core import Graph, Model, Node, Value
from ..ops import Op
from .analyse import Analysis
from .guards import Env
from .match import Matcher
from .rule import Entry, Rule, RuleSet, Signature, signature_of
from .syntax import Call, Either, Place, Syntax, Var
from .terms import NOTHING, Layout, Reason

_MOST_ABOVE = 2000  # roots that are tried for one node


class Match:
    """A place where a rule matches: its nodes, root first, and what it binds: values, captures, dimensions."""

    __slots__ = ("rule", "nodes", "values", "captures", "dims")

    def __init__(self, rule: Rule, matcher: Matcher, env: Env) -> None:
        self.rule = rule
        self.nodes = matcher.nodes(env)
        bound = {
            n: env[s]
            for n, s in matcher.layout.names.items()
            if env[s] is not None and "~" not in n and n[0] not in "+="
        }
        self.values: dict[str, Value | tuple[Value, ...]] = {n[1:]: v for n, v in bound.items() if n[0] == "%"}
        self.captures = {n[1:]: v for n, v in bound.items() if n[0] == "$"}
        self.dims = {n: v for n, v in bound.items() if n[0] not in "%$"}

    def __repr__(self) -> str:
        return f"<match of {self.rule.name} at {self.nodes[0]!r}>"


class NearMiss:
    """A failed attempt at `node`: `matched` of `total` operators fitted, then `needed` was wanted and `had` found.

    `nodes` are those that fitted, `at` is the node that did not (None where it was no node that failed),
    `operands` says whether all operands fitted, so that a condition failed or a use outside the match; `place` is
    the line and column of the part of the rule that failed. The texts are made when first asked for, which must be
    before the graph changes.
    """

    __slots__ = (
        "rule", "node", "matched", "total", "nodes", "at", "operands", "place", "_env", "_reason", "_why",
    )  # fmt: skip

    def __init__(
        self, rule: Rule, node: Node, furthest: _Furthest, nodes: list[Node], total: int
    ) -> None:
        self.rule = rule
        self.node = node
        self.matched = len(nodes)
        self.nodes = nodes
        self.total = total
        self.at = furthest.subject()
        self.operands = furthest.slot == NOTHING and self.matched == total
        self.place = furthest.place
        self._env = furthest.env
        self._reason = furthest.reason
        self._why: tuple[str, str] | None = None

    @property
    def score(self) -> float:
        """How near it came, below 1: operators that fitted among all, and the conditions as one more."""
        return (self.matched + 0.5 * self.operands) / (self.total + 1)

    @property
    def is_near(self) -> bool:
        """Whether it is worth telling: all operands of a pattern of two fitted, or half the operators of another."""
        if self.matched < 3:
            return self.matched == 2 and self.operands
        return 2 * self.matched >= self.total

    @property
    def needed(self) -> str:
        return self._said()[0]

    @property
    def had(self) -> str:
        return self._said()[1]

    def _said(self) -> tuple[str, str]:
        if self._why is None:
            self._why = self._reason(self._env)
        return self._why

    @property
    def reason(self) -> str:
        """What stopped it, in one line."""
        where = f"{self.rule.source}:{self.place[0]}:{self.place[1]}"
        count = f"{self.matched} of {self.total} operators matched"
        return f"{count}; {where} needs {self.needed}; found {self.had}"

    def __str__(self) -> str:
        return f"{self.rule.name} at {self.node!r}: {self.reason}"

    __repr__ = __str__


class _Furthest:
    """Keeps the failure with the most matched nodes, then conditions, then bound names; the first of equals."""

    __slots__ = ("layout", "best", "env", "slot", "place", "reason")

    def __init__(self) -> None:
        self.layout: Layout | None = None
        self.reset()

    def reset(self) -> None:
        self.best = (-1, -1, -1)
        self.env: Env = []
        self.slot = NOTHING
        self.place: Place = (0, 0)
        self.reason: Reason = lambda env: ("", "")

    def fail(self, env: Env, place: Place, reason: Reason, slot: int = NOTHING, progress: int = 0) -> None:
        assert self.layout is not None
        count = sum(1 for s in self.layout.nodes if env[s] is not None)
        if count < self.best[0]:
            return
        names = sum(1 for s in self.layout.names.values() if env[s] is not None)
        rank = (count, progress, names)
        if rank > self.best:
            self.best = rank
            self.env = env.copy()  # it changes as the attempt goes on
            self.slot, self.place, self.reason = slot, place, reason

    def subject(self) -> Node | None:
        """The node that did not fit."""
        value = self.env[self.slot]
        return value.producer if isinstance(value, Value) else None


class Explainer:
    """Repeats attempts with a recorder; keeps the compiled form of each rule."""

    __slots__ = ("_compiled",)

    def __init__(self) -> None:
        self._compiled: dict[Entry, tuple[Matcher, _Furthest]] = {}

    def explain(self, entry: Entry, node: Node) -> NearMiss | None:
        """The furthest failure of an attempt; None when the rule matches there."""
        found = self._compiled.get(entry)
        if found is None:
            recorder = _Furthest()
            matcher = entry.compile(recorder)[0]
            recorder.layout = matcher.layout
            found = self._compiled[entry] = matcher, recorder
        matcher, recorder = found
        recorder.reset()
        if matcher.start(matcher.begin(node)) or recorder.best[0] < 0:
            return None
        nodes = matcher.nodes(recorder.env)
        total = _operators(entry.rule.analysis, matcher.layout, recorder.env)
        return NearMiss(entry.rule, node, recorder, nodes, max(total, len(nodes)))


def _operators(analysis: Analysis, layout: Layout, env: Env) -> int:
    """How many operators the pattern has on the way that an attempt took; where it took none, on the shortest way."""

    def count(term: Syntax, seen: dict[str, None]) -> tuple[int, int]:
        """Operators that fitted, and all."""
        if isinstance(term, Call):
            parts = [count(arg, seen) for arg in term.args]
            fitted = env[layout.calls[id(term)]] is not None
            return sum(p[0] for p in parts) + fitted, sum(p[1] for p in parts) + 1
        if isinstance(term, Either):
            ways = [count(way.term, seen) for way in term.alternatives]
            return max(ways, key=lambda way: (way[0], -way[1]))
        if isinstance(term, Var) and term.name in analysis.defs and term.name not in seen:
            definition = analysis.defs[term.name][0]
            seen.update((out.name, None) for out in definition.outs)
            return count(definition.term, seen)
        return 0, 0

    seen: dict[str, None] = {}
    return sum(count(root.term, seen)[1] for root in analysis.roots)


def _nodes(target: Model | Graph | Node) -> Iterator[Node]:
    if isinstance(target, Node):
        yield target
    else:
        yield from target.walk()


def find_matches(rule: Rule, target: Model | Graph) -> list[Match]:
    """All places where a rule matches now, without rewriting; matches may overlap."""
    found: list[Match] = []
    seen: dict[tuple[Node, ...], None] = {}
    for node in _nodes(target):
        for entry in rule.entries:
            if not entry.begins_at(node.op) or not node.outputs:
                continue
            matcher, _ = entry.compiled()
            env = matcher.begin(node)
            if matcher.start(env):
                match = Match(rule, matcher, env)
                # A rule with several roots finds the same nodes from each of them.
                key = tuple(sorted(match.nodes, key=id))
                if key not in seen:
                    seen[key] = None
                    found.append(match)
    return found


def explain(rule: Rule, target: Model | Graph, node: Node | None = None) -> list[NearMiss]:
    """Failed attempts of a rule, at every node or at one as its root, the nearest to a match first."""
    explainer = Explainer()
    found: list[NearMiss] = []
    for candidate in _nodes(target if node is None else node):
        for entry in rule.entries:
            if entry.begins_at(candidate.op) and candidate.outputs:
                near = explainer.explain(entry, candidate)
                if near is not None:
                    found.append(near)
    found.sort(key=lambda near: -near.score)
    return found


def nearest(rules: RuleSet | Iterable[Rule], target: Model | Graph) -> list[NearMiss]:
    """Of each rule the failed attempt that came nearest, where any came near.

    Attempts that the operators around a root rule out altogether are not made, so this takes little longer than
    matching.
    """
    rules = rules if isinstance(rules, RuleSet) else RuleSet(rules)
    explainer = Explainer()
    best: dict[Rule, NearMiss] = {}
    promising: dict[tuple[Op, Signature], list[Entry]] = {}
    for node in _nodes(target):
        if node.op not in rules.root_ops:
            continue
        key = (node.op, signature_of(node))
        entries = promising.get(key)
        if entries is None:
            entries = promising[key] = [e for e in rules.root_ops[node.op] if e.may_nearly_match(*key)]
        for entry in entries:
            near = explainer.explain(entry, node)
            if near is None or not near.is_near:
                continue
            known = best.get(entry.rule)
            if known is None or near.score > known.score:
                best[entry.rule] = near
    return sorted(best.values(), key=lambda near: -near.score)


def nearest_at(rules: RuleSet | Iterable[Rule], node: Node) -> list[NearMiss]:
    """Of each rule the failed attempt that came nearest, among those in which `node` fitted or did not."""
    rules = rules if isinstance(rules, RuleSet) else RuleSet(rules)
    explainer = Explainer()
    best: dict[Rule, NearMiss] = {}
    for root, distance in _above(node, rules.depth).items():
        for entry in rules.root_ops.get(root.op, ()):
            if entry.rule.depth < distance:
                continue
            near = explainer.explain(entry, root)
            if near is None or (near.at is not node and node not in near.nodes):
                continue
            known = best.get(entry.rule)
            if known is None or near.score > known.score:
                best[entry.rule] = near
    return sorted(best.values(), key=lambda near: -near.score)


def _above(node: Node, depth: int) -> dict[Node, int]:
    """The node and those that need what it gives, with the number of steps, up to `depth`."""
    found = {node: 0}
    waiting = [node]
    for current in waiting:  # grows while we go
        if found[current] == depth:
            continue
        for value in current.outputs:
            for user, _ in value.uses:
                if user not in found and user.graph is node.graph and len(waiting) < _MOST_ABOVE:
                    found[user] = found[current] + 1
                    waiting.append(user)
    return found

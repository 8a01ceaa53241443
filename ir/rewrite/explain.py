"""Why a rule did not fire: the failed attempt that got furthest, and what stopped it."""

from __future__ import annotations

from collections.abc import Iterator

from ..core import Graph, Model, Node, Value
from .guards import Env
from .match import Matcher
from .rule import Entry, Rule
from .syntax import Place
from .terms import Layout, Reason


class Match:
    """A place where a rule matches: its nodes, root first, and the values and captures it binds."""

    __slots__ = ("rule", "nodes", "values", "captures")

    def __init__(self, rule: Rule, matcher: Matcher, env: Env) -> None:
        self.rule = rule
        self.nodes = matcher.nodes(env)
        bound = {n: env[s] for n, s in matcher.layout.names.items() if env[s] is not None}
        self.values: dict[str, Value] = {
            n[1:]: v for n, v in bound.items() if n[0] == "%" and "~" not in n
        }
        self.captures = {n[1:]: v for n, v in bound.items() if n[0] == "$" and "~" not in n}

    def __repr__(self) -> str:
        return f"<match of {self.rule.name} at {self.nodes[0]!r}>"


class NearMiss:
    """A failed attempt at `node`: `matched` of `total` operators fitted, then `needed` met `had`.

    `place` is the line and column of the part of the rule that failed.
    """

    __slots__ = ("rule", "node", "matched", "total", "place", "needed", "had")

    def __init__(
        self, rule: Rule, node: Node, matched: int, total: int, place: Place, needed: str, had: str
    ) -> None:
        self.rule = rule
        self.node = node
        self.matched = matched
        self.total = total
        self.place = place
        self.needed = needed
        self.had = had

    def __str__(self) -> str:
        where = f"{self.rule.source}:{self.place[0]}:{self.place[1]}"
        return (
            f"{self.rule.name} at {self.node!r}: {self.matched} of {self.total} operators matched; "
            f"{where} needs {self.needed}, but {self.had}"
        )

    __repr__ = __str__


class _Furthest:
    """Keeps the failure with the most matched nodes, then the most bound names; the first of equals."""

    __slots__ = ("layout", "best", "names", "place", "needed", "had")

    def __init__(self) -> None:
        self.layout: Layout | None = None
        self.reset()

    def reset(self) -> None:
        self.best = -1
        self.names = -1
        self.place: Place = (0, 0)
        self.needed = ""
        self.had = ""

    def fail(self, env: Env, place: Place, reason: Reason) -> None:
        assert self.layout is not None
        count = sum(1 for slot in self.layout.nodes if env[slot] is not None)
        names = sum(1 for slot in self.layout.names.values() if env[slot] is not None)
        if (count, names) > (self.best, self.names):
            self.best, self.names = count, names
            self.place = place
            self.needed, self.had = reason(env)


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
        if matcher.start(matcher.begin(node)) or recorder.best < 0:
            return None
        total = len(matcher.layout.nodes)
        return NearMiss(
            entry.rule, node, recorder.best, total, recorder.place, recorder.needed, recorder.had
        )


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
            if node.op not in entry.ops:
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
    """Failed attempts of a rule, at every node or at one, the nearest to a match first."""
    explainer = Explainer()
    found: list[NearMiss] = []
    for candidate in _nodes(target if node is None else node):
        for entry in rule.entries:
            if candidate.op in entry.ops:
                near = explainer.explain(entry, candidate)
                if near is not None:
                    found.append(near)
    found.sort(key=lambda near: -near.matched)
    return found

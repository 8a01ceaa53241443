"""Applies rules to a graph and all its regions until nothing matches any more.

One worklist for all graphs, last in first out: a plain dict, which pops the newest entry, removes
any other in constant time and keeps its order between runs. It starts with the nodes whose op is a root of some
rule, and grows by what a rewrite may have made possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from ..builder import Builder
from ..core import Graph, Model, Node, Value
from ..errors import GeocError, InvalidModel
from ..ops import Op
from .build import Refused
from .native import begin_run, end_run
from .place import check_types, move_before_users, settle
from .price import why_dearer
from .rule import Entry, Rule, RuleSet, Signature, signature_of

if TYPE_CHECKING:
    from ..ops.cost import CostModel
    from .explain import Explainer

BUDGET_PER_NODE = 10
BUDGET_BASE = 1000
_REMEMBERED = 60  # names of the rules applied last, for the error


class RewriteLoop(GeocError):
    """Rules that undo each other."""


class Hooks:
    """What a caller can watch and steer; each may be None, which costs nothing.

    - `allow(kind, rule_name, node)`: asked before each rewrite takes effect, kind is "rule"; False skips it.
    - `applied(rule, matched, created, microseconds)`: called when the uses have moved to the new nodes and
      the matched ones still stand, operands and all.
    - `missed(rule, node, reason)`: an attempt that bound two nodes or more failed; `reason()` says why. Costs a
      second, slower attempt for every failed one.
    - `enabled(rule)`: False leaves a rule out for the whole run.
    - `cost`: estimates; a match is refused where what is built costs more than what dies, unless the rule
      says `: expands`.
    - `refused(rule, node, reason, dearer)`: a match did not take effect, for that or (`dearer` False) because its
      right side could not be built.

    Any object with these attributes serves; missing ones count as None.
    """

    __slots__ = ("allow", "applied", "missed", "enabled", "cost", "refused")

    def __init__(
        self,
        *,
        allow: Callable[[str, str, Node], bool] | None = None,
        applied: Callable[[Rule, list[Node], list[Node], float], None] | None = None,
        missed: Callable[[Rule, Node, Callable[[], str]], None] | None = None,
        enabled: Callable[[Rule], bool] | None = None,
        cost: CostModel | None = None,
        refused: Callable[[Rule, Node, str, bool], None] | None = None,
    ) -> None:
        self.allow = allow
        self.applied = applied
        self.missed = missed
        self.enabled = enabled
        self.cost = cost
        self.refused = refused


class RewriteDriver:
    """Runs one set of rules; those that refuse take no part."""

    __slots__ = ("rules",)

    def __init__(self, rules: RuleSet | Iterable[Rule]) -> None:
        self.rules = (rules if isinstance(rules, RuleSet) else RuleSet(rules)).rewriting()

    def run(self, target: Model | Graph, ctx: Any = None) -> int:
        """Rewrite to a fixed point; the number of rewrites. `ctx` may have the attributes of `Hooks`.

        Raises RewriteLoop, naming the rules, when there is no end to it.
        """
        rules = self.rules
        enabled = getattr(ctx, "enabled", None)
        if enabled is not None and not all(enabled(rule) for rule in rules):
            rules = RuleSet([rule for rule in rules if enabled(rule)])
        begin_run()
        try:
            return _Run(rules, target.graphs(), ctx).run()
        finally:
            end_run()


class _Run:
    __slots__ = (
        "rules", "worklist", "budget", "recent", "allow", "applied", "missed", "cost", "refused", "explainer",
        "present", "candidates",
    )  # fmt: skip

    def __init__(self, rules: RuleSet, graphs: list[Graph], ctx: Any) -> None:
        self.rules = rules
        self.allow = getattr(ctx, "allow", None)
        self.applied = getattr(ctx, "applied", None)
        self.missed = getattr(ctx, "missed", None)
        self.cost: CostModel | None = getattr(ctx, "cost", None)
        self.refused = getattr(ctx, "refused", None)
        self.explainer: Explainer | None = None
        if self.missed is not None:
            from .explain import Explainer

            self.explainer = Explainer()
        self.present = {op for graph in graphs for op, nodes in graph.index.items() if nodes}
        self.candidates: dict[tuple[Op, Signature], tuple[Entry, ...]] = {}
        self.worklist: dict[Node, None] = {}
        self.recent: list[str] = []
        self.budget = BUDGET_BASE
        roots = {op for op, entries in rules.root_ops.items() if any(self._possible(e) for e in entries)}
        for graph in graphs:
            self.budget += BUDGET_PER_NODE * graph.size
            for node in graph.nodes_of(roots):
                self.worklist[node] = None

    def _possible(self, entry: Entry) -> bool:
        """Whether the graphs have an op of each kind that a match needs."""
        present = self.present
        return not any(present.isdisjoint(ops) for ops in entry.rule.needs)

    def _entries(self, node: Node) -> tuple[Entry, ...]:
        """The entries worth trying at a node, best first."""
        key = (node.op, signature_of(node))
        found = self.candidates.get(key)
        if found is None:
            possible = filter(self._possible, self.rules.candidates_at(*key))
            found = self.candidates[key] = tuple(possible)
        return found

    def run(self) -> int:
        count = 0
        worklist = self.worklist
        while worklist:
            node = worklist.popitem()[0]
            if node.graph is None:
                continue
            if not _used(node) and node.op.pure and not node.regions:
                self._erase([node], {})
                continue
            for entry in self._entries(node):
                if self._attempt(entry, node):
                    count += 1
                    if count > self.budget:
                        raise self._loop(count)
                    break
        return count

    def _attempt(self, entry: Entry, node: Node) -> bool:
        matcher, replacement = entry.compiled()
        env = matcher.begin(node)
        if not matcher.start(env):
            if self.explainer is not None and self.missed is not None:
                near = self.explainer.explain(entry, node)
                if near is not None and near.matched > 1:
                    self.missed(entry.rule, node, near.__str__)
            return False
        started = perf_counter_ns() if self.applied is not None else 0
        matched = matcher.nodes(env)
        roots = matcher.roots(env)
        last = roots[0]
        for root in roots[1:]:
            if last.is_before(root):
                last = root
        graph = node.graph
        assert graph is not None
        builder = Builder(graph, last, tuple(dict.fromkeys(at for n in matched for at in n.loc)))
        try:
            pairs = replacement.build(env, builder)
            check_types(pairs)
            if len(pairs) > 1 or len(roots) > 1 or pairs[0][0].producer is not last:
                move_before_users(pairs, matched, builder.created)
        except (Refused, InvalidModel) as error:
            _undo(builder)
            if self.refused is not None:
                self.refused(entry.rule, node, f"the right side cannot be built: {error}", False)
            return False
        if self.cost is not None and not entry.rule.expands:
            dearer = why_dearer(self.cost, pairs, matched, builder.created)
            if dearer:
                _undo(builder)
                if self.refused is not None:
                    self.refused(entry.rule, node, dearer, True)
                return False
        if self.allow is not None and not self.allow("rule", entry.rule.name, node):
            _undo(builder)
            return False
        settle(pairs, builder.created)
        users = [user for old, _ in pairs for user, _ in old.uses if user not in matched]
        for old, new in pairs:
            old.replace_with(new)
        if self.applied is not None:
            elapsed = (perf_counter_ns() - started) / 1000
            self.applied(entry.rule, matched, builder.created, elapsed)
        self.recent.append(entry.rule.name)
        if len(self.recent) > 2 * _REMEMBERED:
            del self.recent[:_REMEMBERED]
        self._erase(matched, dict.fromkeys(matched))
        self._enqueue_above(users)
        for created in builder.created:
            if created.op not in self.present:  # a rule may be possible now; what it needs is below some root
                self.present.add(created.op)
                self.candidates.clear()
            self._enqueue(created)
        return True

    def _erase(self, nodes: list[Node], matched: dict[Node, None]) -> None:
        """Erase what is dead among `nodes`, and the pure or matched nodes that die with it."""
        waiting = nodes[::-1]
        lost: dict[Value, None] = {}
        while waiting:
            node = waiting.pop()
            graph = node.graph
            if graph is None or _used(node):
                continue
            inputs = node.inputs
            graph.erase(node)
            self.worklist.pop(node, None)
            for value in inputs:
                if value is None or value.producer is None:
                    continue
                producer = value.producer
                if value.uses or _used(producer):
                    lost[value] = None
                elif producer in matched or (producer.op.pure and not producer.regions):
                    waiting.append(producer)
        for value in lost:
            source = value.producer
            # Fewer uses can make it an inner value of some match, whose root is above it.
            if source is not None and source.graph is not None and len(value.uses) <= self.rules.uses:
                self._enqueue(source)
                self._enqueue_above([user for v in source.outputs for user, _ in v.uses])

    def _enqueue(self, node: Node) -> None:
        if node.graph is not None and node.op in self.rules.root_ops:
            self.worklist[node] = None

    def _enqueue_above(self, users: list[Node]) -> None:
        """Enqueue the roots that may see these users of a changed value: upwards through inner values."""
        rules = self.rules
        roots, inner, most, worklist = rules.root_ops, rules.inner_ops, rules.uses, self.worklist
        seen: dict[Node, None] = {}
        for _ in range(rules.depth):
            above: list[Node] = []
            for user in users:
                op = user.op
                if op not in inner or user in seen:
                    continue
                seen[user] = None
                if op in roots:
                    worklist[user] = None
                for result in user.outputs:
                    if len(result.uses) <= most:
                        above += [node for node, _ in result.uses]
            if not above:
                return
            users = above

    def _loop(self, count: int) -> RewriteLoop:
        recent = self.recent[-_REMEMBERED:]
        names = dict.fromkeys(recent)
        share = ", ".join(f"{name} ({recent.count(name)} of the last {len(recent)})" for name in names)
        return RewriteLoop(f"no fixed point after {count} rewrites: these rules undo each other: {share}")


def _undo(builder: Builder) -> None:
    for node in reversed(builder.created):
        builder.graph.erase(node)


def _used(node: Node) -> bool:
    for value in node.outputs:  # noqa: SIM110 (called for every node; any() takes three times as long)
        if value.uses:
            return True
    return False

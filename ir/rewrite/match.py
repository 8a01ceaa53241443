"""The left side of a rule as one compiled matcher: its roots, then uses outside, guards, computed values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core import Node, Value
from .analyse import Analysis, GuardStep
from .functions import UNKNOWN
from .guards import Env, holds
from .links import climb, find_links
from .named import ops_named
from .operands import Step
from .syntax import Binary, Call, Def, Invoke, Literal, Syntax, Unary, Var, plain_name, walk
from .terms import GRAPH, NOTHING, Recorder, Terms

Natives = Mapping[str, Callable[..., Any]]
Computed = Mapping[int, tuple[str, Syntax]]


class Matcher:
    """One rule, entered at one of its roots.

    `start(env)` expects `env` from `begin`; on success the environment holds the match. `computed` are the
    slots of right-side expressions, evaluated once all guards hold.
    """

    __slots__ = ("layout", "start", "root_slot", "_roots")

    def __init__(
        self,
        analysis: Analysis,
        root: int,
        shared: bool,
        natives: Natives,
        computed: Computed,
        rewritten: list[str],
        recorder: Recorder | None = None,
    ) -> None:
        compiler = _Compiler(analysis, natives, recorder)
        order = [analysis.roots[root], *(r for r in analysis.roots if r is not analysis.roots[root])]
        self.layout = compiler.layout
        self.root_slot, self.start = compiler.roots(order, computed, rewritten, shared)
        self._roots = [self.layout.name("%" + _first_out(r)) for r in order]

    def begin(self, node: Node) -> Env:
        """A fresh environment for an attempt at `node`."""
        env: Env = [None] * self.layout.size
        env[GRAPH] = node.graph
        env[self.root_slot] = node.outputs[0]
        return env

    def roots(self, env: Env) -> list[Node]:
        """The matched roots, the one that was entered first."""
        return [env[slot].producer for slot in self._roots]

    def nodes(self, env: Env) -> list[Node]:
        """The matched nodes, without repetition."""
        return list(dict.fromkeys([env[s] for s in self.layout.nodes if env[s] is not None]))


class _Compiler(Terms):
    """Puts the roots of a rule in a row, and what follows them."""

    def roots(
        self, order: list[Def], computed: Computed, rewritten: list[str], shared: bool
    ) -> tuple[int, Step]:
        """The slot for the first root's first output, and the step to start with."""
        step = self._finish(computed)
        if not self.refuses and not _is_one_value(self.analysis.rule.match):
            step = self._closed(rewritten, step, shared)
        slot = -1
        for position in range(len(order) - 1, -1, -1):
            # A root's closures are chained to everything after it, so the last root comes first.
            slot, step = self._root(order, position, step)
        return slot, step

    def _root(self, order: list[Def], position: int, k: Step) -> tuple[int, Step]:
        root = order[position]
        slot = self.layout.extra()
        out = root.outs[0]
        if out.name == "_":
            index = next(i for i, o in enumerate(root.outs) if o.name != "_")
            out = root.outs[index]
        inner = self.reference(out, slot, k)
        if position == 0:
            return slot, self._select(root, slot, inner)
        return slot, self._linked(order, position, slot, self._select(root, slot, inner))

    def _select(self, root: Def, slot: int, k: Step) -> Step:
        """From the root node's first output to the output that the definition begins with."""
        index = next(i for i, o in enumerate(root.outs) if o.name != "_")
        if index == 0:
            return k

        def select(env: Env) -> bool:
            outputs = env[slot].producer.outputs
            if len(outputs) <= index:
                return False
            env[slot] = outputs[index]
            return k(env)

        return select

    def _linked(self, order: list[Def], position: int, slot: int, k: Step) -> Step:
        """Reach a further root from a bound value, through its uses."""
        links = find_links(self.analysis, order, position)
        assert links is not None, "check.py refuses roots that nothing connects"
        sources = [(self.layout.name("%" + n), [ops_named(names) for names in path]) for n, path in links]
        earlier = [self.layout.name("%" + _first_out(o)) for o in order[:position]]
        decided = self._decided(order[:position])
        k, cell = self.observe(k)

        def linked(env: Env) -> bool:
            for test in decided:
                if not holds(test(env)):
                    return False
            taken = [env[s].producer for s in earlier]
            for source, ops in sources:
                if env[source] is None:
                    continue
                for node in climb(env[source], ops, env[GRAPH]):
                    if node not in taken:
                        env[slot] = node.outputs[0]
                        if k(env):
                            return True
            return False

        place = order[position].place
        name, path = links[0]
        needed = " under ".join("|".join(p) for p in path)
        return self.observed(
            linked, cell, place, lambda env: (f"%{plain_name(name)} to be used by {needed}", "no such user")
        )

    def _decided(self, roots: list[Def]) -> list[Callable[[Env], Any]]:
        """The guards about values that these roots surely bind: where one fails, no further root need be looked for.

        They are asked again in their place. None for an explanation, which says how far the whole left side matched.
        """
        if self.recorder is not None:
            return []
        bound = {name for root in roots for name in self.analysis.names_of(root)}
        found = []
        for guard in self.analysis.guards:
            parts = walk(guard.tree)
            names = {"%" + part.name for part in parts if isinstance(part, Var)}
            plain = all(isinstance(part, (Invoke, Var, Literal, Binary, Unary)) for part in parts)
            if plain and guard.way is None and not guard.names and names <= bound:
                found.append(self.expressions.guard(guard.tree, guard.known))
        return found

    def _finish(self, computed: Computed) -> Step:
        """What is left when all roots matched and nothing inside has other uses: guards, right-side values."""
        step = self._computed(computed)
        guards = self.analysis.guards
        for position in range(len(guards) - 1, -1, -1):
            step = self._guard(guards[position], position + 1, step)
        return step

    def _computed(self, computed: Computed) -> Step:
        pairs = [
            (self.layout.name(name), self.expressions.expression(tree), tree)
            for name, tree in computed.values()
        ]
        recorder, last = self.recorder, len(self.analysis.guards) + 1

        def compute(env: Env) -> bool:
            for slot, expression, tree in pairs:
                found = expression(env)
                if found is UNKNOWN:
                    if recorder is not None:
                        recorder.fail(env, tree.place, _without_value(tree), progress=last)
                    return False
                env[slot] = found
            return True

        return compute

    def _guard(self, info: GuardStep, progress: int, k: Step) -> Step:
        tree = info.tree
        test = self.expressions.guard(tree, info.known)
        slots = [self.layout.name(n) for n in info.names]
        way = NOTHING if info.way is None else self.ways[id(info.way)]
        k, cell = self.observe(k)

        def guard(env: Env) -> bool:
            if way != NOTHING and env[way] is None:
                return k(env)
            if holds(test(env)) and k(env):
                return True
            for slot in slots:
                env[slot] = None
            return False

        def why(env: Env) -> tuple[str, str]:
            from .show import facts, show

            return show(tree), facts(tree, self.expressions, env)

        return self.observed(guard, cell, tree.place, why, progress=progress)

    def _closed(self, rewritten: list[str], k: Step, shared: bool) -> Step:
        """No matched value may have a use outside the match, but those that are replaced or shared.

        With all `shared`, that is still so for the other outputs of what is replaced, which would be computed twice.
        """
        nodes = self.layout.nodes
        marked = [o.name for d in self.analysis.rule.match for o in d.outs if "shared" in o.marks]
        free = [self.layout.name("%" + name) for name in (*rewritten, *marked)]
        k, cell = self.observe(k)

        def closed(env: Env) -> bool:
            return _outside(env, nodes, free, shared) is None and k(env)

        def why(env: Env) -> tuple[str, str]:
            found = _outside(env, nodes, free, shared)
            assert found is not None
            value, user = found
            returned = user.graph is not None and user.graph.ret is user
            at = f" at {user.loc[0]}" if user.loc else ""
            where = "returned by the graph" if returned else f"also used by {user!r}{at}"
            return f"no use of %{value.hint} outside the match", f"that it is {where}"

        return self.observed(closed, cell, self.analysis.rule.place, why)


def _without_value(tree: Syntax) -> Callable[[Env], tuple[str, str]]:
    def why(env: Env) -> tuple[str, str]:
        from .show import show

        return f"a value for {show(tree)}", "none"

    return why


def _first_out(definition: Def) -> str:
    return next(o.name for o in definition.outs if o.name != "_")


def _outside(
    env: Env, slots: list[int], free: list[int], shared: bool
) -> tuple[Value, Node] | None:
    """A matched value that has a use outside the match and is not free to have one, with that user."""
    nodes = [env[s] for s in slots if env[s] is not None]
    exempt = [env[s] for s in free]
    for node in nodes:
        if shared and not any(value in exempt for value in node.outputs):
            continue
        for value in node.outputs:
            if value not in exempt:
                for user, _ in value.uses:
                    if user not in nodes:
                        return value, user
    return None


def _is_one_value(match: tuple[Def, ...]) -> bool:
    """Whether a left side is one application of an op with one output, which has no inner values."""
    calls = [part for item in match for part in walk(item.term) if isinstance(part, Call)]
    return len(calls) == 1 and all(o.schema is not None and o.schema.max_outputs == 1 for o in ops_named(calls[0].ops))

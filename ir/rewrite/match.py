"""The left side of a rule, compiled to closures.

A step takes the environment, a list with one slot per name, node and operand, and tries to go on: it
binds, calls the step that follows it, and unbinds again if that fails. So alternatives, optional stages and
the two operand orders of a commutative op backtrack where they stand, and nothing is copied.
Steps are chained when the rule is compiled; only a definition, which several places may refer to, finds
its continuation in the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..core import Node, Value
from ..ops import Op
from ..ops import op as op_of
from .analyse import Analysis, GuardStep
from .functions import UNKNOWN, same_value, scalar_of
from .guards import Env, Expressions, holds
from .links import climb, find_links
from .operands import (
    Step,
    arrange,
    arrange_commutative,
    arrange_variadic,
    attribute_value,
    bind_attribute,
    bind_many,
    bind_op,
    defaults,
    describe,
    is_number,
    keeps_rank,
    mark_test,
    same_attribute,
)
from .syntax import (
    Attribute,
    Call,
    Capture,
    Def,
    Either,
    Hole,
    Literal,
    Place,
    Syntax,
    Var,
    plain_name,
)

Reason = Callable[[Env], tuple[str, str]]
GRAPH = 0  # slot of the graph that the match is in
NOTHING = 1  # a slot that stays empty

class Recorder(Protocol):
    """Hears of every step that failed by itself, in the explaining mode."""

    def fail(self, env: Env, place: Place, reason: Reason) -> None: ...


class Layout:
    """Which slot of the environment holds what."""

    __slots__ = ("names", "nodes", "shared", "size")

    def __init__(self) -> None:
        self.size = 2
        self.names: dict[str, int] = {}
        self.nodes: list[int] = []
        self.shared: dict[int, None] = {}

    def extra(self) -> int:
        """A new slot."""
        self.size += 1
        return self.size - 1

    def name(self, name: str) -> int:
        """The slot of a name, with its sigil."""
        slot = self.names.get(name)
        if slot is None:
            slot = self.names[name] = self.extra()
        return slot


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
        natives: Mapping[str, Callable[..., Any]],
        computed: Mapping[int, tuple[str, Syntax]],
        rewritten: list[str],
        recorder: Recorder | None = None,
    ) -> None:
        compiler = _Compiler(analysis, shared, natives, recorder)
        order = [analysis.roots[root], *(r for r in analysis.roots if r is not analysis.roots[root])]
        self.layout = compiler.layout
        self.root_slot, self.start = compiler.roots(order, computed, rewritten)
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


class _Compiler:
    def __init__(
        self,
        analysis: Analysis,
        shared: bool,
        natives: Mapping[str, Callable[..., Any]],
        recorder: Recorder | None,
    ) -> None:
        self.analysis = analysis
        self.shared = shared
        self.layout = Layout()
        self.recorder = recorder
        self.expressions = Expressions(self.layout.name, natives)
        self.exclusive: list[int] = []  # slots of nodes without uses outside the match
        self.ways = {
            id(g.way): self.layout.extra() for g in analysis.guards if g.way is not None
        }
        self._defs: dict[int, tuple[int, int, Step]] = {}

    # The whole rule

    def roots(
        self, order: list[Def], computed: Mapping[int, tuple[str, Syntax]], rewritten: list[str]
    ) -> tuple[int, Step]:
        """The slot for the first root's first output, and the step to start with."""
        step = self._finish(computed, rewritten)
        slot = -1
        for position in range(len(order) - 1, -1, -1):
            # A root's closures are chained to everything after it, so the last root comes first.
            slot, step = self._root(order, position, step)
        self.exclusive += [n for n in self.layout.nodes if n not in self.layout.shared]
        return slot, step

    def _root(self, order: list[Def], position: int, k: Step) -> tuple[int, Step]:
        root = order[position]
        slot = self.layout.extra()
        out = root.outs[0]
        if out.name == "_":
            index = next(i for i, o in enumerate(root.outs) if o.name != "_")
            out = root.outs[index]
        inner = self._reference(out, slot, k)
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
        sources = [(self.layout.name("%" + n), [_ops(names) for names in path]) for n, path in links]
        earlier = [self.layout.name("%" + _first_out(o)) for o in order[:position]]
        k, cell = self._observe(k)

        def linked(env: Env) -> bool:
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
        return self._observed(
            linked, cell, place, lambda env: (f"%{name} to be used by {needed}", "it is not")
        )

    def _finish(self, computed: Mapping[int, tuple[str, Syntax]], rewritten: list[str]) -> Step:
        """What is left when all roots matched: uses outside, guards, right-side expressions."""
        step = self._computed(computed)
        for guard in reversed(self.analysis.guards):
            step = self._guard(guard, step)
        return self._closed(rewritten, step)

    def _computed(self, computed: Mapping[int, tuple[str, Syntax]]) -> Step:
        pairs = [
            (self.layout.name(name), self.expressions.expression(tree), tree.place)
            for name, tree in computed.values()
        ]
        recorder = self.recorder

        def compute(env: Env) -> bool:
            for slot, expression, place in pairs:
                found = expression(env)
                if found is UNKNOWN:
                    if recorder is not None:
                        recorder.fail(env, place, lambda env: ("a value to build with", "none"))
                    return False
                env[slot] = found
            return True

        return compute

    def _guard(self, info: GuardStep, k: Step) -> Step:
        tree = info.tree
        test = self.expressions.guard(tree, info.known)
        slots = [self.layout.name(n) for n in info.names]
        way = NOTHING if info.way is None else self.ways[id(info.way)]
        k, cell = self._observe(k)

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

        return self._observed(guard, cell, tree.place, why)

    def _closed(self, rewritten: list[str], k: Step) -> Step:
        """No matched value may have a use outside the match, but those that are replaced or shared."""
        slots = self.exclusive
        every = self.layout.nodes
        free = [self.layout.name("%" + name) for name in rewritten]
        k, cell = self._observe(k)

        def closed(env: Env) -> bool:
            return _outside(env, slots, every, free) is None and k(env)

        def why(env: Env) -> tuple[str, str]:
            found = _outside(env, slots, every, free)
            assert found is not None
            value, user = found
            where = "returned" if user.graph is not None and user.graph.ret is user else f"used by {user!r}"
            return f"no use of %{value.hint} outside the match", f"it is {where}"

        return self._observed(closed, cell, self.analysis.rule.place, why)

    # Terms

    def term(self, term: Syntax, slot: int, k: Step, node: int = NOTHING) -> Step:
        """A step that matches the operand in `slot`, an operand of the node in slot `node`."""
        if isinstance(term, Call):
            return self._call(term, slot, k)
        if isinstance(term, Var):
            return self._reference(term, slot, k)
        if isinstance(term, Either):
            return self._either(term, slot, k, node)
        if isinstance(term, Hole):
            return k
        if isinstance(term, Capture):
            return self._capture(term, slot, node, k)
        assert isinstance(term, Literal)
        return self._literal(term, slot, node, k)

    def _reference(self, var: Var, slot: int, k: Step) -> Step:
        known = self.analysis.defs.get(var.name)
        if var.name == "_":
            return k
        marked = mark_test((*var.marks, *(known[0].outs[known[1]].marks if known else ())))
        own = self.layout.name("%" + var.name)
        k, cell = self._observe(k)
        step = self._leaf(var, own, slot, k) if known is None else self._defined(known, own, slot, k)
        if marked is not None:
            step = _when(marked, slot, step)

        def why(env: Env) -> tuple[str, str]:
            value = env[slot]
            shown = f"%{plain_name(var.name)}"
            if value is None:
                return f"{shown} present", "the operand is absent"
            if env[own] is not None:
                return f"{shown} to be the same value again", f"%{value.hint} here"
            return f"{shown}: {', '.join(m for m in var.marks)}", f"%{value.hint}: {value.type}"

        return self._observed(step, cell, var.place, why)

    def _leaf(self, var: Var, own: int, slot: int, k: Step) -> Step:
        if var.variadic:
            return bind_many(own, slot, k)
        optional = var.optional

        def bind(env: Env) -> bool:
            value = env[slot]
            if value is None:
                return optional and k(env)
            known = env[own]
            if known is None:
                env[own] = value
                if k(env):
                    return True
                env[own] = None
                return False
            return same_value(known, value) and k(env)

        return bind

    def _defined(self, known: tuple[Def, int], own: int, slot: int, k: Step) -> Step:
        definition, index = known
        entry, back = self._definition(definition)
        outs = [
            (i, self.layout.name("%" + o.name))
            for i, o in enumerate(definition.outs)
            if o.name != "_"
        ]
        single = len(definition.outs) == 1
        steps = self._defs

        def enter(env: Env) -> bool:
            value = env[slot]
            if value is None:
                return False
            bound = env[own]
            if bound is not None:
                return bound is value and k(env)
            if single:
                env[own] = value
            else:
                if value.producer is None or value.index != index:
                    return False
                outputs = value.producer.outputs
                if len(outputs) < len(definition.outs):
                    return False
                for i, out in outs:
                    env[out] = outputs[i]
                value = outputs[0]
            env[entry] = value
            env[back] = k
            if steps[id(definition)][2](env):
                return True
            for _, out in outs:
                env[out] = None
            return False

        return enter

    def _definition(self, definition: Def) -> tuple[int, int]:
        """The slots of a definition's subject and continuation; compiles it when first asked for."""
        found = self._defs.get(id(definition))
        if found is None:
            entry, back = self.layout.extra(), self.layout.extra()
            self._defs[id(definition)] = (entry, back, _never)

            def go_on(env: Env) -> bool:
                step: Step = env[back]
                return step(env)

            shared = any("shared" in out.marks for out in definition.outs)
            if isinstance(definition.term, Call):
                step = self._call(definition.term, entry, go_on, shared, len(definition.outs))
            else:
                before = self.shared
                self.shared = before or shared
                step = self.term(definition.term, entry, go_on)
                self.shared = before
            self._defs[id(definition)] = (entry, back, step)
            found = self._defs[id(definition)]
        return found[0], found[1]

    def _either(self, term: Either, slot: int, k: Step, node: int) -> Step:
        steps: list[Step] = []
        for way in term.alternatives:
            step = self.term(way.term, slot, k, node)
            taken = self.ways.get(id(way))
            steps.append(step if taken is None else _marked(taken, step))

        def either(env: Env) -> bool:
            for step in steps:  # noqa: SIM110 (any() would cost a generator for each attempt)
                if step(env):
                    return True
            return False

        return either

    def _capture(self, term: Capture, slot: int, node: int, k: Step) -> Step:
        own = self.layout.name("$" + term.name)
        k, cell = self._observe(k)

        def capture(env: Env) -> bool:
            value = env[slot]
            if value is None:
                return False
            number = scalar_of(value)
            if number is None or not keeps_rank(value, env[node]):
                return False
            known = env[own]
            if known is None:
                env[own] = number
                if k(env):
                    return True
                env[own] = None
                return False
            return bool(type(known) is type(number) and known == number) and k(env)

        def why(env: Env) -> tuple[str, str]:
            bound = env[own]
            needed = "a constant number" if bound is None else f"the number {bound}"
            return f"{needed} for ${plain_name(term.name)}", describe(env[slot])

        return self._observed(capture, cell, term.place, why)

    def _literal(self, term: Literal, slot: int, node: int, k: Step) -> Step:
        wanted = term.value
        k, cell = self._observe(k)

        def nothing(env: Env) -> bool:
            return env[slot] is None and k(env)

        def literal(env: Env) -> bool:
            value = env[slot]
            return (
                value is not None
                and value.const is not None
                and is_number(value, wanted)
                and keeps_rank(value, env[node])
                and k(env)
            )

        def why(env: Env) -> tuple[str, str]:
            return "no operand" if wanted is None else f"the number {wanted}", describe(env[slot])

        return self._observed(nothing if wanted is None else literal, cell, term.place, why)

    # Calls

    def _call(
        self, call: Call, slot: int, k: Step, shared: bool = False, outputs: int = 1
    ) -> Step:
        node_slot = self.layout.extra()
        self.layout.nodes.append(node_slot)
        if shared or self.shared:
            self.layout.shared[node_slot] = None
        ops = _ops(call.ops)
        variadic = any(isinstance(a, Var) and a.variadic for a in call.args)
        slots = [self.layout.extra() for _ in call.args]
        for position in reversed(_fail_first(call.args, self.analysis)):
            k = self.term(call.args[position], slots[position], k, node_slot)
        for attribute in reversed(call.attributes):
            k = self._attribute(attribute, ops, node_slot, k)
        if call.capture:
            k = bind_op(self.layout.name("$" + call.capture), node_slot, k)
        k, cell = self._observe(k)
        step: Step
        if variadic:
            step = arrange_variadic(call, node_slot, slots, k)
        elif len(slots) > 1 and any(o.commutative for o in ops):
            step = arrange_commutative(node_slot, slots, k)
        else:
            step = arrange(node_slot, slots, k)
        plain = None if call.open else frozenset(a.name for a in call.attributes)
        exact_outputs = outputs if any(_variadic_outputs(o) for o in ops) else 0

        def match(env: Env) -> bool:
            value = env[slot]
            if value is None:
                return False
            node = value.producer
            if (
                node is None
                or node.op not in ops
                or node.graph is not env[GRAPH]
                or (value.index and outputs == 1)
                or (exact_outputs and len(node.outputs) != exact_outputs)
                or node.regions
            ):
                return False
            if plain is not None and node.attrs and not defaults(node, plain):
                return False
            env[node_slot] = node
            if step(env):
                return True
            env[node_slot] = None
            return False

        def why(env: Env) -> tuple[str, str]:
            return _why_call(call, ops, env[slot], env[GRAPH], plain)

        return self._observed(match, cell, call.place, why)

    def _attribute(self, attribute: Attribute, ops: frozenset[Op], node: int, k: Step) -> Step:
        name = attribute.name
        k, cell = self._observe(k)

        def why(env: Env) -> tuple[str, str]:
            from .show import show

            return show(attribute), f"{name} = {env[node].attr(name)!r}"

        choice = attribute.choices[0]
        if isinstance(choice, Capture):
            own = self.layout.name("$" + choice.name)
            return self._observed(bind_attribute(name, own, node, k), cell, attribute.place, why)
        wanted = [attribute_value(c) for c in attribute.choices]

        def test(env: Env) -> bool:
            found = env[node].attr(name)
            return any(same_attribute(found, w) for w in wanted) and k(env)

        return self._observed(test, cell, attribute.place, why)

    # The explaining mode

    def _observe(self, k: Step) -> tuple[Step, list[bool]]:
        """The continuation, and a cell that tells whether it was reached."""
        if self.recorder is None:
            return k, _UNUSED
        cell = [False]

        def reached(env: Env) -> bool:
            cell[0] = True
            return k(env)

        return reached, cell

    def _observed(self, step: Step, cell: list[bool], place: Place, reason: Reason) -> Step:
        recorder = self.recorder
        if recorder is None:
            return step

        def observed(env: Env) -> bool:
            cell[0] = False
            if step(env):
                return True
            if not cell[0]:
                recorder.fail(env, place, reason)
            # Whoever called this step did reach it.
            return False

        return observed


_UNUSED: list[bool] = [False]


def _never(env: Env) -> bool:
    raise AssertionError("a definition was entered before it was compiled")


def _ops(names: tuple[str, ...]) -> frozenset[Op]:
    return frozenset(op_of(n) for n in names)


def _first_out(definition: Def) -> str:
    return next(o.name for o in definition.outs if o.name != "_")


def _variadic_outputs(op: Op) -> bool:
    return op.schema is not None and any(p.option == "variadic" for p in op.schema.outputs)


def _fail_first(args: tuple[Syntax, ...], analysis: Analysis) -> list[int]:
    """Operand positions in the order to try them: what most likely fails comes first."""

    def likely(position: int) -> int:
        arg = args[position]
        if isinstance(arg, (Literal, Call)):
            return 0
        if isinstance(arg, Capture):
            return 1
        if isinstance(arg, Var):
            return 2 if arg.name in analysis.defs else 4
        return 3

    return sorted(range(len(args)), key=likely)


def _marked(slot: int, step: Step) -> Step:
    """Note in the environment that an alternative is taken, for its guards."""

    def marked(env: Env) -> bool:
        env[slot] = True
        if step(env):
            return True
        env[slot] = None
        return False

    return marked


def _when(test: Callable[[Value], bool], slot: int, step: Step) -> Step:
    def when(env: Env) -> bool:
        value = env[slot]
        if value is None:
            return step(env)
        if value.__class__ is tuple:
            return all(test(v) for v in value) and step(env)
        return test(value) and step(env)

    return when


# Uses


def _outside(
    env: Env, slots: list[int], every: list[int], free: list[int]
) -> tuple[Value, Node] | None:
    """A matched value that may not have uses outside the match and has one, with that user."""
    nodes = [env[s] for s in every if env[s] is not None]
    replaced = [env[s] for s in free]
    for slot in slots:
        node = env[slot]
        if node is None:
            continue
        for value in node.outputs:
            for user, _ in value.uses:
                if user not in nodes:
                    if not any(value is r for r in replaced):
                        return value, user
                    break
    return None


def _why_call(
    call: Call, ops: frozenset[Op], value: Value | None, graph: Any, plain: frozenset[str] | None
) -> tuple[str, str]:
    """What a call needed and what was there."""
    needed = "|".join(call.ops)
    if value is None:
        return needed, "the operand is absent"
    node = value.producer
    if node is None:
        return needed, describe(value)
    if node.op not in ops:
        return needed, repr(node)
    if node.graph is not graph:
        return f"{needed} in the same graph", f"{node!r} outside this region"
    if plain is not None and not defaults(node, plain):
        odd = [
            f"{n} = {v!r}"
            for n, v in node.attrs.items()
            if n not in plain and not same_attribute(v, node.op.attr_default(n))
        ]
        return f"{needed} with no attributes but those named", f"{', '.join(odd)} on {node!r}"
    if value.index:
        return f"the first output of {needed}", f"output {value.index} of {node!r}"
    return f"{needed} with {len(call.args)} operands and these outputs", repr(node)



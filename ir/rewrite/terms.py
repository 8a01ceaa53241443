"""Terms of the left side, compiled to closures.

A step takes the environment, a list with one slot per name, node and operand, and tries to go on: it
binds, calls the step that follows it, and unbinds again if that fails. So alternatives, optional stages and
the two operand orders of a commutative op backtrack where they stand, and nothing is copied.
Steps are chained when the rule is compiled; only a definition, which several places may refer to, finds
its continuation in the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..ops import Op
from .analyse import Analysis
from .functions import same_value, scalar_of
from .guards import Env, Expressions
from .named import ops_named
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
    note_taken,
    same_attribute,
    when_all,
    why_call,
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
    """Hears of every step that failed by itself, in the explaining mode.

    `slot` holds the operand that did not fit (`NOTHING`: it was no operand), `progress` counts conditions passed.
    """

    def fail(
        self, env: Env, place: Place, reason: Reason, slot: int = NOTHING, progress: int = 0
    ) -> None: ...


class Layout:
    """Which slot of the environment holds what. `calls` are those of `nodes` by identity of the pattern's call."""

    __slots__ = ("names", "nodes", "calls", "size")

    def __init__(self) -> None:
        self.size = 2
        self.names: dict[str, int] = {}
        self.nodes: list[int] = []
        self.calls: dict[int, int] = {}

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


class Terms:
    """Compiles the terms of one rule.

    Where the rule refuses, operators with subgraphs match too, outputs that it does not name may be there, and lists of
    operands leave out those that are absent.
    """

    def __init__(
        self,
        analysis: Analysis,
        natives: Mapping[str, Callable[..., Any]],
        recorder: Recorder | None,
    ) -> None:
        self.analysis = analysis
        self.refuses = analysis.rule.refuse is not None
        self.layout = Layout()
        self.recorder = recorder
        self.expressions = Expressions(self.layout.name, natives)
        self.ways = {
            id(g.way): self.layout.extra() for g in analysis.guards if g.way is not None
        }
        self._defs: dict[int, tuple[int, int, Step]] = {}

    def term(self, term: Syntax, slot: int, k: Step, node: int = NOTHING) -> Step:
        """A step that matches the operand in `slot`, an operand of the node in slot `node`."""
        if isinstance(term, Call):
            return self._call(term, slot, k)
        if isinstance(term, Var):
            return self.reference(term, slot, k)
        if isinstance(term, Either):
            return self._either(term, slot, k, node)
        if isinstance(term, Hole):
            return k
        if isinstance(term, Capture):
            return self._capture(term, slot, node, k)
        assert isinstance(term, Literal)
        return self._literal(term, slot, node, k)

    def reference(self, var: Var, slot: int, k: Step) -> Step:
        known = self.analysis.defs.get(var.name)
        if var.name == "_":
            return k
        marked = mark_test((*var.marks, *(known[0].outs[known[1]].marks if known else ())))
        own = self.layout.name("%" + var.name)
        k, cell = self.observe(k)
        step = self._leaf(var, own, slot, k) if known is None else self._defined(known, own, slot, k)
        if marked is not None:
            step = when_all(marked, slot, step)

        def why(env: Env) -> tuple[str, str]:
            value = env[slot]
            shown = f"%{plain_name(var.name)}"
            if value is None:
                return f"{shown} present", "the operand is absent"
            if isinstance(value, tuple):
                return f"{shown} present", "an operand is absent" if None in value else "other operands"
            if env[own] is not None:
                return f"{shown} to be the same value again", f"%{value.hint} here"
            return f"{shown}: {', '.join(m for m in var.marks)}", f"%{value.hint}: {value.type}"

        return self.observed(step, cell, var.place, why, slot)

    def _leaf(self, var: Var, own: int, slot: int, k: Step) -> Step:
        if var.variadic:
            return bind_many(own, slot, k, self.refuses)
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

            if isinstance(definition.term, Call):
                step = self._call(definition.term, entry, go_on, len(definition.outs))
            else:
                step = self.term(definition.term, entry, go_on)
            self._defs[id(definition)] = (entry, back, step)
            found = self._defs[id(definition)]
        return found[0], found[1]

    def _either(self, term: Either, slot: int, k: Step, node: int) -> Step:
        steps: list[Step] = []
        for way in term.alternatives:
            step = self.term(way.term, slot, k, node)
            taken = self.ways.get(id(way))
            steps.append(step if taken is None else note_taken(taken, step))

        def either(env: Env) -> bool:
            for step in steps:  # noqa: SIM110 (any() would cost a generator for each attempt)
                if step(env):
                    return True
            return False

        return either

    def _capture(self, term: Capture, slot: int, node: int, k: Step) -> Step:
        own = self.layout.name("$" + term.name)
        k, cell = self.observe(k)

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

        return self.observed(capture, cell, term.place, why, slot)

    def _literal(self, term: Literal, slot: int, node: int, k: Step) -> Step:
        wanted = term.value
        k, cell = self.observe(k)

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

        return self.observed(nothing if wanted is None else literal, cell, term.place, why, slot)

    # Calls

    def _call(self, call: Call, slot: int, k: Step, outputs: int = 1) -> Step:
        node_slot = self.layout.extra()
        self.layout.nodes.append(node_slot)
        self.layout.calls[id(call)] = node_slot
        ops = ops_named(call.ops)
        variadic = any(isinstance(a, Var) and a.variadic for a in call.args)
        slots = [self.layout.extra() for _ in call.args]
        for position in reversed(_fail_first(call.args, self.analysis)):
            k = self.term(call.args[position], slots[position], k, node_slot)
        for attribute in reversed(call.attributes):
            k = self._attribute(attribute, node_slot, k)
        if call.capture:
            k = bind_op(self.layout.name("$" + call.capture), node_slot, k)
        k, cell = self.observe(k)
        step: Step
        if variadic:
            step = arrange_variadic(call, node_slot, slots, k)
        elif len(slots) > 1 and any(o.commutative for o in ops):
            step = arrange_commutative(node_slot, slots, k)
        else:
            step = arrange(node_slot, slots, k)
        plain = None if call.open else frozenset(a.name for a in call.attributes)
        refuses = self.refuses
        exact_outputs = outputs if not refuses and any(_variadic_outputs(o) for o in ops) else 0

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
                or (node.regions and not refuses)
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
            return why_call(call, ops, env[slot], env[GRAPH], plain)

        return self.observed(match, cell, call.place, why, slot)

    def _attribute(self, attribute: Attribute, node: int, k: Step) -> Step:
        name = attribute.name
        k, cell = self.observe(k)

        def why(env: Env) -> tuple[str, str]:
            from .show import show

            return show(attribute), f"{name} = {env[node].attr(name)!r}"

        choice = attribute.choices[0]
        if isinstance(choice, Capture):
            own = self.layout.name("$" + choice.name)
            return self.observed(bind_attribute(name, own, node, k), cell, attribute.place, why)
        wanted = [attribute_value(c) for c in attribute.choices]

        def test(env: Env) -> bool:
            found = env[node].attr(name)
            return any(same_attribute(found, w) for w in wanted) and k(env)

        return self.observed(test, cell, attribute.place, why)

    # The explaining mode

    def observe(self, k: Step) -> tuple[Step, list[bool]]:
        """The continuation, and a cell that tells whether it was reached."""
        if self.recorder is None:
            return k, _UNUSED
        cell = [False]

        def reached(env: Env) -> bool:
            cell[0] = True
            return k(env)

        return reached, cell

    def observed(
        self,
        step: Step,
        cell: list[bool],
        place: Place,
        reason: Reason,
        slot: int = NOTHING,
        progress: int = 0,
    ) -> Step:
        """`step`, which tells the recorder when it fails by itself."""
        recorder = self.recorder
        if recorder is None:
            return step

        def observed(env: Env) -> bool:
            cell[0] = False
            if step(env):
                return True
            if not cell[0]:
                recorder.fail(env, place, reason, slot, progress)
            # Whoever called this step did reach it.
            return False

        return observed


_UNUSED: list[bool] = [False]


def _never(env: Env) -> bool:
    raise AssertionError("a definition was entered before it was compiled")


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
            return 2 if arg.name in analysis.defs else 5 if arg.variadic else 4
        return 3

    return sorted(range(len(args)), key=likely)

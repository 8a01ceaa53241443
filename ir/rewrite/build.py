"""The right side of a rule, compiled to closures that build it.

What can be computed from the match alone (attribute values, calls of natives, lists) is computed
while matching, so that a native can refuse the match; see `computed_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..builder import Builder
from ..core import Value
from ..dims import Dim
from ..ops import Op
from ..ops import op as op_of
from ..tensor import Tensor
from ..types import BY_NAME, BY_TYPE_STR, F32, I64, DType
from .analyse import Analysis
from .functions import ABSENT, UNKNOWN, tensor
from .guards import Env
from .syntax import (
    Attribute,
    Call,
    Capture,
    Either,
    Literal,
    RuleDecl,
    Syntax,
    Var,
    walk,
)
from .terms import Layout

Make = Callable[[Env, Builder], Any]


class Refused(Exception):
    """The replacement cannot be built for this match; the message says why."""


Computed = dict[int, tuple[str, Syntax]]


def computed_of(rule: RuleDecl) -> Computed:
    """The right side's expressions that depend on the match alone: by id, with a name for the slot."""
    found: Computed = {}
    for item in rule.rewrite:
        for part in walk(item.term):
            if isinstance(part, Call):
                trees = [a.choices[0] for a in part.attributes]
                for tree in (*trees, *(arg for arg in part.args if is_computed(arg))):
                    found[id(tree)] = f"={len(found)}", tree
        if is_computed(item.term):
            found[id(item.term)] = f"={len(found)}", item.term
    return found


def is_computed(term: Syntax) -> bool:
    """Whether an operand of the right side is an expression and not a value, a call or a literal."""
    return not isinstance(term, (Var, Call, Either, Literal, Capture))


class Replacement:
    """Builds the right side: `build(env, builder)` gives the new value of each rewritten one."""

    __slots__ = ("_defs", "_names", "rewritten")

    def __init__(self, analysis: Analysis, layout: Layout, computed: Computed) -> None:
        compiler = _Compiler(analysis, layout, computed)
        self._names = layout.names
        self.rewritten: list[str] = []
        self._defs: list[tuple[list[tuple[int, int]], Make]] = []
        for item in analysis.rule.rewrite:
            outs = [o.name for o in item.outs]
            make = compiler.definition(item.term, outs)
            slots = [(i, layout.name("+" + name)) for i, name in enumerate(outs) if name != "_"]
            self._defs.append((slots, make))
            compiler.built.update((name, None) for name in outs)
            self.rewritten += [name for name in outs if name in analysis.defs]

    def build(self, env: Env, builder: Builder) -> list[tuple[Value, Value]]:
        """Pairs of an old value and the value that is to take its place.

        Raises Refused, or InvalidModel from inference; the caller removes what was built so far.
        """
        for slots, make in self._defs:
            made = make(env, builder)
            values = made if isinstance(made, tuple) else (made,)
            for index, slot in slots:
                env[slot] = values[index]
        names = self._names
        return [(env[names["%" + n]], env[names["+" + n]]) for n in self.rewritten]


class _Compiler:
    def __init__(self, analysis: Analysis, layout: Layout, computed: Computed) -> None:
        self.analysis = analysis
        self.computed = computed
        self.layout = layout
        self.built: dict[str, None] = {}

    def definition(self, term: Syntax, outs: list[str]) -> Make:
        if isinstance(term, Call) and len(outs) > 1:
            return self.call(term, len(outs))
        if isinstance(term, (Call, Var, Either)):
            return self.operand(term)
        # A constant in place of a value has that value's type.
        slot = self.layout.names.get("%" + outs[0], -1)
        raw = self.raw(term)

        def constant(env: Env, builder: Builder) -> Any:
            old = env[slot].type if slot >= 0 else None
            return _operand(raw(env, builder), builder, lambda: old.dtype if old else None)

        return constant

    def operand(self, term: Syntax) -> Make:
        """Closures that give a value, or None for an absent one."""
        if isinstance(term, Call):
            return self.call(term, 1)
        if isinstance(term, Either):
            return self._either(term)
        assert isinstance(term, Var)
        sigil = "+" if term.name in self.built else "%"
        slot = self.layout.name(sigil + term.name)
        return lambda env, builder: env[slot]

    def raw(self, term: Syntax) -> Make:
        """A closure that gives a Python value or a value of the graph, not yet an operand."""
        if isinstance(term, Literal):
            literal = term.value
            return lambda env, builder: literal
        name = "$" + term.name if isinstance(term, Capture) else self.computed[id(term)][0]
        slot = self.layout.name(name)
        return lambda env, builder: env[slot]

    def _either(self, term: Either) -> Make:
        ways = [
            ([self.layout.name(n) for n in self._names(way.term)], self.operand(way.term))
            for way in term.alternatives
        ]

        def either(env: Env, builder: Builder) -> Any:
            for slots, make in ways:
                if all(env[s] is not None for s in slots):
                    return make(env, builder)
            raise Refused("no alternative of the right side has all its values")

        return either

    def _names(self, term: Syntax) -> list[str]:
        """Names that must be bound for an alternative of the right side to be taken."""
        found: list[str] = []
        for part in walk(term):
            if isinstance(part, Var) and not part.optional and part.name not in self.built:
                found.append("%" + part.name)
            elif isinstance(part, Capture):
                found.append("$" + part.name)
        return found

    def call(self, call: Call, outputs: int) -> Make:
        op_at = self._op(call)
        args = [self._argument(call, position) for position in range(len(call.args))]
        sources = [self._sources(term) for term in call.args]
        attributes = [self._attribute(a) for a in call.attributes]
        copied = self.layout.name("%" + call.copy) if call.copy else -1

        def make(env: Env, builder: Builder) -> Any:
            op = op_at(env)
            operands: list[Any] = []
            waiting: list[tuple[int, Any]] = []
            for spliced, numeric, arg in args:
                found = arg(env, builder)
                if spliced:
                    operands.extend(found)
                elif found is ABSENT:
                    operands.append(None)
                elif numeric and not isinstance(found, Value):
                    waiting.append((len(operands), found))
                    operands.append(None)
                else:
                    operands.append(found)
            for position, found in waiting:
                of = lambda p=position: _dtype_at(op, p, operands)  # noqa: E731
                operands[position] = _operand(found, builder, of, _hint_of(env, sources, position))
            given = dict(env[copied].producer.attrs) if copied >= 0 else {}
            for name, attribute in attributes:
                value = attribute(env)
                if value is not ABSENT:
                    given[name] = value
            node = builder.node(op, operands, given, outputs=_output_hints(op, outputs))
            return node.outputs if outputs > 1 else node.outputs[0]

        return make

    def _sources(self, term: Syntax) -> list[int]:
        """The slots of the values that an operand is computed from."""
        if not is_computed(term):
            return []
        named = [part.name for part in walk(term) if isinstance(part, Var) and not part.variadic]
        return [self.layout.name("%" + name) for name in named if name not in self.built]

    def _op(self, call: Call) -> Callable[[Env], Op]:
        if call.ops:
            fixed = op_of(call.ops[0])
            return lambda env: fixed
        slot = self.layout.name("$" + call.capture)
        return lambda env: op_of(env[slot])

    def _argument(self, call: Call, position: int) -> tuple[bool, bool, Make]:
        term = call.args[position]
        if isinstance(term, (Var, Call, Either)):
            return isinstance(term, Var) and term.variadic, False, self.operand(term)
        if isinstance(term, Literal) and term.value is None:
            return False, False, lambda env, builder: None
        return False, True, self.raw(term)

    def _attribute(self, attribute: Attribute) -> tuple[str, Callable[[Env], Any]]:
        slot = self.layout.name(self.computed[id(attribute.choices[0])][0])
        return attribute.name, lambda env: _attribute_value(env[slot])


def _output_hints(op: Op, count: int) -> list[str]:
    """Hints for at least the outputs that the op must have: one without hint and uses counts as absent."""
    if op.schema is None or (count == 1 and op.schema.min_outputs == 1):
        return [""] * count
    count = max(count, op.schema.min_outputs)
    formal = op.schema.outputs
    return [formal[i].name.lower() if i < op.schema.min_outputs else "" for i in range(count)]


def _attribute_value(found: Any) -> Any:
    """A computed value as an attribute: element types by their ONNX number, lists as tuples."""
    if isinstance(found, (tuple, list)):
        return tuple(_attribute_value(f) for f in found)
    if isinstance(found, np.generic):
        return found.item()
    if isinstance(found, DType):
        return found.onnx
    if isinstance(found, Dim):
        raise Refused(f"an attribute cannot hold the symbolic dimension {found}")
    if isinstance(found, Value):
        raise Refused(f"an attribute cannot hold the value %{found.hint}")
    return found


def _dtype_at(op: Op, position: int, operands: list[Any]) -> DType | None:
    """The element type that the schema wants for an operand, given the others."""
    schema = op.schema
    if schema is None or not schema.inputs:
        return None
    wanted = schema.inputs[min(position, len(schema.inputs) - 1)].type_str
    if wanted in BY_TYPE_STR:
        return BY_TYPE_STR[wanted]
    for index, value in enumerate(operands):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        if isinstance(value, Value) and formal.type_str == wanted and value.dtype is not None:
            dtype: DType = value.dtype
            return dtype
    types = schema.type_constraints.get(wanted, frozenset())
    return I64 if types == {"tensor(int64)", "tensor(int32)"} else None


def _hint_of(env: Env, sources: list[list[int]], position: int) -> str:
    """The name of the first constant that an operand is computed from: a weight keeps its name when it changes."""
    if position < len(sources):
        for slot in sources[position]:
            value = env[slot]
            if isinstance(value, Value) and value.const is not None and value.hint:
                return value.hint
    return ""


def _operand(
    found: Any, builder: Builder, dtype_of: Callable[[], DType | None], hint: str = ""
) -> Value:
    """A computed value as an operand: values as they are, tensors and numbers as constants."""
    if isinstance(found, Value):
        return found
    if isinstance(found, (Tensor, np.ndarray)):
        return builder.const(found, hint=hint)
    if found is ABSENT or found is None:
        raise Refused("an operand of the replacement is absent")
    items = [found] if not isinstance(found, (tuple, list)) else list(found)
    items = [i.item() if isinstance(i, np.generic) else i for i in items]
    if any(isinstance(i, Dim) for i in items):
        raise Refused(f"{_shown(found)} is not a constant: it holds symbolic dimensions")
    dtype = dtype_of()
    if dtype is None:
        kinds = {type(i) for i in items}
        dtype = F32 if float in kinds else BY_NAME["bool"] if kinds == {bool} else I64
    made = tensor(items if isinstance(found, (tuple, list)) else items[0], dtype)
    if made is UNKNOWN:
        raise Refused(f"{_shown(found)} cannot be a constant of type {dtype}")
    return builder.const(made)


def _shown(found: Any) -> str:
    return f"[{', '.join(str(f) for f in found)}]" if isinstance(found, tuple) else str(found)

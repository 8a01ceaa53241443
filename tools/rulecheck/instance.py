"""The left side of a rule as a small graph, made from decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir.core import Node, Value, constant
from ...ir.errors import GeocError
from ...ir.ops import op as op_of
from ...ir.rewrite import Rule
from ...ir.rewrite.syntax import (
    ANY,
    Call,
    Capture,
    Def,
    Either,
    Hole,
    Literal,
    Syntax,
    Var,
    plain_name,
)
from ...ir.tensor import Tensor
from ...ir.types import BOOL, BY_NAME, F16, F32, F64, I32, I64, DType
from .arrays import constant_array
from .choices import Choices, Infeasible
from .given import producers
from .hints import Facts, Hints
from .plan import Plan
from .sketch import Instance, Sketch
from .structure import structure
from .wanted import FREE, Shape, Template, Want, complete, merged, shape_of

DTYPES = (F32, F64, F16, I64, I32, BOOL)
DTYPE_WEIGHTS = (6, 1.5, 1.5, 1.5, 0.4, 0.6)
ODD = (float("-inf"), -3.4028234663852886e38, -65504.0, -1e9, 1.0, 0.0)  # what masks and pads are made of
MAKERS: tuple[tuple[str, ...], ...] = (
    (), ("Tanh",), ("Relu",), ("Sigmoid",), ("Softmax",), ("Abs",), ("Abs", "Neg"), ("Neg",), ("Identity",),
)  # fmt: skip
NUMBERS = (1.0, 0.0, 2.0, 0.5, 3.0, -1.0, -2.0, 1e-5, 0.125, -0.5)
_LIKELY = {1.0: 0.5, 0.0: 0.5, -1.0: 0.5, 1e-5: 0.5}  # of the weights; those that hide mistakes come less often
ANYTHING = ("Max", "Concat", "Identity", "Erf", "Neg", "LayerNormalization")  # what stands for any operator
PRESENT = 0.6  # probability of an operand that may be absent
MORE = 0.1  # probability of another user for an operand that a native is asked about
PRODUCED = 0.7  # probability of what a producer makes, where a native has one
MASKS = 0.15  # probability that a result that a native is asked about is the mask of an Attention
ALSO = 0.15  # probability that a shared inner value is returned as well


class Left(Sketch):
    """One instance in the making. `values` holds what names with their sigils stand for; None for what is absent."""

    def __init__(self, rule: Rule, choices: Choices) -> None:
        super().__init__(choices)
        self.rule = rule
        self.analysis = rule.analysis
        self.values: dict[str, Any] = {}
        self.captures: dict[str, Any] = {}
        self.hints = Hints(choices, self.values, self.captures, rule.natives)
        self.main: DType = choices.pick("dtype", DTYPES, DTYPE_WEIGHTS)
        # Operands that raise the rank of what they are combined with: rules forget them easily.
        self.wide: bool = choices.chance("wide", 0.1)
        self.structure = structure(rule)
        self.numbers = self.structure.numbers
        self._making: set[str] = set()

    def label(self, kind: str, part: Syntax) -> str:
        return f"{kind}{self.numbers.get(id(part), f'@{part.place}')}"

    def finish(self) -> Instance:
        """The model, with the roots as its outputs."""
        firsts = [next(o for o in root.outs if o.name != "_") for root in self.analysis.roots]
        outs = [*firsts, *(o for root in self.analysis.roots for o in root.outs if o.name != "_" and o not in firsts)]
        returned = {self.values["%" + o.name]: hint_of(o.name) or "y" for o in outs}
        for item in self.rule.match:
            for out in item.outs:
                value = self.values.get("%" + out.name)
                free = self.rule.shared or "shared" in out.marks
                new = free and isinstance(value, Value) and value not in returned
                if new and self.choices.chance(f"also.{out.name}", ALSO):
                    returned[value] = hint_of(out.name) or "also"
        for name in self.structure.asked:
            value = self.values.get("%" + name)
            if value is not None and value in returned and self.choices.chance(f"mask.{name}", MASKS):
                returned[self._as_mask(value)] = f"{returned.pop(value)}_used"
            if isinstance(value, Value) and value.is_input and self.choices.chance(f"more.{name}", MORE):
                returned[self.op("Identity", value)] = f"{plain_name(name)}_too"
        roots = [self.values["%" + o.name] for o in firsts]
        return self.instance(returned, [value for value in roots if value is not None])

    def _as_mask(self, mask: Value) -> Value:
        """The Attention that a result is the mask of: some natives ask who uses a value."""
        shape = shape_of(mask)
        if not 2 <= len(shape) <= 4 or not (mask.dtype is BOOL or mask.dtype.is_float):
            raise Infeasible("no mask")
        heads = [self.choices.pick(f"heads{i}", (1, 2)) if d == 1 else d for i, d in enumerate((1, 1, *shape)[-4:-2])]
        dtype = F32 if mask.dtype is BOOL else mask.dtype
        rows = shape[-2] if shape[-2] > 1 else self.choices.pick("rows", (1, 2, 3))
        lengths = {"q": rows, "k": shape[-1], "v": shape[-1]}
        q, k, v = (self.input(name, dtype, (*heads, length, 2)) for name, length in lengths.items())
        return self.op("Attention", q, k, v, mask)

    # Definitions and terms

    def define(self, item: Def, want: Want) -> None:
        """Make what a definition describes, once."""
        name = next(o.name for o in item.outs if o.name != "_")
        if "%" + name in self.values:
            return
        if name in self._making:
            raise Infeasible(f"%{name} is needed for itself")
        self._making.add(name)
        for out in item.outs[:1]:
            want = self._with_facts(out, want)
        made: Sequence[Value | None]
        if isinstance(item.term, Call):
            made = self.call(item.term, want, [o.name for o in item.outs], item.outs[0]).outputs
        else:
            made = [self.term(item.term, want, item.outs[0])]
        for out, value in zip(item.outs, made):
            if out.name != "_":
                self.values["%" + out.name] = value
                if value is not None:
                    value.hint = value.hint or hint_of(out.name)
                    self.hints.learn(out.name, value)
        self._making.discard(name)

    def _with_facts(self, out: Var, want: Want) -> Want:
        if out.name == "_":
            return want
        return self._wish(self.hints.facts(out.name, lazy=True), want)

    def _wish(self, facts: Facts, want: Want) -> Want:
        """A wish with what the conditions ask for, which comes first."""
        shape, ranks = merged(facts.shape, want.shape), facts.ranks or want.ranks
        if facts.shape is None and shape is not None and facts.ranks and len(shape) not in facts.ranks:
            shape = merged((None,) * self.choices.pick("ranked", facts.ranks), shape)
        if facts.dims:
            least = max(i + 1 if i >= 0 else -i for i in facts.dims)
            if shape is None:
                pool = tuple(r for r in (ranks or (2, 3, 4, 1, 5)) if r >= least)
                shape = (None,) * self.choices.pick("ranked", pool)
            if len(shape) >= least:
                fixed = list(shape)
                for index, dim in facts.dims.items():
                    fixed[index] = dim
                shape = tuple(fixed)
        dtype = want.dtype
        if facts.dtypes and dtype not in facts.dtypes:
            usual = [d for d in DTYPES if d in facts.dtypes]
            dtype = self.main if self.main in facts.dtypes else self.choices.pick("typed", usual)
        content = want.content if facts.content is None else facts.content
        return replace(want, shape=shape, ranks=ranks, dtype=dtype, content=content)

    def term(self, tree: Syntax, want: Want, out: Var | None = None) -> Value | None:
        """Make what a term describes; None for an operand that is left out. `out` is the name that it gets."""
        if isinstance(tree, Call):
            return self.call(tree, want, out=out).outputs[0]
        if isinstance(tree, Either):
            way = self.choices.pick(self.label("way", tree), tree.alternatives)
            for guard in way.guards:
                self.hints.activate(guard)
            return self.term(way.term, want, out)
        if isinstance(tree, Var):
            return self.variable(tree, want)
        if isinstance(tree, Hole):
            return self.leaf("_", self.label("any", tree), want, Facts())
        if isinstance(tree, Capture):
            return self.number(tree, want)
        assert isinstance(tree, Literal)
        return None if tree.value is None else self.literal(tree.value, self.label("one", tree), want)

    def variable(self, var: Var, want: Want) -> Value | None:
        key = "%" + var.name
        if var.name == "_":
            return self.leaf("_", self.label("any", var), want, Facts())
        if key in self.values:
            found: Value | None = self.values[key]
            if found is None and not var.optional:
                raise Infeasible(f"%{plain_name(var.name)} is absent")
            return found
        known = self.analysis.defs.get(var.name)
        if known is not None:
            self.define(known[0], want if known[1] == 0 else FREE)
            made: Value | None = self.values[key]
            return made
        if var.optional and not self.choices.pick(f"has.{var.name}", (False, True), (1 - PRESENT, PRESENT)):
            self.values[key] = None
            return None
        self.hints.adopt(var.name, want.shape)
        value = self.leaf(plain_name(var.name), f"%{var.name}", want, self.hints.facts(var.name), var.marks)
        self.values[key] = value
        self.hints.learn(var.name, value)
        return value

    # Leaves

    def leaf(self, name: str, label: str, want: Want, facts: Facts, marks: Sequence[str] = ()) -> Value:
        """An input or a constant."""
        want = self._wish(facts, want)
        dtype = self._dtype(label, want, marks)
        shape = self._shape(label, want, facts, marks)
        if any(d < 0 for d in shape):
            raise Infeasible(f"a dimension of {list(shape)} is negative")
        made = self._produced(label, dtype, shape)
        if made is not None:
            return made
        if not self._is_const(label, want, facts, marks):
            value = self.input(hint_of(name) or "x", dtype, shape, want.fill)
            return self._computed(label, value) if facts.looked_into else value
        if want.content is not None:
            count = len(want.content)
            if len(shape) > 1 or (shape and shape != (count,)) or (not shape and count != 1):
                raise Infeasible(f"{count} elements for a constant of shape {list(shape)}")
            if not all(-(2 ** (dtype.bits - 1)) <= n < 2 ** (dtype.bits - 1) for n in want.content):
                raise Infeasible(f"{want.content} does not fit {dtype}")
            return constant(Tensor.of(want.content[0] if not shape else list(want.content), dtype), name)
        numbers = [*facts.numbers, *ODD] if facts.looked_into and want.odd and not want.fill else facts.numbers
        array = constant_array(self.choices, label, dtype, shape, want.fill, numbers)
        return constant(Tensor.from_array(array, dtype), name)

    def _computed(self, label: str, value: Value) -> Value:
        """The value, or what an operator makes of it: a native may ask where a value comes from."""
        chain = self.choices.pick(f"{label}.from", MAKERS, (10, *(1,) * len(MAKERS)))
        for key in chain:
            value = self.op(key, value)
        return value

    def _produced(self, label: str, dtype: DType, shape: Shape) -> Value | None:
        """What a producer makes, for an operand that a native looks into; None to make it up."""
        makers = [m for m in map(producers().get, self.structure.asked.get(label[1:], ())) if m is not None]
        if not makers or self.choices.chance(f"{label}.plain", 1 - PRODUCED):
            return None
        return makers[0](self, dtype, shape)

    def _dtype(self, label: str, want: Want, marks: Sequence[str]) -> DType:
        named = [BY_NAME[m] for m in marks if m in BY_NAME]
        if named:
            return named[0]
        if want.content is not None and want.dtype is None:
            return I64
        if want.dtype is not None:
            return want.dtype
        if "float" in marks and not self.main.is_float:
            return F32
        return I64 if "int" in marks and not self.main.is_int else self.main

    def _shape(self, label: str, want: Want, facts: Facts, marks: Sequence[str]) -> Shape:
        if want.content is not None:
            return tuple(d or 0 for d in want.shape) if want.shape in ((), (1,)) else (len(want.content),)
        template: Template | None = want.shape
        if facts.within is not None and facts.shape is None:
            template = self.narrowed(label, facts.within, want.ranks)
        if "scalar" in marks:
            rank = 0 if template is None else len(template)
            return (1,) * self.choices.pick(f"{label}.ones", range(rank + 1), (8, *(1,) * rank))
        return complete(template, want.ranks, self.choices, label)

    def narrowed(self, label: str, shape: Shape, ranks: Sequence[int] = ()) -> Shape:
        """A shape that broadcasts to `shape`: some dimensions 1, some leading ones left out."""
        pool = [r for r in (ranks or range(len(shape), -1, -1)) if r <= len(shape)]
        weights = [6.0, *(1.0,) * len(shape)] if not ranks else None
        rank = self.choices.pick(f"{label}.within", pool, weights)
        kept = shape[len(shape) - rank :]
        if rank and self.choices.chance(f"{label}.narrow", 0.5):
            return tuple(self.choices.pick(f"{label}.narrow{i}", (1, d)) for i, d in enumerate(kept))
        return kept

    def _is_const(self, label: str, want: Want, facts: Facts, marks: Sequence[str]) -> bool:
        if facts.must_be_const or want.content is not None or {"const", "scalar", "weight"} & set(marks):
            return True
        likely = max(want.const, 0.5 if facts.looked_into else 0.0)
        return likely >= 1 or self.choices.chance(f"{label}.const", likely)

    def literal(self, number: Any, label: str, want: Want) -> Value:
        """A constant of one element for a number in the pattern."""
        dtype = want.dtype or self.main
        if isinstance(number, bool):
            dtype = BOOL
        elif isinstance(number, float) and not dtype.is_float:
            raise Infeasible(f"{number} as {dtype}")
        elif dtype is BOOL and number not in (0, 1):
            raise Infeasible(f"{number} as bool")
        return constant(_tensor(self._boxed(number, label, want), dtype))

    def _boxed(self, number: Any, label: str, want: Want) -> Any:
        """The number in as many lists as the operand has dimensions: none, where it may be a scalar."""
        if want.shape in ((), (1,)) or want.content is not None:
            return number if want.shape == () else [number]
        most = 0 if want.shape is None else len(want.shape)
        return _nested(number, self.choices.pick(f"{label}.ones", range(most + 1), (8, *(1,) * most)))

    def number(self, capture: Capture, want: Want) -> Value:
        """A constant of one element for ``$c``."""
        label = f"${capture.name}"
        dtype = want.dtype or self.main
        if want.content is not None and len(want.content) == 1 and capture.name not in self.captures:
            self.captures[capture.name] = want.content[0]
        if capture.name not in self.captures:
            self.captures[capture.name] = self._drawn(capture.name, dtype)
        number = self.captures[capture.name]
        if isinstance(number, str) or (isinstance(number, float) and not dtype.is_float and int(number) != number):
            raise Infeasible(f"{number!r} as {dtype}")
        made = constant(_tensor(self._boxed(number, label, want), dtype))
        self.captures[capture.name] = made.const.item()  # type: ignore[union-attr]
        return made

    def _drawn(self, name: str, dtype: DType) -> Any:
        needed, beside, test = self.hints.numbers_for(name)
        known = [n for n in needed or beside if isinstance(n, (int, float)) and not isinstance(n, bool) and test(n)]
        usual = [n for n in NUMBERS if test(n) and n not in known and not needed]
        pool: list[float] = [*known, *usual]
        if not dtype.is_float:
            whole = [int(n) for n in pool if int(n) == n and (n >= 0 or dtype.kind != "u")]
            pool = list(whole)
        if dtype is BOOL:
            return self.choices.pick(f"${name}", (True, False))
        weights = [4.0 if n in known else _LIKELY.get(n, 1.5) for n in pool]
        return self.choices.pick(f"${name}", pool, weights)

    # Calls

    def call(self, tree: Call, want: Want, outs: Sequence[str] = ("",), out: Var | None = None) -> Node:
        """Make a node for a call, its operands first."""
        from .layouts import layout_of

        op = op_of(self._op_key(tree))
        plan = Plan(self, tree, op, want, len(outs), out)
        try:
            layout_of(op)(plan)
        except IndexError:  # an operand of another rank than the layout counts on, settled elsewhere
            raise Infeasible(f"{op.key}: operands of another rank") from None
        plan.complete()
        hints = [hint_of(o) for o in outs]
        if op.schema is not None:
            hints += [""] * (op.schema.min_outputs - len(hints))
        try:
            node = self.builder.node(op, plan.operands(), plan.attrs, outputs=hints)
        except GeocError as error:
            raise Infeasible(f"{op.key}: {error.message}") from None
        return node

    def _op_key(self, tree: Call) -> str:
        if tree.capture and tree.capture in self.captures:
            key = self.captures[tree.capture]
            if key not in tree.ops and ANY not in tree.ops:
                raise Infeasible(f"${tree.capture} is {key}")
            return str(key)
        key = self.choices.pick(self.label("op", tree), ANYTHING if ANY in tree.ops else tree.ops)
        if tree.capture:
            self.captures[tree.capture] = key
        return key


def _tensor(number: Any, dtype: DType) -> Tensor:
    try:
        with np.errstate(over="ignore"):
            return Tensor.of(number, dtype)
    except OverflowError:
        raise Infeasible(f"{number} as {dtype}") from None


def hint_of(name: str) -> str:
    """A name as its author wrote it; "" for one that nobody wrote."""
    plain = plain_name(name)
    return "" if plain == "_" or plain.startswith("~") else plain


def _nested(number: Any, depth: int) -> Any:
    for _ in range(depth):
        number = [number]
    return number

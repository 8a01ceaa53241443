"""A call in the making: its operands and attributes, asked for by the layout of its operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...ir.core import Value
from ...ir.ops import Op
from ...ir.rewrite.operands import attribute_value
from ...ir.rewrite.syntax import Attribute, Call, Capture, Either, Hole, Literal, Syntax, Var
from ...ir.types import BOOL, BY_TYPE_STR, F32, I32, I64, DType
from .choices import Infeasible
from .hints import Facts
from .wanted import FREE, Shape, Want, merged, shape_of

if TYPE_CHECKING:
    from .instance import Left

FACTORS = (0.0, -0.5, 2.0)  # what an attribute that is a number may also be
# Operators whose operands are masks or what is padded with.
_ODD_OPS = frozenset({"Pad", "Where", "Add", "Max", "Min", "Attention", "Expand", "Mul", "MaxPool"})


class Plan:
    """A call in the making: its operands are made one by one, in the order that its layout finds best."""

    def __init__(self, left: Left, tree: Call, op: Op, want: Want, outs: int, out: Var | None) -> None:
        self.left = left
        self.tree = tree
        self.op = op
        self.outs = outs
        self._out = out  # the first result, where it has a name
        self._want = want
        self._known = len(left.hints.names)
        self.choices = left.choices
        self.name = left.label("", tree)
        self.attrs: dict[str, Any] = {}
        self.args: list[tuple[Syntax, int]] = []
        self._made: dict[int, Value | None] = {}
        self._asked: set[str] = set()
        for arg in tree.args:
            if isinstance(arg, Var) and arg.variadic:
                known = left.values.get("%" + arg.name)
                count = len(known) if known is not None else left.choices.pick(f"many.{arg.name}", (1, 2, 0, 3))
                self.args += [(arg, k) for k in range(count)]
            else:
                self.args.append((arg, -1))
        if any(isinstance(a, Var) and a.variadic for a in tree.args) and not self.args:
            raise Infeasible("no operands")

    def __len__(self) -> int:
        return len(self.args)

    @property
    def want(self) -> Want:
        """What is asked of the result, with all that is settled by now."""
        names = len(self.left.hints.names)
        if self._out is not None and self._out.name != "_" and names != self._known:
            self._known = names
            shape = self.left.hints.facts(self._out.name, lazy=True).shape
            if shape is not None and (self._want.shape is None or len(self._want.shape) == len(shape)):
                self._want = replace(self._want, shape=merged(shape, self._want.shape))
        return self._want

    def label(self, what: str) -> str:
        return f"{what}.{self.name}"

    def known(self, index: int) -> Value | None:
        """An operand that was made already, here or elsewhere."""
        if index in self._made:
            return self._made[index]
        if index >= len(self.args):
            return None
        arg, part = self.args[index]
        if isinstance(arg, Var):
            found = self.left.values.get("%" + arg.name)
            return found[part] if part >= 0 and found is not None else found
        return None

    def shape(self, index: int) -> Shape | None:
        """The shape of an operand that was made already."""
        value = self.known(index)
        return None if value is None else shape_of(value)

    def weight(self, index: int) -> int:
        """The lower, the earlier an operand should be made: first what is known, last constants."""
        arg, _ = self.args[index]
        if self.known(index) is not None:
            return 0
        if isinstance(arg, (Call, Either)) or (isinstance(arg, Var) and arg.name in self.left.analysis.defs):
            values = self.left.values
            return 1 if any(values.get("%" + n) is not None for n in self.left.structure.below(arg)) else 3
        if isinstance(arg, Var):
            if {"const", "scalar", "weight"} & set(arg.marks):
                return 5
            facts = self.left.hints.facts(arg.name)
            return 2 if facts.shape is not None else 4
        return 6

    def order(self) -> list[int]:
        """The operands, those that should be made first in front."""
        return sorted(range(len(self.args)), key=self.weight)

    def arg(self, index: int, want: Want = FREE) -> Value | None:
        """Make an operand (once), its element type as the schema wants it. None where it is absent."""
        if index in self._made:
            return self._made[index]
        if index >= len(self.args):
            return None
        arg, part = self.args[index]
        if want.dtype is None:
            want = replace(want, dtype=self.dtype_at(index))
        if self.op.name in _ODD_OPS and not want.odd:
            want = replace(want, odd=True)
        if part >= 0:
            assert isinstance(arg, Var)
            value = self.known(index)
            if value is None:
                value = self.left.leaf(f"{arg.name}{part}", f"%{arg.name}{part}", want, Facts(), arg.marks)
        elif (
            isinstance(arg, Hole)
            and self._may_be_absent(index)
            and not self.choices.chance(self.label(f"any{index}"), 0.3)
        ):
            value = None
        else:
            value = self.left.term(arg, want)
        self._made[index] = value
        return value

    def must(self, index: int, want: Want = FREE) -> Value:
        """An operand that has to be there."""
        value = self.arg(index, want)
        if value is None:
            raise Infeasible(f"operand {index} of {self.op.key} is absent")
        return value

    def _may_be_absent(self, index: int) -> bool:
        schema = self.op.schema
        return schema is not None and index < len(schema.inputs) and schema.inputs[index].option == "optional"

    def dtype_at(self, index: int) -> DType | None:
        """The element type that fits an operand: as the others with the same type variable, or as the result."""
        schema = self.op.schema
        if schema is None or not schema.inputs:
            return None
        param = schema.inputs[min(index, len(schema.inputs) - 1)]
        wanted = param.type_str
        if wanted in BY_TYPE_STR:
            return BY_TYPE_STR[wanted]
        for other in range(len(self.args)):
            value = self.known(other)
            same = schema.inputs[min(other, len(schema.inputs) - 1)].type_str == wanted
            if same and value is not None and value.dtype is not None:
                dtype: DType = value.dtype
                return dtype
        if self.want.dtype is not None and schema.outputs and schema.outputs[0].type_str == wanted:
            return self.want.dtype
        allowed = schema.types_of(param)
        for dtype in (self.left.main, F32, I64, BOOL, I32):
            if dtype.type_str in allowed:
                return dtype
        return None

    def ints(self, index: int) -> tuple[int, ...] | None:
        """The elements of an integer operand if they are settled: by the pattern, its conditions or its value."""
        if index >= len(self.args):
            return None
        value = self.known(index)
        if value is not None:
            return None if value.const is None else value.const.ints()
        arg, _ = self.args[index]
        if isinstance(arg, Literal) and isinstance(arg.value, int):
            return (arg.value,)
        if isinstance(arg, Capture) and arg.name in self.left.captures:
            return (int(self.left.captures[arg.name]),)
        if isinstance(arg, Var):
            return self.left.hints.facts(arg.name).content
        return None

    def is_absent(self, index: int) -> bool:
        """Whether an operand is left out, as far as that is decided."""
        if index >= len(self.args):
            return True
        arg, _ = self.args[index]
        if isinstance(arg, Literal) and arg.value is None:
            return True
        return isinstance(arg, Var) and "%" + arg.name in self.left.values and self.left.values["%" + arg.name] is None

    def attr(self, name: str, options: Sequence[Any], free: bool = True) -> Any:
        """An attribute: as the pattern says, or one of `options` where it is free; None leaves it out."""
        self._asked.add(name)
        if self.op.schema is not None and name not in self.op.schema.attributes:
            return None
        found = next((a for a in self.tree.attributes if a.name == name), None)
        if found is not None:
            value = self._mentioned(found, options)
        elif self.tree.open and free:
            value = self.choices.pick(self.label(name), options)
        else:
            value = None
        if value is not None:
            self.attrs[name] = value
            return value
        return self.op.attr_default(name)

    def _mentioned(self, attribute: Attribute, options: Sequence[Any]) -> Any:
        choice = attribute.choices[0]
        if isinstance(choice, Capture):
            if choice.name not in self.left.captures:
                needed, beside, test = self.left.hints.numbers_for(choice.name)
                kinds = tuple({type(o) for o in options if o is not None})
                pool = needed or [o for o in options if o is None or test(o)]
                pool += [b for b in beside if isinstance(b, kinds) and b not in pool and test(b)]
                if float in kinds:
                    pool += [f for f in FACTORS if f not in pool and test(f)]
                self.left.captures[choice.name] = self.choices.pick(f"${choice.name}", pool)
            return self.left.captures[choice.name]
        picked = self.choices.pick(f"{self.left.label('attr', self.tree)}.{attribute.name}", attribute.choices)
        return attribute_value(picked)

    def complete(self) -> None:
        """Make what the layout did not ask for: other operands, mentioned and required attributes."""
        for index in range(len(self.args)):
            self.arg(index)
        schema = self.op.schema
        for attribute in self.tree.attributes:
            if attribute.name not in self._asked:
                self.attr(attribute.name, _any_of(self.op.attr_kind(attribute.name)))
        if schema is not None:
            for spec in schema.attributes.values():
                if spec.required and spec.name not in self._asked:
                    self.attr(spec.name, _any_of(spec.kind))
        for arg in self.tree.args:
            if isinstance(arg, Var) and arg.variadic:
                parts = [self._made[i] for i, (a, _) in enumerate(self.args) if a is arg]
                self.left.values.setdefault("%" + arg.name, tuple(parts))

    def operands(self) -> list[Value | None]:
        """The operands in order; those of a commutative operator perhaps the other way round."""
        found = [self._made[i] for i in range(len(self.args))]
        if self.op.commutative and len(found) > 1 and self.choices.chance(self.label("swap"), 0.4):
            found.reverse()
        return found


def _any_of(kind: str | None) -> Sequence[Any]:
    known: dict[str | None, Sequence[Any]] = {
        "int": (0, 1, -1, 2, 3),
        "float": (1.0, 0.5, 2.0, 0.0, 1e-5, 1.702),
        "ints": ((0,), (1,), (-1,), (0, 1), (1, 2), (2, 3), (0, 1, 2)),
    }
    if kind not in known:
        raise Infeasible(f"no idea what an attribute of kind {kind} may be")
    return known[kind]

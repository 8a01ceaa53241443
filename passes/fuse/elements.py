"""What the element of a tensor is at symbolic indices, as an expression.

An expression is a decision tree: inner nodes ask a condition, leaves hold a value. Conditions are `a >= 0` and
`a == 0` for sums `a` of indices and dimensions, and comparisons of elements. Leaves are numbers, sums of indices
and dimensions, elements of a tensor that is not looked into, and arithmetic on those:

    if j-i-1 >= 0: -inf else (if %mask[b,j] == 0: -inf else 0.0)

On every path the conditions stand in one fixed order, a condition that follows from those above it is left
out, and equal expressions are one object, so two ways to build a mask give the same tree. A condition may read
outside of a tensor where its answer does not matter. Equal means equal numbers: -0.0 is 0.0. Indices and
dimensions are taken to be below 2**24, where float32 holds them exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import Any, Final

from ...ir.core import Value
from ...ir.dims import Atom, Dim, DimLike, apply_function, lower_bound, minimum, symbol
from ...ir.infer.base import broadcast_dim
from ...ir.types import BOOL, DType

MAX_EXPRESSIONS: Final = 4000
MAX_DEPTH: Final = 10


class TooLarge(Exception):
    """The expression has too many conditions to be of use."""


class Expr:
    """One expression, made and shared by `Space`: `kind` says what `args` are.

    num: (number, dtype), of float or bool. dim: (DimLike,). read: (value number, indices).
    apply: (operator, dtype, *operands). if: (condition, then, otherwise).
    Conditions are ge: (Dim,), eq: (Dim,), and test: (a leaf of type bool,).
    """

    __slots__ = ("kind", "args", "key", "depth")

    def __init__(self, kind: str, args: tuple[Any, ...], key: str, depth: int) -> None:
        self.kind = kind
        self.args = args
        self.key = key
        self.depth = depth

    def __repr__(self) -> str:
        return self.key


_RANK = {"ge": "0", "eq": "1", "test": "2"}


class Space:
    """Expressions over the indices of one tensor, whose dimensions bound the indices."""

    def __init__(self, shape: Sequence[DimLike]) -> None:
        self.shape = tuple(shape)
        self.indices: list[DimLike] = []
        self._sizes: dict[str, DimLike] = {}
        for position, size in enumerate(self.shape):
            name = index_name(len(self.shape) - position)
            self._sizes[name] = size
            self.indices.append(0 if isinstance(size, int) and size == 1 else symbol(name))
        self._made: dict[tuple[Any, ...], Expr] = {}
        self._restricted: dict[tuple[Expr, Expr, bool], Expr] = {}
        self._proven: dict[DimLike, bool] = {}
        self.values: list[Value] = []
        self._numbers: dict[Value, int] = {}
        self.true = self.num(True, BOOL)
        self.false = self.num(False, BOOL)

    # Making expressions

    def _make(self, kind: str, *args: Any) -> Expr:
        key = (kind, *((type(a), a) if a.__class__ in (int, float, bool) else a for a in args))
        found = self._made.get(key)
        if found is None:
            if len(self._made) > MAX_EXPRESSIONS:
                raise TooLarge
            depth = 1 + max(args[1].depth, args[2].depth) if kind == "if" else 0
            if depth > MAX_DEPTH:
                raise TooLarge
            found = self._made[key] = Expr(kind, args, _spell(kind, args), depth)
        return found

    def num(self, number: Any, dtype: DType) -> Expr:
        """A number of a floating-point type or bool."""
        if dtype is BOOL:
            return self._make("num", bool(number), dtype)
        number = float(number)
        return self._make("num", 0.0 if number == 0 else number, dtype)

    def dim(self, dim: DimLike) -> Expr:
        """An integer: a sum of indices and dimensions."""
        return self._make("dim", dim)

    def number_of(self, value: Value) -> int:
        """The number that stands for a value in `read`."""
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found

    def read(self, value: Value, indices: Sequence[DimLike]) -> Expr:
        """An element of a tensor; of a bool tensor as a condition."""
        leaf = self._make("read", self.number_of(value), tuple(indices), value.dtype)
        return self.test(leaf) if value.dtype is BOOL else leaf

    def apply(self, op: str, dtype: DType, *args: Expr) -> Expr:
        """An operator applied to leaves, as it is; of type bool as a condition."""
        leaf = self._make("apply", op, dtype, *args)
        return self.test(leaf) if dtype is BOOL else leaf

    def test(self, leaf: Expr) -> Expr:
        """The condition that a leaf of type bool is true."""
        return self.choose(self._make("test", leaf), self.true, self.false)

    def at_least_zero(self, dim: DimLike) -> Expr:
        """The condition `dim >= 0`."""
        if self.proves(dim):
            return self.true
        if self.proves(-1 - dim):
            return self.false
        assert isinstance(dim, Dim)
        scale = gcd(*(c for m, c in dim.terms if m))
        total: DimLike = 0
        for monomial, coefficient in dim.terms:
            total = total + term(monomial, coefficient // scale)
        assert isinstance(total, Dim)
        if total.terms[0][1] < 0:
            return self.choose(self._make("ge", -1 - total), self.false, self.true)
        return self.choose(self._make("ge", total), self.true, self.false)

    def is_zero(self, dim: DimLike) -> Expr:
        """The condition `dim == 0`."""
        if isinstance(dim, int):
            return self.true if dim == 0 else self.false
        if self.proves(dim - 1) or self.proves(-1 - dim):
            return self.false
        if self.proves(dim) and self.proves(-dim):
            return self.true
        if dim.terms[0][1] < 0:
            return self.choose(self._make("eq", -dim), self.true, self.false)
        return self.choose(self._make("eq", dim), self.true, self.false)

    def choose(self, condition: Expr, then: Expr, other: Expr) -> Expr:
        """if condition: then else: other, for one condition that may stand anywhere in the order."""
        first = condition
        for tree in (then, other):
            if tree.kind == "if" and _order(tree.args[0]) < _order(first):
                first = tree.args[0]
        if first is not condition:
            sides = []
            for side in (True, False):
                fixed = self.decide(condition, first, side)
                a, b = self.restrict(then, first, side), self.restrict(other, first, side)
                sides.append(self.choose(condition, a, b) if fixed is None else a if fixed else b)
            return self._node(first, sides[0], sides[1])
        return self._node(condition, self.restrict(then, condition, True), self.restrict(other, condition, False))

    def _node(self, condition: Expr, then: Expr, other: Expr) -> Expr:
        if then is other:
            return then
        # A branch that also says what the other one does, where that one counts, stands for both.
        if self.restrict(other, condition, True) is then:
            return other
        if self.restrict(then, condition, False) is other:
            return then
        return self._make("if", condition, then, other)

    def ite(self, condition: Expr, then: Expr, other: Expr) -> Expr:
        """if condition: then else: other, for a whole tree of type bool."""
        if condition.kind == "num":
            return then if condition.args[0] else other
        test, yes, no = condition.args
        return self.choose(
            test,
            self.ite(yes, self.restrict(then, test, True), self.restrict(other, test, True)),
            self.ite(no, self.restrict(then, test, False), self.restrict(other, test, False)),
        )

    def negate(self, condition: Expr) -> Expr:
        """not condition."""
        return self.ite(condition, self.false, self.true)

    def map(self, function: Callable[..., Expr], *trees: Expr) -> Expr:
        """A function of leaves applied to trees: on each path to the leaves that are there."""
        first: Expr | None = None
        for tree in trees:
            if tree.kind == "if" and (first is None or _order(tree.args[0]) < _order(first)):
                first = tree.args[0]
        if first is None:
            return function(*trees)
        return self.choose(
            first,
            self.map(function, *[self.restrict(t, first, True) for t in trees]),
            self.map(function, *[self.restrict(t, first, False) for t in trees]),
        )

    # What follows from what

    def restrict(self, tree: Expr, condition: Expr, side: bool) -> Expr:
        """The tree where the condition is known to hold (or not to)."""
        key = tree, condition, side
        found = self._restricted.get(key)
        if found is None:
            found = self._restricted[key] = self._restrict(tree, condition, side)
        return found

    def _restrict(self, tree: Expr, condition: Expr, side: bool) -> Expr:
        if tree.kind != "if":
            known = _equated(condition) if side else None
            return tree if known is None else self.replaced(tree, *known)
        test, then, other = tree.args
        fixed = self.decide(test, condition, side)
        if fixed is not None:
            return self.restrict(then if fixed else other, condition, side)
        a, b = self.restrict(then, condition, side), self.restrict(other, condition, side)
        return tree if a is then and b is other else self.choose(test, a, b)

    def decide(self, test: Expr, fact: Expr, side: bool) -> bool | None:
        """Whether `test` holds where `fact` holds (or does not); None where that is not known."""
        if test is fact:
            return side
        if test.kind == "test":
            known = _equated(fact) if side else None
            if known is None:
                return None
            leaf = self.replaced(test.args[0], *known)
            return leaf.args[0] if leaf.kind == "num" else None
        if fact.kind == "test" or (fact.kind == "eq" and not side):
            return None
        given = fact.args[0] if side else -1 - fact.args[0]
        facts = [given, -given] if fact.kind == "eq" else [given]
        asked = test.args[0]
        if any(self.proves(-1 - asked - f) for f in facts):
            return False
        if test.kind == "ge":
            return True if any(self.proves(asked - f) for f in facts) else None
        return False if any(self.proves(asked - 1 - f) for f in facts) else None

    def replaced(self, leaf: Expr, old: Expr, new: Expr) -> Expr:
        """A leaf with one of its parts replaced by a number that it is known to equal."""
        from .elements_leaves import fold

        if leaf is old:
            return new
        if leaf.kind != "apply":
            return leaf
        args = [self.replaced(a, old, new) for a in leaf.args[2:]]
        if all(a is b for a, b in zip(args, leaf.args[2:])):
            return leaf
        made = fold(self, leaf.args[0], leaf.args[1], *args)
        return leaf if made.kind == "if" else made

    def proves(self, dim: DimLike) -> bool:
        """True if `dim >= 0` for all indices within the shape, whatever the dimensions are."""
        if isinstance(dim, int):
            return dim >= 0
        found = self._proven.get(dim)
        if found is None:
            found = self._proven[dim] = self._prove(dim)
        return found

    def _prove(self, dim: Dim) -> bool:
        if self._not_negative(dim):
            return True
        # Where there is an element, size - 1 - index >= 0.
        return any(
            self._not_negative(dim - (size - 1 - symbol(name)))
            for name, size in self._sizes.items()
            if isinstance(size, Dim)
        )

    def _not_negative(self, dim: DimLike, tries: int = 3) -> bool:
        low = self._lowest(dim)
        bound = lower_bound(low)
        if bound is not None and bound >= 0:
            return True
        if tries == 0 or isinstance(low, int):
            return False
        for monomial, coefficient in low.terms:
            for atom in monomial:
                # -min(a, b) >= -a and max(a, b) >= a: either operand may be the one that proves it.
                if (atom.name == "min" and coefficient < 0) or (atom.name == "max" and coefficient > 0):
                    rest = low - term(monomial, coefficient)
                    others = list(monomial)
                    others.remove(atom)
                    if any(
                        self._not_negative(rest + arg * term(tuple(others), coefficient), tries - 1)
                        for arg in atom.args
                    ):
                        return True
        return False

    def _lowest(self, dim: DimLike) -> DimLike:
        """`dim` with each index at the end of its range where that makes it smallest."""
        if isinstance(dim, int):
            return dim
        total: DimLike = 0
        for monomial, coefficient in dim.terms:
            used = [a for a in monomial if a.name in self._sizes]
            if not used:
                total = total + term(monomial, coefficient)
            elif coefficient < 0:
                if len(used) > 1:
                    return dim
                rest = list(monomial)
                rest.remove(used[0])
                total = total + (self._sizes[used[0].name] - 1) * term(tuple(rest), coefficient)
        return total

    def within(self, index: DimLike, size: DimLike, length: DimLike) -> DimLike:
        """The index into an axis of `size` that is broadcast to `length`."""
        if isinstance(size, int) and size == 1:
            return 0
        if size is length or size == length or fits(size, length) or self.proves(size - 1 - index):
            return index
        return minimum(index, size - 1)


def fits(size: DimLike, length: DimLike) -> bool:
    """True if an axis of `size` has this length wherever it may be broadcast to it: min(S, 512) and S."""
    both = isinstance(size, Dim) and isinstance(length, Dim)
    return size is length or size == length or (both and broadcast_dim(size, length) is length)


def index_name(from_end: int) -> str:
    """The name of the index of an axis, counted from the end: j, i, h, b for a mask [B,H,S,T]."""
    return "\x01" + ("jihb"[from_end - 1] if from_end <= 4 else f"x{from_end}")


def term(monomial: Sequence[Atom], coefficient: int) -> DimLike:
    """An integer multiple of a product."""
    total: DimLike = coefficient
    for atom in monomial:
        total = (symbol(atom.name) if atom.is_symbol else apply_function(atom.name, list(atom.args))) * total
    return total


def _order(condition: Expr) -> tuple[str, str]:
    return _RANK[condition.kind], condition.key


def _equated(condition: Expr) -> tuple[Expr, Expr] | None:
    """(leaf, number) where the condition says that a leaf equals a number."""
    leaf = condition.args[0]
    if condition.kind == "test" and leaf.kind == "apply" and leaf.args[0] == "Equal":
        a, b = leaf.args[2:]
        return (b, a) if a.kind in ("num", "dim") else (a, b)
    return None


def _spell(kind: str, args: tuple[Any, ...]) -> str:
    if kind == "num":
        return str(args[0])
    if kind == "dim":
        return str(args[0]).replace("\x01", "")
    if kind == "read":
        return f"%{args[0]}[{','.join(str(i) for i in args[1])}]"
    if kind == "apply":
        return f"{args[0]}({','.join(a.key for a in args[2:])}):{args[1]}"
    if kind == "if":
        return f"({args[0].key} ? {args[1].key} : {args[2].key})"
    sign = {"ge": ">=0", "eq": "==0", "test": ""}[kind]
    return f"{args[0]}{sign}" if kind != "test" else args[0].key

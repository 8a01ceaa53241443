"""Names that conditions share, and the value of an expression with what is known so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...ir.dims import Dim
from ...ir.rewrite.functions import FUNCTIONS, Outcome
from ...ir.rewrite.guards import CONSTANTS
from ...ir.rewrite.syntax import (
    Binary,
    Bind,
    Capture,
    Invoke,
    Items,
    Literal,
    Member,
    Name,
    Rest,
    Syntax,
    Unary,
    Var,
    walk,
)
from .choices import DIM_WEIGHTS, DIMS, Choices, Infeasible
from .wanted import Template

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "!=": lambda a, b: a != b,
    "==": lambda a, b: a == b,
}
MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "!=": "!=", "==": "=="}


class Names:
    """The conditions of one attempt, and the names that they share."""

    def __init__(self, choices: Choices, values: Mapping[str, Any], captures: Mapping[str, Any]) -> None:
        self.names: dict[str, Any] = {}
        self._choices = choices
        self._values = values
        self._captures = captures
        self._active: list[tuple[Syntax, frozenset[str]]] = []
        self._busy: set[int] = set()
        self._strict = False  # only what is settled counts
        self._lazy = False  # what nothing settles stays open

    def activate(self, guard: Syntax) -> None:
        """Take a condition into account from now on; of an "or", one side."""
        if isinstance(guard, Binary) and guard.op == "and":
            self.activate(guard.left)
            self.activate(guard.right)
        elif isinstance(guard, Binary) and guard.op == "or":
            label = f"or{guard.place[0]}:{guard.place[1]}"
            self.activate(self._choices.pick(label, (guard.left, guard.right)))
        else:
            self._active.append((guard, frozenset(_mentioned(guard))))

    def value(self, tree: Syntax) -> Any:
        """The Python value of an expression, dimensions chosen where they are free; None where it is not known."""
        if isinstance(tree, Literal):
            return tree.value
        if isinstance(tree, Name):
            return CONSTANTS[tree.name] if tree.name in CONSTANTS else self._name(tree.name)
        if isinstance(tree, Capture):
            return self._captures.get(tree.name)
        if isinstance(tree, Items):
            found = self.template(tree, tree.place, loose=True)
            return None if None in found else found
        if isinstance(tree, Unary) and tree.op == "-":
            operand = self.value(tree.operand)
            return -operand if isinstance(operand, (int, float)) else None
        if isinstance(tree, Binary) and tree.op in "+-*/":
            return _arithmetic(tree.op, self.value(tree.left), self.value(tree.right))
        if isinstance(tree, Invoke):
            return self._function(tree)
        return None

    def _function(self, call: Invoke) -> Any:
        known = self.known_function(call)
        of = call.args[0] if call.args else None
        if known is not None or call.name != "dim" or not isinstance(of, Var) or self._strict or self._lazy:
            return known
        made = "%" + of.name in self._values
        return None if made else self._choices.dim(f"dim.{of.name}{call.place[0]}:{call.place[1]}")

    def known_function(self, call: Syntax) -> Any:
        if not isinstance(call, Invoke) or call.name not in FUNCTIONS:
            return None
        given: list[Any] = []
        for arg in call.args:
            one = self._values.get("%" + arg.name) if isinstance(arg, Var) else self.value(arg)
            if one is None:
                return None
            given.append(one)
        try:
            found = FUNCTIONS[call.name][0](*given)
        except (TypeError, ValueError, AttributeError, ZeroDivisionError):
            return None
        parts = found if isinstance(found, tuple) else (found,)
        return None if any(isinstance(p, (Outcome, Dim)) for p in parts) else found

    def _name(self, name: str) -> Any:
        if name in self.names:
            return self.names[name]
        found = self._from_equations(name)
        if found is None and not self._strict and not self._lazy:
            found = self._choices.pick(f"name.{name.rpartition('.')[2]}", *self._sizes(name))
        if found is not None:
            self.names[name] = found
        return found

    def _sizes(self, name: str) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
        """Numbers that a free dimension may be, by comparisons of it with numbers."""
        pool: tuple[int, ...] = DIMS
        weights: tuple[float, ...] | None = DIM_WEIGHTS
        for guard, names in self._active:
            if name not in names or not isinstance(guard, Binary) or guard.op not in ("<", "<=", ">", ">="):
                continue
            op, bound = guard.op, guard.right
            if not isinstance(guard.left, Name) or guard.left.name != name:
                op, bound = MIRROR[op], guard.left
            if isinstance(bound, Literal) and isinstance(bound.value, int):
                limit = bound.value
                near = tuple(n for n in (limit - 1, limit, limit + 1, 2 * limit) if n > 0 and COMPARE[op](n, limit))
                kept = tuple(n for n in pool if COMPARE[op](n, limit))
                pool, weights = (kept, None) if kept else (near, None)
        return pool, weights

    def _from_equations(self, name: str) -> Any:
        for guard, names in self._active:
            if name not in names or id(guard) in self._busy:
                continue
            self._busy.add(id(guard))
            lazy, self._lazy = self._lazy, False
            found = self._from_equation(guard, name)
            self._lazy = lazy
            self._busy.discard(id(guard))
            if found is not None:
                return found
        return None

    def _from_equation(self, guard: Syntax, name: str) -> Any:
        if isinstance(guard, Bind) and isinstance(guard.target, Name) and guard.target.name == name:
            return self.value(guard.value)
        if isinstance(guard, Member) and isinstance(guard.item, Name) and guard.item.name == name:
            known = [v for v in (self.value(c) for c in guard.choices) if v is not None]
            return self._choices.pick(f"in{guard.place[0]}:{guard.place[1]}", known) if known else None
        if not isinstance(guard, Binary) or guard.op != "==":
            return None
        for side, other in ((guard.left, guard.right), (guard.right, guard.left)):
            if isinstance(side, Name) and side.name == name:
                return self.value(other)
        # Inside an equation it is solved for only if all the rest is known: R * Hk == Hq gives Hq from R and Hk.
        strict, self._strict = self._strict, True
        try:
            for side, other in ((guard.left, guard.right), (guard.right, guard.left)):
                if contains(side, lambda p: isinstance(p, Name) and p.name == name):
                    known = self.value(other)
                    return (
                        None
                        if known is None
                        else self.solve(side, lambda p: isinstance(p, Name) and p.name == name, known)
                    )
        finally:
            self._strict = strict
        return None

    def solve(self, side: Syntax, is_sought: Callable[[Syntax], bool], known: Any) -> Any:
        """What the sought part of `side` must be for it to equal `known`; None where that cannot be told."""
        while not is_sought(side):
            if not isinstance(side, Binary) or side.op not in "+-*/":
                return None
            on_left = contains(side.left, is_sought)
            rest = self.value(side.right if on_left else side.left)
            if rest is None or isinstance(rest, (tuple, str)):
                return None
            if side.op in "+*":
                known = _arithmetic("-" if side.op == "+" else "/", known, rest)
            elif on_left:
                known = _arithmetic("+" if side.op == "-" else "*", known, rest)
            else:
                known = _arithmetic(side.op, rest, known)
            side = side.left if on_left else side.right
            if known is None:
                return None
        return known

    def template(self, items: Items, place: tuple[int, int], loose: bool = False) -> Template:
        found: list[Any] = []
        for index, item in enumerate(items.items):
            if isinstance(item, Rest):
                known = self.names.get(item.name) if item.name else None
                if known is None:
                    count = self._choices.pick(f"rest{place[0]}:{place[1]}", (0, 1, 2))
                    label = f"rest{place[0]}:{place[1]}.{index}"
                    known = tuple(self._choices.dim(f"{label}.{i}") for i in range(count))
                    if item.name:
                        self.names[item.name] = known
                found.extend(known)
            else:
                one = self.value(item)
                found.append(one if loose or (isinstance(one, int) and not isinstance(one, bool)) else None)
        return tuple(found)

    def unify(self, items: Items, actual: tuple[Any, ...]) -> None:
        rest = next((i for i, item in enumerate(items.items) if isinstance(item, Rest)), None)
        if rest is None:
            if len(items.items) != len(actual):
                raise Infeasible(f"{len(items.items)} dimensions are wanted, not {len(actual)}")
            pairs = list(zip(items.items, actual))
        else:
            after = len(items.items) - rest - 1
            if len(actual) < len(items.items) - 1:
                raise Infeasible(f"at least {len(items.items) - 1} dimensions are wanted, not {len(actual)}")
            tail = list(zip(items.items[rest + 1 :], actual[len(actual) - after :]))
            pairs = [*zip(items.items[:rest], actual), *tail]
            named = items.items[rest].name  # type: ignore[attr-defined]
            if (
                named
                and self.names.setdefault(named, actual[rest : len(actual) - after])
                != actual[rest : len(actual) - after]
            ):
                raise Infeasible(f"{named}... is two lists")
        for item, number in pairs:
            if isinstance(item, Name) and self.names.setdefault(item.name, number) != number:
                raise Infeasible(f"{item.name} would be {self.names[item.name]} and {number}")


def _arithmetic(op: str, a: Any, b: Any) -> Any:
    if op == "+" and isinstance(a, tuple) and isinstance(b, tuple):
        return a + b
    numbers = (int, float)
    if not isinstance(a, numbers) or not isinstance(b, numbers):
        return None
    if op in "+-*":
        return a + b if op == "+" else a - b if op == "-" else a * b
    if b == 0 or (isinstance(a, int) and isinstance(b, int) and a % b):
        raise Infeasible(f"{a} / {b} leaves a remainder")
    return a // b if isinstance(a, int) and isinstance(b, int) else a / b


def contains(tree: Syntax, test: Callable[[Syntax], bool]) -> bool:
    return any(test(part) for part in walk(tree))


def _mentioned(tree: Syntax) -> list[str]:
    found: list[str] = []
    for part in walk(tree):
        if isinstance(part, (Var, Capture, Name)):
            sigil = "%" if isinstance(part, Var) else "$" if isinstance(part, Capture) else ""
            found.append(sigil + part.name)
    return found

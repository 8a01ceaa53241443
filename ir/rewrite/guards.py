"""Expressions and guards, compiled to closures over the environment of a match.

A guard gives True, False, UNKNOWN (the fact is not known, so it is not proven) or ABSENT (it mentions
something the pattern left unbound); `not`, `and` and `or` combine them as in Kleene's logic. Only
True and ABSENT let a rule pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from typing import Any

from ..core import Value
from ..dims import Dim, exact_div, known_ge
from ..types import BY_NAME
from .functions import ABSENT, FUNCTIONS, UNKNOWN, Outcome, same_value
from .syntax import (
    Binary,
    Bind,
    Capture,
    Hole,
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

Env = list[Any]
Expression = Callable[[Env], Any]
CONSTANTS: Mapping[str, Any] = BY_NAME
TOLERANCE = 1e-5  # relative, for two floats in a guard

_COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}


def close(a: float, b: float, tolerance: float) -> bool:
    """Whether two floats agree within a relative tolerance; zero and infinities only exactly."""
    return a == b or abs(a - b) <= tolerance * min(abs(a), abs(b)) < math.inf


def equal(a: Any, b: Any) -> Any:
    """True, False, or UNKNOWN where two dimensions may or may not be equal."""
    if a is b:
        return True
    if isinstance(a, Value) and isinstance(b, Value):
        return same_value(a, b)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        if len(a) != len(b):
            return False
        parts = [equal(x, y) for x, y in zip(a, b)]
        return False if False in [p for p in parts if p is not UNKNOWN] else UNKNOWN if UNKNOWN in parts else True
    if isinstance(a, Dim) or isinstance(b, Dim):
        if not isinstance(a, (int, Dim)) or not isinstance(b, (int, Dim)):
            return False
        return False if known_ge(a, b + 1) or known_ge(b, a + 1) else UNKNOWN
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, float) or isinstance(b, float):
        if not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
            return False
        return close(float(a), float(b), TOLERANCE)
    return bool(a == b)


def _less(a: Any, b: Any) -> Any:
    """a < b, three-valued."""
    if isinstance(a, (int, Dim)) and isinstance(b, (int, Dim)):
        return True if known_ge(b, a + 1) else False if known_ge(a, b) else UNKNOWN
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a < b
    return UNKNOWN


def _not(a: Any) -> Any:
    return a if isinstance(a, Outcome) else not a


def compare(op: str, a: Any, b: Any) -> Any:
    """A comparison of two facts."""
    if a is ABSENT or b is ABSENT:
        return ABSENT
    if a is UNKNOWN or b is UNKNOWN:
        return UNKNOWN
    if op == "==":
        return equal(a, b)
    if op == "!=":
        return _not(equal(a, b))
    if op == "<":
        return _less(a, b)
    if op == ">":
        return _less(b, a)
    if a != a or b != b:  # NaN is neither less nor not less
        return False
    return _not(_less(b, a)) if op == "<=" else _not(_less(a, b))


def arithmetic(op: str, a: Any, b: Any) -> Any:
    """+ - * / of two numbers or dimensions; / of integers and dimensions must leave no remainder."""
    if a is ABSENT or b is ABSENT:
        return ABSENT
    if a is UNKNOWN or b is UNKNOWN:
        return UNKNOWN
    if op == "+" and isinstance(a, tuple) and isinstance(b, tuple):
        return a + b
    numbers = (int, float, Dim)
    if not isinstance(a, numbers) or not isinstance(b, numbers):
        return UNKNOWN
    symbolic = isinstance(a, Dim) or isinstance(b, Dim)
    if symbolic and (isinstance(a, float) or isinstance(b, float)):
        return UNKNOWN
    left: Any = a
    if op == "+":
        return left + b
    if op == "-":
        return left - b
    if op == "*":
        return left * b
    if isinstance(a, float) or isinstance(b, float):
        return UNKNOWN if b == 0 else left / b
    quotient = exact_div(a, b)
    return UNKNOWN if quotient is None else quotient


def solvable(guard: Syntax, known: Container[str]) -> str:
    """The one unbound name which ``==`` can be solved for, or "".

    It must stand once, under + - * / only, on one side; everything else must be known.
    """
    if not isinstance(guard, Binary) or guard.op != "==":
        return ""
    unbound = [
        p.name
        for p in walk(guard)
        if isinstance(p, Name) and p.name not in CONSTANTS and p.name not in known
    ]
    if len(unbound) != 1:
        return ""
    for side in (guard.left, guard.right):
        part: Syntax | None = side
        while isinstance(part, Binary) and part.op in "+-*/":
            part = next((p for p in (part.left, part.right) if _mentions(p, unbound[0])), None)
        if isinstance(part, Name) and part.name == unbound[0]:
            return unbound[0]
    return ""


def _mentions(tree: Syntax, name: str) -> bool:
    return any(isinstance(p, Name) and p.name == name for p in walk(tree))


class Expressions:
    """Compiles expressions of one rule; `slot` gives the place of a name (with sigil) in the environment."""

    __slots__ = ("slot", "natives")

    def __init__(self, slot: Callable[[str], int], natives: Mapping[str, Callable[..., Any]]) -> None:
        self.slot = slot
        self.natives = natives

    def expression(self, tree: Syntax) -> Expression:
        """A closure that evaluates `tree`; it may give UNKNOWN or ABSENT."""
        if isinstance(tree, Literal):
            constant = tree.value
            return lambda env: constant
        if isinstance(tree, Name) and tree.name in CONSTANTS:
            named = CONSTANTS[tree.name]
            return lambda env: named
        if isinstance(tree, (Var, Capture, Name)):
            return self._bound(tree)
        if isinstance(tree, Items):
            return self._items(tree)
        if isinstance(tree, Binary):
            return self._binary(tree)
        if isinstance(tree, Unary):
            operand = self.expression(tree.operand)
            if tree.op == "not":
                return lambda env: _not(operand(env))
            return lambda env: arithmetic("-", 0, operand(env))
        if isinstance(tree, Member):
            return self._member(tree)
        if isinstance(tree, Invoke):
            return self._invoke(tree)
        raise AssertionError(f"{tree!r} is no expression")

    def _bound(self, tree: Var | Capture | Name) -> Expression:
        sigil = "%" if isinstance(tree, Var) else "$" if isinstance(tree, Capture) else ""
        slot = self.slot(sigil + tree.name)

        def bound(env: Env) -> Any:
            found = env[slot]
            return ABSENT if found is None else found

        return bound

    def _items(self, tree: Items) -> Expression:
        parts = [
            (isinstance(i, Rest) or (isinstance(i, Var) and i.variadic), self._item(i))
            for i in tree.items
        ]

        def items(env: Env) -> Any:
            found: list[Any] = []
            outcome: Any = None
            for spliced, part in parts:
                one = part(env)
                if isinstance(one, Outcome):
                    outcome = ABSENT if ABSENT in (outcome, one) else UNKNOWN
                elif spliced:
                    found.extend(one)
                else:
                    found.append(one)
            return tuple(found) if outcome is None else outcome

        return items

    def _item(self, tree: Syntax) -> Expression:
        return self._bound(Name(tree.place, tree.name)) if isinstance(tree, Rest) else self.expression(tree)

    def _binary(self, tree: Binary) -> Expression:
        left, right, op = self.expression(tree.left), self.expression(tree.right), tree.op
        if op == "and":
            return lambda env: _both(left(env), right, env)
        if op == "or":
            return lambda env: _either(left(env), right, env)
        if op in _COMPARISONS:
            return lambda env: compare(op, left(env), right(env))
        return lambda env: arithmetic(op, left(env), right(env))

    def _member(self, tree: Member) -> Expression:
        item = self.expression(tree.item)
        words = frozenset(c.value for c in tree.choices if isinstance(c, Literal) and isinstance(c.value, str))
        if len(words) == len(tree.choices):  # as of operators, of which there may be many

            def word(env: Env) -> Any:
                found = item(env)
                return found if isinstance(found, Outcome) else isinstance(found, str) and found in words

            return word
        choices = [self.expression(c) for c in tree.choices]

        def member(env: Env) -> Any:
            found = item(env)
            answer: Any = False
            for choice in choices:
                one = compare("==", found, choice(env))
                if one is True or one is ABSENT:
                    return one
                if one is UNKNOWN:
                    answer = UNKNOWN
            return answer

        return member

    def _invoke(self, tree: Invoke) -> Expression:
        args = [self.expression(a) for a in tree.args]
        if tree.name == "has":
            return lambda env: args[0](env) is not ABSENT
        if tree.name == "proven":
            return lambda env: _truth(args[0](env)) is True
        if tree.name in FUNCTIONS:
            function = FUNCTIONS[tree.name][0]

            def builtin(env: Env) -> Any:
                given = [a(env) for a in args]
                for one in given:
                    if isinstance(one, Outcome):
                        return ABSENT if any(g is ABSENT for g in given) else UNKNOWN
                return function(*given)

            return builtin
        called = self.natives[tree.name]

        def native(env: Env) -> Any:
            given = [a(env) for a in args]
            for one in given:
                if one is UNKNOWN:
                    return UNKNOWN
            answer = called(*[None if g is ABSENT else g for g in given])
            return UNKNOWN if answer is None else answer

        return native

    # Guards

    def guard(self, tree: Syntax, bound: Container[str]) -> Expression:
        """A closure that tests `tree`, and binds what it binds; `bound` are the names known before."""
        if isinstance(tree, Bind):
            return self._bind(tree)
        name = solvable(tree, bound)
        if name:
            assert isinstance(tree, Binary)
            return self._solve(tree, name)
        return self.expression(tree)

    def _bind(self, tree: Bind) -> Expression:
        value = self.expression(tree.target if isinstance(tree.value, Items) else tree.value)
        target = tree.target
        if isinstance(target, (Var, Capture, Name)):
            sigil = "%" if isinstance(target, Var) else "$" if isinstance(target, Capture) else ""
            value = self.expression(tree.value)
            return _binder(self.slot(sigil + target.name), value)
        assert isinstance(tree.value, Items)
        pattern = self.list_pattern(tree.value)

        def destructure(env: Env) -> Any:
            found = value(env)
            return found if isinstance(found, Outcome) else pattern(env, found)

        return destructure

    def list_pattern(self, tree: Items) -> Callable[[Env, Any], Any]:
        """A closure that compares a tuple with a list whose unbound names it binds."""
        elements = [self._element(i) for i in tree.items]
        rest = next((n for n, i in enumerate(tree.items) if isinstance(i, Rest)), None)
        after = 0 if rest is None else len(elements) - rest - 1
        named = tree.items[rest].name if rest is not None else ""  # type: ignore[attr-defined]
        rest_slot = self.slot(named) if named else -1

        def match(env: Env, found: Any) -> Any:
            found = tuple(found) if isinstance(found, (tuple, list)) else (found,)
            if rest is None:
                if len(found) != len(elements):
                    return False
                return _each(env, elements, found)
            if len(found) < len(elements) - 1:
                return False
            middle = found[rest : len(found) - after]
            if rest_slot >= 0:
                known = env[rest_slot]
                if known is None:
                    env[rest_slot] = middle
                elif equal(known, middle) is not True:
                    return equal(known, middle)
            outer = found[:rest] + found[len(found) - after :]
            return _each(env, elements[:rest] + elements[rest + 1 :], outer)

        return match

    def _element(self, tree: Syntax) -> Callable[[Env, Any], Any]:
        if isinstance(tree, (Hole, Rest)):
            return lambda env, found: True
        if isinstance(tree, Name) and tree.name not in CONSTANTS:
            slot = self.slot(tree.name)

            def bind(env: Env, found: Any) -> Any:
                known = env[slot]
                if known is None:
                    env[slot] = found
                    return True
                return equal(known, found)

            return bind
        value = self.expression(tree)
        return lambda env, found: compare("==", value(env), found)

    def _solve(self, tree: Binary, name: str) -> Expression:
        side, other = tree.left, tree.right
        if not _mentions(side, name):
            side, other = other, side
        start = self.expression(other)
        steps: list[tuple[str, bool, Expression]] = []
        while isinstance(side, Binary):
            on_left = _mentions(side.left, name)
            steps.append((side.op, on_left, self.expression(side.right if on_left else side.left)))
            side = side.left if on_left else side.right
        return _binder(self.slot(name), lambda env: _undo(start(env), steps, env))


def _undo(found: Any, steps: list[tuple[str, bool, Expression]], env: Env) -> Any:
    """Invert nested arithmetic from the outside in: what the unbound name must be."""
    for op, on_left, operand in steps:
        known = operand(env)
        if op in "+*":
            found = arithmetic("-" if op == "+" else "/", found, known)
        elif on_left:
            found = arithmetic("+" if op == "-" else "*", found, known)
        else:
            found = arithmetic(op, known, found)
    return found


def _binder(slot: int, value: Expression) -> Expression:
    def bind(env: Env) -> Any:
        found = value(env)
        if isinstance(found, Outcome):
            return found
        known = env[slot]
        if known is None:
            env[slot] = found
            return True
        return equal(known, found)

    return bind


def _each(env: Env, elements: list[Callable[[Env, Any], Any]], found: Any) -> Any:
    answer: Any = True
    for element, one in zip(elements, found):
        result = element(env, one)
        if result is False:
            return False
        if result is not True:
            answer = ABSENT if ABSENT in (answer, result) else UNKNOWN
    return answer


def _truth(found: Any) -> Any:
    return found if isinstance(found, Outcome) else bool(found)


def _both(left: Any, right: Expression, env: Env) -> Any:
    first = _truth(left)
    if first is False:
        return False
    second = _truth(right(env))
    if second is False:
        return False
    if UNKNOWN in (first, second):
        return UNKNOWN
    return ABSENT if ABSENT in (first, second) else True


def _either(left: Any, right: Expression, env: Env) -> Any:
    first = _truth(left)
    if first is True:
        return True
    second = _truth(right(env))
    if second is True:
        return True
    if UNKNOWN in (first, second):
        return UNKNOWN
    return ABSENT if ABSENT in (first, second) else False


def holds(found: Any) -> bool:
    """Whether the outcome of a guard lets the rule pass."""
    return found is ABSENT or (found is not UNKNOWN and bool(found))

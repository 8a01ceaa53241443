"""What the conditions of a rule say about values that are still to be made.

Conditions are read as wishes: dimensions are chosen first and shared between the values that name them, ranks, types
and constants are taken from what must hold. What is not understood is left to chance; the matcher decides in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir.core import Value
from ...ir.rewrite.functions import FUNCTIONS
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
    Var,
    walk,
)
from ...ir.types import DTYPES, DType
from .choices import Choices
from .names import COMPARE, MIRROR, Names, contains
from .natives import combined, numbers_in
from .wanted import RANKS, Template, merged


@dataclass
class Facts:
    """What must hold of one value."""

    shape: Template | None = None
    ranks: tuple[int, ...] = ()
    dims: dict[int, int] = field(default_factory=dict)
    dtypes: tuple[DType, ...] = ()
    content: tuple[int, ...] | None = None
    within: tuple[int, ...] | None = None  # the shape that it must broadcast to
    numbers: list[Any] = field(default_factory=list)  # numbers that stand beside it in a condition
    must_be_const: bool = False
    looked_into: bool = False  # a native or a function of constants is asked about it


class Hints(Names):
    """The conditions of one attempt as wishes about values."""

    def __init__(
        self,
        choices: Choices,
        values: Mapping[str, Any],
        captures: Mapping[str, Any],
        natives: Mapping[str, Callable[..., Any]],
    ) -> None:
        super().__init__(choices, values, captures)
        self._natives = natives

    def facts(self, name: str, lazy: bool = False) -> Facts:
        """What is asked of the value ``%name``.

        `lazy`: names that nothing settles yet stay open, to be found in the value when it is there.
        """
        found = Facts()
        self._lazy = lazy
        for guard, names in self._active:
            if "%" + name in names and id(guard) not in self._busy:
                self._busy.add(id(guard))
                self._read(guard, name, found)
                self._busy.discard(id(guard))
        self._lazy = False
        return found

    def learn(self, name: str, value: Value) -> None:
        """Bind the names that a condition finds in the shape or the elements of a value. Raises Infeasible."""
        for guard, names in self._active:
            if "%" + name not in names or not isinstance(guard, Bind) or not isinstance(guard.value, Items):
                continue
            actual = self.known_function(guard.target)
            if isinstance(actual, tuple):
                self.unify(guard.value, actual)

    def adopt(self, name: str, shape: Template | None) -> None:
        """Bind names in the shape of a value that is to be made as it is wanted, where nothing settles them yet."""
        if shape is None:
            return
        for guard, names in self._active:
            if "%" + name not in names or not isinstance(guard, Bind) or not isinstance(guard.value, Items):
                continue
            if isinstance(guard.target, Invoke) and guard.target.name == "shape" and _asks(guard.target, name):
                self._adopt_items(guard.value.items, shape)

    def _adopt_items(self, items: tuple[Syntax, ...], shape: Template) -> None:
        rest = next((i for i, item in enumerate(items) if isinstance(item, Rest)), None)
        if (rest is None and len(items) != len(shape)) or len(shape) < len(items) - 1:
            return
        before = len(items) if rest is None else rest
        after = 0 if rest is None else len(items) - rest - 1
        pairs = [*zip(items[:before], shape), *zip(items[len(items) - after :], shape[len(shape) - after :])]
        for item, dim in pairs:
            if isinstance(item, Name) and dim is not None and item.name not in CONSTANTS:
                self.names.setdefault(item.name, dim)
        if rest is not None:
            middle = shape[before : len(shape) - after]
            named = items[rest].name  # type: ignore[attr-defined]
            if named and None not in middle:
                self.names.setdefault(named, middle)

    def numbers_for(self, capture: str) -> tuple[list[Any], list[Any], Callable[[Any], bool]]:
        """What ``$capture`` has to be one of (if anything), else numbers that conditions name beside it; and a test."""
        beside: list[Any] = []
        needed: list[Any] = []
        tests: list[Callable[[Any], bool]] = []
        for guard, names in self._active:
            if "$" + capture not in names or id(guard) in self._busy:
                continue
            self._busy.add(id(guard))
            if isinstance(guard, Binary) and guard.op in COMPARE:
                self._capture_compared(guard, capture, needed, tests)
            elif isinstance(guard, Member) and _is_capture(guard.item, capture):
                needed += [v for v in (self.value(c) for c in guard.choices) if v is not None]
            beside += literals(guard)
            beside += combined(self._of_natives(guard), literals(guard))
            self._busy.discard(id(guard))
        return needed, [] if needed else beside, lambda number: all(test(number) for test in tests)

    def _capture_compared(
        self, guard: Binary, capture: str, needed: list[Any], tests: list[Callable[[Any], bool]]
    ) -> None:
        for side, other, op in ((guard.left, guard.right, guard.op), (guard.right, guard.left, MIRROR[guard.op])):
            if not contains(side, lambda p: _is_capture(p, capture)):
                continue
            known = self.value(other)
            if known is None or isinstance(known, (tuple, str)):
                return
            if op == "==":
                solved = self.solve(side, lambda p: _is_capture(p, capture), known)
                if solved is not None:
                    needed.append(solved)
            elif _is_capture(side, capture):
                tests.append(_number_test(COMPARE[op], known))
            return

    def _of_natives(self, guard: Syntax) -> list[float]:
        names = [p.name for p in walk(guard) if isinstance(p, Invoke) and p.name in self._natives]
        return [n for name in names for n in numbers_in(self._natives[name])]

    # Reading a condition for one value

    def _read(self, guard: Syntax, name: str, found: Facts) -> None:
        if isinstance(guard, Bind):
            self._read_bind(guard, name, found)
        elif isinstance(guard, Binary) and guard.op in COMPARE:
            self._read_comparison(guard, name, found)
        elif isinstance(guard, Member):
            self._read_member(guard, name, found)
        elif isinstance(guard, Invoke):
            self._read_call(guard, name, found)

    def _read_bind(self, guard: Bind, name: str, found: Facts) -> None:
        if not isinstance(guard.value, Items) or not _asks(guard.target, name):
            found.looked_into = True
            return
        assert isinstance(guard.target, Invoke)
        if guard.target.name == "shape" and self._lazy and self._is_open(guard.value):
            self._read_ends(guard.value, found)
        elif guard.target.name == "shape":
            found.shape = merged(found.shape, self.template(guard.value, guard.place))
        elif guard.target.name == "content":
            template = self.template(guard.value, guard.place)
            label = f"content{guard.place[0]}:{guard.place[1]}"
            found.content = tuple(self._choices.dim(f"{label}.{i}") if d is None else d for i, d in enumerate(template))

    def _is_open(self, items: Items) -> bool:
        """Whether a list has a part of unknown length."""
        return any(isinstance(i, Rest) and (not i.name or i.name not in self.names) for i in items.items)

    def _read_ends(self, items: Items, found: Facts) -> None:
        """The dimensions before and after a part of unknown length."""
        rest = next(i for i, item in enumerate(items.items) if isinstance(item, Rest))
        for index, item in enumerate(items.items):
            known = None if index == rest else self.value(item)
            if isinstance(known, int):
                found.dims[index if index < rest else index - len(items.items)] = known

    def _read_comparison(self, guard: Binary, name: str, found: Facts) -> None:
        for side, other, op in ((guard.left, guard.right, guard.op), (guard.right, guard.left, MIRROR[guard.op])):
            asked = side.name if isinstance(side, Invoke) and _asks(side, name) else ""
            if asked == "rank":
                self._ranks(op, self.value(other), found)
            elif asked == "shape" and op == "==":
                shape = self.value(other)
                if isinstance(shape, tuple):
                    found.shape = merged(found.shape, shape)
            elif asked == "dtype":
                self._dtypes(op, (self.value(other),), found)
            elif asked in ("scalar", "values", "content"):
                number = self.value(other)
                found.looked_into = True
                if number is not None:
                    found.numbers += number if isinstance(number, tuple) else [number]
            elif op == "==" and contains(side, lambda p: _asks(p, name) and p.name == "dim"):  # type: ignore[attr-defined]
                self._dimension(side, other, name, found)

    def _ranks(self, op: str, number: Any, found: Facts) -> None:
        if isinstance(number, int):
            pool = found.ranks or tuple(sorted({*RANKS, number}))
            found.ranks = tuple(r for r in pool if COMPARE[op](r, number))

    def _dtypes(self, op: str, named: tuple[Any, ...], found: Facts) -> None:
        wanted = [d for d in named if isinstance(d, DType)]
        if wanted and op in ("==", "!="):
            pool = found.dtypes or DTYPES
            found.dtypes = tuple(d for d in pool if (d in wanted) == (op == "=="))

    def _dimension(self, side: Syntax, other: Syntax, name: str, found: Facts) -> None:
        call = next(p for p in walk(side) if _asks(p, name) and p.name == "dim")  # type: ignore[attr-defined]
        assert isinstance(call, Invoke)
        index, known = self.value(call.args[1]), self.value(other)
        if isinstance(index, int) and isinstance(known, int):
            solved = self.solve(side, lambda p: p is call, known)
            if isinstance(solved, int) and solved >= 0:
                found.dims[index] = solved

    def _read_member(self, guard: Member, name: str, found: Facts) -> None:
        if not _asks(guard.item, name):
            return
        assert isinstance(guard.item, Invoke)
        choices = tuple(self.value(c) for c in guard.choices)
        if guard.item.name == "dtype":
            self._dtypes("==", choices, found)
        elif guard.item.name == "rank":
            found.ranks = tuple(c for c in choices if isinstance(c, int))
        elif guard.item.name == "dim":
            index = self.value(guard.item.args[1])
            if isinstance(index, int):
                found.dims[index] = self._choices.pick(f"dim{guard.place[0]}:{guard.place[1]}", choices)
        else:
            found.numbers += [c for c in choices if c is not None]

    def _read_call(self, guard: Invoke, name: str, found: Facts) -> None:
        if guard.name in ("is_float", "is_int") and _asks(guard, name):
            pool = found.dtypes or DTYPES
            found.dtypes = tuple(d for d in pool if (d.is_float if guard.name == "is_float" else d.is_int))
        elif guard.name == "broadcasts" and _asks(guard, name):
            within = self.value(guard.args[1])
            if isinstance(within, tuple) and all(isinstance(d, int) for d in within):
                found.within = within
        elif guard.name == "const":
            found.must_be_const = True
        elif guard.name not in FUNCTIONS and guard.name != "has":
            found.looked_into = True
            found.numbers += [n for n in literals(guard) if isinstance(n, (int, float))]
            found.numbers += self._of_natives(guard)


def _number_test(compare: Callable[[Any, Any], bool], known: Any) -> Callable[[Any], bool]:
    return lambda number: not isinstance(number, (int, float)) or compare(number, known)


def literals(tree: Syntax) -> list[Any]:
    """The numbers and strings that stand in an expression."""
    return [p.value for p in walk(tree) if isinstance(p, Literal) and p.value is not None]


def _asks(tree: Syntax, name: str) -> bool:
    """Whether a tree is a function of the value ``%name``."""
    return isinstance(tree, Invoke) and bool(tree.args) and isinstance(tree.args[0], Var) and tree.args[0].name == name


def _is_capture(tree: Syntax, name: str) -> bool:
    return isinstance(tree, Capture) and tree.name == name

"""What a printer has to know before the first line: unique names, homes of constants, shared unknowns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..core import Graph, Value
from ..dims import Dim, symbol
from ..quoting import quote
from ..types import (
    MapType,
    OpaqueType,
    OptionalType,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
    render_type,
)
from ..unknowns import substitute_type, unknowns_of
from ..walk import traverse

_PLAIN = re.compile(r"[A-Za-z0-9_.\-/]+\Z")
TYPES = (TensorType, SequenceType, OptionalType, MapType, SparseTensorType, OpaqueType)


def spell_name(name: str) -> str:
    """A name of a value, graph or attribute: plain, or quoted when it holds other characters."""
    return name if _PLAIN.match(name) else quote(name)




class ValueNames(dict["Value | None", str]):
    """Printed names of values, ``%`` included, unique within one main graph or function; None is ``none``.

    A value that was never announced, as in a broken graph or a single statement, is named when asked for.
    """

    def __init__(self) -> None:
        super().__init__({None: "none"})
        self.taken: set[str] = set()
        self._next: dict[str, int] = {}

    def __missing__(self, value: Value | None) -> str:
        assert value is not None
        return self.add(value, "value")

    def add(self, value: Value, fallback: str) -> str:
        """Name a value after its hint, or after `fallback` where it has none."""
        base = name = value.hint or fallback
        if name in self.taken:
            number = self._next.get(base, 1)
            while (name := f"{base}_{number}") in self.taken:
                number += 1
            self._next[base] = number + 1
        self.taken.add(name)
        text = self[value] = "%" + (name if _PLAIN.match(name) else quote(name))
        return text


class TypeNames(dict["Type | None", str]):
    """Texts of types. Unknown dimensions are ``?``, or ``?a``, ``?b``, ... where one occurs twice."""

    def __init__(self) -> None:
        super().__init__()
        # Types without unknown dimensions, which need not be counted.
        self.known: set[Type | None] = set()
        self._unknown: dict[Type | None, list[tuple[str, bool]]] = {}
        # Whether an unknown needs a letter; None where it was only mentioned so far.
        self._lettered: dict[str, bool | None] = {}
        self._symbols: dict[str, Dim] = {}

    def count(self, type: Type | None) -> None:
        """Announce one occurrence of a type in the text, in the order of the text."""
        found = self._unknown.get(type)
        if found is None:
            found = self._unknown[type] = unknowns_of(type)
            if not found:
                self.known.add(type)
        for name, alone in found:
            # A bare `?` stands for an unknown that occurs nowhere else, and by itself.
            self._lettered[name] = self._lettered.get(name) is not None or not alone

    def mention(self, type: Type | None) -> None:
        """Announce a type that the text says once more, of a value that has its own line."""
        for name, _ in unknowns_of(type):
            self._lettered.setdefault(name)

    def __missing__(self, type: Type | None) -> str:
        if unknowns_of(type):
            if not self._symbols:
                self._assign()
            text = render_type(substitute_type(type, self._symbol))
        else:
            text = render_type(type)
        self[type] = text
        return text

    def _assign(self) -> None:
        letters = 0
        for name, lettered in self._lettered.items():
            if lettered:
                self._symbols[name] = symbol("?" + _letters(letters))
                letters += 1
            else:
                self._symbols[name] = symbol("?")

    def _symbol(self, name: str) -> Dim | None:
        if not name.startswith("?"):
            return None
        # Unknowns of types that nobody announced (a single statement) keep their own names.
        return self._symbols.get(name)


def _letters(index: int) -> str:
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


class Layout:
    """Names of the values below one root graph, and the constants that belong at the head of each graph."""

    def __init__(
        self, root: Graph, types: TypeNames, parameters: Mapping[str, Any] | None = None
    ) -> None:
        self.values = ValueNames()
        self.types = types
        self.weights: dict[Graph, list[Value]] = {}
        self._homes: dict[Value, Graph] = {}
        self._depths: dict[Graph, int] = {}
        self._path: list[Graph] = []
        for value in (parameters or {}).values():
            self._count_attribute(value)
        self._lay_out(root)
        for constant, home in self._homes.items():
            self.weights.setdefault(home, []).append(constant)

    def _lay_out(self, root: Graph) -> None:
        names, taken, homes = self.values, self.values.taken, self._homes
        add, count, known, path = names.add, self.types.count, self.types.known, self._path
        for item in traverse(root):
            if item is None:
                for value in path[-1].outputs:
                    if value.const is not None:
                        self._use(value)
                path.pop()
            elif isinstance(item, Graph):
                self._depths[item] = len(path)
                path.append(item)
                for value in item.inputs:
                    add(value, "input")
                    count(value.type)
                if item is root:
                    for value in item.outputs:
                        self.types.mention(value.type)
            else:
                for operand in item.inputs:
                    if operand is None or operand.const is None:
                        continue
                    if homes.get(operand) is not path[-1]:
                        self._use(operand)
                for value in item.outputs:
                    hint = value.hint
                    if hint and hint not in taken and _PLAIN.match(hint):
                        taken.add(hint)
                        names[value] = "%" + hint
                    elif hint or value.uses:
                        add(value, item.op.name.lower())
                    if value.type not in known:
                        count(value.type)
                if item.attrs:
                    for name in sorted(item.attrs):
                        self._count_attribute(item.attrs[name])

    def _count_attribute(self, attribute: Any) -> None:
        for item in attribute if isinstance(attribute, tuple) else (attribute,):
            if isinstance(item, TYPES):
                self.types.count(item)

    def _use(self, value: Value) -> None:
        """Note a constant, and move its home outwards until that encloses this use as well."""
        home = self._homes.get(value)
        if home is None:
            self._homes[value] = self._path[-1]
            self.values.add(value, "const")
            return
        depths, path = self._depths, self._path
        while depths[home] >= len(path) or path[depths[home]] is not home:
            assert home.parent is not None and home.parent.graph is not None
            home = home.parent.graph
        self._homes[value] = home

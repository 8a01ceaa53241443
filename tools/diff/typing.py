"""When types of two models are the same although their symbols have other names."""

from __future__ import annotations

from ...ir import dims
from ...ir.core import Graph
from ...ir.dims import Dim, symbol
from ...ir.types import TensorType, Type
from ...ir.unknowns import substitute_type, unknowns_of
from .matching import Matching


class SameTypes:
    """Compares types: symbols correspond as they do in inputs that correspond, unknown dimensions one to one."""

    def __init__(self, before: Graph, after: Graph, matching: Matching) -> None:
        self.symbols: dict[str, str] = {}
        self._back: dict[str, str] = {}
        for value in before.inputs:
            twin = matching.values.get(value)
            if twin is not None:
                self._symbols(value.type, twin.type)
        self._unknown: dict[str, str] = {}
        self._their: dict[str, str] = {}
        self._known: set[tuple[Type | None, Type | None]] = set()

    def _symbols(self, a: Type | None, b: Type | None) -> None:
        if not (isinstance(a, TensorType) and isinstance(b, TensorType)):
            return
        for x, y in zip(a.shape or (), b.shape or ()):
            if isinstance(x, Dim) and isinstance(y, Dim) and x.atom is not None and y.atom is not None:
                if not (x.atom.is_symbol and y.atom.is_symbol) or x.atom.is_unknown or y.atom.is_unknown:
                    continue
                one, other = x.atom.name, y.atom.name
                if self.symbols.get(one, other) == other and self._back.get(other, one) == one:
                    self.symbols[one], self._back[other] = other, one

    def renamed(self, type: Type | None) -> bool:
        """True if a type holds a symbol that has another name in the second model."""
        found = isinstance(type, TensorType) and type.shape is not None
        atoms = (atom for dim in (type.shape if found else ()) for atom in dims.atoms(dim))  # type: ignore[union-attr]
        return any(self.symbols.get(atom.name, atom.name) != atom.name for atom in atoms)

    def same(self, a: Type | None, b: Type | None) -> bool:
        """True if the types are one and the same, up to names of symbols and unknowns."""
        if a is b and not self.symbols and not unknowns_of(a):
            return True
        if (a, b) in self._known:
            return True
        ours, theirs = (list(dict.fromkeys(name for name, _ in unknowns_of(t))) for t in (a, b))
        if len(ours) != len(theirs):
            return False
        pairs = list(zip(ours, theirs))
        if any(self._unknown.get(x, y) != y or self._their.get(y, x) != x for x, y in pairs):
            return False
        new = dict(pairs)

        def other(name: str) -> Dim | None:
            found = new.get(name) or self.symbols.get(name)
            return None if found is None else symbol(found)

        if substitute_type(a, other) is not b:
            return False
        self._unknown.update(new)
        self._their.update((y, x) for x, y in pairs)
        self._known.add((a, b))
        return True

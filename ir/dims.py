"""Symbolic dimensions: integers, symbols, and canonical sums of products of them.

A dimension is a plain `int` or a `Dim`. Arithmetic on them gives canonical results, so that two
dimensions are provably equal exactly when they are the same object (or equal ints):

    >>> B, S = symbol("B"), symbol("S")
    >>> B * S * 2 - S * B is B * S
    True
    >>> floordiv(B * S * 64, S)
    Dim(64*B)

An unknown dimension is a fresh symbol that equals nothing but itself. Symbols stand for
integers >= 0 (ONNX allows empty tensors).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Union
from weakref import WeakValueDictionary

from .quoting import quote

DimLike = Union[int, "Dim"]
"""A dimension: a non-negative int or a symbolic `Dim`."""


class Atom:
    """A symbol, or an irreducible application such as ``floor(H,2)``; interned."""

    __slots__ = ("name", "args", "key", "__weakref__")

    def __init__(self, name: str, args: tuple[DimLike, ...], key: str) -> None:
        self.name = name
        self.args = args
        self.key = key

    @property
    def is_symbol(self) -> bool:
        return not self.args

    @property
    def is_unknown(self) -> bool:
        """True for a symbol that stands for a dimension nobody named."""
        return not self.args and self.name.startswith("?")

    def __repr__(self) -> str:
        return self.key


Monomial = tuple[Atom, ...]
Terms = tuple[tuple[Monomial, int], ...]

_symbols: WeakValueDictionary[str, Atom] = WeakValueDictionary()
_applied: WeakValueDictionary[str, Atom] = WeakValueDictionary()
_dims: WeakValueDictionary[Terms, Dim] = WeakValueDictionary()
_counter = itertools.count()
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
FUNCTIONS = ("floor", "mod", "max", "min")


class Dim:
    """A symbolic dimension: a canonical sum of integer multiples of products of atoms; interned."""

    __slots__ = ("terms", "_text", "__weakref__")

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._text = ""

    @property
    def atom(self) -> Atom | None:
        """The atom, if this dimension is just one."""
        if len(self.terms) == 1:
            monomial, coefficient = self.terms[0]
            if coefficient == 1 and len(monomial) == 1:
                return monomial[0]
        return None

    @property
    def is_unknown(self) -> bool:
        """True for a fresh symbol: a dimension about which nothing is known."""
        atom = self.atom
        return atom is not None and atom.is_unknown

    def __add__(self, other: DimLike) -> DimLike:
        if other.__class__ is int and other == 0:
            return self
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _from_terms(total)

    __radd__ = __add__

    def __mul__(self, other: DimLike) -> DimLike:
        if other.__class__ is int:
            if other == 1:
                return self
            return _from_terms({m: c * other for m, c in self.terms})
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                key = tuple(sorted(left + right, key=_atom_key))
                total[key] = total.get(key, 0) + a * b
        return _from_terms(total)

    __rmul__ = __mul__

    def __neg__(self) -> DimLike:
        return self * -1

    def __sub__(self, other: DimLike) -> DimLike:
        return self + other * -1

    def __rsub__(self, other: DimLike) -> DimLike:
        return self * -1 + other

    def __str__(self) -> str:
        if not self._text:
            self._text = render(self, str)
        return self._text

    def __repr__(self) -> str:
        return f"Dim({self})"


def _atom_key(atom: Atom) -> str:
    return atom.key


def _term_key(term: tuple[Monomial, int]) -> tuple[bool, int, list[str]]:
    # Constants last, higher degree first, then by name: the order in which people write sums.
    monomial = term[0]
    return (not monomial, -len(monomial), [a.key for a in monomial])


def _terms(dim: DimLike) -> Terms:
    if isinstance(dim, Dim):
        return dim.terms
    return (((), dim),) if dim else ()


def _from_terms(total: Mapping[Monomial, int]) -> DimLike:
    items = [(m, c) for m, c in total.items() if c]
    if not items:
        return 0
    if len(items) == 1:
        if not items[0][0]:
            return items[0][1]
    else:
        items.sort(key=_term_key)
    key = tuple(items)
    found = _dims.get(key)
    if found is None:
        found = _dims[key] = Dim(key)
    return found


def _from_atom(atom: Atom) -> Dim:
    key: Terms = (((atom,), 1),)
    found = _dims.get(key)
    if found is None:
        found = _dims[key] = Dim(key)
    return found


def symbol(name: str) -> Dim:
    """The dimension called `name`; the same object for the same name."""
    if not name:
        raise ValueError("a symbol needs a name")
    atom = _symbols.get(name)
    if atom is None:
        atom = _symbols[name] = Atom(name, (), _symbol_key(name))
    return _from_atom(atom)


def _symbol_key(name: str) -> str:
    # Keys decide the order of terms, and they name the operands of applications: a symbol called
    # "B*S" must not look like a product, and unknowns sort by age, not by the spelling of a number.
    if name[0] != "?":
        return spell(name)
    return f"?{name[1:]:0>12}" if name[1:].isdigit() else name


def fresh() -> Dim:
    """A new unknown dimension, equal to nothing but itself."""
    return symbol(f"?{next(_counter)}")


def _apply(name: str, *args: DimLike) -> Dim:
    key = f"{name}({','.join(str(a) for a in args)})"
    atom = _applied.get(key)
    if atom is None:
        atom = _applied[key] = Atom(name, args, key)
    return _from_atom(atom)


def exact_div(a: DimLike, b: DimLike) -> DimLike | None:
    """a / b where the division provably leaves no remainder and b is not the int 0, else None.

    A symbolic b is taken to be nonzero: the quotient only ever describes a size that exists.
    """
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else None
    if a is b:
        return 1
    if isinstance(a, int):
        return 0 if a == 0 else None
    divisor = _terms(b)
    if not divisor:
        return None
    if len(divisor) != 1:
        return _polynomial_div(a, b)
    monomial, coefficient = divisor[0]
    total: dict[Monomial, int] = {}
    for m, c in a.terms:
        if c % coefficient:
            return None
        rest = list(m)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        total[tuple(rest)] = c // coefficient
    return _from_terms(total)


def _polynomial_div(a: Dim, b: DimLike) -> DimLike | None:
    """Long division by a sum: (B*T + 2*B) / (T + 2) = B. None when a remainder is left."""
    lead, scale = _terms(b)[0]
    rest: DimLike = a
    quotient: DimLike = 0
    for _ in range(len(a.terms) + 1):
        if rest == 0 and isinstance(rest, int):
            return quotient
        if isinstance(rest, int):
            return None
        step = exact_div(_from_terms(dict(rest.terms[:1])), _from_terms({lead: scale}))
        if step is None:
            return None
        quotient = quotient + step
        rest = rest - step * b
    return None


def floordiv(a: DimLike, b: DimLike) -> DimLike:
    """floor(a / b). Raises ZeroDivisionError for the int divisor 0."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if isinstance(b, int) and b == 0:
        raise ZeroDivisionError("a dimension divided by zero")
    exact = exact_div(a, b)
    if exact is not None:
        return exact
    if isinstance(a, Dim) and isinstance(b, int) and b > 0:
        # floor((q*b + r) / b) = q + floor(r / b): pull out what divides evenly.
        whole = {m: c // b for m, c in a.terms if c % b == 0}
        rest = {m: c for m, c in a.terms if c % b}
        if () in rest and rest[()] not in range(b):
            whole[()] = whole.get((), 0) + rest[()] // b
            rest[()] %= b
        if any(whole.values()):
            return _from_terms(whole) + floordiv(_from_terms(rest), b)
    return _apply("floor", a, b)


def ceildiv(a: DimLike, b: DimLike) -> DimLike:
    """ceil(a / b) for a positive divisor."""
    return floordiv(a + b - 1, b)


def mod(a: DimLike, b: DimLike) -> DimLike:
    """a - b * floor(a / b). Raises ZeroDivisionError for the int divisor 0."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    if isinstance(b, int) and b == 0:
        raise ZeroDivisionError("a dimension divided by zero")
    if exact_div(a, b) is not None:
        return 0
    return _apply("mod", a, b)


def maximum(a: DimLike, b: DimLike) -> DimLike:
    if known_ge(a, b):
        return a
    if known_ge(b, a):
        return b
    return _extreme("max", a, b)


def minimum(a: DimLike, b: DimLike) -> DimLike:
    if known_ge(a, b):
        return b
    if known_ge(b, a):
        return a
    return _extreme("min", a, b)


def _extreme(name: str, a: DimLike, b: DimLike) -> DimLike:
    """max(a, b) or min(a, b), of which neither is proven: min(4, min(4, S)) and min(7, min(4, S)) are min(4, S)."""
    for one, other in ((a, b), (b, a)):
        atom = one.atom if isinstance(one, Dim) else None
        if atom is not None and atom.name == name:
            for index, arg in enumerate(atom.args):
                of = known_ge if name == "max" else _known_le
                if of(arg, other):
                    return one
                if of(other, arg):
                    return apply_function(name, [other, atom.args[1 - index]])
    return _apply(name, *sorted((a, b), key=str))


def _known_le(a: DimLike, b: DimLike) -> bool:
    return known_ge(b, a)


def lower_bound(dim: DimLike) -> int | None:
    """A proven lower bound, given that symbols are >= 0; None when unbounded below."""
    if isinstance(dim, int):
        return dim
    total = 0
    for monomial, coefficient in dim.terms:
        low = 1
        for atom in monomial:
            bound = _atom_bound(atom)
            if bound is None or bound < 0:
                return None
            low *= bound
        if not monomial:
            total += coefficient
        elif coefficient < 0:
            return None
        else:
            total += coefficient * low
    return total


def _atom_bound(atom: Atom) -> int | None:
    if not atom.args:
        return 0
    bounds = [lower_bound(a) for a in atom.args]
    known = [b for b in bounds if b is not None]
    if atom.name == "mod":
        return 0 if bounds[1] is not None and bounds[1] >= 0 else None
    if atom.name == "max":
        return max(known) if known else None
    if len(known) < 2:
        return None
    if atom.name == "min":
        return min(known)
    divisor = atom.args[1]
    if isinstance(divisor, int) and divisor > 0:
        return known[0] // divisor
    return 0 if known[0] >= 0 and known[1] >= 0 else None


def known_ge(a: DimLike, b: DimLike) -> bool:
    """True when a >= b is proven for all values of the symbols."""
    if isinstance(a, int) and isinstance(b, int):
        return a >= b
    low = lower_bound(a - b)
    return low is not None and low >= 0


def broadcast(a: DimLike, b: DimLike) -> DimLike | None:
    """The broadcast of two dimensions; None if they provably clash. Unknown outcomes are fresh."""
    if a is b or a == b or (isinstance(b, int) and b == 1):
        return a
    if isinstance(a, int):
        if a == 1:
            return b
        if isinstance(b, int):
            return None
        return a  # b is 1 or a
    if isinstance(b, int):
        return b
    return fresh()


def product(dims: tuple[DimLike, ...] | list[DimLike]) -> DimLike:
    """The product of dimensions; 1 for none."""
    total: DimLike = 1
    for d in dims:
        total = d if total.__class__ is int and total == 1 else total * d
    return total


def atoms(dim: DimLike) -> Iterator[Atom]:
    """Every atom in a dimension, arguments of applications included."""
    stack: list[DimLike] = [dim]
    while stack:
        item = stack.pop()
        if isinstance(item, Dim):
            for monomial, _ in item.terms:
                for atom in monomial:
                    yield atom
                    stack.extend(atom.args)


def substitute(dim: DimLike, of: Callable[[str], DimLike | None]) -> DimLike:
    """Replace each symbol for whose name `of` gives a dimension."""
    if isinstance(dim, int):
        return dim
    total: DimLike = 0
    changed = False
    for monomial, coefficient in dim.terms:
        term: DimLike = coefficient
        for atom in monomial:
            if atom.args:
                args = [substitute(a, of) for a in atom.args]
                new: DimLike = apply_function(atom.name, args)
            else:
                given = of(atom.name)
                new = _from_atom(atom) if given is None else given
            changed = changed or not (isinstance(new, Dim) and new.atom is atom)
            term = new * term
        total = total + term
    return total if changed else dim


def apply_function(name: str, args: list[DimLike]) -> DimLike:
    """floor, mod, max or min of two dimensions, by name. Raises KeyError for another name."""
    table = {"floor": floordiv, "mod": mod, "max": maximum, "min": minimum}
    return table[name](args[0], args[1])


def render(dim: DimLike, name_of: Callable[[Atom], str]) -> str:
    """The text of a dimension; `name_of` spells each symbol."""
    if isinstance(dim, int):
        return str(dim)
    parts: list[str] = []
    for monomial, coefficient in dim.terms:
        factors = [_render_atom(a, name_of) for a in monomial]
        magnitude = abs(coefficient)
        if magnitude != 1 or not factors:
            factors.insert(0, str(magnitude))
        sign = "-" if coefficient < 0 else "+" if parts else ""
        parts.append(sign + "*".join(factors))
    return "".join(parts)


def _render_atom(atom: Atom, name_of: Callable[[Atom], str]) -> str:
    if atom.args:
        return f"{atom.name}({','.join(render(a, name_of) for a in atom.args)})"
    return name_of(atom)


def spell(name: str) -> str:
    """A symbol's name as .gir writes it: plain, or quoted when it holds other characters."""
    if _PLAIN.match(name) and name not in FUNCTIONS:
        return name
    return quote(name)

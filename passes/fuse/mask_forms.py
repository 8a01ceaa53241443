"""What a mask of attention says: which keys a query sees, as a condition, and what the others get.

    hidden -inf unless i-j>=0 and attention_mask[b,j]==1

An additive mask has this form if its elements are 0 and one other number. The condition splits into one on the
positions i and j (causal, a window) and one on what the graph is given (padding) where it is a conjunction.
The form depends on the operators that build the mask alone, so it is kept by their structure: a model has the same
mask in every layer, where only the unknown dimensions have other names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from ...ir.core import Value
from ...ir.dims import Dim, DimLike, substitute, symbol
from ...ir.infer.base import content_of
from ...ir.rewrite import memo
from ...ir.tensor import Tensor
from ...ir.types import BOOL, TensorType
from .elements import Expr, Space, TooLarge, index_name
from .elements_operators import OPERATORS
from .elements_walk import Elements

MAX_CONE: Final = 400
_KEPT: Final = 64
_UNKNOWN: Final = re.compile(r"\?\d+")
_I, _J = symbol(index_name(2)), symbol(index_name(1))
Key = tuple[Any, ...]


class Form:
    """The form of one mask; tensors are numbers of `Cone.values`.

    `hidden` is what is added where a key is not seen (None: the mask is of type bool). `pairs` says that the
    condition is one on positions, `padding` that it is one on given values; with neither the mask hides nothing.
    """

    __slots__ = ("hidden", "text", "unknown", "pairs", "padding", "offset", "plans")

    def __init__(self, hidden: float | None, text: str, unknown: dict[str, int]) -> None:
        self.hidden = hidden
        self.unknown = unknown  # numbers of the unknown dimensions by name, as in `Cone`
        self.text = text
        self.pairs = False
        self.padding = False
        self.offset: DimLike | None = None  # where the condition on positions is j <= i + offset
        self.plans: dict[str, tuple[Any, ...]] = {}

    def offset_in(self, cone: Cone) -> DimLike | None:
        """The offset by the names of unknown dimensions in a mask of this form."""
        if self.offset is None or self.unknown.keys() == cone.unknown.keys():
            return self.offset
        names = {number: name for name, number in cone.unknown.items()}
        other = {name: symbol(names[number]) for name, number in self.unknown.items()}
        return substitute(self.offset, other.get)


class Cone:
    """The tensors that a mask is made from, the mask first, up to what is not looked into."""

    __slots__ = ("values", "key", "operands", "unknown")

    def __init__(self, root: Value) -> None:
        """Raises TooLarge where there are too many."""
        number = {root: 0}
        self.values = [root]
        self.operands: list[tuple[int, ...]] = []
        self.unknown: dict[str, int] = {}
        key: list[Any] = []
        for value in self.values:  # grows while we go
            node = value.producer
            if value.const is not None or node is None or content_of(value) is not None:
                inner = False
            else:
                inner = not node.op.domain and node.op.name in OPERATORS and not node.regions
            if not inner or node is None:
                digest = value.const.digest() if value.const is not None else None
                key.append((self._type(value), self._dims(content_of(value)), digest))
                self.operands.append(())
                continue
            places = []
            for operand in node.inputs:
                if operand is None:
                    places.append(-1)
                    continue
                found = number.get(operand)
                if found is None:
                    found = number[operand] = len(self.values)
                    self.values.append(operand)
                places.append(found)
            self.operands.append(tuple(places))
            attrs = tuple((k, a.digest() if isinstance(a, Tensor) else a) for k, a in node.attrs.items())
            key.append((node.op.name, value.index, self._type(value), attrs, tuple(places)))
            if len(self.values) > MAX_CONE:
                raise TooLarge
        self.key: Key = tuple(key)

    def _type(self, value: Value) -> Any:
        """The type of a value, with unknown dimensions by number."""
        return (value.dtype, self._dims(value.shape)) if isinstance(value.type, TensorType) else value.type

    def _dims(self, dims: Sequence[DimLike] | None) -> tuple[Any, ...] | None:
        if dims is None:
            return None
        return tuple([_UNKNOWN.sub(self._number, str(d)) if isinstance(d, Dim) else d for d in dims])

    def _number(self, found: re.Match[str]) -> str:
        name = f"?{int(found[0][1:])}"
        return f"?{self.unknown.setdefault(name, len(self.unknown))}"

    def nodes(self, *numbers: int) -> int:
        """How many operators make these tensors."""
        seen = set(numbers)
        stack = list(numbers)
        count = 0
        while stack:
            operands = self.operands[stack.pop()]
            count += bool(operands)
            for number in operands:
                if number >= 0 and number not in seen:
                    seen.add(number)
                    stack.append(number)
        return count


_forms: dict[Key, Form | None] = {}
_found = memo()


def form_of(value: Value) -> tuple[Form, Cone] | None:
    """The form of a mask; None where it is not of this kind."""
    if value in _found:
        known: tuple[Form, Cone] | None = _found[value]
        return known
    found: tuple[Form, Cone] | None = _found.keep(value, _form_of(value))
    return found


def _form_of(value: Value) -> tuple[Form, Cone] | None:
    if not isinstance(value.type, TensorType) or value.shape is None:
        return None
    try:
        cone = Cone(value)
    except TooLarge:
        return None
    if cone.key not in _forms:
        if len(_forms) >= _KEPT:
            _forms.clear()
        try:
            _forms[cone.key] = _analysed(value, cone)
        except TooLarge:
            _forms[cone.key] = None
    form = _forms[cone.key]
    return None if form is None else (form, cone)


def _analysed(root: Value, cone: Cone) -> Form | None:
    elements = Elements(root)
    space = elements.space
    tree = elements.at(root, space.indices)
    found = _seen(space, tree, root)
    if found is None:
        return None
    seen, hidden = found
    text = f"hidden {'' if hidden is None else hidden} unless {described(space, seen)}"
    form = Form(hidden, text, cone.unknown)
    pairs, padding = _projected(space, seen, False), _projected(space, seen, True)
    if space.ite(pairs, padding, space.false) is not seen:
        pairs = padding = seen  # not a conjunction of the two
    form.pairs, form.padding = pairs is not space.true, padding is not space.true
    form.offset = _offset(pairs)
    from .mask_plans import plans

    form.plans = plans(elements, root, cone, tree, (seen, pairs, padding), hidden)
    return form


def _seen(space: Space, tree: Expr, root: Value) -> tuple[Expr, float | None] | None:
    """The condition under which a key is seen, and what is added otherwise."""
    if root.dtype is BOOL:
        return tree, None
    if root.dtype is None or not root.dtype.is_float:
        return None
    hidden = {leaf.args[0] for leaf in leaves(tree) if leaf.kind == "num"} - {0.0}
    if len(hidden) > 1 or any(leaf.kind != "num" for leaf in leaves(tree)):
        return None
    lowest = min(hidden, default=0.0)
    if lowest > 0:
        return None
    return space.map(lambda leaf: space.true if leaf.args[0] == 0 else space.false, tree), lowest


def leaves(tree: Expr) -> list[Expr]:
    """The leaves of a tree, from the left."""
    found: list[Expr] = []
    stack = [tree]
    while stack:
        item = stack.pop()
        if item.kind == "if":
            stack.extend(reversed(item.args[1:]))
        else:
            found.append(item)
    return found


def _projected(space: Space, tree: Expr, given: bool) -> Expr:
    """Whether the condition can hold: as one on positions alone, or on what the graph is given alone."""
    if tree.kind != "if":
        return tree
    test, then, other = tree.args
    a, b = _projected(space, then, given), _projected(space, other, given)
    if (test.kind == "test") is given:
        return space.choose(test, a, b)
    return space.ite(a, space.true, b)


def _offset(pairs: Expr) -> DimLike | None:
    """The offset if the condition is j <= i + offset."""
    if pairs.kind != "if" or pairs.args[0].kind != "ge":
        return None
    test, then, other = pairs.args
    if then.kind != "num" or other.kind != "num":
        return None
    slack: DimLike = test.args[0] if then.args[0] else -1 - test.args[0]
    offset = slack - _I + _J
    names = (index_name(1), index_name(2))
    known = isinstance(offset, int) or not any(a.name in names for m, _ in offset.terms for a in m)
    return offset if known else None


_INDEX = re.compile(r'"\\u\{1\}(\w+)"')


def described(space: Space, tree: Expr) -> str:
    """A condition in words; tensors by name."""

    def shown(number: str) -> str:
        return space.values[int(number)].hint

    text = _INDEX.sub(r"\1", tree.key)
    # Where an axis is as long as the mask or 1, min(j,size-1) only says that it is broadcast.
    text = re.sub(r"min\(([bhij]),[^()\[\]]*-1\)", r"\1", text)
    return re.sub(r"%(\d+)\[", lambda m: f"{shown(m[1])}[", text)


def same_dim(a: DimLike, b: DimLike) -> bool:
    """Provably equal."""
    return a is b or (isinstance(a, int) and a == b)

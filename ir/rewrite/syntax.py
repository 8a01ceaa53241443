"""The syntax tree of rules: what the parser makes, what both sides of a `Rule` are.

Every object holds its place ``(line, column)`` and compares by content, the place left out. `to_plain`
and `from_plain` turn trees into lists that JSON can hold, and back.

The *core form*, which `Rule.match` and `Rule.rewrite` have, is smaller than the surface: chains are
unrolled into nested calls and definitions, uses of named patterns are replaced by their bodies, so
only `Def`, `Call`, `Either`, `Var`, `Capture`, `Literal`, `Items`, `Hole`, `Invoke` and expressions
remain. A `Var` that a `Def` of the same side defines stands for that definition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import Formatter
from typing import Any, ClassVar, Final

from ..errors import TextError

Place = tuple[int, int]
NOWHERE: Place = (0, 0)
ANY: Final = "_"  # among the ops of a call: whatever operator it is


class Syntax:
    """Base of all parts of the tree."""

    __slots__ = ("place",)
    fields: ClassVar[tuple[str, ...]] = ()

    place: Place

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            getattr(self, f) == getattr(other, f) for f in self.fields
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        inner = ", ".join(repr(getattr(self, f)) for f in self.fields)
        return f"{type(self).__name__}({inner})"


class Var(Syntax):
    """A value: ``%x``, ``%w: const``, ``%mask?`` (may be absent) or ``%a...`` (any number)."""

    __slots__ = fields = ("name", "marks", "optional", "variadic")

    def __init__(
        self,
        place: Place,
        name: str,
        marks: tuple[str, ...] = (),
        optional: bool = False,
        variadic: bool = False,
    ) -> None:
        self.place = place
        self.name = name
        self.marks = marks
        self.optional = optional
        self.variadic = variadic


class Capture(Syntax):
    """``$c``: a scalar constant, an attribute, or the name of the op that matched, as a Python value."""

    __slots__ = fields = ("name",)

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.name = name


class Literal(Syntax):
    """A number, truth value or string; None for ``none``, an operand that is left out."""

    __slots__ = fields = ("value",)

    def __init__(self, place: Place, value: Any) -> None:
        self.place = place
        self.value = value

    def __eq__(self, other: object) -> bool:
        # 1, 1.0 and True are equal in Python and mean different things here.
        return (
            isinstance(other, Literal)
            and type(other.value) is type(self.value)
            and other.value == self.value
        )

    __hash__ = None


class Hole(Syntax):
    """``_``: the piped value in a stage of a chain, elsewhere anything."""

    __slots__ = fields = ()

    def __init__(self, place: Place) -> None:
        self.place = place


class Name(Syntax):
    """A bare name: a dimension bound by a shape, or an element type such as ``f32``."""

    __slots__ = fields = ("name",)

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.name = name


class Rest(Syntax):
    """``...`` or ``L...`` in a list: any number of elements, bound as a list when named."""

    __slots__ = fields = ("name",)

    def __init__(self, place: Place, name: str = "") -> None:
        self.place = place
        self.name = name


class Items(Syntax):
    """``[a, b, ...]``."""

    __slots__ = fields = ("items",)

    def __init__(self, place: Place, items: tuple[Syntax, ...]) -> None:
        self.place = place
        self.items = items


class Binary(Syntax):
    """``a op b`` with op one of + - * / == != < <= > >= and or."""

    __slots__ = fields = ("op", "left", "right")

    def __init__(self, place: Place, op: str, left: Syntax, right: Syntax) -> None:
        self.place = place
        self.op = op
        self.left = left
        self.right = right


class Unary(Syntax):
    """``-a`` or ``not a``."""

    __slots__ = fields = ("op", "operand")

    def __init__(self, place: Place, op: str, operand: Syntax) -> None:
        self.place = place
        self.op = op
        self.operand = operand


class Member(Syntax):
    """``a in {b, c}``."""

    __slots__ = fields = ("item", "choices")

    def __init__(self, place: Place, item: Syntax, choices: tuple[Syntax, ...]) -> None:
        self.place = place
        self.item = item
        self.choices = choices


class Bind(Syntax):
    """``shape(%x) = [B, S]``, ``$c = f(%x)``, ``%v = f(%x)`` or ``N = B*S`` in a where clause."""

    __slots__ = fields = ("target", "value")

    def __init__(self, place: Place, target: Syntax, value: Syntax) -> None:
        self.place = place
        self.target = target
        self.value = value


class Invoke(Syntax):
    """``name(args)``: a built-in function, a native, or (surface form only) a named pattern."""

    __slots__ = fields = ("name", "args")

    def __init__(self, place: Place, name: str, args: tuple[Syntax, ...]) -> None:
        self.place = place
        self.name = name
        self.args = args


class Attribute(Syntax):
    """``name = value``, or ``name in {values}`` when `choices` holds more than one."""

    __slots__ = fields = ("name", "choices")

    def __init__(self, place: Place, name: str, choices: tuple[Syntax, ...]) -> None:
        self.place = place
        self.name = name
        self.choices = choices


class Call(Syntax):
    """``A|B:$op(args) {attributes}``: one application of one of `ops`.

    `ops` is empty where the op itself is a capture (``$op(...)`` on the right side; `capture` names it).
    `open` is true after ``{..., *}``: other attributes are free. `copy` names the value whose producer's
    attributes the new node takes over (``*%conv``). `optional` marks ``Op?(...)``, and on the right side
    a stage that is left out when something it names is absent. An op `ANY` stands for every operator.
    """

    __slots__ = fields = ("ops", "capture", "args", "attributes", "open", "copy", "optional")

    def __init__(
        self,
        place: Place,
        ops: tuple[str, ...],
        capture: str = "",
        args: tuple[Syntax, ...] = (),
        attributes: tuple[Attribute, ...] = (),
        open: bool = False,
        copy: str = "",
        optional: bool = False,
    ) -> None:
        self.place = place
        self.ops = ops
        self.capture = capture
        self.args = args
        self.attributes = attributes
        self.open = open
        self.copy = copy
        self.optional = optional

    def replace(self, args: tuple[Syntax, ...], optional: bool) -> Call:
        """The same call with other operands."""
        return Call(
            self.place, self.ops, self.capture, args, self.attributes, self.open, self.copy, optional
        )


class Chain(Syntax):
    """``head |> stage |> stage?``; surface form only."""

    __slots__ = fields = ("head", "stages", "optional")

    def __init__(
        self, place: Place, head: Syntax, stages: tuple[Call, ...], optional: tuple[bool, ...]
    ) -> None:
        self.place = place
        self.head = head
        self.stages = stages
        self.optional = optional


class Def(Syntax):
    """``%y = term`` or ``(%a, _, %b) = term``; an out named ``_`` is not looked at."""

    __slots__ = fields = ("outs", "term")

    def __init__(self, place: Place, outs: tuple[Var, ...], term: Syntax) -> None:
        self.place = place
        self.outs = outs
        self.term = term


class Alternative(Syntax):
    """One way to match: a term, and guards that must hold if this way is taken.

    `defs` (surface form only) are definitions local to it.
    """

    __slots__ = fields = ("term", "guards", "defs")

    def __init__(
        self,
        place: Place,
        term: Syntax,
        guards: tuple[Syntax, ...] = (),
        defs: tuple[Def, ...] = (),
    ) -> None:
        self.place = place
        self.term = term
        self.guards = guards
        self.defs = defs


class Either(Syntax):
    """Alternatives, tried in order."""

    __slots__ = fields = ("alternatives",)

    def __init__(self, place: Place, alternatives: tuple[Alternative, ...]) -> None:
        self.place = place
        self.alternatives = alternatives


class PatternDecl(Syntax):
    """``pattern name(%x, $c, D) = A | B``; parameters keep their sigils."""

    __slots__ = fields = ("name", "params", "body")

    def __init__(self, place: Place, name: str, params: tuple[str, ...], body: Either) -> None:
        self.place = place
        self.name = name
        self.params = params
        self.body = body


class Reason(Syntax):
    """Why what matched is refused: a text for `str.format`, and the names, with their sigils, that fill it."""

    __slots__ = fields = ("text", "names")

    def __init__(self, place: Place, text: str, names: tuple[str, ...]) -> None:
        self.place = place
        self.text = text
        self.names = names

    @classmethod
    def of(cls, place: Place, written: str) -> Reason:
        """From ``no {$mode} interpolation``; ``{{`` is a brace. Raises ValueError for other things in braces."""
        text = ""
        names: list[str] = []
        for literal, name, form, conversion in Formatter().parse(written):
            text += literal.replace("{", "{{").replace("}", "}}")
            if name is not None:
                if form or conversion or not re.fullmatch(r"[%$]?[A-Za-z_]\w*", name):
                    raise ValueError(f"{{{name}}} is no %value, $capture or dimension")
                text += "{}"
                names.append(name)
        return cls(place, text, tuple(names))


class RuleDecl(Syntax):
    """A rule. `headers` are (name, number or None) pairs; `doc` is None when it is missing.

    A rule that refuses has no `rewrite`.
    """

    __slots__ = fields = ("name", "doc", "headers", "match", "where", "rewrite", "refuse")

    def __init__(
        self,
        place: Place,
        name: str,
        doc: str | None,
        headers: tuple[tuple[str, Any], ...],
        match: tuple[Def, ...],
        where: tuple[Syntax, ...],
        rewrite: tuple[Def, ...],
        refuse: Reason | None = None,
    ) -> None:
        self.place = place
        self.name = name
        self.doc = doc
        self.headers = headers
        self.match = match
        self.where = where
        self.rewrite = rewrite
        self.refuse = refuse


_CLASSES: tuple[type[Syntax], ...] = (
    Var, Capture, Literal, Hole, Name, Rest, Items, Binary, Unary, Member, Bind, Invoke, Attribute,
    Call, Def, Alternative, Either, RuleDecl, Reason,
)  # fmt: skip
_CODES = {cls: code for code, cls in enumerate(_CLASSES)}


def to_plain(tree: Any) -> Any:
    """A tree as nested lists: an object is ``[code, line, column, fields...]``, a tuple ``[-1, ...]``."""
    if isinstance(tree, Syntax):
        return [
            _CODES[type(tree)],
            *tree.place,
            *(to_plain(getattr(tree, field)) for field in tree.fields),
        ]
    if isinstance(tree, tuple):
        return [-1, *(to_plain(item) for item in tree)]
    return tree


def from_plain(plain: Any) -> Any:
    """The inverse of `to_plain`. Raises IndexError or TypeError on lists that it did not write."""
    if not isinstance(plain, list):
        return plain
    code = plain[0]
    if code == -1:
        return tuple([from_plain(item) for item in plain[1:]])
    make: Any = _CLASSES[code]
    return make((plain[1], plain[2]), *[from_plain(item) for item in plain[3:]])


def children(tree: Syntax) -> list[Syntax]:
    """The direct parts of a tree, in textual order."""
    found: list[Syntax] = []
    for field in tree.fields:
        item = getattr(tree, field)
        if isinstance(item, Syntax):
            found.append(item)
        elif isinstance(item, tuple):
            found.extend(part for part in item if isinstance(part, Syntax))
    return found


def walk(tree: Syntax, guards: bool = True) -> list[Syntax]:
    """A tree and all its parts, outer before inner, in textual order; guards of alternatives if asked."""
    found: list[Syntax] = []
    stack = [tree]
    while stack:
        item = stack.pop()
        found.append(item)
        if isinstance(item, Alternative) and not guards:
            stack.append(item.term)
        else:
            stack.extend(reversed(children(item)))
    return found


def plain_name(name: str) -> str:
    """A name as its author wrote it: names that expansion made are ``~3.t`` for ``t``."""
    return name.rpartition(".")[2] if name.startswith("~") else name


def problem(message: str, source: str, place: Place) -> TextError:
    """The error for a fault of a rules text at a place."""
    return TextError(message, source=source, place=f"{place[0]}:{place[1]}")


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A suggestion to append to an error: the candidates that look like `name`, or nothing."""
    import difflib

    found = difflib.get_close_matches(name, list(candidates), 3, 0.6)
    return f"; did you mean {' or '.join(found)}?" if found else ""

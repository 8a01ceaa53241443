"""What the grammar statement.lark makes of a line: the callbacks of its parser."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..attributes import AttrRef, EmptyList, SparseTensor
from ..quoting import unquote, unquote_bytes
from ..tensor import Tensor
from ..types import (
    MapType,
    OptionalType,
    SequenceType,
    Type,
    map_type,
    opaque_type,
    optional_type,
    sequence_type,
)
from .literals import BadLiteral, parse_float, parse_literal
from .types import Fault, TypeTexts
from .weights import FORMS, Payloads, static

_INTEGER = re.compile(r"-?\d{1,19}\Z", re.ASCII)
_LIST_KINDS = frozenset(
    {"ints", "floats", "strings", "tensors", "sparse_tensors", "type_protos", "graphs"}
)
_KINDS = _LIST_KINDS | {kind[:-1] for kind in _LIST_KINDS}
_MAX_RANK = 64
_MAX_NESTING = 32


class Statement(NamedTuple):
    """A decoded node: outputs as (name or None, type), the op's key, operands, attributes, locations."""

    outputs: list[tuple[str | None, Type | None]]
    op: str
    operands: list[str]
    attributes: dict[str, Any]
    loc: tuple[str, ...]


class Signature(NamedTuple):
    """A decoded graph head.

    Inputs are (name, type, outer name, default), outputs (name, type, outer name).
    """

    name: str
    inputs: list[tuple[str, Type | None, str | None, Tensor | None]]
    outputs: list[tuple[str, Type | None, str | None]]


def text_of(token: str) -> str:
    """The string of a quoted token, or a plain name as it is."""
    if not token.startswith('"'):
        return str(token)
    try:
        return unquote(token)
    except (ValueError, OverflowError) as error:
        raise Fault(str(error), token) from None


class LineBuilder:
    """The callbacks of statement.lark; each gets the list of a rule's children."""

    def __init__(self, types: TypeTexts, payloads: Payloads) -> None:
        self.types = types
        self.payloads = payloads

    # Headers

    def version(self, items: list[Any]) -> tuple[Any, ...]:
        return ("geoc", int(items[0]))

    def ir_version(self, items: list[Any]) -> tuple[Any, ...]:
        return ("ir_version", int(items[0]))

    def opset(self, items: list[Any]) -> tuple[Any, ...]:
        return ("opset", text_of(items[0]), int(items[1]))

    def info(self, items: list[Any]) -> tuple[Any, ...]:
        name, value = items
        return ("info", text_of(name), int(value) if value.type == "INT" else text_of(value))

    def metadata(self, items: list[Any]) -> tuple[Any, ...]:
        return ("metadata", text_of(items[0]), text_of(items[1]))

    def opaque(self, items: list[Any]) -> tuple[Any, ...]:
        return ("opaque", text_of(items[0]), str(items[1]))

    def file(self, items: list[Any]) -> tuple[Any, ...]:
        return ("file", int(items[0][1:]), text_of(items[1]))

    # Graphs

    def open_graph(self, items: list[Any]) -> Signature:
        found: Signature = items[0]
        return found

    def open_function(self, items: list[Any]) -> tuple[Any, ...]:
        *names, parameters, signature = items if isinstance(items[-2], dict) else [
            *items[:-1], {}, items[-1]
        ]  # fmt: skip
        return [text_of(n) for n in names], parameters, signature

    def open_region(self, items: list[Any]) -> tuple[str, Signature]:
        return text_of(items[0]), items[1]

    def signature(self, items: list[Any]) -> Signature:
        return Signature(items[0] or "", items[1], items[2])

    def graph_name(self, items: list[Any]) -> str:
        return text_of(items[0])

    def inputs(self, items: list[Any]) -> list[Any]:
        return [item for item in items if item is not None]

    outputs = inputs

    def input(self, items: list[Any]) -> tuple[Any, ...]:
        name, type_, alias, payload = items
        if payload is not None and not isinstance(payload, Tensor):
            payload = self._payload(type_, payload)
        return str(name), _known(type_), None if alias is None else text_of(alias), payload

    def result(self, items: list[Any]) -> tuple[Any, ...]:
        name, type_, alias = items
        return str(name), _known(type_), None if alias is None else text_of(alias)

    def parameters(self, items: list[Any]) -> dict[str, Any]:
        return _unique(items)

    def parameter(self, items: list[Any]) -> tuple[str, Any]:
        return text_of(items[0]), items[1]

    def doc(self, items: list[Any]) -> str:
        return text_of(items[0])

    def meta(self, items: list[Any]) -> tuple[str | None, str, str]:
        value, key, text = items
        return None if value is None else str(value), text_of(key), text_of(text)

    # Statements

    def define_weight(self, items: list[Any]) -> tuple[str, Tensor]:
        return str(items[0]), self._payload(items[1], items[2])

    def statement(self, items: list[Any]) -> Statement:
        outputs, op, operands, attributes, loc = items
        return Statement(outputs, op, operands, attributes or {}, loc)

    def targets(self, items: list[Any]) -> list[Any]:
        return items

    def target(self, items: list[Any]) -> tuple[str | None, Type | None]:
        name, type_ = items
        return None if name.type == "ABSENT" else str(name), _known(type_)

    def op(self, items: list[Any]) -> str:
        return text_of(items[0])

    def operands(self, items: list[Any]) -> list[str]:
        return [str(item) for item in items if item is not None]

    def locations(self, items: list[Any]) -> tuple[str, ...]:
        return tuple([text_of(item) for item in items])

    # Attributes

    def attributes(self, items: list[Any]) -> dict[str, Any]:
        return _unique(items)

    def attribute(self, items: list[Any]) -> tuple[str, Any]:
        return text_of(items[0]), items[1]

    def number(self, items: list[Any]) -> int | float:
        text = str(items[0])
        if _INTEGER.match(text):
            value = int(text)
            if not -(1 << 63) <= value < 1 << 63:
                raise Fault(f"{text} does not fit an i64", text)
            return value
        if text in ("true", "false"):
            raise Fault(f"an attribute is no {text}; write 1 or 0", text)
        try:
            return parse_float(text)
        except BadLiteral as error:
            raise Fault(str(error), text) from None

    def string(self, items: list[Any]) -> str:
        return text_of(items[0])

    def raw(self, items: list[Any]) -> bytes:
        try:
            return unquote_bytes(str(items[0]))
        except ValueError as error:
            raise Fault(f"not bytes: {error}", items[0]) from None

    def items(self, items: list[Any]) -> tuple[Any, ...]:
        values = tuple([item for item in items if item is not None])
        for value in values:
            if isinstance(value, (tuple, EmptyList, AttrRef)):
                raise Fault("a list holds numbers, strings, tensors or types")
            if _kind(value) != _kind(values[0]):
                raise Fault("a list holds elements of one kind")
        return values

    def empty(self, items: list[Any]) -> EmptyList:
        kind = str(items[1])
        if kind not in _LIST_KINDS:
            raise Fault(f"{kind} is no kind of list attribute", kind)
        return EmptyList(kind)

    def reference(self, items: list[Any]) -> AttrRef:
        kind = str(items[1])
        if kind not in _KINDS:
            raise Fault(f"{kind} is no kind of attribute", kind)
        return AttrRef(text_of(items[0]), kind)

    def tensor(self, items: list[Any]) -> Tensor:
        return self._payload(items[0], items[1])

    def sparse(self, items: list[Any]) -> SparseTensor:
        values, indices, *sizes = items
        shape = tuple([int(size) for size in sizes if size is not None])
        if indices.shape not in ((values.size,), (values.size, len(shape))):
            raise Fault(f"indices {list(indices.shape)} do not fit {values.size} values")
        return SparseTensor(values, indices, shape)

    def type_value(self, items: list[Any]) -> Type:
        if items[0] is _UNKNOWN:
            raise Fault("a type attribute names a type")
        found: Type = items[0]
        return found

    # Constants

    def scalar(self, items: list[Any]) -> str:
        found: str = items[0]
        return found

    def elements(self, items: list[Any]) -> str:
        text = f"[{', '.join([str(item) for item in items])}]"
        # As a token it still knows its place.
        return items[0].update(value=text) if items else text

    def splat(self, items: list[Any]) -> str:
        token: str = items[0].update(value=f"splat({items[0]})")
        return token

    def _payload(self, type_: Any, payload: str) -> Tensor:
        """The constant of this type that a literal, or a token for data elsewhere, denotes."""
        text = str(payload)
        dtype, shape = static(_known(type_))
        if len(shape) > _MAX_RANK:
            raise Fault(f"a constant of rank {len(shape)}; at most {_MAX_RANK}")
        if text[:1] in FORMS:
            found = self.payloads.mapped(_known(type_), payload)
            assert found is not None, "the grammar lets only known forms through"
            return found
        try:
            return parse_literal(text, dtype, shape)
        except ValueError as error:
            raise Fault(str(error), payload) from None

    # Types

    def unknown_type(self, items: list[Any]) -> object:
        return _UNKNOWN

    def tensor_type(self, items: list[Any]) -> Type:
        return self.types.tensor(f"{items[0]}{items[1]}")

    def sparse_type(self, items: list[Any]) -> Type:
        return self.types.sparse(str(items[0]), str(items[1]))

    def sequence_type(self, items: list[Any]) -> Type:
        return sequence_type(_shallow(items[0]))

    def optional_type(self, items: list[Any]) -> Type:
        return optional_type(_shallow(items[0]))

    def map_type(self, items: list[Any]) -> Type:
        return map_type(self.types.dtype(str(items[0])), _shallow(items[1]))

    def opaque_type(self, items: list[Any]) -> Type:
        return opaque_type(text_of(items[0]), text_of(items[1]))


class _Unknown:
    """Stands for a type written as ``?``; lark gives None for one that is not written at all."""


_UNKNOWN = _Unknown()


def _known(type_: Any) -> Type | None:
    return None if type_ is _UNKNOWN else type_


def _shallow(type_: Any) -> Type | None:
    """An element type; types are printed and compared by recursion, so their nesting has a limit."""
    known = inner = _known(type_)
    for _ in range(_MAX_NESTING):
        if isinstance(inner, (SequenceType, OptionalType)):
            inner = inner.element
        elif isinstance(inner, MapType):
            inner = inner.value
        else:
            return known
    raise Fault(f"a type nested more than {_MAX_NESTING} deep")


def _kind(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        return "string"
    return type(value).__name__ if isinstance(value, (int, float, Tensor, SparseTensor)) else "type"


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in items:
        if name in found:
            raise Fault(f"{name} is given twice", name)
        found[name] = value
    return found

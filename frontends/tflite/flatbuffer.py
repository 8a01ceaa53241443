"""A bounded reader of flatbuffers: offsets are checked, and what is handed out is at most a multiple of the file.

    root = Table(Source(view, "model.tflite"), at=root_offset, layout=LAYOUTS["Model"])
    root["version"], [code["builtin_code"] for code in root["operator_codes"]]

A flatbuffer (https://flatbuffers.dev/internals) is tables that refer to others by offsets. A table begins with the
distance to its vtable, which has the place of each field or 0 where it has its default. Many tables may name one
long vector: a budget makes reading linear in the file's size whatever the offsets say.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...ir.errors import FormatError
from ...ir.tensor import Array

_SCALARS = {
    "bool": struct.Struct("<B"), "i8": struct.Struct("<b"), "u8": struct.Struct("<B"), "u16": struct.Struct("<H"),
    "i32": struct.Struct("<i"), "u32": struct.Struct("<I"), "u64": struct.Struct("<Q"), "f32": struct.Struct("<f"),
}  # fmt: skip
_ELEMENTS = {"i32": "<i4", "i64": "<i8", "f32": "<f4", "u8": "u1", "u16": "<u2"}
_U16, _U32, _I32 = _SCALARS["u16"], _SCALARS["u32"], _SCALARS["i32"]
# Bytes that may be read per byte of the file, beside the first million: more than any writer's sharing comes to.
_SHARED = 16
_FREE = 1 << 20


class Field(NamedTuple):
    """Where a field is and what it holds: a scalar's kind, "str", a table's name, or "[...]" of those."""

    slot: int
    kind: str
    default: float = 0


class Span(NamedTuple):
    """Bytes of the file that nobody has read yet."""

    offset: int
    length: int


class Source:
    """The bytes of one file and the budget for reading them."""

    def __init__(self, view: memoryview, name: str, layouts: Mapping[str, Mapping[str, Field]]) -> None:
        self.view = view
        self.size = len(view)
        self.name = name
        self.layouts = layouts
        self.left = _SHARED * self.size + _FREE

    def error(self, message: str, at: int) -> FormatError:
        """The error that the file contradicts its format at a byte."""
        return FormatError(message, source=self.name, place=f"byte {at}")

    def spend(self, count: int, at: int) -> None:
        """Count bytes as read. Raises FormatError when the file's parts name the same bytes over and over."""
        self.left -= count
        if self.left < 0:
            raise self.error("its tables name the same bytes too often", at)

    def scalar(self, form: struct.Struct, at: int) -> Any:
        """A number at an offset. Raises FormatError outside the file."""
        if not 0 <= at <= self.size - form.size:
            raise self.error(f"an offset leads outside the file of {self.size} bytes", at)
        return form.unpack_from(self.view, at)[0]

    def follow(self, at: int) -> int:
        """Where the unsigned offset stored at `at` leads to."""
        found: int = at + self.scalar(_U32, at)
        return found

    def span(self, at: int, width: int) -> Span:
        """The elements, of `width` bytes, of the vector that the offset at `at` leads to."""
        start = self.follow(at)
        length = width * self.scalar(_U32, start)
        if start + 4 + length > self.size:
            raise self.error(f"a vector of {length} bytes does not fit in the file of {self.size}", start)
        return Span(start + 4, length)


class Table(Mapping[str, Any]):
    """One table: its fields by name, read when asked for, their defaults where the file leaves them out.

    Vectors of numbers are arrays, those of tables lists, those of bytes `Span`; what is absent is None.
    Raises FormatError for what lies outside the file, KeyError for a name that the layout lacks.
    """

    def __init__(self, source: Source, at: int, layout: str) -> None:
        self.source = source
        self.at = at
        self.fields = source.layouts[layout]
        source.spend(8, at)
        self.vtable = at - source.scalar(_I32, at)
        self.length: int = source.scalar(_U16, self.vtable)

    def place(self, name: str) -> int | None:
        """Where a field's bytes are; None where it has its default."""
        entry = 4 + 2 * self.fields[name].slot
        if entry + 2 > self.length:
            return None
        offset = self.source.scalar(_U16, self.vtable + entry)
        return self.at + offset if offset else None

    def __getitem__(self, name: str) -> Any:
        field, at = self.fields[name], self.place(name)
        kind, source = field.kind, self.source
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            found = field.default if at is None else source.scalar(scalar, at)
            return bool(found) if kind == "bool" else found
        if at is None:
            return [] if kind.startswith("[") and kind[1:-1] in source.layouts else None
        if kind == "str":
            span = source.span(at, 1)
            source.spend(span.length, at)
            return bytes(source.view[span.offset : span.offset + span.length]).decode("utf-8", "replace")
        if kind == "bytes":
            return source.span(at, 1)
        if not kind.startswith("["):
            return Table(source, source.follow(at), kind)
        kind = kind[1:-1]
        if kind in source.layouts:
            span = source.span(at, 4)
            source.spend(span.length, at)
            return [Table(source, source.follow(p), kind) for p in range(span.offset, span.offset + span.length, 4)]
        return self._numbers(at, np.dtype(_ELEMENTS[kind]))

    def _numbers(self, at: int, dtype: np.dtype[Any]) -> Array:
        span = self.source.span(at, dtype.itemsize)
        self.source.spend(span.length, at)
        return np.frombuffer(self.source.view[span.offset : span.offset + span.length], dtype=dtype)

    def union(self, name: str, layout: str) -> Table | None:
        """The table of a union's field, whose layout its type field tells; None where it is absent."""
        at = self.place(name)
        return None if at is None else Table(self.source, self.source.follow(at), layout)

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

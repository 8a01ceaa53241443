"""Protobuf's wire format: the reader of any message from its field table.

The rules are protobuf's (https://protobuf.dev/programming-guides/encoding): the last of a repeated
scalar wins, repeated embedded messages merge, packed and unpacked elements mix, fields with an
unknown number or another wire type than the table's are kept in `unknown`, messages and groups nest
to a depth of 100. Two differences: a length may exceed 2 GB, and a name that is not UTF-8 is an
error.
"""

from __future__ import annotations

import mmap
from struct import unpack
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import FormatError
from .messages import (
    CLASSES,
    FLOAT,
    INT32,
    INT64,
    NAME,
    PACKED_32,
    PACKED_64,
    PAYLOAD,
    TEXT,
    Field,
    Message,
    Span,
)
from .varint import MASK_64, encode_varint, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    Ranges = Sequence[tuple[int, int]]
    AnyMessage = TypeVar("AnyMessage", bound=Message)

# What is indexed with an integer to an integer, and with a slice to bytes.
Buffer = bytes | mmap.mmap

MAX_DEPTH = 100
_MAX_TAG = (1 << 32) - 1


class WireReader:
    """Reads messages from one buffer; positions are byte offsets in it."""

    __slots__ = ("data", "source")

    def __init__(self, data: Buffer, source: str) -> None:
        self.data = data
        self.source = source

    def error(self, message: str, position: int) -> FormatError:
        return FormatError(message, source=self.source, place=f"byte {position}")

    def varint(self, position: int, longest: int = 10) -> tuple[int, int]:
        """The unsigned 64-bit number at `position`, and the position behind it."""
        data = self.data
        start, number, shift = position, 0, 0
        try:
            while True:
                byte = data[position]
                position += 1
                number |= (byte & 127) << shift
                if byte < 128:
                    return number & MASK_64, position
                shift += 7
                if shift == 7 * longest:
                    raise self.error(f"a number has more than {longest} bytes", start)
        except IndexError:
            raise self.error("the file ends inside a number", start) from None

    def field(self, position: int, end: int) -> tuple[int, int, int]:
        """Tag, varint value or number of bytes, and where those bytes begin, of a field.

        For a varint field the third is the position behind it. All of the field lies before `end`.
        """
        tag, start = self.varint(position, 5)
        wire = tag & 7
        size = 0
        if tag < 8 or tag > _MAX_TAG or wire in (4, 6, 7):
            raise self.error(f"no field begins with the tag {tag}", position)
        if wire == 0:
            size, start = self.varint(start)
        elif wire == 1:
            size = 8
        elif wire == 2:
            size, start = self.varint(start)
        elif wire == 3:
            size = self._group_end(tag, start, end) - start
        else:
            size = 4
        if (start if wire == 0 else start + size) > end:
            raise self.error(f"a field reaches past byte {end}, where its message ends", position)
        return tag, size, start

    def field_end(self, position: int, end: int) -> int:
        """The position behind the field at `position`."""
        tag, size, start = self.field(position, end)
        return start + size if tag & 7 else start

    def _group_end(self, tag: int, position: int, end: int) -> int:
        """The position behind the end tag of the group that `tag` opened."""
        open_groups = [tag >> 3]
        while open_groups:
            if position >= end:
                raise self.error("a group has no end", position)
            tag, behind = self.varint(position, 5)
            if tag & 7 == 3:
                open_groups.append(tag >> 3)
                if len(open_groups) > MAX_DEPTH:
                    raise self.error(f"groups nest deeper than {MAX_DEPTH}", position)
            elif tag & 7 == 4:
                if open_groups.pop() != tag >> 3:
                    raise self.error("a group ends that did not begin", position)
            else:
                behind = self.field_end(position, end)
            position = behind
        return position

    def decode(self, cls: type[AnyMessage], ranges: Ranges, depth: int) -> AnyMessage:
        """Reads the message of class `cls` whose encoding is the concatenation of `ranges`."""
        return self.message(cls, ranges, depth)

    def message(self, cls: type[AnyMessage], ranges: Ranges, depth: int) -> AnyMessage:
        """As `decode`, from the field table and nothing else."""
        values: dict[str, Any] = {}
        embedded: dict[str, list[tuple[int, int]]] = {}
        unknown = []
        table = cls.BY_NUMBER
        for position, end in ranges:
            if depth > MAX_DEPTH:
                raise self.error(f"messages nest deeper than {MAX_DEPTH}", position)
            while position < end:
                tag, size, start = self.field(position, end)
                wire = tag & 7
                behind = start + size if wire else start
                field = table.get(tag >> 3)
                if field is None or (
                    wire != field.wire and not (wire == 2 and (field.many or field.packed))
                ):
                    unknown.append(self.data[position:behind])
                    position = behind
                    continue
                if field.oneof:
                    for other in cls.FIELDS:
                        if other.oneof and other is not field:
                            values.pop(other.name, None)
                            embedded.pop(other.name, None)
                if not isinstance(field.kind, str):
                    self._scalar(field, wire, size, start, behind, values)
                elif field.many:
                    part = self.decode(CLASSES[field.kind], [(start, behind)], depth + 1)
                    values.setdefault(field.name, []).append(part)
                else:
                    embedded.setdefault(field.name, []).append((start, behind))
                position = behind
        message = cls.__new__(cls)
        message.unknown = b"".join(unknown)
        for field in cls.FIELDS:
            if field.name in embedded:
                inner = self.decode(CLASSES[str(field.kind)], embedded[field.name], depth + 1)
                setattr(message, field.name, inner)
            else:
                value = values.get(field.name, field.default)
                setattr(message, field.name, bytes(value) if type(value) is bytearray else value)
        return message

    def _scalar(
        self, field: Field, wire: int, size: int, start: int, end: int, values: dict[str, Any]
    ) -> None:
        """Adds one occurrence of a field that is no message to `values`."""
        kind, name = field.kind, field.name
        if kind == PAYLOAD:
            values[name] = Span(start, size)
        elif field.packed:
            self._packed(field, wire, size, start, values)
        elif not field.many:
            values[name] = self._single(field, size, start, end)
        elif wire == 2 and field.wire != 2:
            values.setdefault(name, []).extend(self.numbers(kind, start, end))
        else:
            values.setdefault(name, []).append(self._single(field, size, start, end))

    def _single(self, field: Field, size: int, start: int, end: int) -> Any:
        kind = field.kind
        if kind == INT64:
            return signed(size, 64)
        if kind == INT32:
            return signed(size, 32)
        content = self.data[start:end]
        if kind == FLOAT:
            return unpack("<f", content)[0]
        if kind == TEXT:
            return content.decode("utf-8", "surrogateescape")
        if kind == NAME:
            try:
                return content.decode()
            except UnicodeDecodeError:
                raise self.error(f"the {field.name} {content[:40]!r} is not UTF-8", start) from None
        return content

    def numbers(self, kind: int | str, start: int, end: int) -> list[Any]:
        """The elements of a packed field of kind INT64 or FLOAT."""
        if kind == FLOAT:
            if (end - start) % 4:
                raise self.error(
                    f"{end - start} bytes of packed floats are no multiple of 4", start
                )
            return list(unpack(f"<{(end - start) // 4}f", self.data[start:end]))
        values = []
        while start < end:
            number, start = self.varint(start)
            values.append(signed(number, 64))
        if start > end:
            raise self.error(f"a number reaches past byte {end}, where its field ends", end)
        return values

    def _packed(
        self, field: Field, wire: int, size: int, start: int, values: dict[str, Any]
    ) -> None:
        """Adds elements in packed encoding: a Span for one piece, a bytearray for more."""
        data, name = self.data, field.name
        if wire == 0:
            values[name] = joined = self._joined(values.get(name))
            joined += encode_varint(size)
            return
        self.check_packed(field, start, start + size)
        if name not in values:
            values[name] = Span(start, size)
        else:
            values[name] = joined = self._joined(values[name])
            joined += data[start : start + size]

    def check_packed(self, field: Field, start: int, end: int) -> None:
        """Raises FormatError unless whole elements lie between the two positions."""
        width = {PACKED_32: 4, PACKED_64: 8}.get(cast("int", field.kind), 1)
        if (end - start) % width or (width == 1 and end > start and self.data[end - 1] > 127):
            raise self.error(f"the last element of {field.name} is cut off", start)

    def _joined(self, value: Span | bytearray | None) -> bytearray:
        if isinstance(value, Span):
            return bytearray(self.data[value.offset : value.offset + value.length])
        return bytearray() if value is None else value

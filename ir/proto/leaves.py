"""Readers of the messages without subgraphs that a file holds by the ten thousand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .messages import (
    INT64,
    Dimension,
    Span,
    StringStringEntryProto,
    TensorProto,
    TensorShapeProto,
    TensorTypeProto,
    TypeProto,
    ValueInfoProto,
)
from .varint import signed
from .wire import WireReader

if TYPE_CHECKING:
    from .wire import Buffer

_SHARED_TYPE = 256  # bytes; longer types seldom repeat
_SHARED_ENTRY = 2048  # likewise
# Tags of packed fields of TensorProto.
_PACKED = (0x22, 0x2A, 0x3A, 0x52, 0x5A)


class LeafReader(WireReader):
    """Reads as `WireReader.message` does; see read.py for how.

    Types, dimensions and metadata whose bytes are equal become one object.
    """

    __slots__ = ("dimensions", "entries", "types")

    def __init__(self, data: Buffer, source: str) -> None:
        super().__init__(data, source)
        self.types: dict[bytes, TypeProto] = {}
        self.dimensions: dict[bytes, Dimension] = {}
        self.entries: dict[bytes, StringStringEntryProto] = {}

    def tensor(self, position: int, end: int, depth: int) -> TensorProto:
        data = self.data
        dims: list[int] = []
        name = data_type = raw_data = None
        packed: tuple[int, int, int, int] | None = None
        rest: list[tuple[int, int]] = []
        last = position
        try:
            while position < end:
                last = position
                tag = data[position]
                size = data[position + 1]
                if tag < 128 > size:
                    start = position + 2
                elif tag < 128 > data[position + 2]:
                    size += (data[position + 2] - 1) << 7
                    start = position + 3
                else:
                    tag, size, start = self.field(position, end)
                position = start + size
                if tag == 0x08:
                    dims.append(size if size < 128 else signed(size, 64))
                    position = start
                elif tag == 0x10:
                    data_type = size if size < 128 else signed(size, 32)
                    position = start
                elif tag == 0x42:
                    name = data[start:position].decode()
                elif tag == 0x4A:
                    raw_data = Span(start, size)
                elif tag == 0x0A:
                    dims += self.numbers(INT64, start, position)
                elif tag in _PACKED and packed is None and size:
                    packed = (tag, last, start, position)
                else:
                    position = self.field_end(last, end)
                    rest.append((last, position))
        except IndexError:
            raise self.error("the file ends inside a tensor", last) from None
        except UnicodeDecodeError:
            raise self.error("the name of a tensor is not UTF-8", last) from None
        if position > end:
            raise self.error(f"a field reaches past byte {end}, where its message ends", last)
        if packed is not None and rest:
            rest = sorted([*rest, (packed[1], packed[3])])  # which may hold more of it
        tensor = self.message(TensorProto, rest, depth) if rest else TensorProto()
        if packed is not None and not rest:
            tag, _, start, last = packed
            field = TensorProto.BY_NUMBER[tag >> 3]
            self.check_packed(field, start, last)
            setattr(tensor, field.name, Span(start, last - start))
        tensor.dims = dims or ()
        tensor.data_type = data_type
        tensor.name = name
        tensor.raw_data = raw_data
        return tensor

    def value_info(self, position: int, end: int, depth: int) -> ValueInfoProto:
        """Has a short cut for a name and a type, each in less than 128 bytes, and nothing else."""
        data = self.data
        try:
            name_end = position + 2 + data[position + 1] if end - position > 3 else end
            if (
                name_end + 1 < end
                and data[position] == 0x0A
                and data[name_end] == 0x12
                and name_end + 2 + data[name_end + 1] == end
                and data[position + 1] < 128 > data[name_end + 1]
            ):
                value = ValueInfoProto.__new__(ValueInfoProto)
                value.name = data[position + 2 : name_end].decode()
                value.type = self.types.get(data[name_end + 2 : end]) or self.type(
                    name_end + 2, end, depth + 1
                )
                value.doc_string = None
                value.metadata_props = ()
                value.unknown = b""
                return value
        except IndexError:
            raise self.error("the file ends inside a value_info", position) from None
        except UnicodeDecodeError:
            raise self.error("the name of a value_info is not UTF-8", position) from None
        return self.message(ValueInfoProto, [(position, end)], depth)

    def type(self, position: int, end: int, depth: int) -> TypeProto:
        if end - position > _SHARED_TYPE:
            return self.message(TypeProto, [(position, end)], depth)
        encoded = self.data[position:end]
        known = self.types.get(encoded)
        if known is None:
            known = self._tensor_type(encoded, position, depth)
            if known is None:
                known = self.message(TypeProto, [(position, end)], depth)
            self.types[encoded] = known
        return known

    def _tensor_type(self, encoded: bytes, position: int, depth: int) -> TypeProto | None:
        """The usual layout, where every length has one byte; None for all others."""
        size = len(encoded)
        if (
            not 6 <= size < 130
            or encoded[0] != 0x0A
            or encoded[1] != size - 2
            or encoded[2] != 0x08
        ):
            return None
        if encoded[3] > 127 or encoded[4] != 0x12 or encoded[5] != size - 6:
            return None
        dims = []
        start = 6
        while start < size:
            behind = start + 2 + encoded[start + 1] if start + 1 < size else size + 1
            if encoded[start] != 0x0A or behind > size:
                return None
            dim = self.dimensions.get(encoded[start + 2 : behind])
            if dim is None:
                dim = self.message(
                    Dimension, [(position + start + 2, position + behind)], depth + 3
                )
                self.dimensions[encoded[start + 2 : behind]] = dim
            dims.append(dim)
            start = behind
        shape = TensorShapeProto(dim=dims)
        return TypeProto(tensor_type=TensorTypeProto(elem_type=encoded[3], shape=shape))

    def entry(self, position: int, end: int, depth: int) -> StringStringEntryProto:
        if end - position > _SHARED_ENTRY:
            return self.message(StringStringEntryProto, [(position, end)], depth)
        encoded = self.data[position:end]
        known = self.entries.get(encoded)
        if known is None:
            known = self._usual_entry(encoded)
            if known is None:
                known = self.message(StringStringEntryProto, [(position, end)], depth)
            self.entries[encoded] = known
        return known

    def _usual_entry(self, encoded: bytes) -> StringStringEntryProto | None:
        """A key of less than 128 bytes before a value of less than 16,384; None for all others."""
        size = len(encoded)
        if size < 4 or encoded[0] != 0x0A or encoded[1] > 127:
            return None
        key_end = 2 + encoded[1]
        start = key_end + 2
        if start >= size or encoded[key_end] != 0x12:
            return None
        length = encoded[key_end + 1]
        if length > 127:
            if encoded[start] > 127:
                return None
            length += (encoded[start] - 1) << 7
            start += 1
        if start + length != size:
            return None
        entry = StringStringEntryProto.__new__(StringStringEntryProto)
        entry.key = encoded[2:key_end].decode("utf-8", "surrogateescape")
        entry.value = encoded[start:].decode("utf-8", "surrogateescape")
        entry.unknown = b""
        return entry

"""A bounded reader of flexbuffers (https://flatbuffers.dev/flexbuffers): options of custom operators.

    options = read_map(call.payload()); options["max_detections"]

A map of names to numbers, or to vectors of them; what else its values are is left out.
"""

from __future__ import annotations

import struct

from ...ir.errors import FormatError

Numbers = int | float | list[int] | list[float]
_INT, _UINT, _FLOAT, _INDIRECT, _MAP, _VECTOR, _INTS, _FLOATS, _BOOL = 1, 2, 3, (6, 7, 8), 9, 10, 11, 13, 26
_CODES = {_INT: "bhiq", _UINT: "BHIQ", _FLOAT: "-efd", _BOOL: "BHIQ"}


def read_map(data: bytes) -> dict[str, Numbers]:
    """The numbers of a map by name. Raises FormatError for what is none."""
    reader = _Reader(data)
    if len(data) < 3:
        raise reader.error()
    width, packed = data[-1], data[-2]
    if packed >> 2 != _MAP or width not in (1, 2, 4, 8):
        raise reader.error()
    return reader.map(reader.target(len(data) - 2 - width, width), 1 << (packed & 3))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = 16 * len(data)  # elements that may be read: vectors may lie in each other

    def error(self) -> FormatError:
        return FormatError("has options that are no map")

    def number(self, at: int, width: int, kind: int) -> int | float:
        """A number in place. Raises FormatError outside the data."""
        code = _CODES[kind][width.bit_length() - 1]
        self.left -= 1
        if not 0 <= at <= len(self.data) - width or code == "-" or self.left < 0:
            raise self.error()
        found: int | float = struct.unpack_from(f"<{code}", self.data, at)[0]
        return found

    def target(self, at: int, width: int) -> int:
        """Where an offset leads, which counts backwards."""
        return at - int(self.number(at, width, _UINT))

    def map(self, at: int, width: int) -> dict[str, Numbers]:
        """In front of its values are the offset and the width of its keys, and their number; behind them, types."""
        count = int(self.number(at - width, width, _UINT))
        keys, key_width = self.target(at - 3 * width, width), int(self.number(at - 2 * width, width, _UINT))
        if key_width not in (1, 2, 4, 8) or count > len(self.data):
            raise self.error()
        found = {}
        for index in range(count):
            begin = self.target(keys + index * key_width, key_width)
            end = self.data.find(b"\0", max(begin, 0))
            value = self.value(at + index * width, width, int(self.number(at + count * width + index, 1, _UINT)))
            if begin < 0 or end < 0:
                raise self.error()
            if value is not None:
                found[self.data[begin:end].decode("utf-8", "replace")] = value
        return found

    def value(self, at: int, width: int, packed: int) -> Numbers | None:
        kind, inner = packed >> 2, 1 << (packed & 3)
        if kind in _CODES:
            return self.number(at, width, kind)
        if kind in _INDIRECT:
            return self.number(self.target(at, width), inner, kind - 5)
        if kind not in (_VECTOR, *range(_INTS, _FLOATS + 1)):
            return None
        begin = self.target(at, width)
        count = int(self.number(begin - inner, inner, _UINT))
        if count > len(self.data):
            raise self.error()
        if kind != _VECTOR:
            return [self.number(begin + i * inner, inner, kind - _INTS + 1) for i in range(count)]
        types = [int(self.number(begin + count * inner + i, 1, _UINT)) for i in range(count)]
        if any(each >> 2 not in _CODES for each in types):
            return None
        return [self.number(begin + i * inner, inner, each >> 2) for i, each in enumerate(types)]

"""A GGUF file's header: metadata and the table of tensors, whose data stays in the file.

    file = read_gguf(MappedFile(path, is_model=True))
    file.metadata["general.architecture"], file.tensors["token_embd.weight"].shape

The format is that of ggml's docs/gguf.md, versions 2 and 3, little-endian. Every length is checked against the bytes
that are left before anything is made of it.
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...ir.errors import FormatError, UnsupportedModel
from ...ir.tensor import MappedFile

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_MAX_DIMS = 4
# Types of metadata by number: numpy's spelling; strings and arrays apart.
_NUMBERS = ("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?", "", "", "<u8", "<i8", "<f8")
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class Kind(NamedTuple):
    """A type of tensors: elements of a block and its bytes."""

    name: str
    elements: int
    bytes: int


# ggml.h, enum ggml_type; ggml-common.h, sizes of blocks.
KINDS = {
    0: Kind("F32", 1, 4), 1: Kind("F16", 1, 2), 2: Kind("Q4_0", 32, 18), 3: Kind("Q4_1", 32, 20),
    6: Kind("Q5_0", 32, 22), 7: Kind("Q5_1", 32, 24), 8: Kind("Q8_0", 32, 34), 10: Kind("Q2_K", 256, 84),
    11: Kind("Q3_K", 256, 110), 12: Kind("Q4_K", 256, 144), 13: Kind("Q5_K", 256, 176), 14: Kind("Q6_K", 256, 210),
    16: Kind("IQ2_XXS", 256, 66), 17: Kind("IQ2_XS", 256, 74), 18: Kind("IQ3_XXS", 256, 98), 19: Kind("IQ1_S", 256, 50),
    20: Kind("IQ4_NL", 32, 18), 21: Kind("IQ3_S", 256, 110), 22: Kind("IQ2_S", 256, 82), 23: Kind("IQ4_XS", 256, 136),
    28: Kind("F64", 1, 8), 29: Kind("IQ1_M", 256, 56), 30: Kind("BF16", 1, 2), 34: Kind("TQ1_0", 256, 54),
    35: Kind("TQ2_0", 256, 66), 39: Kind("MXFP4", 32, 17),
}  # fmt: skip


class Stored(NamedTuple):
    """A tensor of the file; `shape` as numpy has it, rows first."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes that its data takes."""
        return prod(self.shape) // self.kind.elements * self.kind.bytes


class Gguf(NamedTuple):
    """What a file says. Strings are bytes, arrays of numbers numpy arrays, arrays of strings lists."""

    file: MappedFile
    metadata: dict[str, Any]
    tensors: dict[str, Stored]


def read_gguf(file: MappedFile) -> Gguf:
    """Read the header. Raises FormatError for what is no GGUF, UnsupportedModel for one of another version."""
    reader = _Reader(file)
    if bytes(file.view[:4]) != MAGIC:
        raise reader.error("it does not begin with GGUF", 0)
    reader.at = 4
    version = reader.u32()
    if version not in _VERSIONS:
        kind = "big-endian" if version & 0xFFFF == 0 else f"version {version}"
        raise UnsupportedModel(f"it is GGUF of {kind}; read are versions 2 and 3, little-endian", source=file.path)
    tensor_count, value_count = reader.u64(), reader.u64()
    metadata: dict[str, Any] = {}
    for _ in range(value_count):
        start = reader.at
        key = reader.text("key")
        if key in metadata:
            raise reader.error(f"{key!r} is there twice", start)
        metadata[key] = reader.value(reader.u32(), key)
    table = [reader.tensor() for _ in range(_fitting(reader, tensor_count))]
    return Gguf(file, metadata, _placed(reader, table, metadata))


def _fitting(reader: _Reader, count: int) -> int:
    """A number of tensors, whose entries take 24 bytes each and more."""
    if count > (reader.file.size - reader.at) // 24:
        raise reader.error(f"{count} tensors do not fit into the file", reader.at)
    return count


def _placed(reader: _Reader, table: list[Stored], metadata: dict[str, Any]) -> dict[str, Stored]:
    """Tensors by name, with offsets in the file."""
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
        raise reader.error(f"general.alignment is {alignment!r}, not a power of two", 0)
    start = -(-reader.at // alignment) * alignment
    found: dict[str, Stored] = {}
    for entry in table:
        placed = entry._replace(offset=start + entry.offset)
        if entry.name in found:
            raise reader.error(f"tensor {entry.name!r} is there twice", reader.at)
        if entry.offset % alignment or placed.offset + placed.nbytes > reader.file.size:
            end = placed.offset + placed.nbytes
            said = f"tensor {entry.name!r} is to lie in bytes {placed.offset} to {end} of {reader.file.size}"
            raise reader.error(said, reader.at)
        found[entry.name] = placed
    return found


class _Reader:
    """A place in the file that moves on."""

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.at = 0

    def error(self, message: str, at: int) -> FormatError:
        return FormatError(message, source=self.file.path, place=f"byte {at}")

    def take(self, length: int, what: str) -> int:
        """Where `length` bytes begin; the place is behind them then."""
        at = self.at
        if length > self.file.size - at:
            raise self.error(f"{what} needs {length} bytes, {self.file.size - at} are left", at)
        self.at = at + length
        return at

    def u32(self) -> int:
        return int(_U32.unpack_from(self.file.buffer, self.take(4, "a number"))[0])

    def u64(self) -> int:
        return int(_U64.unpack_from(self.file.buffer, self.take(8, "a number"))[0])

    def string(self, what: str) -> bytes:
        length = self.u64()
        at = self.take(length, what)
        return bytes(self.file.buffer[at : at + length])

    def text(self, what: str) -> str:
        at = self.at
        try:
            return self.string(what).decode()
        except UnicodeDecodeError:
            raise self.error(f"{what} is not UTF-8", at) from None

    def value(self, kind: int, key: str) -> Any:
        """A value of metadata: a Python number, bytes, a numpy array or a list of bytes."""
        if kind == _STRING:
            return self.string(key)
        if kind == _ARRAY:
            kind, count = self.u32(), self.u64()
            return self.strings(count, key) if kind == _STRING else self.numbers(kind, count, key)
        return self.numbers(kind, 1, key)[0].item()

    def numbers(self, kind: int, count: int, key: str) -> Any:
        name = _NUMBERS[kind] if kind < len(_NUMBERS) else ""
        if not name:
            raise self.error(f"{key!r} is of type {kind}, which GGUF does not have here", self.at)
        dtype = np.dtype(name)
        at = self.take(count * dtype.itemsize, repr(key))
        return np.frombuffer(self.file.buffer, dtype, count, at)

    def strings(self, count: int, key: str) -> list[bytes]:
        """Vocabularies are long, so this is the one loop that has to be quick."""
        buffer, size, at, unpack = self.file.buffer, self.file.size, self.at, _U64.unpack_from
        if count > (size - at) // 8:
            raise self.error(f"{key!r} has {count} strings, more than fit into the file", at)
        found = []
        for _ in range(count):
            end = at + 8
            if end <= size:
                start, end = end, end + unpack(buffer, at)[0]
            if end > size:
                raise self.error(f"{key!r} ends early", at)
            found.append(buffer[start:end])
            at = end
        self.at = at
        return found

    def tensor(self) -> Stored:
        """An entry of the table; its offset counts from the data's start."""
        at = self.at
        name = self.text("a tensor's name")
        rank = self.u32()
        if rank > _MAX_DIMS:
            raise self.error(f"tensor {name!r} has {rank} dimensions", at)
        shape = tuple(self.u64() for _ in range(rank))[::-1]
        number, offset = self.u32(), self.u64()
        if number not in KINDS:
            raise UnsupportedModel(f"tensor {name!r} is of type {number}", source=self.file.path, place=f"byte {at}")
        kind = KINDS[number]
        if not shape or 0 in shape or shape[-1] % kind.elements:
            raise self.error(f"tensor {name!r} of {kind.name} has the shape {list(shape)}", at)
        return Stored(name, kind, shape, offset)

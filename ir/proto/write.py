"""Writes messages in protobuf's encoding, with the payloads of tensors beside it instead of in it.

Fields are written in the order of their numbers and unknown ones last, so equal messages give equal
bytes. As protobuf's own serializers do, repeated numbers are packed only where onnx.proto says so,
which is in TensorProto's `_data` fields. The sizes of embedded messages are known by counting
payloads without reading them: a message's header is put in front of its content when the content is
done.

`_Writer.message` writes any message from its field table; the methods beside it write the same
bytes, several times faster, for the messages that a model has by the ten thousand.
"""

from __future__ import annotations

from operator import attrgetter, is_
from struct import pack
from typing import TYPE_CHECKING, Any, cast

from ..errors import InvalidModel, UnsupportedModel
from .messages import (
    FLOAT,
    INT32,
    INT64,
    NAME,
    PAYLOAD,
    TEXT,
    AttributeProto,
    Field,
    LengthOnly,
    Message,
    ModelProto,
    NodeProto,
    Payload,
    StringStringEntryProto,
    TensorProto,
    ValueInfoProto,
)
from .varint import encode_varint
from .wire import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Chunk = bytes | memoryview | LengthOnly

_SHORT = [bytes((number,)) for number in range(128)]
_INLINE = 4096  # bytes; a payload in memory of at most this size is copied between its neighbours


def encode_model(model: ModelProto) -> list[Chunk]:
    """The file of a model as pieces to be written one after the other.

    A payload that has a `length` instead of bytes (a Span, or anything else) is in the list as it
    is, for the caller to copy from wherever its bytes are; large payloads in memory are in it as
    memoryview. Arrays are written as they lie in memory, which must be little-endian. Raises
    InvalidModel for text or numbers that the format cannot hold, UnsupportedModel for more than 100
    levels of messages.
    """
    return encode_message(model)


def encode_message(message: Message) -> list[Chunk]:
    """As `encode_model`, for any message."""
    writer = _Writer()
    writer.message(message, 0)
    return _coalesce(writer.pieces)


def total_size(chunks: Iterable[Chunk]) -> int:
    """The number of bytes in all chunks."""
    return sum(_size(chunk) for chunk in chunks)


def _size(chunk: Chunk) -> int:
    if isinstance(chunk, bytes):
        return len(chunk)
    return chunk.nbytes if isinstance(chunk, memoryview) else chunk.length


def _coalesce(pieces: Iterable[Chunk]) -> list[Chunk]:
    """The same with adjacent bytes joined."""
    chunks: list[Chunk] = []
    run: list[bytes] = []
    for piece in pieces:
        if type(piece) is bytes:
            run.append(piece)
            continue
        if run:
            chunks.append(b"".join(run))
            run = []
        chunks.append(piece)
    if run:
        chunks.append(b"".join(run))
    return chunks


class _Varints(dict[int, bytes]):
    """Varints by number, each made once."""

    __slots__ = ()

    def __missing__(self, number: int) -> bytes:
        if not -(1 << 63) <= number < 1 << 64:
            raise InvalidModel(f"{number} does not fit 64 bits")
        self[number] = encoded = encode_varint(int(number))  # numpy's integers overflow in it
        return encoded


class _Texts(dict[str, bytes]):
    """Texts as length and UTF-8, each made once: most names occur two times or more."""

    __slots__ = ()

    def __missing__(self, text: str) -> bytes:
        try:
            encoded = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise InvalidModel(f"{text!r} cannot be written as UTF-8") from None
        size = len(encoded)
        self[text] = encoded = (_SHORT[size] if size < 128 else encode_varint(size)) + encoded
        return encoded


def _floats(values: Sequence[float]) -> bytes:
    try:
        return pack(f"<{len(values)}f", *values)
    except OverflowError:
        raise InvalidModel("a float attribute does not fit 32 bits") from None


class _Writer:
    """Appends encodings to `pieces`; each method returns how many bytes it added."""

    __slots__ = ("_shared", "_texts", "_varints", "pieces")

    def __init__(self) -> None:
        self.pieces: list[Chunk] = []
        self._varints = _Varints()
        self._texts = _Texts()
        self._shared: dict[Message, bytes] = {}  # types and attributes, by identity

    def embedded(self, tag: bytes, message: Message, depth: int) -> int:
        """Adds the message as a field with this tag."""
        at = len(self.pieces)
        self.pieces.append(b"")
        size = self.message(message, depth)
        self.pieces[at] = header = tag + self._varints[size]
        return len(header) + size

    def message(self, message: Message, depth: int) -> int:
        """Adds the fields of any message, going by its field table and nothing else."""
        if depth > MAX_DEPTH:
            raise UnsupportedModel(
                f"its messages nest deeper than {MAX_DEPTH}, which ONNX files cannot hold"
            )
        total = 0
        for field in message.FIELDS:
            value = getattr(message, field.name)
            if value is None or (field.many and not len(value)):
                continue
            if isinstance(field.kind, str):
                add = _FAST.get(field.kind, _Writer.embedded)
                for part in value if field.many else (value,):
                    total += add(self, field.tag, part, depth + 1)
            elif field.kind == PAYLOAD or field.packed:
                total += self.payload(field.tag, value)
            else:
                total += self._add(self._scalars(field, value))
        return total + self._add(message.unknown)

    def _add(self, encoded: bytes) -> int:
        if encoded:
            self.pieces.append(encoded)
        return len(encoded)

    def payload(self, tag: bytes, payload: Payload) -> int:
        if isinstance(payload, (bytes, bytearray, memoryview)):
            view = memoryview(payload).cast("B") if len(payload) else memoryview(b"")
        elif hasattr(payload, "length"):
            header = tag + self._varints[payload.length]
            self.pieces += (header, cast("LengthOnly", payload))
            return len(header) + payload.length
        else:
            array = cast("Any", payload).reshape(-1)
            if not array.flags.c_contiguous:
                array = array.copy()
            view = memoryview(array.view("u1"))
        header = tag + self._varints[view.nbytes]
        self.pieces += (header, view.tobytes() if view.nbytes <= _INLINE else view)
        return len(header) + view.nbytes

    def _scalars(self, field: Field, value: Any) -> bytes:
        tag, kind = field.tag, field.kind
        values = value if field.many else (value,)
        if kind in (INT64, INT32):
            varints = self._varints
            return b"".join([tag + varints[number] for number in values])
        if kind in (TEXT, NAME):
            texts = self._texts
            return b"".join([tag + texts[text] for text in values])
        if kind == FLOAT:
            width = len(tag) + 4
            packed = _floats(values)
            encoded = bytearray((tag + b"\0\0\0\0") * len(values))
            for index in range(4):
                encoded[len(tag) + index :: width] = packed[index::4]
            return bytes(encoded)
        return b"".join([tag + self._varints[len(content)] + content for content in values])

    def node(self, tag: bytes, node: NodeProto, depth: int) -> int:
        pieces, texts = self.pieces, self._texts
        parts = [b"\x0a" + texts[name] for name in node.input]
        for name in node.output:
            parts.append(b"\x12" + texts[name])
        if node.name is not None:
            parts.append(b"\x1a" + texts[node.name])
        if node.op_type is not None:
            parts.append(b"\x22" + texts[node.op_type])
        at = len(pieces)
        head = b"".join(parts)
        size = len(head)
        for attribute in node.attribute:
            size += self.attribute(b"\x2a", attribute, depth + 1)
        if node.doc_string is not None:
            size += self._add(b"\x32" + texts[node.doc_string])
        if node.domain is not None:
            size += self._add(b"\x3a" + texts[node.domain])
        if node.overload is not None:
            size += self._add(b"\x42" + texts[node.overload])
        for entry in node.metadata_props:
            size += self.entry(b"\x4a", entry, depth + 1)
        for configuration in node.device_configurations:
            size += self._add(b"\x52" + self._varints[len(configuration)] + configuration)
        if node.unknown:
            size += self._add(node.unknown)
        header = tag + self._varints[size]
        if len(pieces) == at:
            pieces.append(header + head)
        else:
            pieces.insert(at, header + head)
        return len(header) + size

    def attribute(self, tag: bytes, attribute: AttributeProto, depth: int) -> int:
        """Adds one without payloads as a single piece, for use at its other places."""
        encoded = self._shared.get(attribute)
        if encoded is None:
            if attribute.t is not None or attribute.g is not None or attribute.tensors:
                return self.embedded(tag, attribute, depth)
            if attribute.graphs or attribute.sparse_tensor is not None or attribute.sparse_tensors:
                return self.embedded(tag, attribute, depth)
            encoded = self._whole(tag, attribute, depth)
        self.pieces.append(encoded)
        return len(encoded)

    def _whole(self, tag: bytes, message: Message, depth: int) -> bytes:
        """The field as a single piece, made once for each object."""
        pieces, self.pieces = self.pieces, []
        self.embedded(tag, message, depth)
        self._shared[message] = encoded = b"".join(cast("list[bytes]", self.pieces))
        self.pieces = pieces
        return encoded

    def entry(self, tag: bytes, entry: StringStringEntryProto, depth: int) -> int:
        if entry.key is None or entry.value is None or entry.unknown:
            return self.embedded(tag, entry, depth)
        content = b"\x0a" + self._texts[entry.key] + b"\x12" + self._texts[entry.value]
        return self._add(tag + self._varints[len(content)] + content)

    def tensor(self, tag: bytes, tensor: TensorProto, depth: int) -> int:
        """Has a short cut for the fields of a plain constant: dims, data_type, name, raw_data."""
        data_type, raw_data = tensor.data_type, tensor.raw_data
        if data_type is None or raw_data is None or tensor.unknown:
            return self.embedded(tag, tensor, depth)
        if not all(map(is_, _rare_in_tensors(tensor), _NOT_SET)):
            return self.embedded(tag, tensor, depth)
        varints = self._varints
        parts = [b"\x08" + varints[dim] for dim in tensor.dims]
        parts += (b"\x10", varints[data_type])
        if tensor.name is not None:
            parts += (b"\x42", self._texts[tensor.name])
        head = b"".join(parts)
        at = len(self.pieces)
        size = len(head) + self.payload(b"\x4a", raw_data)
        header = tag + varints[size]
        self.pieces[at] = header + head + cast("bytes", self.pieces[at])
        return len(header) + size

    def value_info(self, tag: bytes, value: ValueInfoProto, depth: int) -> int:
        """Has a short cut for a name and a type."""
        if value.name is None or value.type is None or value.doc_string is not None:
            return self.embedded(tag, value, depth)
        if value.metadata_props or value.unknown:
            return self.embedded(tag, value, depth)
        encoded = self._shared.get(value.type) or self._whole(b"\x12", value.type, depth + 1)
        content = b"\x0a" + self._texts[value.name] + encoded
        content = tag + self._varints[len(content)] + content
        self.pieces.append(content)
        return len(content)


_FAST: dict[int | str, Callable[[_Writer, bytes, Any, int], int]] = {
    "NodeProto": _Writer.node,
    "AttributeProto": _Writer.attribute,
    "StringStringEntryProto": _Writer.entry,
    "TensorProto": _Writer.tensor,
    "ValueInfoProto": _Writer.value_info,
}
_RARE_IN_TENSORS = [
    field
    for field in TensorProto.FIELDS
    if field.name not in ("dims", "data_type", "name", "raw_data")
]
_rare_in_tensors = attrgetter(*(field.name for field in _RARE_IN_TENSORS))
_NOT_SET = tuple(field.default for field in _RARE_IN_TENSORS)

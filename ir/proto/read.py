"""Reads ONNX's protobuf encoding from a buffer; payloads of tensors stay where they are, as Span.

`WireReader` reads any message from its field table. The methods here read the same, several times
faster, where a file holds messages by the ten thousand: each has a loop over the fields that are
common in its class, with a short cut for tags of one byte and lengths of one or two, and leaves the
remaining fields to the table (`rest`). A length from the short cut is not compared with the end of
the message at once: the loop ends behind that end, and the message is refused there, after 16 kB
too many at the most.
"""

from __future__ import annotations

import mmap
from struct import iter_unpack, unpack
from typing import TYPE_CHECKING, Any, cast

from ..collector import paused_collector
from .leaves import LeafReader
from .messages import (
    FLOAT,
    INT64,
    AttributeProto,
    GraphProto,
    Message,
    ModelProto,
    NodeProto,
    StringStringEntryProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
)
from .varint import signed
from .wire import MAX_DEPTH, Buffer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from .wire import Ranges

    AnyMessage = TypeVar("AnyMessage", bound=Message)

_SHARED_ATTRIBUTE = 64  # bytes; longer attributes seldom repeat
_SMALL = (
    16 << 20
)  # a memoryview of a part of something is copied up to this size: bytes are read faster
_RUN = 4096  # elements of a repeated float that are looked at together


def read_model(data: bytes | memoryview | mmap.mmap, source: str = "") -> ModelProto:
    """Reads a model. The spans in it count bytes of `data`, which is needed for nothing else.

    Raises FormatError, with `source` and the byte where it went wrong, for anything that is not
    such a model.
    """
    return read_message(ModelProto, data, source)


def read_tensor(data: bytes | memoryview | mmap.mmap, source: str = "") -> TensorProto:
    """Reads a single TensorProto (a `.pb` file); otherwise as `read_model`."""
    return read_message(TensorProto, data, source)


def read_message(
    cls: type[AnyMessage], data: bytes | memoryview | mmap.mmap, source: str = ""
) -> AnyMessage:
    """Reads a message of class `cls`; otherwise as `read_model`."""
    buffer, size = _indexable(data)
    with paused_collector():
        return _Reader(buffer, source).decode(cls, [(0, size)], 0)


class _View:
    """A memoryview whose slices are bytes, which bytes and mmap objects have by themselves."""

    __slots__ = ("view",)

    def __init__(self, view: memoryview) -> None:
        self.view = view

    def __getitem__(self, key: Any) -> Any:
        part = self.view[key]
        return part if type(part) is int else bytes(part)


def _indexable(data: bytes | memoryview | mmap.mmap) -> tuple[Buffer, int]:
    if not isinstance(data, memoryview):
        return data, len(data)
    whole = data.obj
    if isinstance(whole, (bytes, mmap.mmap)) and len(whole) == data.nbytes and data.c_contiguous:
        return whole, len(whole)
    if data.nbytes <= _SMALL:
        return data.tobytes(), data.nbytes
    return cast("Buffer", _View(data.cast("B"))), data.nbytes


class _Reader(LeafReader):
    """Short attributes whose bytes are equal become one object."""

    __slots__ = ("attributes",)

    def __init__(self, data: Buffer, source: str) -> None:
        super().__init__(data, source)
        self.attributes: dict[bytes, AttributeProto] = {}

    def decode(self, cls: type[AnyMessage], ranges: Ranges, depth: int) -> AnyMessage:
        fast = _FAST.get(cls)
        if fast is None or len(ranges) != 1:
            return self.message(cls, ranges, depth)
        return cast("AnyMessage", fast(self, *ranges[0], depth))

    def graph(self, position: int, end: int, depth: int) -> GraphProto:
        if depth > MAX_DEPTH:
            raise self.error(f"messages nest deeper than {MAX_DEPTH}", position)
        data, node, tensor, value_info = self.data, self.node, self.tensor, self.value_info
        nodes: list[NodeProto] = []
        tensors: list[TensorProto] = []
        inputs: list[ValueInfoProto] = []
        outputs: list[ValueInfoProto] = []
        values: list[ValueInfoProto] = []
        rest: list[tuple[int, int]] = []
        inner = depth + 1
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
                if tag == 0x0A:
                    nodes.append(node(start, position, inner))
                elif tag == 0x6A:
                    values.append(value_info(start, position, inner))
                elif tag == 0x2A:
                    tensors.append(tensor(start, position, inner))
                elif tag == 0x5A:
                    inputs.append(value_info(start, position, inner))
                elif tag == 0x62:
                    outputs.append(value_info(start, position, inner))
                else:
                    position = self.field_end(last, end)
                    rest.append((last, position))
        except IndexError:
            raise self.error("the file ends inside a graph", last) from None
        if position > end:
            raise self.error(f"a field reaches past byte {end}, where its message ends", last)
        graph = self.message(GraphProto, rest, depth)
        graph.node = nodes or ()
        graph.initializer = tensors or ()
        graph.input = inputs or ()
        graph.output = outputs or ()
        graph.value_info = values or ()
        return graph

    def node(self, position: int, end: int, depth: int) -> NodeProto:
        data, shared = self.data, self.attributes
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: list[AttributeProto] = []
        metadata: list[StringStringEntryProto] = []
        name = op_type = domain = None
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
                if tag == 0x0A:
                    inputs.append(data[start:position].decode())
                elif tag == 0x12:
                    outputs.append(data[start:position].decode())
                elif tag == 0x1A:
                    name = data[start:position].decode()
                elif tag == 0x22:
                    op_type = data[start:position].decode()
                elif tag == 0x2A:
                    attribute = (
                        shared.get(data[start:position]) if size <= _SHARED_ATTRIBUTE else None
                    )
                    attributes.append(attribute or self.attribute(start, position, depth + 1))
                elif tag == 0x3A:
                    domain = data[start:position].decode()
                elif tag == 0x4A:
                    metadata.append(self.entry(start, position, depth + 1))
                else:
                    position = self.field_end(last, end)
                    rest.append((last, position))
        except IndexError:
            raise self.error("the file ends inside a node", last) from None
        except UnicodeDecodeError:
            raise self.error("a name in a node is not UTF-8", last) from None
        if position > end:
            raise self.error(f"a field reaches past byte {end}, where its message ends", last)
        if rest:
            node = self.message(NodeProto, rest, depth)
        else:
            node = NodeProto.__new__(NodeProto)
            node.doc_string = node.overload = None
            node.device_configurations = ()
            node.unknown = b""
        node.input = inputs or ()
        node.output = outputs or ()
        node.name = name
        node.op_type = op_type
        node.attribute = attributes or ()
        node.domain = domain
        node.metadata_props = metadata or ()
        return node

    def attribute(self, position: int, end: int, depth: int) -> AttributeProto:
        data = self.data
        begin = last = position
        name = f = i = s = kind = None
        tensor: tuple[int, int, int] | None = None
        ints: list[int] = []
        floats: list[float] = []
        rest: list[tuple[int, int]] = []
        try:
            while position < end:
                last = position
                tag = data[position]
                size = data[position + 1]
                if tag < 128 > size:
                    start = position + 2
                elif tag == 0xA0 and size == 1 and data[position + 2] < 128:
                    kind = data[position + 2]
                    position += 3
                    continue
                elif tag < 128 > data[position + 2]:
                    size += (data[position + 2] - 1) << 7
                    start = position + 3
                else:
                    tag, size, start = self.field(position, end)
                position = start + size
                if tag == 0x0A:
                    name = data[start:position].decode()
                elif tag == 0x40:
                    ints.append(size if size < 128 else signed(size, 64))
                    position = start
                elif tag == 0x18:
                    i = size if size < 128 else signed(size, 64)
                    position = start
                elif tag == 0x22:
                    s = data[start:position]
                elif tag == 0x15:
                    start = self.field(last, end)[2]
                    position = start + 4
                    f = unpack("<f", data[start:position])[0]
                elif tag == 0x3D:
                    position = self._floats(last, end, floats)
                elif tag == 0x2A and tensor is None:
                    tensor = (last, start, position)
                elif tag == 0x42:
                    ints += self.numbers(INT64, start, position)
                elif tag == 0x3A:
                    floats += self.numbers(FLOAT, start, position)
                else:
                    position = self.field_end(last, end)
                    rest.append((last, position))
        except IndexError:
            raise self.error("the file ends inside an attribute", last) from None
        except UnicodeDecodeError:
            raise self.error("the name of an attribute is not UTF-8", last) from None
        if position > end:
            raise self.error(f"a field reaches past byte {end}, where its message ends", last)
        if rest:
            if tensor is not None:
                rest = sorted([*rest, (tensor[0], tensor[2])])  # which may hold more of it
            attribute = self.message(AttributeProto, rest, depth)
        else:
            attribute = AttributeProto()
            if tensor is not None:
                attribute.t = self.tensor(tensor[1], tensor[2], depth + 1)
            elif end - begin <= _SHARED_ATTRIBUTE:
                self.attributes[data[begin:end]] = attribute
        attribute.name = name
        attribute.f = f
        attribute.i = i
        attribute.s = s
        attribute.type = kind
        attribute.ints = ints or ()
        attribute.floats = floats or ()
        return attribute

    def _floats(self, position: int, end: int, floats: list[float]) -> int:
        """Appends the run of unpacked floats at `position`; returns the position behind it."""
        run = self.data[position : min(end, position + 5 * _RUN)]
        count = min(len(run) // 5, len(run[::5]) - len(run[::5].lstrip(b"\x3d")))
        if count == 0:  # cut off, or with a tag that takes more bytes than needed
            start = self.field(position, end)[2]
            floats += self.numbers(FLOAT, start, start + 4)
            return start + 4
        floats += [number for (number,) in iter_unpack("<xf", run[: 5 * count])]
        return position + 5 * count


_FAST: dict[type[Message], Callable[[_Reader, int, int, int], Message]] = {
    GraphProto: _Reader.graph,
    NodeProto: _Reader.node,
    AttributeProto: _Reader.attribute,
    TensorProto: _Reader.tensor,
    ValueInfoProto: _Reader.value_info,
    TypeProto: _Reader.type,
    StringStringEntryProto: _Reader.entry,
}

"""The messages of an ONNX file as plain objects: those of onnx.proto at IR version 14.

A class body is the field table: `many(number, kind)` is a repeated field, `one(number, kind)` an
optional one. Reader and writer are driven by these tables, and the constructors take the fields as
keywords.

- An absent optional field is None (so presence survives); an absent repeated field is an empty
  sequence.
- Objects that come from a reader are shared where their bytes are equal (types, small attributes):
  never change one in place, replace it.
- `unknown` holds the encoded fields that the table does not know; the writer appends them to the
  message.
- Text is str. Bytes that are not UTF-8 are refused in names (kind NAME) and kept as surrogate
  escapes in prose (kind TEXT). Enumerations are plain integers and may have any value.
- Fields of kind OPAQUE are messages that nobody here looks into; they stay encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from .varint import encode_varint

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Any:
        return lambda cls: cls


INT64, INT32, FLOAT, NAME, TEXT, BYTES, OPAQUE, PAYLOAD, PACKED_VARINT, PACKED_32, PACKED_64 = (
    range(11)
)

# The wire type of one element of each kind; a message's is 2.
WIRE = (0, 0, 5, 2, 2, 2, 2, 2, 0, 5, 1)


class Span:
    """`length` bytes at `offset` of the buffer that a message was read from."""

    __slots__ = ("length", "offset")

    def __init__(self, offset: int, length: int) -> None:
        self.offset = offset
        self.length = length

    def __repr__(self) -> str:
        return f"Span({self.offset}, {self.length})"


class LengthOnly(Protocol):
    """A payload whose bytes are elsewhere, such as a Span: the writer needs its length alone."""

    @property
    def length(self) -> int: ...


class InMemory(Protocol):
    """A payload with contiguous bytes, such as a numpy array."""

    @property
    def nbytes(self) -> int: ...


Payload = bytes | bytearray | memoryview | LengthOnly | InMemory


class Field:
    """A row of a field table. `kind` is one of the constants above, or a message class's name."""

    __slots__ = ("default", "kind", "many", "name", "number", "oneof", "packed", "tag", "wire")

    def __init__(self, number: int, kind: int | str, many: bool, oneof: bool) -> None:
        self.number = number
        self.kind = kind
        self.many = many
        self.oneof = oneof
        self.name = ""
        self.wire = 2 if isinstance(kind, str) else WIRE[kind]  # of a single element
        self.packed = kind in (PACKED_VARINT, PACKED_32, PACKED_64)
        self.tag = encode_varint(number << 3 | (2 if self.packed else self.wire))  # as written
        self.default: Any = () if many else None


def one(number: int, kind: int | str, *, default: Any, oneof: bool = False) -> Any:
    """An optional field. At most one of those marked `oneof` in a message is set: the last read."""
    return Field(number, kind, False, oneof)


def many(number: int, kind: int | str, *, default: Any) -> Any:
    """A repeated field."""
    return Field(number, kind, True, False)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(one, many))
class MessageType(type):
    """Turns the fields of a class body into `__slots__`, FIELDS (by number) and BY_NUMBER."""

    FIELDS: tuple[Field, ...]
    BY_NUMBER: dict[int, Field]

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> MessageType:
        fields = [item for item in body.items() if isinstance(item[1], Field)]
        for field_name, field in fields:
            field.name = field_name
            del body[field_name]
        if bases:
            body["__slots__"] = tuple(field_name for field_name, _ in fields)
        cls = super().__new__(mcs, name, bases, body)
        cls.FIELDS = tuple(sorted((field for _, field in fields), key=lambda field: field.number))
        cls.BY_NUMBER = {field.number: field for field in cls.FIELDS}
        return cls


class Message(metaclass=MessageType):
    """Base of all messages. Compares by identity."""

    __slots__ = ("unknown",)
    FIELDS: ClassVar[tuple[Field, ...]]
    BY_NUMBER: ClassVar[dict[int, Field]]
    if TYPE_CHECKING:
        unknown: bytes = b""

    def __init__(self, **values: Any) -> None:
        # Compiled at the first use of each class: a loop over the fields takes four times as long.
        cls = type(self)
        names = [field.name for field in cls.FIELDS]
        keywords = ", ".join(f"{field.name}={field.default!r}" for field in cls.FIELDS)
        lines = [f"def __init__(self, {keywords}, unknown=b''):"]
        lines += [f"    self.{name} = {name}" for name in [*names, "unknown"]]
        scope: dict[str, Any] = {}
        exec("\n".join(lines), scope)
        cls.__init__ = scope["__init__"]  # type: ignore[method-assign]
        scope["__init__"](self, **values)

    def __repr__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in self.FIELDS)
        shown = [f"{name}={value!r}" for name, value in values if value is not None and value != ()]
        return f"{type(self).__name__}({', '.join(shown)})"


AnyMessage = TypeVar("AnyMessage", bound=Message)


def changed(message: AnyMessage, **fields: Any) -> AnyMessage:
    """The message with other fields; the given one may be shared, and stays as it is."""
    kept = {field.name: getattr(message, field.name) for field in message.FIELDS}
    return type(message)(**{**kept, "unknown": message.unknown, **fields})


class StringStringEntryProto(Message):
    key: str | None = one(1, TEXT, default=None)
    value: str | None = one(2, TEXT, default=None)


class OperatorSetIdProto(Message):
    domain: str | None = one(1, NAME, default=None)
    version: int | None = one(2, INT64, default=None)


class Dimension(Message):
    """TensorShapeProto.Dimension: a known size, a named one, or (neither set) an unknown one."""

    dim_value: int | None = one(1, INT64, default=None, oneof=True)
    dim_param: str | None = one(2, NAME, default=None, oneof=True)
    denotation: str | None = one(3, TEXT, default=None)


class TensorShapeProto(Message):
    dim: Sequence[Dimension] = many(1, "Dimension", default=())


class TensorTypeProto(Message):
    """TypeProto.Tensor. `shape` None is an unknown rank."""

    elem_type: int | None = one(1, INT32, default=None)
    shape: TensorShapeProto | None = one(2, "TensorShapeProto", default=None)


class SequenceTypeProto(Message):
    """TypeProto.Sequence."""

    elem_type: TypeProto | None = one(1, "TypeProto", default=None)


class MapTypeProto(Message):
    """TypeProto.Map."""

    key_type: int | None = one(1, INT32, default=None)
    value_type: TypeProto | None = one(2, "TypeProto", default=None)


class OptionalTypeProto(Message):
    """TypeProto.Optional."""

    elem_type: TypeProto | None = one(1, "TypeProto", default=None)


class SparseTensorTypeProto(Message):
    """TypeProto.SparseTensor."""

    elem_type: int | None = one(1, INT32, default=None)
    shape: TensorShapeProto | None = one(2, "TensorShapeProto", default=None)


class OpaqueTypeProto(Message):
    """TypeProto.Opaque."""

    domain: str | None = one(1, NAME, default=None)
    name: str | None = one(2, NAME, default=None)


class TypeProto(Message):
    """At most one of the `_type` fields is set."""

    tensor_type: TensorTypeProto | None = one(1, "TensorTypeProto", default=None, oneof=True)
    sequence_type: SequenceTypeProto | None = one(4, "SequenceTypeProto", default=None, oneof=True)
    map_type: MapTypeProto | None = one(5, "MapTypeProto", default=None, oneof=True)
    denotation: str | None = one(6, TEXT, default=None)
    opaque_type: OpaqueTypeProto | None = one(7, "OpaqueTypeProto", default=None, oneof=True)
    sparse_tensor_type: SparseTensorTypeProto | None = one(
        8, "SparseTensorTypeProto", default=None, oneof=True
    )
    optional_type: OptionalTypeProto | None = one(9, "OptionalTypeProto", default=None, oneof=True)


class ValueInfoProto(Message):
    name: str | None = one(1, NAME, default=None)
    type: TypeProto | None = one(2, "TypeProto", default=None)
    doc_string: str | None = one(3, TEXT, default=None)
    metadata_props: Sequence[StringStringEntryProto] = many(4, "StringStringEntryProto", default=())


class Segment(Message):
    """TensorProto.Segment."""

    begin: int | None = one(1, INT64, default=None)
    end: int | None = one(2, INT64, default=None)


class TensorProto(Message):
    """A constant. A reader records `raw_data` and numeric `_data` as Span and copies nothing.

    The numeric `_data` fields hold the packed protobuf encoding: little-endian floats, or varints.
    `packed.unpack` makes an array of them. They are bytes instead of a Span where the file stores
    them in several pieces.
    """

    dims: Sequence[int] = many(1, INT64, default=())
    data_type: int | None = one(2, INT32, default=None)
    segment: Segment | None = one(3, "Segment", default=None)
    float_data: Payload | None = one(4, PACKED_32, default=None)
    int32_data: Payload | None = one(5, PACKED_VARINT, default=None)
    string_data: Sequence[bytes] = many(6, BYTES, default=())
    int64_data: Payload | None = one(7, PACKED_VARINT, default=None)
    name: str | None = one(8, NAME, default=None)
    raw_data: Payload | None = one(9, PAYLOAD, default=None)
    double_data: Payload | None = one(10, PACKED_64, default=None)
    uint64_data: Payload | None = one(11, PACKED_VARINT, default=None)
    doc_string: str | None = one(12, TEXT, default=None)
    external_data: Sequence[StringStringEntryProto] = many(13, "StringStringEntryProto", default=())
    data_location: int | None = one(14, INT32, default=None)
    metadata_props: Sequence[StringStringEntryProto] = many(
        16, "StringStringEntryProto", default=()
    )


class SparseTensorProto(Message):
    values: TensorProto | None = one(1, "TensorProto", default=None)
    indices: TensorProto | None = one(2, "TensorProto", default=None)
    dims: Sequence[int] = many(3, INT64, default=())


class AttributeProto(Message):
    """`type` says which field holds the value; where IR version 1 left it out, the set field."""

    name: str | None = one(1, NAME, default=None)
    f: float | None = one(2, FLOAT, default=None)
    i: int | None = one(3, INT64, default=None)
    s: bytes | None = one(4, BYTES, default=None)
    t: TensorProto | None = one(5, "TensorProto", default=None)
    g: GraphProto | None = one(6, "GraphProto", default=None)
    floats: Sequence[float] = many(7, FLOAT, default=())
    ints: Sequence[int] = many(8, INT64, default=())
    strings: Sequence[bytes] = many(9, BYTES, default=())
    tensors: Sequence[TensorProto] = many(10, "TensorProto", default=())
    graphs: Sequence[GraphProto] = many(11, "GraphProto", default=())
    doc_string: str | None = one(13, TEXT, default=None)
    tp: TypeProto | None = one(14, "TypeProto", default=None)
    type_protos: Sequence[TypeProto] = many(15, "TypeProto", default=())
    type: int | None = one(20, INT32, default=None)
    ref_attr_name: str | None = one(21, NAME, default=None)
    sparse_tensor: SparseTensorProto | None = one(22, "SparseTensorProto", default=None)
    sparse_tensors: Sequence[SparseTensorProto] = many(23, "SparseTensorProto", default=())


class NodeProto(Message):
    input: Sequence[str] = many(1, NAME, default=())
    output: Sequence[str] = many(2, NAME, default=())
    name: str | None = one(3, NAME, default=None)
    op_type: str | None = one(4, NAME, default=None)
    attribute: Sequence[AttributeProto] = many(5, "AttributeProto", default=())
    doc_string: str | None = one(6, TEXT, default=None)
    domain: str | None = one(7, NAME, default=None)
    overload: str | None = one(8, NAME, default=None)
    metadata_props: Sequence[StringStringEntryProto] = many(9, "StringStringEntryProto", default=())
    device_configurations: Sequence[bytes] = many(10, OPAQUE, default=())


class GraphProto(Message):
    node: Sequence[NodeProto] = many(1, "NodeProto", default=())
    name: str | None = one(2, NAME, default=None)
    initializer: Sequence[TensorProto] = many(5, "TensorProto", default=())
    doc_string: str | None = one(10, TEXT, default=None)
    input: Sequence[ValueInfoProto] = many(11, "ValueInfoProto", default=())
    output: Sequence[ValueInfoProto] = many(12, "ValueInfoProto", default=())
    value_info: Sequence[ValueInfoProto] = many(13, "ValueInfoProto", default=())
    quantization_annotation: Sequence[bytes] = many(14, OPAQUE, default=())
    sparse_initializer: Sequence[SparseTensorProto] = many(15, "SparseTensorProto", default=())
    metadata_props: Sequence[StringStringEntryProto] = many(
        16, "StringStringEntryProto", default=()
    )


class FunctionProto(Message):
    name: str | None = one(1, NAME, default=None)
    input: Sequence[str] = many(4, NAME, default=())
    output: Sequence[str] = many(5, NAME, default=())
    attribute: Sequence[str] = many(6, NAME, default=())
    node: Sequence[NodeProto] = many(7, "NodeProto", default=())
    doc_string: str | None = one(8, TEXT, default=None)
    opset_import: Sequence[OperatorSetIdProto] = many(9, "OperatorSetIdProto", default=())
    domain: str | None = one(10, NAME, default=None)
    attribute_proto: Sequence[AttributeProto] = many(11, "AttributeProto", default=())
    value_info: Sequence[ValueInfoProto] = many(12, "ValueInfoProto", default=())
    overload: str | None = one(13, NAME, default=None)
    metadata_props: Sequence[StringStringEntryProto] = many(
        14, "StringStringEntryProto", default=()
    )


class ModelProto(Message):
    ir_version: int | None = one(1, INT64, default=None)
    producer_name: str | None = one(2, TEXT, default=None)
    producer_version: str | None = one(3, TEXT, default=None)
    domain: str | None = one(4, TEXT, default=None)
    model_version: int | None = one(5, INT64, default=None)
    doc_string: str | None = one(6, TEXT, default=None)
    graph: GraphProto | None = one(7, "GraphProto", default=None)
    opset_import: Sequence[OperatorSetIdProto] = many(8, "OperatorSetIdProto", default=())
    metadata_props: Sequence[StringStringEntryProto] = many(
        14, "StringStringEntryProto", default=()
    )
    training_info: Sequence[bytes] = many(20, OPAQUE, default=())
    functions: Sequence[FunctionProto] = many(25, "FunctionProto", default=())
    configuration: Sequence[bytes] = many(26, OPAQUE, default=())


CLASSES: dict[str, type[Message]] = {cls.__name__: cls for cls in Message.__subclasses__()}

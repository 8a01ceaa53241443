"""The facts of protobuf's wire format, one by one and mixed at random, against the protobuf library."""

from __future__ import annotations

import random
import struct

import pytest

from geoc.ir.errors import FormatError
from geoc.ir.proto import messages
from geoc.ir.proto.messages import CLASSES
from geoc.ir.proto.read import read_message
from geoc.ir.proto.varint import encode_varint
from geoc.ir.proto.wire import WireReader

LARGEST = 2**31 - 1  # the length protobuf accepts


def key(number, wire):
    return encode_varint(number << 3 | wire)


def sized(number, content):
    return key(number, 2) + encode_varint(len(content)) + content


def number(field, value):
    return key(field, 0) + encode_varint(value)


def overlong(value, size):
    """The varint of `value` in `size` bytes."""
    return bytes([value >> (7 * index) & 127 | 128 for index in range(size - 1)]) + bytes(
        [value >> (7 * (size - 1)) & 127]
    )


FACTS = {
    "empty message": ("TensorProto", b""),
    "last scalar wins": ("TensorProto", number(2, 1) + number(2, 7)),
    "last string wins": ("NodeProto", sized(3, b"a") + sized(4, b"Add") + sized(3, b"b")),
    "last payload wins": ("TensorProto", sized(9, b"abcd") + sized(8, b"x") + sized(9, b"ef")),
    "empty payload is present": ("TensorProto", sized(9, b"")),
    "empty strings are present": ("NodeProto", sized(3, b"") + sized(7, b"")),
    "payload before dims": ("TensorProto", sized(9, b"\0" * 8) + number(2, 1) + number(1, 2)),
    "dims packed": ("TensorProto", sized(1, b"\x02\x03" + encode_varint(300))),
    "dims packed and not": ("TensorProto", number(1, 5) + sized(1, b"\x02\x03") + number(1, 4)),
    "negative dim": ("TensorProto", number(1, -1)),
    "int64 limits": ("AttributeProto", number(8, 2**63 - 1) + number(8, -(2**63)) + number(8, 128)),
    "int32 keeps the low bits": ("TensorProto", number(2, 2**32 + 5)),
    "negative int32": ("TensorTypeProto", number(1, -3)),
    "int32 of five bytes": ("TensorProto", b"\x10\xff\xff\xff\xff\x7f"),
    "floats packed": ("AttributeProto", sized(7, struct.pack("<3f", 1, -2.5, 3e38))),
    "floats not packed": ("AttributeProto", b"".join(key(7, 5) + struct.pack("<f", v) for v in (1, 2))),
    "floats mixed": (
        "AttributeProto",
        key(7, 5) + struct.pack("<f", 1) + sized(7, struct.pack("<2f", 2, 3)) + sized(1, b"alpha") + key(7, 5)
        + struct.pack("<f", 4) + overlong(7 << 3 | 5, 3) + struct.pack("<f", 5),
    ),
    "ints packed": ("AttributeProto", sized(8, encode_varint(-1) + b"\x05" + encode_varint(300))),
    "ints mixed": ("AttributeProto", number(8, 1) + sized(8, b"\x02\x03") + number(8, 400)),
    "float_data not packed": ("TensorProto", key(4, 5) + b"\0\0\x80\x3f" + key(4, 5) + b"\0\0\0\x40"),
    "float_data mixed": (
        "TensorProto",
        sized(4, struct.pack("<2f", 1, 2)) + key(4, 5) + struct.pack("<f", 3) + sized(4, b""),
    ),
    "float_data in two": ("TensorProto", sized(4, b"\0\0\x80\x3f") + number(1, 2) + sized(4, b"\0\0\0\x40")),
    "double_data": ("TensorProto", sized(10, struct.pack("<2d", 1, 2)) + key(10, 1) + struct.pack("<d", 3)),
    "int32_data mixed": ("TensorProto", number(5, -1) + sized(5, b"\x02" + encode_varint(-7)) + number(5, 2**33)),
    "int64_data": ("TensorProto", sized(7, encode_varint(-1) + encode_varint(2**62))),
    "uint64_data": ("TensorProto", sized(11, encode_varint(2**64 - 1) + b"\x01") + number(11, 2**63)),
    "two kinds of data": ("TensorProto", sized(7, b"\x01") + sized(4, b"\0\0\x80\x3f") + sized(7, b"\x02")),
    "string_data": ("TensorProto", sized(6, b"\xff\xfe") + sized(6, b"") + sized(6, b"a")),
    "segment merges": ("TensorProto", sized(3, number(1, 5)) + sized(3, number(2, 6))),
    "tensor merges": (
        "AttributeProto",
        sized(5, number(1, 2) + sized(9, b"ab")) + sized(1, b"value") + sized(5, number(1, 3) + number(2, 1)),
    ),
    "tensor merges three times": (
        "AttributeProto",
        sized(5, number(1, 2)) + sized(5, sized(9, b"abcd")) + sized(5, number(1, 3) + sized(9, b"ef")),
    ),
    "graph merges": (
        "AttributeProto",
        sized(6, sized(1, sized(4, b"Add"))) + sized(6, sized(2, b"g") + sized(1, sized(4, b"Mul"))),
    ),
    "model's graph merges": (
        "ModelProto",
        sized(7, sized(1, sized(4, b"Add")) + sized(2, b"g")) + number(1, 8) + sized(7, sized(5, sized(8, b"w"))),
    ),
    "type merges": (
        "ValueInfoProto",
        sized(2, sized(1, number(1, 1))) + sized(1, b"x") + sized(2, sized(1, sized(2, sized(1, b"")))),
    ),
    "last of a oneof wins": ("TypeProto", sized(1, number(1, 1)) + sized(4, b"")),
    "a oneof comes back empty": (
        "TypeProto",
        sized(1, number(1, 1)) + sized(4, b"") + sized(1, sized(2, b"")),
    ),
    "dim is a name at last": ("Dimension", number(1, 5) + sized(2, b"N")),
    "dim is a number at last": ("Dimension", sized(2, b"N") + number(1, 5)),
    "sparse tensor": ("SparseTensorProto", sized(1, number(1, 2)) + number(3, 9) + sized(2, number(1, 1))),
    "type with long dims": (
        "TypeProto",
        sized(1, number(1, 1) + sized(2, sized(1, number(1, 1 << 40)) + sized(1, sized(2, b"N" * 200)))),
    ),
    "type with shape first": ("TypeProto", sized(1, sized(2, sized(1, number(1, 3))) + number(1, 1))),
    "type with denotation": (
        "TypeProto",
        sized(1, number(1, 1) + sized(2, sized(1, number(1, 3) + sized(3, b"CHANNEL")))) + sized(6, b"IMAGE"),
    ),
    "value_info, all fields": (
        "ValueInfoProto",
        sized(1, b"x" * 130) + sized(2, sized(1, number(1, 1))) + sized(3, b"doc") + sized(4, sized(1, b"k")),
    ),
    "empty value_info at the end": ("GraphProto", sized(2, b"g") + sized(13, b"")),
    "empty entry at the end": ("NodeProto", sized(4, b"Add") + sized(9, b"")),
    "entry, value first": ("StringStringEntryProto", sized(2, b"v") + sized(1, b"k")),
    "entry, long value": ("StringStringEntryProto", sized(1, b"k") + sized(2, b"v" * 20000)),
    "entry, overlong length": (
        "StringStringEntryProto",
        sized(1, b"k") + b"\x12" + overlong(72, 3) + b"v" * 72 + sized(2, b"w" * (200 - 72 - 5)) + b"\x12\0",
    ),
    "text that is not UTF-8": ("StringStringEntryProto", sized(1, b"k") + sized(2, b"\xff\xfe")),
    "attribute without type": ("AttributeProto", sized(1, b"axis") + number(3, 1)),
    "attribute type 0": ("AttributeProto", sized(1, b"axis") + number(3, 1) + number(20, 0)),
    "attribute, everything set": (
        "AttributeProto",
        key(2, 5) + b"\0\0\x80\x3f" + number(3, -4) + sized(4, b"\xff") + sized(9, b"a") + sized(9, b"")
        + sized(10, b"") + sized(11, b"") + sized(13, b"doc") + sized(14, b"") + sized(15, b"") + sized(22, b"")
        + number(20, 2) + sized(21, b"ref") + sized(23, b""),
    ),
    "overlong tags": ("NodeProto", overlong(10, 2) + b"\x01a" + overlong(34, 5) + b"\x03Add"),
    "overlong lengths": ("NodeProto", b"\x0a" + overlong(1, 2) + b"a" + b"\x22" + overlong(3, 5) + b"Add"),
    "overlong numbers": ("TensorProto", b"\x08" + overlong(3, 2) + b"\x10" + overlong(1, 10)),
    "the tenth byte overflows": ("TensorProto", b"\x08" + b"\x80" * 9 + b"\x02"),
    "eleven bytes": ("TensorProto", b"\x08" + b"\x80" * 10 + b"\0"),
    "tag of six bytes": ("TensorProto", overlong(8, 6) + b"\x05"),
    "tag over 32 bits": ("TensorProto", b"\x88\x80\x80\x80\x10\x05"),
    "field 0": ("TensorProto", b"\0\x05"),
    "wire type 6": ("TensorProto", b"\x0e\x05"),
    "wire type 7": ("TensorProto", b"\x0f\x05"),
    "unknown fields": (
        "TensorProto",
        number(99, 5) + sized(98, b"abc") + key(97, 5) + b"abcd" + key(96, 1) + b"abcdefgh" + number(1, 3),
    ),
    "known field, other wire type": ("TensorProto", key(2, 5) + b"abcd" + sized(8, b"x") + number(9, 4)),
    "name as a number": ("NodeProto", number(3, 5) + sized(4, b"Add")),
    "group": ("TensorProto", number(1, 2) + key(99, 3) + number(1, 5) + key(99, 4) + number(1, 3)),
    "groups nest": (
        "NodeProto",
        sized(4, b"Add") + key(3, 3) + key(4, 3) + sized(1, b"\x24") + key(4, 4) + key(3, 4),
    ),
    "group with another end": ("TensorProto", key(99, 3) + number(1, 5) + key(98, 4)),
    "group without end": ("TensorProto", key(99, 3) + number(1, 5)),
    "end of no group": ("TensorProto", key(99, 4)),
    "cut off in a tag": ("TensorProto", b"\x88"),
    "cut off in a number": ("TensorProto", b"\x08\x80"),
    "cut off in a length": ("TensorProto", b"\x4a"),
    "cut off in a payload": ("TensorProto", b"\x4a\x05abcd"),
    "cut off in a float": ("AttributeProto", b"\x15\0\0\x80"),
    "cut off in unpacked floats": ("AttributeProto", b"\x3d\0\0\x80\x3f\x3d\0\0\x80"),
    "inner length past the outer": ("GraphProto", b"\x0a\x04\x22\x05Ad" + sized(2, b"name")),
    "inner number past the outer": ("GraphProto", b"\x2a\x01\x08\x05" + sized(2, b"name")),
    "inner dims past the outer": ("GraphProto", b"\x2a\x02\x0a\x03\x01\x02\x03" + sized(2, b"name")),
    "packed number cut off": ("TensorProto", sized(1, b"\x80") + b"\x01"),
    "packed data cut off": ("TensorProto", sized(7, b"\x80")),
    "packed floats of 6 bytes": ("TensorProto", sized(4, b"\0" * 6)),
    "attribute's floats of 6 bytes": ("AttributeProto", sized(7, b"\0" * 6)),
}


@pytest.mark.parametrize("name", FACTS)
def test_fact(name, same, onnx_class):
    class_name, data = FACTS[name]
    cls = CLASSES[class_name]
    try:
        expected = onnx_class(cls).FromString(data)
    except Exception:  # the library's DecodeError, which has several homes
        with pytest.raises(FormatError) as raised:
            read_message(cls, data, "file.onnx")
        assert raised.value.source == "file.onnx"
        assert raised.value.place.startswith("byte ")
    else:
        same(read_message(cls, data), expected, data)
        same(WireReader(data, "").decode(cls, [(0, len(data))], 0), expected, data)


def test_facts_hold_both_verdicts(onnx_class):
    """Guards the test above: protobuf refuses some of the facts and accepts most."""
    verdicts = []
    for class_name, data in FACTS.values():
        try:
            onnx_class(CLASSES[class_name]).FromString(data)
            verdicts.append(True)
        except Exception:
            verdicts.append(False)
    assert verdicts.count(False) > 15
    assert verdicts.count(True) > 45


def random_field(rng, field, depth):
    """One occurrence of the field, in any of the encodings that protobuf has for it."""
    tag = field.number << 3

    def head(wire):
        return overlong(tag | wire, rng.choice((3, 4, 5))) if rng.random() < 0.03 else encode_varint(tag | wire)

    def length(content):
        size = len(content)
        return (overlong(size, 5) if rng.random() < 0.03 else encode_varint(size)) + content

    def varint():
        value = rng.choice((0, 1, 5, 127, 128, 300, 2**31, 2**40, -1, -(2**63), rng.getrandbits(63)))
        return encode_varint(value)

    if isinstance(field.kind, str):
        return head(2) + length(random_message(rng, CLASSES[field.kind], depth + 1))
    if field.name in ("type", "data_location"):  # enumerations: protobuf keeps other values apart
        return head(0) + encode_varint(rng.randrange(2))
    if field.kind in (messages.NAME, messages.TEXT):
        return head(2) + length(rng.choice(("", "x", "/a/b", "größe", "n" * 127, "m" * 200)).encode())
    if field.kind == messages.OPAQUE:
        return head(2) + length(b"")
    if field.wire == 2:
        return head(2) + length(rng.randbytes(rng.choice((0, 1, 4, 127, 128, 300))))
    element = {0: varint, 1: lambda: rng.randbytes(8), 5: lambda: struct.pack("<f", rng.uniform(-9, 9))}[field.wire]
    if (field.many or field.packed) and rng.random() < 0.5:
        return head(2) + length(b"".join(element() for _ in range(rng.randrange(4))))
    return head(field.wire) + element()


def random_message(rng, cls, depth=0):
    """A message with its fields in any order, some of them several times, and unknown ones."""
    parts = []
    for _ in range(rng.choice((0, 1, 3, 6) if depth < 6 else (0,))):
        parts += [random_field(rng, rng.choice(cls.FIELDS), depth)] * rng.choice((1, 1, 1, 2))
    if rng.random() < 0.1:
        parts.append(number(99, 7))
    rng.shuffle(parts)
    return b"".join(parts)


@pytest.mark.parametrize("seed", range(40))
def test_random_messages(seed, same, onnx_class):
    rng = random.Random(seed)
    for name, cls in CLASSES.items():
        for _ in range(8):
            data = random_message(rng, cls)
            expected = onnx_class(cls).FromString(data)
            same(read_message(cls, data), expected, data, name)
            same(WireReader(data, "").decode(cls, [(0, len(data))], 0), expected, data, name)


def nested_types(levels):
    """A TypeProto with 2 * levels messages inside one another below it."""
    data = b""
    for _ in range(levels):
        data = sized(4, sized(1, data))
    return data


def nested_graphs(levels):
    data = b""
    for _ in range(levels):
        data = sized(1, sized(5, sized(6, data)))
    return data


@pytest.mark.parametrize(
    ("cls", "nest", "deepest"),
    [(messages.TypeProto, nested_types, 50), (messages.GraphProto, nested_graphs, 33)],
)
def test_depth_limit_is_protobufs(cls, nest, deepest, onnx_class, same):
    data = nest(deepest)
    same(read_message(cls, data), onnx_class(cls).FromString(data), data)
    with pytest.raises(Exception, match="pars"):
        onnx_class(cls).FromString(nest(deepest + 1))
    for levels in (deepest + 1, 20_000):
        with pytest.raises(FormatError, match="deeper than 100"):
            read_message(cls, nest(levels))


def test_groups_nest_to_the_same_depth():
    opened, closed = key(99, 3), key(99, 4)
    assert read_message(messages.NodeProto, opened * 100 + closed * 100).unknown == opened * 100 + closed * 100
    for levels in (101, 100_000):
        with pytest.raises(FormatError, match="groups nest deeper"):
            read_message(messages.NodeProto, opened * levels + closed * levels)


def test_unknown_fields_are_kept():
    first, second = number(99, 5), sized(98, b"abc")
    node = read_message(messages.NodeProto, first + sized(4, b"Add") + second)
    assert (node.op_type, node.unknown) == ("Add", first + second)


@pytest.mark.parametrize(
    ("class_name", "data", "byte"),
    [
        ("NodeProto", sized(4, b"Add") + sized(1, b"a\xff"), 5),
        ("AttributeProto", number(3, 1) + sized(1, b"\xff"), 2),
        ("TensorProto", number(2, 1) + sized(8, b"\xff"), 2),
        ("ValueInfoProto", sized(1, b"\xff") + sized(2, b"\x0a\x00"), 0),
        ("GraphProto", sized(2, b"ab\xff"), 2),
        ("Dimension", sized(2, b"\xc3"), 2),
    ],
)
def test_names_must_be_utf8(class_name, data, byte):
    with pytest.raises(FormatError, match="UTF-8") as raised:
        read_message(CLASSES[class_name], data, "m.onnx")
    assert str(raised.value).startswith(f"m.onnx:byte {byte}: ")


@pytest.mark.parametrize("size", [5, 127, 128, 20_000, 2**31, 2**40, 2**63, 2**64 - 1])
@pytest.mark.parametrize("tag", [0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x42, 0x4A, 0x5A, 0x6A, 0x72])
@pytest.mark.parametrize("class_name", ["GraphProto", "NodeProto", "AttributeProto", "TensorProto", "ModelProto"])
def test_length_past_the_end(class_name, tag, size):
    data = bytes([tag]) + encode_varint(size) + b"\x08\x01\x01"
    with pytest.raises(FormatError, match="byte "):
        read_message(CLASSES[class_name], data)

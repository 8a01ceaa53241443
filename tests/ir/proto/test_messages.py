"""The field tables against onnx's own descriptors."""

from __future__ import annotations

import onnx
import pytest
from google.protobuf.descriptor import FieldDescriptor

from geoc.ir.proto import messages
from geoc.ir.proto.messages import CLASSES, Message, NodeProto, TensorTypeProto, TypeProto

KINDS = {
    FieldDescriptor.TYPE_INT64: {messages.INT64},
    FieldDescriptor.TYPE_INT32: {messages.INT32},
    FieldDescriptor.TYPE_ENUM: {messages.INT32},
    FieldDescriptor.TYPE_FLOAT: {messages.FLOAT},
    FieldDescriptor.TYPE_STRING: {messages.NAME, messages.TEXT},
    FieldDescriptor.TYPE_BYTES: {messages.BYTES, messages.PAYLOAD},
}
PACKED = {
    FieldDescriptor.TYPE_INT32: messages.PACKED_VARINT,
    FieldDescriptor.TYPE_INT64: messages.PACKED_VARINT,
    FieldDescriptor.TYPE_UINT64: messages.PACKED_VARINT,
    FieldDescriptor.TYPE_FLOAT: messages.PACKED_32,
    FieldDescriptor.TYPE_DOUBLE: messages.PACKED_64,
}


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_table_is_onnx_descriptor(cls, onnx_class):
    fields = {field.number: field for field in onnx_class(cls).DESCRIPTOR.fields}
    assert fields.keys() == cls.BY_NUMBER.keys()
    for number, theirs in fields.items():
        ours = cls.BY_NUMBER[number]
        assert ours.name == theirs.name
        assert ours.many == (theirs.is_repeated and not theirs.GetOptions().packed)
        assert ours.packed == (theirs.is_repeated and theirs.GetOptions().packed)
        assert ours.oneof == (theirs.containing_oneof is not None)
        if theirs.message_type is None:
            assert ours.kind == PACKED[theirs.type] if ours.packed else ours.kind in KINDS[theirs.type]
        elif ours.kind != messages.OPAQUE:
            assert theirs.message_type == onnx_class(CLASSES[ours.kind]).DESCRIPTOR


def test_only_four_messages_are_opaque(onnx_class):
    """Every message of onnx.proto has a class, but those that are only found inside opaque fields."""
    covered = {onnx_class(cls).DESCRIPTOR.full_name for cls in CLASSES.values()}
    opaque = {
        onnx_class(cls).DESCRIPTOR.fields_by_name[field.name].message_type.full_name
        for cls in CLASSES.values()
        for field in cls.FIELDS
        if field.kind == messages.OPAQUE
    }
    assert opaque == {
        "onnx.TrainingInfoProto",
        "onnx.TensorAnnotation",
        "onnx.DeviceConfigurationProto",
        "onnx.NodeDeviceConfigurationProto",
    }
    reachable = {"onnx.ModelProto"}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        for field in waiting.pop().fields:
            inner = field.message_type
            if inner is not None and inner.full_name not in reachable | opaque:
                reachable.add(inner.full_name)
                waiting.append(inner)
    assert reachable == covered


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_constructor_sets_defaults(cls):
    message = cls()
    for field in cls.FIELDS:
        assert getattr(message, field.name) == (() if field.many else None)
    assert message.unknown == b""
    assert isinstance(message, Message)


def test_constructor_takes_keywords_and_refuses_others():
    first = NodeProto(op_type="Add", input=["a", "b"], unknown=b"\x08\x01")
    assert (first.op_type, first.input, first.unknown) == ("Add", ["a", "b"], b"\x08\x01")
    assert NodeProto().input == ()
    with pytest.raises(TypeError):
        NodeProto(inputs=["a"])
    with pytest.raises(AttributeError):
        first.inputs = ["a"]


def test_repr_shows_what_is_set():
    made = TypeProto(tensor_type=TensorTypeProto(elem_type=1))
    assert repr(made) == "TypeProto(tensor_type=TensorTypeProto(elem_type=1))"

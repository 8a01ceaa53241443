"""What is written, as onnx reads it, and byte for byte where onnx writes the same."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from geoc.ir.errors import InvalidModel, UnsupportedModel
from geoc.ir.proto import messages
from geoc.ir.proto.messages import (
    CLASSES,
    AttributeProto,
    Dimension,
    GraphProto,
    ModelProto,
    NodeProto,
    Span,
    StringStringEntryProto,
    TensorShapeProto,
    TensorTypeProto,
    TypeProto,
    ValueInfoProto,
)
from geoc.ir.proto.read import read_message, read_model
from geoc.ir.proto.write import encode_message, encode_model, total_size

TEST_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def test_models_of_the_onnx_package_come_back_byte_for_byte(join):
    for path in sorted(TEST_DATA.glob("**/*.onnx")):
        data = onnx.load_model(path, load_external_data=False).SerializeToString(deterministic=True)
        chunks = encode_model(read_model(data))
        assert join(chunks, data) == data, path
        assert total_size(chunks) == len(data)


def test_node_test_cases_come_back_byte_for_byte(join):
    for case in collect_testcases(None)[2::5]:
        data = case.model.SerializeToString(deterministic=True)
        assert join(encode_model(read_model(data)), data) == data, case.name


def random_value(rng, field, theirs, depth):
    """Sets the field of protobuf's message `theirs` to something."""
    count = rng.randrange(1, 4)
    if field.packed:
        element = float(rng.randrange(-9, 9)) if field.kind != messages.PACKED_VARINT else rng.randrange(1 << 30)
        getattr(theirs, field.name).extend([element] * count)
    elif isinstance(field.kind, str) or field.kind == messages.OPAQUE:
        for _ in range(count if field.many else 1):
            target = getattr(theirs, field.name)
            part = target.add() if field.many else target
            part.SetInParent()
            if isinstance(field.kind, str):
                random_fields(rng, CLASSES[field.kind], part, depth + 1)
    else:
        values = [random_scalar(rng, field) for _ in range(count)]
        if field.many:
            getattr(theirs, field.name).extend(values)
        else:
            setattr(theirs, field.name, values[0])


def random_scalar(rng, field):
    if field.name in ("type", "data_location"):
        return rng.randrange(2)
    if field.kind in (messages.INT64, messages.INT32):
        return rng.choice((0, 1, -1, 127, 128, 2**31 - 1, -(2**31)))
    if field.kind == messages.FLOAT:
        return rng.choice((0.0, -0.0, 0.5, -2.0**100, float("inf")))
    text = rng.choice(("", "x", "größe", "n" * 127, "m" * 128, "k" * 20_000))
    return text if field.kind in (messages.NAME, messages.TEXT) else text.encode()


def random_fields(rng, cls, theirs, depth=0):
    for field in cls.FIELDS if depth < 5 else ():
        if rng.random() < (0.5 if depth < 2 else 0.2):
            random_value(rng, field, theirs, depth)


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_random_messages_come_back_byte_for_byte(cls, onnx_class, join):
    rng = random.Random(cls.__name__)
    for _ in range(20):
        theirs = onnx_class(cls)()
        random_fields(rng, cls, theirs)
        data = theirs.SerializeToString(deterministic=True)
        chunks = encode_message(read_message(cls, data))
        written = join(chunks, data)
        assert total_size(chunks) == len(written)
        assert written == data


def test_presence_and_unknown_fields_survive(join):
    data = b"\x1a\x00" + b"\x22\x03Add" + b"\x98\x06\x05"
    assert join(encode_message(read_message(NodeProto, data)), data) == data


def test_a_model_made_by_hand():
    shape = TensorShapeProto(dim=[Dimension(dim_param="N"), Dimension(dim_value=-1), Dimension()])
    kind = TypeProto(tensor_type=TensorTypeProto(elem_type=1, shape=shape))
    attributes = [
        AttributeProto(name="alpha", f=0.5, type=1),
        AttributeProto(name="axes", ints=[0, -1, 1 << 40], type=7),
        AttributeProto(name="scales", floats=[1.0, 2.5, float("-inf")], type=6),
        AttributeProto(name="mode", s=b"linear", type=3),
        AttributeProto(name="words", strings=[b"a", b""], type=8),
    ]
    node = NodeProto(op_type="Custom", input=["x", "", "w"], output=("y",), domain="my.ops", attribute=attributes)
    weight = messages.TensorProto(name="w", dims=(2, 3), data_type=1, raw_data=np.arange(6, dtype=np.float32))
    graph = GraphProto(
        name="g",
        node=[node],
        initializer=[weight],
        input=[ValueInfoProto(name="x", type=kind)],
        output=[ValueInfoProto(name="y", type=kind)],
        metadata_props=[StringStringEntryProto(key="k", value="v")],
    )
    opset = messages.OperatorSetIdProto(domain="", version=20)
    model = onnx.ModelProto.FromString(
        b"".join(encode_model(ModelProto(ir_version=10, graph=graph, opset_import=[opset])))
    )
    assert [helper.get_attribute_value(a) for a in model.graph.node[0].attribute] == [
        0.5,
        [0, -1, 1 << 40],
        [1.0, 2.5, float("-inf")],
        b"linear",
        [b"a", b""],
    ]
    assert list(model.graph.node[0].input) == ["x", "", "w"]
    np.testing.assert_array_equal(
        numpy_helper.to_array(model.graph.initializer[0]), np.arange(6, dtype=np.float32).reshape(2, 3)
    )
    for value in (model.graph.input[0], model.graph.output[0]):
        dims = value.type.tensor_type.shape.dim
        assert [dim.WhichOneof("value") for dim in dims] == ["dim_param", "dim_value", None]
        assert (dims[0].dim_param, dims[1].dim_value) == ("N", -1)
    assert model.graph.metadata_props[0].value == "v"
    assert model.opset_import[0].HasField("domain")


class Elsewhere:
    """A payload that only knows its length."""

    def __init__(self, length):
        self.length = length


def payload_of(tensor, **fields):
    chunks = encode_message(messages.TensorProto(name="t", dims=[3], data_type=1, **fields))
    assert total_size(chunks) == sum(map(len, map(bytes, chunks)))
    return getattr(onnx.TensorProto.FromString(b"".join(chunks)), tensor)


@pytest.mark.parametrize("count", [0, 1, 3, 5000])
def test_payloads_in_memory(count):
    array = np.arange(count, dtype=np.float32)
    for payload in (
        array,
        array.tobytes(),
        bytearray(array.tobytes()),
        memoryview(array),
        np.repeat(array, 2)[::2],
        array.reshape(1, count, 1),
        array.astype(np.int32).view(np.float32).view(np.int32).astype(np.float32),
    ):
        assert payload_of("raw_data", raw_data=payload) == array.tobytes()
    assert list(payload_of("float_data", float_data=array)) == array.tolist()


def test_numpy_integers():
    data = b"".join(encode_message(messages.TensorProto(dims=list(np.array([-1, 1 << 40])))))
    assert list(onnx.TensorProto.FromString(data).dims) == [-1, 1 << 40]


def test_scalar_and_bool_arrays():
    assert payload_of("raw_data", raw_data=np.array(2.0)) == np.float64(2).tobytes()
    assert payload_of("raw_data", raw_data=np.array([True, False])) == b"\x01\x00"


def test_large_payloads_are_neither_copied_nor_read():
    array = np.zeros(1 << 20, np.uint8)
    elsewhere = [Elsewhere(1 << 40), Span(5, 0), Elsewhere(300)]
    tensors = [
        messages.TensorProto(name=f"w{index}", dims=[1], data_type=2, raw_data=payload)
        for index, payload in enumerate([*elsewhere, array])
    ]
    value = AttributeProto(name="value", t=messages.TensorProto(data_type=2, raw_data=elsewhere[2]), type=4)
    graph = GraphProto(node=[NodeProto(op_type="Constant", attribute=[value])], initializer=tensors)
    chunks = encode_model(ModelProto(graph=graph))
    passed = [chunk for chunk in chunks if not isinstance(chunk, (bytes, memoryview))]
    assert passed == [elsewhere[2], *elsewhere]
    views = [chunk for chunk in chunks if isinstance(chunk, memoryview)]
    assert len(views) == 1
    assert np.shares_memory(np.asarray(views[0]), array)
    bytes_around = sum(len(chunk) for chunk in chunks if isinstance(chunk, bytes))
    assert bytes_around < 200
    assert total_size(chunks) == (1 << 40) + 600 + (1 << 20) + bytes_around


def test_shared_objects_are_written_everywhere():
    kind = TypeProto(tensor_type=TensorTypeProto(elem_type=7))
    attribute = AttributeProto(name="axis", i=1, type=2)
    nodes = [NodeProto(op_type="Softmax", attribute=[attribute]) for _ in range(3)]
    values = [ValueInfoProto(name=name, type=kind) for name in "abc"]
    data = b"".join(encode_model(ModelProto(graph=GraphProto(node=nodes, value_info=values))))
    graph = onnx.ModelProto.FromString(data).graph
    assert [node.attribute[0].i for node in graph.node] == [1, 1, 1]
    assert [(value.name, value.type.tensor_type.elem_type) for value in graph.value_info] == [
        ("a", 7), ("b", 7), ("c", 7),
    ]


def test_text_that_was_not_utf8_comes_back():
    data = b"\x0a\x01k\x12\x03a\xffb"
    assert b"".join(encode_message(read_message(StringStringEntryProto, data))) == data


@pytest.mark.parametrize(
    "message",
    [
        NodeProto(op_type="\ud800"),
        messages.TensorProto(dims=[1 << 64]),
        AttributeProto(name="a", i=-(1 << 63) - 1),
        AttributeProto(name="a", f=1e39),
        AttributeProto(name="a", floats=[1.0, -1e39]),
    ],
)
def test_what_the_format_cannot_hold(message):
    with pytest.raises(InvalidModel):
        encode_message(message)


def nested_graph(levels):
    graph = GraphProto(name="innermost")
    for _ in range(levels):
        graph = GraphProto(node=[NodeProto(op_type="If", attribute=[AttributeProto(name="b", g=graph)])])
    return graph


def test_depth_limit(onnx_class):
    assert onnx.GraphProto.FromString(b"".join(encode_message(nested_graph(33))))
    for levels in (34, 100_000):
        with pytest.raises(UnsupportedModel, match="deeper than 100"):
            encode_message(nested_graph(levels))


def test_time_grows_with_the_model():
    def model(count):
        kind = TypeProto(tensor_type=TensorTypeProto(elem_type=1))
        nodes = [NodeProto(op_type="Add", input=[f"v{i}", f"w{i}"], output=[f"v{i + 1}"]) for i in range(count)]
        constants = [messages.TensorProto(name=f"w{i}", data_type=1, raw_data=bytes(4)) for i in range(count)]
        values = [ValueInfoProto(name=f"v{i}", type=kind) for i in range(count)]
        return ModelProto(graph=GraphProto(node=nodes, initializer=constants, value_info=values))

    def seconds(made):
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            encode_model(made)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(model(10_000)) < 15 * seconds(model(1_000))

"""Damaged files: nothing but FormatError comes out, and protobuf's verdict is the same."""

from __future__ import annotations

import random
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.ir.errors import FormatError
from geoc.ir.proto.messages import ModelProto
from geoc.ir.proto.read import read_model
from geoc.ir.proto.varint import encode_varint


def small_model():
    """A model with every kind of attribute and type, a subgraph and a function."""
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.arange(3.0)))],
        "branch",
        [],
        [helper.make_tensor_value_info("c", TensorProto.DOUBLE, [3])],
    )
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["g"], name="gemm", alpha=0.5, transB=1),
        helper.make_node("If", ["cond"], ["i"], then_branch=branch, else_branch=branch),
        helper.make_node(
            "Custom",
            ["g", "", "i"],
            ["y"],
            domain="my.ops",
            doc_string="a node",
            ints=[1, -1, 300],
            floats=[1.0, 2.0, 3.0],
            text="abc",
            texts=["a", "b"],
            tensors=[numpy_helper.from_array(np.ones(2, np.int32))],
            kind=helper.make_tensor_type_proto(1, ["N"]),
        ),
    ]
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(7, [None, 2]))
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2]),
            helper.make_value_info("s", helper.make_optional_type_proto(sequence)),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.ones((2, 2), np.float32), "w"),
            helper.make_tensor("typed", TensorProto.INT64, [3], [1, -1, 1000]),
            helper.make_tensor("strings", TensorProto.STRING, [2], [b"a", b"\xff"]),
        ],
        value_info=[helper.make_tensor_value_info("g", TensorProto.FLOAT, ["N", 2])],
    )
    function = helper.make_function(
        "my.ops", "Custom", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
        [helper.make_opsetid("", 20)], ["alpha"],
    )
    model = helper.make_model(graph, functions=[function], opset_imports=[helper.make_opsetid("", 20)])
    model.metadata_props.add(key="author", value="nobody")
    return model.SerializeToString(deterministic=True)


def damage(rng, data):
    """A few bytes changed, inserted, removed or doubled, or the end cut off."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(damaged))
        kind = rng.randrange(8)
        if kind < 4:
            damaged[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256), damaged[at] ^ 1 << rng.randrange(8)))
        elif kind == 4:
            damaged[at:at] = rng.randbytes(rng.choice((1, 2, 9)))
        elif kind == 5:
            del damaged[at : at + rng.choice((1, 2, 9))]
        elif kind == 6:
            damaged[at:at] = damaged[at : at + rng.choice((1, 3, 40))]
        else:
            del damaged[rng.randrange(1, len(damaged) + 1) :]
        if not damaged:
            damaged = bytearray(b"\x08")
    return bytes(damaged)


def check(data, same):
    """Returns whether the data was accepted."""
    try:
        expected = onnx.ModelProto.FromString(data)
    except Exception:
        expected = None
    try:
        model = read_model(data)
    except FormatError as error:
        assert error.place.startswith("byte ")
        assert expected is None or "UTF-8" in error.message
        return False
    assert isinstance(model, ModelProto)
    if expected is not None:
        same(model, expected, data)
    return expected is not None


@pytest.mark.parametrize("seed", range(8))
def test_damaged_models(seed, same):
    rng = random.Random(seed)
    data = small_model()
    start = time.process_time()
    accepted = sum(check(damage(rng, data), same) for _ in range(500))
    assert 0 < accepted < 500
    assert time.process_time() - start < 60


def test_every_truncation(same):
    data = small_model()
    for size in range(len(data)):
        check(data[:size], same)


def test_noise(same):
    rng = random.Random(0)
    for _ in range(500):
        check(rng.randbytes(rng.randrange(1, 200)), same)


@pytest.mark.parametrize(
    "unit",
    [
        b"\x3a\x00",  # an empty graph, merged again and again
        b"\x3a\x02\x0a\x00",
        b"\x3a\x04\x0a\x02\x2a\x00",
        b"\x3a\x06\x6a\x04\x12\x02\x0a\x00",
        b"\x98\x06\x01",  # unknown
        b"\x9b\x06\x9c\x06",  # an unknown group
        b"\x42\x00",
        b"\x08\x01",
    ],
)
def test_time_is_linear_in_the_size(unit):
    def seconds(count):
        data = unit * count
        start = time.process_time()
        read_model(data)
        return time.process_time() - start

    seconds(1_000)
    assert seconds(50_000) < 30 * max(seconds(5_000), 0.01)


@pytest.mark.parametrize(
    "pair", [b"\x3d\0\0\x80\x3f\x3d\0\0\x80\x3f\x40\x01", b"\x2a\x00", b"\x32\x00"]
)
def test_time_is_linear_in_an_attribute(pair):
    def seconds(count):
        node = sized(5, pair * count)
        data = sized(7, sized(1, node))
        start = time.process_time()
        read_model(data)
        return time.process_time() - start

    seconds(1_000)
    assert seconds(50_000) < 30 * max(seconds(5_000), 0.01)


def sized(number, content):
    return encode_varint(number << 3 | 2) + encode_varint(len(content)) + content

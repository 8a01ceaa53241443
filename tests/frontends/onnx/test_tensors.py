"""Constants of every element type, in raw form and in every typed field, against onnx's own reading."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.attributes import SparseTensor
from geoc.ir.errors import InvalidModel
from geoc.ir.tensor import Tensor
from geoc.lowering.onnx import model_bytes

from .building import FLOAT, INT64, graph, load, model, node, nodes, run, same, value, weight

NUMBERS = {
    n: name for name, n in TensorProto.DataType.items() if name not in ("UNDEFINED", "STRING")
}


def only_constant(proto: onnx.TensorProto) -> Tensor:
    """What becomes of an initializer that an operator without schema uses."""
    body = graph([node("Keep", proto.name, "y", domain="my.ops")], [], [value("y")], [proto])
    loaded = load(model(body, opset=23, ir=13, domains={"my.ops": 1}))
    found = nodes(loaded)[0].inputs[0]
    assert found is not None and found.const is not None
    return found.const


def elements(number: int, count: int) -> np.ndarray:
    """Values that the type holds exactly, negative ones and ones with all bits in use among them."""
    dtype = helper.tensor_dtype_to_np_dtype(number)
    if dtype.kind == "c":
        return (np.arange(count) - 2.5 + 1j * np.arange(count)).astype(dtype)
    if dtype.kind == "b":
        return np.arange(count) % 3 == 0
    if dtype.kind in "iu" and dtype.itemsize > 1:
        info = np.iinfo(dtype)
        return np.resize(np.array([0, 1, info.max, info.min, info.max // 3], dtype), count)
    if number == TensorProto.FLOAT8E8M0:  # powers of two, nothing else
        return np.resize(np.array([1, 2, 0.5, 4]), count).astype(dtype)
    return np.resize(np.array([0, 1, -1, 2, -2, 0.5]), count).astype(np.float32).astype(dtype)


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal dtypes, shapes and elements; unused bits of small types do not count."""
    return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


@pytest.mark.parametrize("shape", [(5,), (2, 3), (), (0, 4), (4, 2)], ids=str)
@pytest.mark.parametrize("number", NUMBERS, ids=NUMBERS.get)
def test_raw_data_of_every_type(number: int, shape: tuple[int, ...]) -> None:
    array = elements(number, int(np.prod(shape))).reshape(shape)
    proto = numpy_helper.from_array(array, "w")
    assert proto.data_type == number and proto.HasField("raw_data")
    found = only_constant(proto)
    assert found.dtype.onnx == number and found.shape == shape
    assert equal(found.array(), numpy_helper.to_array(proto))


@pytest.mark.parametrize("shape", [(5,), (2, 3), (), (0, 4)], ids=str)
@pytest.mark.parametrize("number", NUMBERS, ids=NUMBERS.get)
def test_typed_fields_of_every_type(number: int, shape: tuple[int, ...]) -> None:
    array = elements(number, int(np.prod(shape))).reshape(shape)
    proto = helper.make_tensor("w", number, (array.size,), array.reshape(-1))
    proto.dims[:] = shape
    assert not proto.HasField("raw_data")
    assert equal(numpy_helper.to_array(proto), array)
    found = only_constant(proto)
    assert found.dtype.onnx == number and found.shape == shape
    assert equal(found.array(), array)


@pytest.mark.parametrize("number", NUMBERS, ids=NUMBERS.get)
def test_typed_fields_come_out_as_the_same_elements(number: int) -> None:
    array = elements(number, 6).reshape(2, 3)
    body = graph(
        [node("Keep", "w", "y", domain="my.ops")], [], [value("y")],
        [helper.make_tensor("w", number, (2, 3), array)],
    )  # fmt: skip
    source = model(body, opset=23, ir=13, domains={"my.ops": 1})
    written = onnx.ModelProto.FromString(model_bytes(load(source)))
    (found,) = written.graph.initializer
    assert found.data_type == number
    assert equal(numpy_helper.to_array(found), array)


def test_extremes_of_typed_integers() -> None:
    for number in (TensorProto.INT64, TensorProto.UINT64, TensorProto.INT32, TensorProto.UINT32, TensorProto.INT8):
        info = np.iinfo(helper.tensor_dtype_to_np_dtype(number))
        found = only_constant(helper.make_tensor("w", number, (2,), [info.min, info.max]))
        assert found.array().tolist() == [info.min, info.max]


def test_nan_payloads_and_signed_zero_survive() -> None:
    bits = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0x7F800000], np.uint32)
    found = only_constant(weight("w", bits.view(np.float32)))
    assert found.array().view(np.uint32).tolist() == bits.tolist()


def test_strings_that_are_not_utf8() -> None:
    proto = TensorProto(
        name="w", data_type=TensorProto.STRING, dims=[2, 2], string_data=[b"a", b"", b"\xff\x00", "ü".encode()]
    )
    found = only_constant(proto)
    assert found.shape == (2, 2) and found.strings() == [b"a", b"", b"\xff\x00", "ü".encode()]


def test_every_spelling_of_a_constant_node() -> None:
    dense = weight("", np.arange(3, dtype=np.float32))
    spellings = {
        "value": (dense, np.arange(3, dtype=np.float32)),
        "value_float": (1.5, np.float32(1.5)),
        "value_floats": ([1.5, -2.0], np.array([1.5, -2.0], np.float32)),
        "value_int": (-7, np.int64(-7)),
        "value_ints": ([1, 2], np.array([1, 2], np.int64)),
        "value_string": ("x", np.array("x")),
        "value_strings": (["x", "y"], np.array(["x", "y"])),
    }
    for name, (given, expected) in spellings.items():
        body = graph(
            [node("Constant", "", "c", **{name: given}), node("Keep", "c", "y", domain="my.ops")],
            [],
            [value("y")],
        )
        (only,) = nodes(load(model(body, domains={"my.ops": 1})))
        found = only.inputs[0]
        assert found is not None and found.const is not None and found.hint == "c"
        array = found.const.array()
        if array.dtype == object:
            array = np.array([s.decode() for s in array.reshape(-1)]).reshape(array.shape)
        assert array.shape == np.shape(expected) and (array == expected).all(), name


def test_empty_lists_in_constants() -> None:
    body = graph(
        [node("Constant", "", "c"), node("Keep", "c", "y", domain="my.ops")], [], [value("y")]
    )
    body.node[0].attribute.add(name="value_ints", type=onnx.AttributeProto.INTS)
    (only,) = nodes(load(model(body, domains={"my.ops": 1})))
    assert only.inputs[0] is not None and only.inputs[0].const is not None
    assert only.inputs[0].const.shape == (0,)


def sparse(name: str, linear: bool, columns: int = 3) -> onnx.SparseTensorProto:
    indices = np.array([1, columns + 2], np.int64) if linear else np.array([[0, 1], [1, 2]], np.int64)
    return helper.make_sparse_tensor(
        weight(name, np.array([2.0, 3.0], np.float32)), weight("", indices), [2, columns]
    )


@pytest.mark.parametrize("columns", [3, 500], ids=["small", "large"])
@pytest.mark.parametrize("linear", [True, False], ids=["linear", "coordinates"])
def test_sparse_initializers_run_as_before(linear: bool, columns: int) -> None:
    shape = (2, columns)
    body = graph([node("Add", "x s", "y")], [value("x", shape)], [value("y", shape)])
    body.sparse_initializer.append(sparse("s", linear, columns))
    source = model(body)
    loaded = load(source)
    held = [n.attrs["sparse_value"] for n in nodes(loaded) if n.op.key == "Constant"]
    if columns == 3:
        assert not held  # no larger than the node it would take
    else:
        assert isinstance(held[0], SparseTensor) and held[0].shape == shape
        assert held[0].values.size == 2 and len(model_bytes(loaded)) < 1000
    feeds = {"x": np.ones(shape, np.float32)}
    expected = np.ones(shape, np.float32)
    expected[0, 1], expected[1, 2] = 3, 4
    assert same(run(source, feeds), [expected])
    assert same(run(model_bytes(loaded), feeds), [expected])


@pytest.mark.parametrize("place", [[-1, 2], [0, 6]])
def test_a_sparse_index_outside_the_shape(place: list[int]) -> None:
    broken = sparse("s", True)
    broken.indices.CopyFrom(weight("", np.array(place, np.int64)))
    body = graph([node("Add", "x s", "y")], [value("x")], [value("y")])
    body.sparse_initializer.append(broken)
    with pytest.raises(InvalidModel, match="index outside"):
        load(model(body))


def test_a_sparse_constant_node() -> None:
    body = graph(
        [node("Constant", "", "s", sparse_value=sparse("", False)), node("Add", "x s", "y")],
        [value("x")],
        [value("y")],
    )
    feeds = {"x": np.zeros((2, 3), np.float32)}
    written = model_bytes(load(model(body)))
    assert same(run(written, feeds), [np.array([[0, 2, 0], [0, 0, 3]], np.float32)])


def test_a_large_repeated_element_stays_one_element() -> None:
    body = graph(
        [
            node("ConstantOfShape", "shape", "c", value=weight("", np.array([7], np.int64))),
            node("Add", "x c", "y"),
        ],
        [value("x", (1000, 1), INT64)],
        [value("y", (1000, 1000), INT64)],
        [weight("shape", np.array([1000, 1000]))],
    )
    loaded = load(model(body))
    (add,) = nodes(loaded)
    assert add.inputs[1] is not None and add.inputs[1].const is not None
    assert add.inputs[1].const.stored_bytes == 8
    written = model_bytes(loaded)
    assert len(written) < 1000
    feeds = {"x": np.arange(1000).reshape(-1, 1)}
    assert same(run(written, feeds), [np.arange(7, 1007).reshape(-1, 1) + np.zeros((1, 1000), np.int64)])


def test_a_tensor_of_nothing_may_have_impossible_other_sizes() -> None:
    proto = TensorProto(name="w", data_type=FLOAT, dims=[0, 2**62, 2**62], raw_data=b"")
    assert only_constant(proto).size == 0


BROKEN = {
    "too few raw bytes": ({"raw_data": bytes(8)}, "8 bytes"),
    "too many raw bytes": ({"raw_data": bytes(20)}, "20 bytes"),
    "no data": ({}, "0 elements"),
    "too few typed elements": ({"float_data": [1.0, 2.0]}, "2 elements"),
    "data in the field of another type": ({"int64_data": [1, 2, 3]}, "0 elements"),
    "negative size": ({"dims": [-1, 3], "raw_data": bytes(12)}, "impossible shape"),
    "more elements than memory": ({"dims": [2**40, 2**40]}, "0 elements"),
    "an element type that does not exist": ({"data_type": 99, "raw_data": bytes(12)}, "element type 99"),
    "no element type": ({"data_type": 0, "raw_data": bytes(12)}, "element type 0"),
}


@pytest.mark.parametrize("fields, complaint", BROKEN.values(), ids=BROKEN)
def test_a_tensor_whose_data_cannot_be_it(fields: dict, complaint: str) -> None:
    proto = TensorProto(**{"name": "w", "data_type": FLOAT, "dims": [3], **fields})
    with pytest.raises(InvalidModel, match=complaint) as caught:
        only_constant(proto)
    assert "'w'" in str(caught.value) and "\n" not in str(caught.value)


def test_strings_of_another_number_than_the_shape() -> None:
    proto = TensorProto(name="w", data_type=TensorProto.STRING, dims=[3], string_data=[b"a"])
    with pytest.raises(InvalidModel, match="1 strings, shape needs 3"):
        only_constant(proto)


def test_sparse_indices_that_do_not_fit() -> None:
    broken = helper.make_sparse_tensor(
        weight("s", np.ones(2, np.float32)), weight("", np.array([1, 2, 3])), [2, 3]
    )
    body = graph([node("Add", "x s", "y")], [value("x")], [value("y")])
    body.sparse_initializer.append(broken)
    with pytest.raises(InvalidModel, match="do not fit 2 values"):
        load_onnx(model(body).SerializeToString())

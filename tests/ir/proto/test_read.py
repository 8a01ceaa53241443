"""Whole files against onnx.load, and what reading promises about copies, time and size."""

from __future__ import annotations

import gc
import mmap
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

import geoc.ir.proto.read as read_module
from geoc.ir.errors import FormatError
from geoc.ir.proto import messages
from geoc.ir.proto.messages import CLASSES, GraphProto, ModelProto, Span
from geoc.ir.proto.packed import unpack
from geoc.ir.proto.read import read_model, read_tensor
from geoc.ir.proto.wire import WireReader
from geoc.ir.proto.write import encode_model

TEST_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
REAL_MODELS = Path.home() / ".cache" / "geoc-models"


def chain(count):
    """A chain of `count` nodes with names, attributes, initializers and value_info."""
    nodes, constants, values = [], [], []
    for index in range(count):
        names = [f"/block.{index}/Add_output_0", f"block.{index}.weight"]
        output = f"/block.{index + 1}/Add_output_0"
        nodes.append(helper.make_node("Gemm", names, [output], name=f"/n{index}", alpha=0.5))
        constants.append(numpy_helper.from_array(np.full((2, 4), index, np.float32), names[1]))
        values.append(helper.make_tensor_value_info(names[0], TensorProto.FLOAT, ["B", "S", 4]))
    graph = helper.make_graph(nodes, "chain", values[:1], values[-1:], constants, value_info=values[1:])
    return helper.make_model(graph).SerializeToString(deterministic=True)


def test_models_of_the_onnx_package(same):
    paths = sorted(TEST_DATA.glob("**/*.onnx"))
    assert len(paths) > 100
    for path in paths:
        data = path.read_bytes()
        same(read_model(data, str(path)), onnx.ModelProto.FromString(data), data, path.name)


def test_node_test_cases(same):
    cases = collect_testcases(None)
    assert len(cases) > 1000
    for case in cases[::5]:
        data = case.model.SerializeToString()
        same(read_model(data), case.model, data, case.name)


def test_tensor_files(same):
    paths = [path for path in sorted(TEST_DATA.glob("**/*.pb")) if "sequence" not in str(path)]
    assert len(paths) > 100
    for path in paths:
        data = path.read_bytes()
        same(read_tensor(data, str(path)), onnx.TensorProto.FromString(data), data, path.name)


@pytest.mark.skipif(not REAL_MODELS.is_dir(), reason="no real models here")
def test_real_models(same):
    for path in sorted(REAL_MODELS.glob("**/*.onnx")):
        if path.stat().st_size > 5 << 20:
            continue
        data = path.read_bytes()
        same(read_model(data, str(path)), onnx.ModelProto.FromString(data), data, path.name)


def typed_tensors():
    rng = np.random.default_rng(0)
    yield "float_data", rng.standard_normal(1000).astype(np.float32)
    yield "double_data", rng.standard_normal(1000)
    for field, dtype in (("int32_data", np.int32), ("int64_data", np.int64), ("uint64_data", np.uint64)):
        limits = np.iinfo(dtype)
        scales = rng.integers(0, limits.bits, 5000).astype(dtype)
        yield field, rng.integers(limits.min, limits.max, 5000, dtype, endpoint=True) >> scales
        yield field, np.array([limits.min, limits.max, 0, 1, 127, 128], dtype)
        yield field, np.array([], dtype)


@pytest.mark.parametrize(("field", "values"), list(typed_tensors()))
def test_typed_data(field, values):
    tensor = onnx.TensorProto()
    getattr(tensor, field).extend(values.tolist())
    data = tensor.SerializeToString()
    read = getattr(read_tensor(data), field)
    if not len(values):
        assert read is None
        return
    assert isinstance(read, Span)
    decoded = unpack(field, memoryview(data)[read.offset : read.offset + read.length])
    assert decoded.dtype == values.dtype
    np.testing.assert_array_equal(decoded, values)


def test_typed_data_across_blocks(monkeypatch):
    """The decoder works block by block; numbers lie across the borders."""
    monkeypatch.setattr("geoc.ir.proto.packed._BLOCK", 64)
    values = np.random.default_rng(1).integers(-(2**62), 2**62, 1000) >> np.arange(1000) % 62
    tensor = onnx.TensorProto(int64_data=values.tolist())
    data = tensor.SerializeToString()
    span = read_tensor(data).int64_data
    np.testing.assert_array_equal(unpack("int64_data", data[span.offset :]), values)


@pytest.mark.parametrize(
    ("field", "data", "message"),
    [
        ("int64_data", b"\x01\x80", "cut off"),
        ("int64_data", b"\x80" * 10 + b"\x01", "more than 10 bytes"),
        ("uint64_data", b"\x80" * (3 << 20) + b"\x01", "more than 10 bytes"),
        ("float_data", b"\0" * 6, "not a multiple of 4"),
        ("double_data", b"\0" * 6, "not a multiple of 8"),
    ],
)
def test_damaged_typed_data(field, data, message):
    with pytest.raises(FormatError, match=f"m.onnx:byte 7: .*{message}"):
        unpack(field, data, source="m.onnx", place="byte 7")


def contents(buffer, model):
    return [bytes(buffer[t.raw_data.offset :][: t.raw_data.length]) for t in model.graph.initializer]


@pytest.mark.parametrize("small", [1 << 24, 0], ids=["copied", "viewed"])
def test_buffers_of_all_kinds(tmp_path, monkeypatch, small):
    monkeypatch.setattr(read_module, "_SMALL", small)
    data = chain(40)
    expected = contents(data, read_model(data))
    assert expected[7] == np.full(8, 7, np.float32).tobytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        views = (mapped, memoryview(mapped), memoryview(data), memoryview(bytearray(data)))
        for buffer in (*views, memoryview(b"xy" + data + b"z")[2:-1]):
            assert contents(buffer, read_model(buffer)) == expected
            del buffer
        del views
    # The model holds nothing of the map, so it could be closed above.


def test_payloads_are_not_copied():
    payload = np.zeros(1 << 25, np.uint8)
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(payload, "t"))
    tensors = [numpy_helper.from_array(payload, "w"), onnx.TensorProto(name="f", float_data=[0.0] * (1 << 20))]
    data = helper.make_model(helper.make_graph([node], "g", [], [], tensors)).SerializeToString()
    tracemalloc.start()
    model = read_model(memoryview(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    for tensor in (model.graph.node[0].attribute[0].t, model.graph.initializer[0]):
        assert data[tensor.raw_data.offset - 4 :][:4] == b"\x80\x80\x80\x10"  # the length before it
        assert tensor.raw_data.length == 1 << 25
    assert model.graph.initializer[1].float_data.length == 1 << 22


def test_more_than_two_gigabytes(tmp_path):
    """A sparse file of 5 GB: lengths over 31 and 32 bits, in the tensor and in the graph around it."""
    sizes = (1 << 31, 3 << 30)
    tensors = [
        messages.TensorProto(name=f"w{index}", dims=[size], data_type=2, raw_data=Span(0, size))
        for index, size in enumerate(sizes)
    ]
    chunks = encode_model(ModelProto(ir_version=8, graph=GraphProto(name="g", initializer=tensors)))
    path = tmp_path / "large.onnx"
    with open(path, "wb") as file:
        for chunk in chunks:
            if isinstance(chunk, Span):
                file.write(b"\x11\x22")
                file.seek(chunk.length - 3, os.SEEK_CUR)
                file.write(b"\x33")
            else:
                file.write(chunk)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = time.process_time()
        model = read_model(memoryview(data), str(path))
        assert time.process_time() - start < 0.1
        for tensor, size in zip(model.graph.initializer, sizes):
            offset = tensor.raw_data.offset
            assert (tensor.raw_data.length, tensor.name) == (size, tensors[sizes.index(size)].name)
            assert data[offset : offset + 3] == b"\x11\x22\0"
            assert data[offset + size - 1] == 0x33


def test_equal_types_and_attributes_are_shared():
    graph = read_model(chain(20)).graph
    assert len({id(value.type) for value in graph.value_info}) == 1
    assert len({id(node.attribute[0]) for node in graph.node}) == 1
    assert graph.node[0].attribute[0].f == 0.5


def test_attributes_with_payloads_are_not_shared():
    tensor = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [helper.make_node("Constant", [], [f"c{index}"], value=tensor) for index in range(3)]
    data = helper.make_model(helper.make_graph(nodes, "g", [], [])).SerializeToString()
    offsets = {node.attribute[0].t.raw_data.offset for node in read_model(data).graph.node}
    assert len(offsets) == 3


def test_long_runs_of_floats():
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32).tolist()
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], values=values, other=values[:4096])
    data = node.SerializeToString()
    attributes = read_module.read_message(messages.NodeProto, data).attribute
    assert [list(attribute.floats) for attribute in attributes] == [values[:4096], values]


def test_garbage_collector_is_left_as_it_was():
    data = chain(3)
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            read_model(data)
            with pytest.raises(FormatError):
                read_model(data[:-1])
            assert gc.isenabled() == enabled
        finally:
            gc.enable()


def test_errors_name_file_and_byte():
    data = chain(2)
    at = data.index(b"Gemm") - 2
    damaged = data[:at] + b"\x26" + data[at + 1 :]
    with pytest.raises(FormatError) as raised:
        read_model(damaged, "model.onnx")
    assert str(raised.value) == f"model.onnx:byte {at}: no field begins with the tag 38"
    with pytest.raises(FormatError, match=r"^page\.onnx:byte 0: "):
        read_model(b"<!DOCTYPE html><html>", "page.onnx")


def seconds(work, times=3):
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def test_time_grows_with_the_model_and_beats_the_table():
    small, large = chain(1_000), chain(10_000)
    assert seconds(lambda: read_model(large)) < 15 * seconds(lambda: read_model(small))
    by_table = seconds(lambda: WireReader(small, "").decode(ModelProto, [(0, len(small))], 0))
    assert seconds(lambda: read_model(small)) < by_table / 3


def test_every_class_reads_its_empty_message():
    for cls in CLASSES.values():
        message = read_module.read_message(cls, b"")
        assert all(getattr(message, field.name) == field.default for field in cls.FIELDS)

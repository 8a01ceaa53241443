"""Constant data against onnx.numpy_helper: packing, unpacking, digests, mapped files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from geoc.ir.errors import FormatError
from geoc.ir.tensor import MappedFile, Tensor, dtype_of, int_tensor
from geoc.ir.types import BOOL, DTYPES, F32, I4, I8, I64, STR, DType, tensor_type

NUMBERS = [d for d in DTYPES if d is not STR]


def random_payload(dtype: DType, count: int) -> bytes:
    data = np.random.default_rng(count).integers(0, 256, dtype.nbytes(count), dtype=np.uint8)
    if dtype is BOOL:
        data &= 1
    rest = count * dtype.bits % 8
    if rest:
        data[-1] &= (1 << rest) - 1
    return data.tobytes()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 24])
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_unpacks_as_onnx_does_and_packs_again(dtype: DType, count: int) -> None:
    data = random_payload(dtype, count)
    proto = TensorProto(data_type=dtype.onnx, dims=[count], raw_data=data)
    theirs = numpy_helper.to_array(proto)
    ours = Tensor(dtype, (count,), data=data).array()
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    # onnx leaves the unused high bits of narrow signed integers clear; the values are the same.
    assert ours.tobytes() == theirs.tobytes() or (dtype.bits < 8 and (ours == theirs).all())
    packed = Tensor.from_array(theirs, dtype)
    assert bytes(packed.data()) == numpy_helper.from_array(theirs).raw_data == data


@pytest.mark.parametrize("dtype", [d for d in NUMBERS if d.kind in "iu"], ids=str)
def test_the_whole_range_of_integers(dtype: DType) -> None:
    low = -(1 << (dtype.bits - 1)) if dtype.kind == "i" else 0
    high = low + (1 << dtype.bits) - 1
    tensor = Tensor(dtype, (2,), data=bytes(Tensor.of([low, high], dtype).data()))
    assert [int(v) for v in tensor.array()] == [low, high]


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_a_span_of_a_file(dtype: DType, tmp_path: Path) -> None:
    data = random_payload(dtype, 11)
    (tmp_path / "w").write_bytes(b"1234567" + data + b"rest")
    file = MappedFile(tmp_path / "w")
    mapped, inline = Tensor(dtype, (11,), file=file, offset=7), Tensor(dtype, (11,), data=data)
    assert mapped.nbytes == len(data) and bytes(mapped.data()) == data
    assert mapped.same(inline) and inline.same(mapped)
    assert mapped.digest() == inline.digest()
    assert not mapped.array().flags.writeable


def test_same_means_dtype_shape_and_bytes() -> None:
    one = Tensor.of([1, 2], I64)
    assert one.same(int_tensor([1, 2])) and one.same(one)
    others = [
        Tensor.of([1, 3], I64), Tensor.of([[1, 2]], I64), Tensor.of([1, 2], F32), Tensor.of([1, 2], I8),
        Tensor.of([-0.0], F32), Tensor.of([0.0], F32), Tensor(STR, (1,), data=[b"a"]), Tensor(STR, (1,), data=[b"b"]),
    ]  # fmt: skip
    for i, a in enumerate([one, *others]):
        for j, b in enumerate([one, *others]):
            assert a.same(b) is (i == j)
            assert (a.digest() == b.digest()) is (i == j)
    large = np.arange(5000, dtype=np.float32)
    assert Tensor.from_array(large).same(Tensor.from_array(large.copy()))
    assert not Tensor.from_array(large).same(Tensor.from_array(large + 1))
    nan = Tensor.of([float("nan")], F32)
    assert nan.same(Tensor.of([float("nan")], F32))


def test_strings_with_ambiguous_concatenations() -> None:
    a, b = Tensor(STR, (2,), data=[b"ab", b"c"]), Tensor(STR, (2,), data=[b"a", b"bc"])
    assert a.digest() != b.digest() and not a.same(b)
    assert Tensor.from_array(np.array(["ü", b"\xff"], object)).strings() == ["ü".encode(), b"\xff"]
    assert a.array().tolist() == [b"ab", b"c"]
    with pytest.raises(TypeError):
        a.data()


def test_arrays_are_kept_where_they_can_be() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = Tensor.from_array(array)
    assert np.shares_memory(tensor.array(), array)
    assert array.flags.writeable and not tensor.array().flags.writeable
    transposed = Tensor.from_array(array.T)
    assert transposed.shape == (3, 2)
    assert bytes(transposed.data()) == array.T.copy().tobytes()
    swapped = Tensor.from_array(array.astype(">f4"), F32)
    assert bytes(swapped.data()) == array.tobytes()
    assert Tensor.from_array(np.float32(3)).shape == ()


def test_items() -> None:
    assert Tensor.of(2.5, F32).item() == 2.5
    assert Tensor.of([[7]], I64).item() == 7
    assert Tensor.of([[1, 2], [3, 4]], I64).ints() == (1, 2, 3, 4)
    assert Tensor.of([-8, 7, 1], I4).ints() == (-8, 7, 1)
    with pytest.raises(ValueError):
        Tensor.of([1, 2], I64).item()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_element_types_of_arrays(dtype: DType) -> None:
    assert dtype_of(dtype.numpy) is dtype


def test_arrays_that_onnx_has_no_type_for() -> None:
    with pytest.raises(TypeError):
        dtype_of(np.dtype("datetime64[s]"))


def test_splats() -> None:
    splat, full = Tensor.of_splat(0.5, (3, 4), F32), Tensor.of(np.full((3, 4), 0.5), F32)
    assert splat.same(full) and full.same(splat) and splat.digest() == full.digest()
    assert bytes(splat.data()) == bytes(full.data())
    assert not splat.same(Tensor.of_splat(0.25, (3, 4), F32))
    assert not Tensor.of_splat(0.0, (2,), F32).same(Tensor.of_splat(-0.0, (2,), F32))
    assert (splat.nbytes, splat.stored_bytes) == (48, 4)


def test_a_file_that_changes_under_the_map(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"1234")
    file = MappedFile(path)
    file.check_unchanged()
    other = tmp_path / "other"
    other.write_bytes(b"1234")
    os.replace(other, path)
    with pytest.raises(FormatError, match="changed"):
        file.check_unchanged()
    path.unlink()
    with pytest.raises(FormatError, match="vanished"):
        file.check_unchanged()


def test_empty_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    file = MappedFile(tmp_path / "empty")
    assert file.size == 0
    assert Tensor(F32, (0,), file=file).array().shape == (0,)
    with pytest.raises(OSError):
        MappedFile(tmp_path / "none")


def test_arrays_moved_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They read as they were, nothing of them has a name, and files that refer to them hold their bytes."""
    import tempfile

    import geoc
    from geoc.ir.builder import Builder
    from geoc.ir.core import Graph, Model, constant
    from geoc.ir.text import parse_model, print_model

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    array = np.random.default_rng(0).normal(size=(300, 500)).astype(np.float32)
    tensor = Tensor.spilled(array.T)
    assert tensor.file is not None and tensor.file.on_disk and tensor.file.path == "" and list(tmp_path.iterdir()) == []
    assert tensor.shape == (500, 300)
    assert (tensor.read() == array.T).all() and (tensor.array() == array.T).all()
    assert tensor.same(Tensor.from_array(array.T)) and tensor.sampled([7], 2) == array.T.tobytes()[28:36]
    assert Tensor.spilled(np.zeros((0, 3), np.float32)).read().shape == (0, 3)
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (2, 500)))
    graph.set_outputs([Builder(graph).op("MatMul", x, constant(tensor, "w"))], ["y"])
    model = Model(graph)
    for again in (parse_model(print_model(model)), _saved(geoc, model, tmp_path / "m.onnx")):
        (node,) = again.graph
        weight = node.inputs[1]
        assert weight is not None and weight.const is not None and (weight.const.array() == array.T).all()


def _saved(geoc: Any, model: Any, path: Path) -> Any:
    geoc.save(model, path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # in the file, which refers to nothing else
    return geoc.load(path)

"""Files as a whole: mapped weights, half precision, sparse weights, variables, names, what is refused and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite

import geoc
from geoc.frontends.tflite import load_tflite
from geoc.ir.errors import FormatError, GeocError, InvalidModel, UnsupportedModel
from geoc.tools.files import is_onnx, tensors

from .building import File
from .running import convolution, run

RNG = np.random.default_rng(3)


def _small(dtype: str = "float32") -> tuple[File, int, Any, Any]:
    f = File()
    x, w = RNG.standard_normal((1, 6, 6, 40)).astype(np.float32), RNG.standard_normal((16, 3, 3, 40)).astype(dtype)
    weights = f.const(w)
    if dtype != "float32":
        weights = f.op("DEQUANTIZE", [weights], [f.tensor("float32", w.shape)])
    y = f.op("CONV_2D", [f.input("float32", x.shape), weights, f.const(np.zeros(16))], [f.tensor("float32", (), name="out")], "Conv2DOptions", Padding=0, StrideW=1, StrideH=1)  # fmt: skip
    return f, y, x, w


def test_weights_stay_in_the_file(tmp_path: Path) -> None:
    f, y, _, w = _small()
    path = tmp_path / "model.tflite"
    path.write_bytes(f.data(y))
    model = geoc.load(path)
    mapped = [t for t in tensors(model) if t.nbytes == w.nbytes]
    assert [t.file is not None and t.file.path for t in mapped] == [str(path)]
    assert not is_onnx(str(path))
    assert [model.graph.inputs[0].hint, model.graph.ret.inputs[0].hint] == ["t1", "out"]
    assert {node.loc for node in model.walk()} == {("out",)}


def test_weights_of_half_precision_stay_half() -> None:
    f, y, x, w = _small("float16")
    model = load_tflite(f.data(y))
    assert {t.dtype.name for t in tensors(model) if t.size > 1000} == {"f16"}
    np.testing.assert_allclose(run(f.data(y), x)[0], convolution(x, w.astype(np.float32), 1), atol=1e-3)
    geoc.optimize(model)
    assert [n.op.name for n in model.walk()].count("Transpose") == 2  # of the image and of the result
    assert sum(t.nbytes for t in tensors(model)) < 2.1 * w.size


def test_a_chain_of_images_has_transposes_at_its_edges_alone() -> None:
    f = File()
    x = f.input("float32", (1, 16, 16, 3))
    first = f.op("CONV_2D", [x, f.const(RNG.standard_normal((8, 3, 3, 3)))], [f.tensor("float32", ())], "Conv2DOptions", StrideW=2, StrideH=2)
    act = f.op("PRELU", [first, f.const(np.full((1, 1, 8), 0.1))], [f.tensor("float32", ())])
    more = f.op("PAD", [act, f.const(np.array([[0, 0]] * 3 + [[0, 4]]))], [f.tensor("float32", ())])
    deep = f.op("DEPTHWISE_CONV_2D", [more, f.const(RNG.standard_normal((1, 3, 3, 12)))], [f.tensor("float32", ())], "DepthwiseConv2DOptions", StrideW=1, StrideH=1, DepthMultiplier=1)  # fmt: skip
    total = f.op("ADD", [deep, more], [f.tensor("float32", ())], "AddOptions")
    half = f.op("MUL", [total, f.const(np.float32(RNG.standard_normal(12)))], [f.tensor("float32", ())], "MulOptions")
    both = f.op("CONCATENATION", [half, total], [f.tensor("float32", ())], "ConcatenationOptions", Axis=3)
    model = load_tflite(f.data(both))
    geoc.optimize(model)
    assert [n.op.name for n in model.walk()].count("Transpose") == 2


def _sparse(f: File, dense: Any) -> tuple[int, Any]:
    """A matrix [out, in] whose second dimension is compressed; its stored numbers."""
    rows, columns = np.nonzero(dense)
    segments = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
    levels = [
        f.table("DimensionMetadata", Format=0, DenseSize=len(dense)),
        f.table(
            "DimensionMetadata", Format=1, ArraySegmentsType=1, ArrayIndicesType=3,
            ArraySegments=f.table("Int32Vector", Values=segments.astype(np.int32)),
            ArrayIndices=f.table("Uint8Vector", Values=columns.astype(np.uint8)),
        ),
    ]  # fmt: skip
    return f.table("SparsityParameters", TraversalOrder=np.array([0, 1], np.int32), DimMetadata=levels), dense[rows, columns]


def test_sparse_weights_become_dense() -> None:
    f, x = File(), RNG.standard_normal((2, 20)).astype(np.float32)
    dense = np.where(RNG.random((7, 20)) < 0.3, RNG.standard_normal((7, 20)), 0).astype(np.float32)
    sparsity, stored = _sparse(f, dense)
    weights = f.op("DENSIFY", [f.const(stored, dense.shape, sparsity=sparsity)], [f.tensor("float32", dense.shape)])
    y = f.op("FULLY_CONNECTED", [f.input("float32", x.shape), weights], [f.tensor("float32", ())], "FullyConnectedOptions")
    np.testing.assert_allclose(run(f.data(y), x)[0], x @ dense.T, atol=1e-5)


def test_sparse_blocks_become_dense() -> None:
    """Blocks of [2, 1]: rows of blocks, compressed columns, the rows of a block."""
    f = File()
    dense = np.zeros((4, 6), np.float32)
    dense[0:2, [1, 4]] = [[1, 2], [3, 4]]
    dense[2:4, 5] = [5, 6]
    levels = [
        f.table("DimensionMetadata", Format=0, DenseSize=2),
        f.table("DimensionMetadata", Format=1, ArraySegmentsType=3, ArraySegments=f.table("Uint8Vector", Values=np.array([0, 2, 3], np.uint8)),
                ArrayIndicesType=2, ArrayIndices=f.table("Uint16Vector", Values=np.array([1, 4, 5], np.uint16))),
        f.table("DimensionMetadata", Format=0, DenseSize=2),
    ]  # fmt: skip
    sparsity = f.table("SparsityParameters", TraversalOrder=np.array([0, 1, 2], np.int32), BlockMap=np.array([0], np.int32), DimMetadata=levels)
    stored = f.const(np.float32([1, 3, 2, 4, 5, 6]), dense.shape, sparsity=sparsity)
    weights = f.op("DENSIFY", [stored], [f.tensor("float32", dense.shape)])
    y = f.op("ADD", [f.input("float32", (4, 6)), weights], [f.tensor("float32", ())], "AddOptions")
    np.testing.assert_array_equal(run(f.data(y), np.zeros((4, 6), np.float32))[0], dense)


def test_sparse_weights_that_would_be_gigabytes_are_refused() -> None:
    f = File()
    levels = [
        f.table("DimensionMetadata", Format=1, ArraySegmentsType=3, ArraySegments=f.table("Uint8Vector", Values=np.array([0, 1], np.uint8)),
                ArrayIndicesType=3, ArrayIndices=f.table("Uint8Vector", Values=np.array([7], np.uint8))),
    ]  # fmt: skip
    sparsity = f.table("SparsityParameters", TraversalOrder=np.array([0], np.int32), DimMetadata=levels)
    stored = f.const(np.float32([1]), (1 << 30,), sparsity=sparsity)
    with pytest.raises(UnsupportedModel, match="would grow from 4 to 4294967296 bytes"):
        load_tflite(f.data(f.op("DENSIFY", [stored], [f.tensor("float32", (1 << 30,))])))


def _counter() -> bytes:
    """Adds its input to a variable, which begins with fours, and gives the sum."""
    f = File()
    resource = {"dtype": 13, "shape": ()}
    i = f.input("float32", (1, 2))
    f.op("CALL_ONCE", [], [], "CallOnceOptions", InitSubgraphIndex=1)
    handle = f.op("VAR_HANDLE", [], [f.tensor(**resource)], "VarHandleOptions", SharedName="total")
    old = f.op("READ_VARIABLE", [handle], [f.tensor("float32", (1, 2))])
    new = f.op("ADD", [old, i], [f.tensor("float32", (1, 2), name="sum")], "AddOptions")
    f.op("ASSIGN_VARIABLE", [handle, new], [])
    f.graph()
    handle = f.op("VAR_HANDLE", [], [f.tensor(**resource)], "VarHandleOptions", SharedName="total")
    f.op("ASSIGN_VARIABLE", [handle, f.const(np.float32([[4, 4]]))], [])
    return f.data(new)


def test_variables_are_inputs_and_outputs() -> None:
    model = load_tflite(_counter())
    assert [v.hint for v in model.graph.inputs] == ["t0", "total"]
    assert json.loads(model.metadata["state total"]) == {"input": "total", "output": "total_next", "initial": 4.0}
    found = run(_counter(), np.float32([[1, 2]]), np.float32([[4, 4]]))
    np.testing.assert_array_equal(found[0], [[5, 6]])
    np.testing.assert_array_equal(found[1], [[5, 6]])


def test_all_operators_that_are_missing_are_named() -> None:
    f = File()
    x = f.input("float32", (1, 4))
    y = f.op("MULTINOMIAL", [x], [f.tensor("float32", ())])
    z = f.op("FlexQr", [y], [f.tensor("float32", ())])
    with pytest.raises(UnsupportedModel, match=r"operators that cannot be imported: MULTINOMIAL \(1\), custom FlexQr \(1\)"):
        load_tflite(f.data(z))


def _add(first: int, second: int, **more: Any) -> bytes:
    f = File()
    i = f.input("float32", (2, 3))
    assert i == 0
    f.const(np.ones(3))
    f.tensor("float32", (3,))
    f.tensor(13, ())
    return f.data(f.op("ADD", [first, second], [f.tensor("float32", ())], "AddOptions", **more))


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b"", FormatError, "not a TFLite model: it does not say TFL3 at byte 4"),
        (b"\x08\0\0\0TFL3", FormatError, "leads outside the file of 8 bytes"),
        (b"\xff\xff\xff\xffTFL3" + bytes(100), FormatError, "leads outside the file of 108 bytes"),
        (_add(0, 9), FormatError, r"operands name tensors \[0, 9\], there are 5"),
        (_add(0, -1), InvalidModel, "operator 0 ADD: lacks operand 1"),
        (_add(0, 2), InvalidModel, "operator 0 ADD: reads tensor 't2', which nothing has computed"),
        (_add(0, 1, FusedActivationFunction=5), UnsupportedModel, "operator 0 ADD: has activation 5"),
    ],
)
def test_what_is_no_model_is_refused(data: bytes, error: type[GeocError], text: str) -> None:
    with pytest.raises(error, match=text):
        load_tflite(data)


def test_one_vector_named_by_many_tables_is_not_read_without_end() -> None:
    f = File()
    name = f.builder.CreateString("x" * 100_000)
    codes = []
    for _ in range(500):
        tflite.OperatorCodeStart(f.builder)
        tflite.OperatorCodeAddBuiltinCode(f.builder, 32)
        tflite.OperatorCodeAddCustomCode(f.builder, name)
        codes.append(tflite.OperatorCodeEnd(f.builder))
    model = f.table("Model", Version=3, OperatorCodes=codes)
    f.builder.Finish(model, b"TFL3")
    with pytest.raises(FormatError, match="name the same bytes too often"):
        load_tflite(bytes(f.builder.Output()))

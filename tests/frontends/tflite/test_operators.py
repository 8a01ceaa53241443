"""Operators of numbers and of layouts against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .building import File
from .running import run

RNG = np.random.default_rng(1)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
Y = RNG.standard_normal((2, 3, 4)).astype(np.float32)
IMAGE = RNG.standard_normal((1, 3, 4, 2)).astype(np.float32)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _normal(x: Any) -> Any:
    from math import erf

    return x / 2 * (1 + np.vectorize(erf)(x / np.sqrt(2)))


UNARY: dict[str, Callable[[Any], Any]] = {
    "RELU": lambda x: np.maximum(x, 0), "RELU6": lambda x: np.clip(x, 0, 6), "RELU_N1_TO_1": lambda x: np.clip(x, -1, 1),
    "TANH": np.tanh, "LOGISTIC": _sigmoid, "HARD_SWISH": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "ELU": lambda x: np.where(x > 0, x, np.exp(x) - 1), "EXP": np.exp, "NEG": np.negative, "ABS": np.abs,
    "FLOOR": np.floor, "CEIL": np.ceil, "ROUND": np.round, "SIN": np.sin, "COS": np.cos, "SIGN": np.sign,
    "SQUARE": np.square, "LOG_SOFTMAX": lambda x: np.log(_softmax(x)), "ZEROS_LIKE": np.zeros_like,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name: str) -> None:
    f, x = File(), 4 * X
    y = f.op(name, [f.input("float32", x.shape)], [f.tensor("float32", ())])
    np.testing.assert_allclose(run(f.data(y), x)[0], UNARY[name](x.astype(np.float64)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "function"), [("SQRT", np.sqrt), ("RSQRT", lambda x: 1 / np.sqrt(x)), ("LOG", np.log)])
def test_functions_of_positive_numbers(name: str, function: Any) -> None:
    f, x = File(), np.abs(X) + 0.1
    y = f.op(name, [f.input("float32", x.shape)], [f.tensor("float32", ())])
    np.testing.assert_allclose(run(f.data(y), x)[0], function(x), rtol=1e-5)


BINARY: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "ADD": ("AddOptions", np.add), "SUB": ("SubOptions", np.subtract), "MUL": ("MulOptions", np.multiply),
    "DIV": ("DivOptions", np.divide), "MAXIMUM": ("", np.maximum), "MINIMUM": ("", np.minimum),
    "SQUARED_DIFFERENCE": ("", lambda x, y: (x - y) ** 2), "FLOOR_DIV": ("", np.floor_divide), "FLOOR_MOD": ("", np.mod),
    "LESS": ("", np.less), "LESS_EQUAL": ("", np.less_equal), "GREATER": ("", np.greater),
    "GREATER_EQUAL": ("", np.greater_equal), "EQUAL": ("", np.equal), "NOT_EQUAL": ("", np.not_equal),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_numbers_broadcast(name: str) -> None:
    options, function = BINARY[name]
    f, y = File(), Y[0, 0]
    z = f.op(name, [f.input("float32", X.shape), f.const(y)], [f.tensor("float32", ())], options)
    np.testing.assert_allclose(run(f.data(z), X)[0], function(X, y), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "function"), [("FLOOR_DIV", np.floor_divide), ("FLOOR_MOD", np.mod)])
def test_integers_are_rounded_down_too(name: str, function: Any) -> None:
    f, x, y = File(), np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)
    z = f.op(name, [f.input("int32", x.shape), f.const(y)], [f.tensor("int32", ())])
    np.testing.assert_array_equal(run(f.data(z), x)[0], function(x, y))


@pytest.mark.parametrize(("code", "function"), [(1, UNARY["RELU"]), (2, UNARY["RELU_N1_TO_1"]), (3, UNARY["RELU6"]), (4, np.tanh)])
def test_activations_in_options(code: int, function: Any) -> None:
    f = File()
    z = f.op("ADD", [f.input("float32", X.shape), f.const(5 * Y)], [f.tensor("float32", ())], "AddOptions", FusedActivationFunction=code)
    found = run(f.data(z), X, asked=code != 4)[0]  # LiteRT's kernel leaves this one out
    np.testing.assert_allclose(found, function(X + 5 * Y), atol=1e-6)


Case = tuple[str, list[Any], str, dict[str, Any], Any]
SLICED = {"BeginMask": 0, "EndMask": 0, "EllipsisMask": 0, "NewAxisMask": 0, "ShrinkAxisMask": 0}
CASES: dict[str, Case] = {
    "reshape": ("RESHAPE", [X, [4, -1]], "ReshapeOptions", {}, X.reshape(4, 6)),
    "reshape by its options": ("RESHAPE", [X], "ReshapeOptions", {"NewShape": np.array([3, 8], np.int32)}, X.reshape(3, 8)),
    "squeeze": ("SQUEEZE", [IMAGE], "SqueezeOptions", {"SqueezeDims": np.array([0], np.int32)}, IMAGE[0]),
    "squeeze all": ("SQUEEZE", [IMAGE], "SqueezeOptions", {}, IMAGE[0]),
    "expand": ("EXPAND_DIMS", [X, [-1]], "", {}, X[..., None]),
    "transpose": ("TRANSPOSE", [X, [2, 0, 1]], "", {}, X.transpose(2, 0, 1)),
    "concatenate": ("CONCATENATION", [X, Y, X], "ConcatenationOptions", {"Axis": -2}, np.concatenate([X, Y, X], 1)),
    "pack": ("PACK", [X, Y], "PackOptions", {"Axis": -1, "ValuesCount": 2}, np.stack([X, Y], -1)),
    "gather": ("GATHER", [X, [2, 0]], "GatherOptions", {"Axis": 1}, X[:, [2, 0]]),
    "gather by position": ("GATHER_ND", [X, [[1, 2], [0, 1]]], "", {}, X[[1, 0], [2, 1]]),
    "pad": ("PAD", [X, [[0, 0], [1, 2], [0, 3]]], "", {}, np.pad(X, [(0, 0), (1, 2), (0, 3)])),
    "pad an image": ("PAD", [IMAGE, [[0, 0], [1, 2], [0, 3], [0, 0]]], "", {}, np.pad(IMAGE, [(0, 0), (1, 2), (0, 3), (0, 0)])),
    "pad by a number": ("PADV2", [X, [[0, 1], [0, 0], [2, 0]], np.float32(5)], "", {}, np.pad(X, [(0, 1), (0, 0), (2, 0)], constant_values=5)),
    "mirror": ("MIRROR_PAD", [X, [[0, 0], [1, 2], [3, 0]]], "MirrorPadOptions", {"Mode": 0}, np.pad(X, [(0, 0), (1, 2), (3, 0)], "reflect")),
    "mirror with the edge": ("MIRROR_PAD", [X, [[2, 1], [1, 3], [4, 2]]], "MirrorPadOptions", {"Mode": 1}, np.pad(X, [(2, 1), (1, 3), (4, 2)], "symmetric")),
    "reverse": ("REVERSE_V2", [X, [1, -1]], "", {}, X[:, ::-1, ::-1]),
    "tile": ("TILE", [X, [1, 2, 3]], "", {}, np.tile(X, (1, 2, 3))),
    "broadcast": ("BROADCAST_TO", [X, [5, 2, 3, 4]], "", {}, np.broadcast_to(X, (5, 2, 3, 4))),
    "slice": ("SLICE", [X, [0, 1, 2], [-1, 2, 1]], "", {}, X[:, 1:3, 2:3]),
    "strided": ("STRIDED_SLICE", [X, [0, 2, -1], [2, 0, -4], [1, -1, -2]], "StridedSliceOptions", SLICED, X[0:2, 2:0:-1, -1:-4:-2]),
    "strided with masks": ("STRIDED_SLICE", [X, [1, 1, 3], [0, 3, 0], [1, 1, -2]], "StridedSliceOptions", {**SLICED, "EndMask": 5, "ShrinkAxisMask": 2}, X[1:, 1, 3::-2]),
    "the last of an axis": ("STRIDED_SLICE", [X, [0, -1], [0, 0], [1, 1]], "StridedSliceOptions", {**SLICED, "BeginMask": 1, "EndMask": 1, "ShrinkAxisMask": 2}, X[:, -1]),
    "ellipsis and a new axis": ("STRIDED_SLICE", [X, [0, 0, 1], [0, 0, 3], [1, 1, 1]], "StridedSliceOptions", {**SLICED, "EllipsisMask": 1, "NewAxisMask": 2}, X[..., None, 1:3]),
    "mean": ("MEAN", [IMAGE, [1, 2]], "ReducerOptions", {"KeepDims": True}, IMAGE.mean((1, 2), keepdims=True)),
    "sum": ("SUM", [X, [-1]], "ReducerOptions", {"KeepDims": False}, X.sum(-1)),
    "sum over nothing": ("SUM", [X, np.zeros(0, np.int32)], "ReducerOptions", {}, X),
    "product": ("REDUCE_PROD", [X, [0]], "ReducerOptions", {}, X.prod(0)),
    "most": ("REDUCE_MAX", [X, [0, 2]], "ReducerOptions", {}, X.max((0, 2))),
    "least": ("REDUCE_MIN", [X, [1]], "ReducerOptions", {}, X.min(1)),
    "any": ("REDUCE_ANY", [X > 1, [1]], "ReducerOptions", {}, (X > 1).any(1)),
    "all": ("REDUCE_ALL", [X > -1, [1]], "ReducerOptions", {}, (X > -1).all(1)),
    "where the most is": ("ARG_MAX", [X, [2]], "ArgMaxOptions", {"OutputType": 2}, X.argmax(2)),
    "sums so far": ("CUMSUM", [X, [1]], "CumsumOptions", {"Exclusive": True, "Reverse": False}, np.cumsum(X, 1) - X),
    "softmax": ("SOFTMAX", [X], "SoftmaxOptions", {"Beta": 2.0}, _softmax(2 * X)),
    "leaky": ("LEAKY_RELU", [X], "LeakyReluOptions", {"Alpha": 0.25}, np.where(X > 0, X, X / 4)),
    "prelu": ("PRELU", [IMAGE, np.float32([[[0.5, -2]]])], "", {}, np.where(IMAGE > 0, IMAGE, IMAGE * [0.5, -2])),
    "gelu": ("GELU", [X], "GeluOptions", {"Approximate": False}, _normal(X)),
    "select": ("SELECT_V2", [X > 0, X, np.float32(9)], "", {}, np.where(X > 0, X, 9)),
    "rows": ("SELECT", [np.array([True, False]), X, Y], "", {}, np.stack([X[0], Y[1]])),
    "add three": ("ADD_N", [X, Y, X], "", {}, 2 * X + Y),
    "normalize": ("L2_NORMALIZATION", [X], "L2NormOptions", {}, X / np.linalg.norm(X, axis=-1, keepdims=True)),
    "products": ("BATCH_MATMUL", [X, Y], "BatchMatMulOptions", {"AdjX": True, "AdjY": False}, X.transpose(0, 2, 1) @ Y),
    "shape": ("SHAPE", [X], "ShapeOptions", {"OutType": 2}, np.array([2, 3, 4])),
    "cast": ("CAST", [3 * X], "CastOptions", {"InDataType": 0, "OutDataType": 2}, np.trunc(3 * X)),
    "fully connected": ("FULLY_CONNECTED", [X, Y.reshape(2, 12), np.float32([1, 2])], "FullyConnectedOptions", {}, X.reshape(2, 12) @ Y.reshape(2, 12).T + [1, 2]),
    "fully connected of rows": ("FULLY_CONNECTED", [X, Y.reshape(6, 4), np.ones(6, np.float32)], "FullyConnectedOptions", {"KeepNumDims": True}, X @ Y.reshape(6, 4).T + 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    operator, operands, options, fields, expected = CASES[name]
    f = File()
    x = np.asarray(operands[0])
    inputs = [f.input(x.dtype.name, x.shape), *(f.const(operand) for operand in operands[1:])]
    dtype = "int32" if operator in ("CAST", "SHAPE", "ARG_MAX") else x.dtype.name
    y = f.op(operator, inputs, [f.tensor(dtype, ())], options, **fields)
    found = run(f.data(y), x)[0]
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "first", "rest", "options", "expected"),
    [
        ("SPLIT", np.array(1, np.int32), [], "SplitOptions", np.split(X, 3, 1)),
        ("SPLIT_V", None, [[1, -1, 1], [2]], "SplitVOptions", np.split(X, [1, 3], 2)),
        ("UNPACK", None, [], "UnpackOptions", [X[:, :, i] for i in range(4)]),
    ],
)
def test_several_results(name: str, first: Any, rest: Any, options: str, expected: Any) -> None:
    f = File()
    i = f.input("float32", X.shape)
    inputs = ([f.const(first)] if first is not None else []) + [i] + [f.const(np.array(r)) for r in rest]
    results = [f.tensor("float32", ()) for _ in expected]
    fields = {"Num": 4, "Axis": 2} if name == "UNPACK" else {"NumSplits": 3}
    f.op(name, inputs, results, options, **fields)
    for found, part in zip(run(f.data(*results), X), expected, strict=True):
        np.testing.assert_array_equal(found, part)


def test_the_largest_and_where_they_are() -> None:
    f = File()
    results = [f.tensor("float32", ()), f.tensor("int32", ())]
    f.op("TOPK_V2", [f.input("float32", X.shape), f.const(np.array(2), ())], results, "TopKV2Options")
    values, places = run(f.data(*results), X)
    order = np.argsort(-X, -1)[..., :2]
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(values, np.take_along_axis(X, order, -1))

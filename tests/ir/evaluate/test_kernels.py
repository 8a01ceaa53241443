"""Every numpy kernel against onnxruntime's CPU kernel, on models built with onnx's own tools."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from geoc.ir.core import Node, Value, constant
from geoc.ir.evaluate import CannotEvaluate, evaluate_node, movement, numeric
from geoc.ir.ops import op
from geoc.ir.tensor import Tensor
from geoc.ir.types import BF16, F32, STR, U4

OPSET = 21
Case = tuple[str, list[Any], dict[str, Any], int]

i64, i32, f32, f16, f64 = np.int64, np.int32, np.float32, np.float16, np.float64
RNG = np.random.default_rng(7)
FLOATS = np.array([0.0, -0.0, 1.5, -2.5, 0.5, 2.5, -0.5, 1e-3, 3e4, -7.25], f32)
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e38, -1e-38, 3.0], f32)
INTS = np.array([-7, 7, -1, 1, 0, 2**40, -(2**40), 3, -3, 5], i64)


def rand(*shape: int, dtype: Any = f32) -> np.ndarray:
    return (RNG.standard_normal(shape) * 3).astype(dtype)


def ints(*values: int) -> np.ndarray:
    return np.array(values, i64)


def by_onnxruntime(name: str, arrays: list[Any], attrs: dict[str, Any], outputs: int) -> list[np.ndarray]:
    names = [f"i{i}" if a is not None else "" for i, a in enumerate(arrays)]
    results = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(name, names, results, **attrs)
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, arrays)
        if a is not None
    ]
    infos = [onnx.ValueInfoProto(name=n) for n in results]
    graph = helper.make_graph([node], "one", inputs, infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {n: a for n, a in zip(names, arrays) if a is not None})


def node_for(name: str, arrays: list[Any], attrs: dict[str, Any], outputs: int) -> Node:
    operands = [None if a is None else constant(Tensor.from_array(a)) for a in arrays]
    kept = {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}
    if isinstance(kept.get("value"), onnx.TensorProto):
        kept["value"] = Tensor.from_array(onnx.numpy_helper.to_array(kept["value"]))
    return Node(op(name), operands, [Value(None, f"o{i}") for i in range(outputs)], kept)


def by_numpy(name: str, arrays: list[Any], attrs: dict[str, Any], outputs: int = 1) -> list[np.ndarray]:
    node = node_for(name, arrays, attrs, outputs)
    tensors = [None if v is None else v.const for v in node.inputs]
    return [t.array() for t in evaluate_node(node, tensors, runtime=False) if t is not None]


def case(name: str, *arrays: Any, outputs: int = 1, **attrs: Any) -> Case:
    return (name, [None if a is None else np.asarray(a) for a in arrays], attrs, outputs)


def grid(name: str, *sets: np.ndarray, **attrs: Any) -> Case:
    """Every element of the first set with every element of the second, by broadcasting."""
    shaped = [s.reshape([-1] + [1] * (len(sets) - 1 - i)) for i, s in enumerate(sets)]
    return case(name, *shaped, **attrs)


NONZERO = INTS[INTS != 0]
EXACT: list[Case] = [
    *(grid(o, a, a) for o in ("Add", "Sub", "Mul") for a in (FLOATS, ODD, INTS, INTS.astype(i32), FLOATS.astype(f16))),
    grid("Add", np.array([250, 3], np.uint8), np.array([10, 1], np.uint8)),
    *(grid("Div", a, a) for a in (FLOATS, ODD, FLOATS.astype(f64))), grid("Div", INTS, NONZERO),
    grid("Div", INTS.astype(i32), NONZERO.astype(i32)[np.abs(NONZERO) < 100]),
    grid("Div", np.array([7, 200], np.uint8), np.array([2, 3], np.uint8)), grid("Mod", INTS, NONZERO),
    grid("Mod", INTS, NONZERO, fmod=1), grid("Mod", FLOATS, FLOATS, fmod=1),
    *(case(o, a) for o in ("Neg", "Abs", "Sign", "Relu") for a in (FLOATS, np.array([-128, 5], np.int8))),
    case("Abs", INTS), case("Neg", INTS), case("Sign", INTS), case("Sign", ODD), case("Relu", ODD[1:]),
    *(case(o, a) for o in ("Floor", "Ceil", "Round", "Sqrt", "Reciprocal") for a in (FLOATS, ODD, FLOATS.astype(f64))),
    *(case(o, ODD) for o in ("IsNaN", "IsInf")), case("IsInf", ODD, detect_negative=0),
    case("IsInf", ODD, detect_positive=0), case("Not", np.array([True, False])),
    *(grid(o, np.array([True, False]), np.array([True, False])) for o in ("And", "Or", "Xor")),
    *(grid(o, INTS, INTS) for o in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")), case("BitwiseNot", INTS),
    grid("BitShift", np.array([1, 255], np.uint32), np.array([0, 3, 31], np.uint32), direction="LEFT"),
    grid("BitShift", np.array([1, 255], np.uint32), np.array([0, 3, 31], np.uint32), direction="RIGHT"),
    *(grid(o, a, a) for o in ("Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal") for a in (ODD, INTS)),
    grid("Where", np.array([True, False]), FLOATS, ODD), grid("Where", np.array([True, False]), INTS, INTS),
    *(grid(o, a, a) for o in ("Max", "Min") for a in (FLOATS[2:], ODD[:3], INTS)),
    case("Max", FLOATS, FLOATS[::-1].copy(), f32(1)), case("Sum", FLOATS, ODD, FLOATS), case("Sum", FLOATS),
    case("Clip", FLOATS, f32(-1), f32(2)), case("Clip", INTS, i64(-1), None), case("Clip", ODD, None, f32(2)),
    case("Clip", FLOATS, f32(2), f32(-1)), case("Range", i64(3), i64(17), i64(5)),
    case("Range", i64(3), i64(-4), i64(-2)), case("Range", i64(3), i64(1), i64(1)),
    case("Range", f32(0.1), f32(1), f32(0.1)), case("Range", i32(0), i32(4), i32(1)),
    case("Range", f64(1), f64(-1), f64(-0.3)), case("CumSum", INTS.reshape(2, 5), i64(1)),
    case("CumSum", INTS.reshape(2, 5), i64(-2), reverse=1), case("CumSum", rand(3, 4), i64(1), exclusive=1),
    case("CumSum", rand(3, 4), i64(0), exclusive=1, reverse=1),
    case("MatMul", INTS.reshape(2, 5), INTS.reshape(5, 2)), case("MatMul", ints(1, 2, 3), ints(4, 5, 6)),
    *(case(o, INTS.reshape(2, 5), ints(1)) for o in ("ReduceSum", "ReduceMax", "ReduceMin")),
    case("ReduceProd", ints(-3, 5, 7)), case("Clip", ODD, f32(-2), None), case("Clip", ODD),
    case("ReduceSum", INTS.reshape(2, 5), keepdims=0), case("ReduceSum", INTS.reshape(2, 5), noop_with_empty_axes=1),
    case("ReduceMax", FLOATS.reshape(2, 5), ints(-1), keepdims=0),
    case("ReduceMin", ODD[1:].reshape(3, 3), ints(0, 1)),
    *(case("Cast", FLOATS, to=t) for t in (1, 5, 6, 7, 9, 10, 11)), case("Cast", f32([-128.9, 127.9, 0.5]), to=3),
    *(case("Cast", np.array([-1, 0, 255, 300, 70000], i64), to=t) for t in (1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 13)),
    *(case("Cast", ODD, to=t) for t in (9, 10, 11)),
    *(case("Cast", np.array([True, False]), to=t) for t in (1, 6, 7, 10)),
    case("Cast", np.array([1 + 2**-11 + 2**-40, 65519.99999, 65520.0]), to=10), case("CastLike", FLOATS, ints(1)),
    case("Identity", FLOATS), case("Shape", rand(2, 3, 4)), case("Shape", rand(2, 3, 4), start=1),
    case("Shape", rand(2, 3, 4), start=-2, end=-1), case("Size", rand(2, 3)),
    case("Reshape", rand(2, 6), ints(0, -1, 3)), case("Reshape", rand(0, 3), ints(3, 0), allowzero=1),
    case("Flatten", rand(2, 3, 4), axis=2), case("Flatten", rand(2, 3), axis=0),
    case("Flatten", rand(2, 3, 4), axis=-1), case("Squeeze", rand(1, 3, 1)), case("Squeeze", rand(1, 3, 1), ints(-1)),
    case("Unsqueeze", rand(3), ints(0, -1)), case("Transpose", rand(2, 3, 4)),
    case("Transpose", rand(2, 3, 4), perm=[1, 0, 2]), case("Concat", rand(2, 3), rand(2, 1), axis=-1),
    case("Concat", ints(1), ints(), ints(2, 3), axis=0), case("Split", rand(7, 2), outputs=3, num_outputs=3),
    case("Split", rand(7, 2), ints(1, 6), outputs=2), case("Split", rand(2, 6), outputs=2, axis=1, num_outputs=2),
    case("Slice", rand(5, 6), ints(1), ints(100)), case("Slice", rand(5, 6), ints(-1), ints(-100), ints(1), ints(-2)),
    case("Slice", rand(5, 6), ints(4, 1), ints(0, -1), ints(0, -1), ints(-1, 2)),
    case("Slice", rand(5), ints(3), ints(1)), case("Slice", rand(0, 2), ints(-1), ints(-9), ints(0), ints(-1)),
    case("Slice", rand(5), ints(0), ints(np.iinfo(i64).max)),
    case("Slice", rand(5), ints(np.iinfo(i64).max), ints(np.iinfo(i64).min), ints(0), ints(-1)),
    case("Gather", rand(4, 3), ints(0, -1, 2)), case("Gather", rand(4, 3), np.array([[0, 2]], i32), axis=1),
    case("Gather", ints(5, 6), i64(-1)), case("GatherElements", rand(3, 3), np.array([[0, -1, 2]], i64)),
    case("GatherElements", rand(2, 3), np.array([[0], [2]], i64), axis=1),
    case("GatherND", rand(3, 4, 2), np.array([[0, 1], [-1, 3]], i64)),
    case("ScatterND", rand(4, 2), np.array([[1], [3]], i64), rand(2, 2)),
    case("ScatterND", rand(4), np.array([[1], [-1]], i64), rand(2)), case("Expand", rand(3, 1), ints(2, 1, 4)),
    case("Expand", rand(3, 4), ints(1, 1)), case("Tile", rand(2, 3), ints(2, 0)),
    case("Tile", rand(2, 3), ints(2, 2)), case("Pad", rand(2, 3), ints(1, 0, 0, 2)),
    case("Pad", rand(2, 3), ints(1, 2), f32(5), ints(-1)), case("Pad", INTS, ints(0, 3), i64(9)),
    case("ConstantOfShape", ints(2, 3)), case("ConstantOfShape", ints(), value=helper.make_tensor("v", 7, [1], [4])),
    case("ConstantOfShape", ints(0, 2), value=helper.make_tensor("v", 9, [1], [1])),
    case("NonZero", INTS.reshape(2, 5)), case("NonZero", i64(3)), case("NonZero", i64(0)),
    case("NonZero", np.array([True, False])), case("Trilu", rand(3, 4)),
    case("Trilu", rand(2, 3, 4), i64(-1), upper=0), case("Trilu", INTS.reshape(5, 2), i64(1)),
]  # fmt: skip

SMOOTH = ("Exp", "Sin", "Cos", "Tanh", "Sigmoid", "Erf", "Softplus")
POSITIVE = np.abs(rand(40)) + f32(1e-3)
CLOSE: list[Case] = [
    *(case(o, a) for o in SMOOTH for a in (rand(40), rand(3, 4, dtype=f16))),
    case("Exp", ODD), case("Tanh", ODD), case("Sigmoid", ODD), case("Erf", ODD), case("Log", POSITIVE),
    case("Log", ODD), case("Exp", rand(5, dtype=f64)), case("Log", POSITIVE.astype(f64)),
    case("Tanh", rand(5, dtype=f64)), grid("Pow", POSITIVE[:10], FLOATS), grid("Pow", FLOATS, ints(0, 1, 2, 3)),
    grid("Pow", FLOATS, f32([2, 3, 0.5])), case("MatMul", rand(4, 8), rand(8, 3)),
    case("MatMul", rand(2, 4, 8), rand(8, 3)), case("MatMul", rand(4, 8, dtype=f64), rand(8, dtype=f64)),
    *(case(o, rand(3, 5), ints(1)) for o in ("ReduceSum", "ReduceMean", "ReduceProd")),
    case("ReduceMean", rand(3, 5), keepdims=0), case("ReduceSum", rand(3, 5, dtype=f64), ints(0)),
    case("Mean", rand(7), rand(7), rand(7)),
]  # fmt: skip


def show(value: Any) -> str:
    name, arrays, attrs, _ = value
    kinds = ",".join("-" if a is None else f"{a.dtype}{list(a.shape)}" for a in arrays)
    return f"{name}({kinds}){''.join(f' {k}={v}' for k, v in attrs.items() if k != 'value')}"


@pytest.mark.parametrize("given", EXACT, ids=show)
def test_bit_equal(given: Case) -> None:
    name, arrays, attrs, outputs = given
    for mine, theirs in zip(by_numpy(*given), by_onnxruntime(name, arrays, attrs, outputs), strict=True):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        np.testing.assert_array_equal(mine, theirs)
        if _signed_zero(given):
            np.testing.assert_array_equal(np.signbit(mine), np.signbit(theirs))


def _signed_zero(given: Case) -> bool:
    # The sign of a NaN means nothing, and the runtime's own vector and scalar code disagree on max(0, -0).
    name, arrays, _, _ = given
    floats = arrays[0] is not None and arrays[0].dtype.kind == "f"
    return floats and name not in ("Max", "Min", "Clip", "Relu", "Sum", "Sign") and not _has_nan(arrays)


def _has_nan(arrays: list[Any]) -> bool:
    return any(a is not None and a.dtype.kind == "f" and not np.all(np.isfinite(a)) for a in arrays)


@pytest.mark.parametrize("given", CLOSE, ids=show)
def test_within_rounding(given: Case) -> None:
    name, arrays, attrs, outputs = given
    for mine, theirs in zip(by_numpy(*given), by_onnxruntime(name, arrays, attrs, outputs), strict=True):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        # Single-precision kernels are polynomials with errors of some units in the last place.
        ulp = {2: 2**-10, 4: 2**-20, 8: 2**-48}[mine.dtype.itemsize]
        np.testing.assert_allclose(mine, theirs, rtol=ulp, atol=ulp)


def test_every_kernel_is_compared() -> None:
    compared = {given[0] for given in [*EXACT, *CLOSE]}
    assert compared == set(numeric.KERNELS) | set(movement.KERNELS)


@pytest.mark.parametrize(
    "given",
    [
        case("Div", ints(1, 2), ints(1, 0)),
        case("Mod", ints(1, 2), ints(1, 0)),
        case("Mod", ints(1), ints(0), fmod=1),
        case("Div", ints(np.iinfo(i64).min), ints(-1)),
        case("Gather", rand(3), ints(3)),
        case("Gather", rand(3), ints(-4)),
        case("GatherElements", rand(3), ints(3)),
        case("GatherND", rand(3), np.array([[3]], i64)),
        case("ScatterND", rand(3), np.array([[-4]], i64), rand(1)),
        case("Reshape", rand(6), ints(4, -1)),
        case("Reshape", rand(6), ints(-1, -1)),
        case("Reshape", rand(6), ints(7)),
        case("Reshape", rand(6), ints(6, 0)),
        case("Squeeze", rand(2, 1), ints(0)),
        case("Unsqueeze", rand(2), ints(0, 0)),
        case("Transpose", rand(2, 3), perm=[0, 0]),
        case("Concat", rand(2, 3), rand(3, 3), axis=1),
        case("Slice", rand(4), ints(0), ints(2), ints(0), ints(0)),
        case("Split", rand(4), ints(1, 1), outputs=2),
        case("Expand", rand(3), ints(2)),
        case("Add", rand(3), rand(2)),
        case("Range", i64(0), i64(3), i64(0)),
        case("ConstantOfShape", ints(-1)),
        case("CumSum", rand(3), i64(1)),
        case("ReduceSum", rand(3), ints(1)),
        case("Tile", rand(3), ints(1, 1)),
    ],
    ids=show,
)
def test_operands_outside_the_domain_are_refused(given: Case) -> None:
    with pytest.raises(CannotEvaluate):
        by_numpy(*given)


@pytest.mark.parametrize(
    "given",
    [
        case("Cast", ODD, to=7),
        case("Cast", f32([300.0]), to=3),
        case("Cast", f32([2.0**63]), to=7),
        case("Pow", ints(2), ints(3)),
        case("ReduceProd", ints(2**40, 2**40)),
        case("ReduceMean", ints(2, 3)),
        case("OneHot", ints(1), i64(3), f32([0, 1])),
    ],
    ids=show,
)
def test_left_to_the_runtime_and_equal_there(given: Case) -> None:
    name, arrays, attrs, outputs = given
    with pytest.raises(CannotEvaluate, match="needs the runtime"):
        by_numpy(*given)
    node = node_for(*given)
    mine = evaluate_node(node, [None if v is None else v.const for v in node.inputs])
    theirs = by_onnxruntime(name, arrays, attrs, outputs)
    for a, b in zip(mine, theirs, strict=True):
        assert a is not None
        np.testing.assert_array_equal(a.array(), b)


def test_bfloat16_is_computed_in_single_precision_and_rounded() -> None:
    a, b = (Tensor.from_array(rand(50).astype(BF16.numpy), BF16) for _ in range(2))
    node = Node(op("Mul"), [constant(a), constant(b)], [Value(None, "y")])
    (found,) = evaluate_node(node, [a, b], runtime=False)
    assert found is not None and found.dtype is BF16
    wanted = (a.array().astype(f32) * b.array().astype(f32)).astype(BF16.numpy)
    np.testing.assert_array_equal(found.array().view(np.uint16), wanted.view(np.uint16))


def test_integers_become_bfloat16_by_way_of_single_precision() -> None:
    x = Tensor.from_array(np.array([257, 2**24 + 2**16 + 1], i64))
    node = Node(op("Cast"), [constant(x)], [Value(None, "y")], {"to": BF16.onnx})
    (found,) = evaluate_node(node, [x], runtime=False)
    assert found is not None
    np.testing.assert_array_equal(found.array().astype(f32), x.array().astype(f32).astype(BF16.numpy).astype(f32))


def test_movement_of_packed_and_string_elements() -> None:
    packed = Tensor.from_array(np.array([[1, 2, 3], [4, 5, 15]]).astype(U4.numpy), U4)
    node = Node(op("Transpose"), [constant(packed)], [Value(None, "y")])
    (found,) = evaluate_node(node, [packed])
    assert found is not None and found.dtype is U4 and bytes(found.data()) == bytes([0x41, 0x52, 0xF3])
    words = Tensor.from_array(np.array(["a", "b", "c"], object))
    node = Node(op("Gather"), [constant(words), constant(Tensor.from_array(ints(2, 0)))], [Value(None, "y")])
    (found,) = evaluate_node(node, [words, Tensor.from_array(ints(2, 0))])
    assert found is not None and found.dtype is STR and found.strings() == [b"c", b"a"]


def test_f32_arithmetic_needs_no_runtime() -> None:
    node = node_for("Add", [f32([1, 2]), f32(3)], {}, 1)
    (found,) = evaluate_node(node, [v.const for v in node.inputs if v is not None], runtime=False)
    assert found is not None and found.dtype is F32 and found.array().tolist() == [4, 5]

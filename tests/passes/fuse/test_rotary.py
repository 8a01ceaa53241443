"""Rotary position embeddings in the spellings of many exporters: one RotaryEmbedding each, and equal numbers.

Every case is a small ONNX file, made of a choice for each part of the computation (`PARTS`). The result is compared with the
original in onnxruntime without optimizations, and both with the rotation in float64.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.lowering.onnx import model_bytes
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import BASE, CLEAN_UP, parse
from geoc.passes.registry import Registry

PIPELINE = ",".join([*BASE, f"repeat(4){{rotary,{','.join(CLEAN_UP)}}}"])
HEADS, ROTATED, MOST = 2, 8, 64  # heads, elements of a head that are rotated, positions of stored tables
PAIRS = ROTATED // 2
SIZES = [(1, 5), (3, 4), (2, 1)]  # batch, sequence
PARTS: dict[str, list[str]] = {
    "form": ["wide", "products"],
    "kind": ["halves", "neighbours"],
    "cut": ["slice", "slice to the end", "slice to computed", "split", "split by sizes", "of pairs", "of pairs kept"],
    "negation": ["neg", "times -1", "add the negative"],
    "order": ["plain", "swapped"],
    "angles": ["matmul", "outer", "outer with wide frequencies", "batch of positions"],
    "doubling": ["angles by concat", "cosines by concat", "angles by expand", "angles by tile"],
    "tables": ["computed", "scaled", "cast", "stored, looked up", "stored, first rows", "stored, all rows"],
    "layout": ["heads first", "heads first later", "heads last", "turned keys", "sequence first", "no heads"],
    "partial": ["no", "slice", "split"],
    "place": ["inner", "output", "branch"],
}
BASE_CASE = {part: choices[0] for part, choices in PARTS.items()}


class Net:
    """An ONNX graph that grows node by node; values are names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def __call__(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{op}.{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def const(self, value: Any) -> str:
        name = f"c.{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def slice(self, x: str, start: int, end: int, axis: int = -1, step: int = 1) -> str:
        return self("Slice", x, self.ints(start), self.ints(end), self.ints(axis), self.ints(step))

    def reshape(self, x: str, *shape: int) -> str:
        return self("Reshape", x, self.ints(*shape))

    def unsqueeze(self, x: str, axis: int = -1) -> str:
        return self("Unsqueeze", x, self.ints(axis))

    def commuted(self, op: str, a: str, b: str, swap: bool) -> str:
        return self(op, b, a) if swap else self(op, a, b)


def frequencies() -> np.ndarray:
    return (50.0 ** -(np.arange(PAIRS) / PAIRS)).astype(np.float32)


def twice(array: np.ndarray, kind: str) -> np.ndarray:
    return np.concatenate([array, array], -1) if kind == "halves" else np.repeat(array, 2, -1)


def doubled(net: Net, x: str, rank: int, case: dict[str, str], way: str) -> str:
    """`x`, [..., PAIRS], with everything twice along its last axis."""
    if case["form"] == "products":
        return x
    if case["kind"] == "halves":
        if way == "tile":
            return net("Tile", x, net.ints(*[1] * (rank - 1), 2))
        if way == "concat":
            return net("Concat", x, x, axis=-1)
        spread = net("Expand", net.unsqueeze(x, -2), net.ints(*[1] * (rank - 1), 2, 1))
        return net.reshape(spread, *[0] * (rank - 1), ROTATED)
    column = net.unsqueeze(x)
    if way == "concat":
        pairs = net("Concat", column, column, axis=-1)
    elif way == "tile":
        pairs = net("Tile", column, net.ints(*[1] * rank, 2))
    else:
        pairs = net("Expand", column, net.ints(*[1] * rank, 2))
    return net.reshape(pairs, *[0] * (rank - 1), ROTATED)


def tables(net: Net, case: dict[str, str]) -> tuple[list[str], int]:
    """Cosines and sines, [B or 1, S, width] or [S, width], and their rank. Positions are 0, 1, ... plus those of input p."""
    of, wide = case["tables"], case["form"] == "wide"
    if of.startswith("stored"):
        angles = np.arange(MOST, dtype=np.float32)[:, None] * frequencies()
        made = []
        for function in (np.cos, np.sin):
            whole = function(angles).astype(np.float32)
            table = net.const(twice(whole, case["kind"]) if wide else whole)
            if of == "stored, looked up":
                table = net("Gather", table, "p", axis=0)
            elif of == "stored, first rows":
                length = net("Unsqueeze", net("Gather", net("Shape", "p"), net.const(np.int64(1)), axis=0), net.ints(0))
                table = net("Slice", table, net.ints(0), length, net.ints(0))
            else:
                table = net("Gather", table, net("Gather", "p", net.const(np.int64(0)), axis=0), axis=0)
            made.append(table)
        return made, 3 if of == "stored, looked up" else 2
    positions = net("Cast", "p", to=TensorProto.FLOAT)
    inverse, first = frequencies(), net.const(np.int64(0))
    if case["angles"] == "matmul":
        column = net.const(inverse[None, :, None])
        row = net.unsqueeze(net.unsqueeze(net("Gather", positions, first, axis=0), 0), 0)
        angles, rank = net("Transpose", net("MatMul", column, row), perm=[0, 2, 1]), 3
    elif case["angles"] == "batch of positions":
        angles, rank = net("MatMul", net.unsqueeze(positions, 2), net.const(inverse[None, None])), 3
    else:
        row = net("Gather", positions, first, axis=0)
        by = twice(inverse, case["kind"]) if wide and case["angles"] == "outer with wide frequencies" else inverse
        angles, rank = net("Mul", net.unsqueeze(row), net.const(by)), 2
    before, way = case["doubling"].split(" by ")
    done = case["angles"] == "outer with wide frequencies"
    if before == "angles" and not done:
        angles = doubled(net, angles, rank, case, way)
    made = []
    for function in ("Cos", "Sin"):
        table = net(function, angles)
        if before == "cosines" and not done:
            table = doubled(net, table, rank, case, way)
        if of == "scaled":
            table = net("Mul", table, net.const(np.float32(1.25)))
        if of == "cast":
            table = net("Cast", net("Cast", table, to=TensorProto.DOUBLE), to=TensorProto.FLOAT)
        made.append(table)
    return made, rank


def placed(net: Net, table: str, rank: int, case: dict[str, str]) -> str:
    """A table [B or 1, S, width] or [S, width] beside x in its layout."""
    layout = case["layout"]
    if layout in ("heads last", "heads first later", "turned keys"):
        return net.unsqueeze(table, rank - 1)
    if layout == "sequence first":
        if rank == 3:
            return net.unsqueeze(net("Transpose", table, perm=[1, 0, 2]), 2)
        return net.unsqueeze(net.unsqueeze(table, 1), 1)
    return net.unsqueeze(table, 1) if rank == 3 and layout == "heads first" else table


def halves(net: Net, x: str, rank: int, case: dict[str, str]) -> tuple[str, str]:
    """The first and second partners of all pairs of x."""
    cut = case["cut"]
    if case["kind"] == "neighbours":
        if cut.startswith("of pairs") or cut.startswith("split"):
            pairs = net.reshape(x, *[0] * (rank - 1), PAIRS, 2)
            if cut == "of pairs":
                return tuple(net("Gather", pairs, net.const(np.int64(i)), axis=-1) for i in (0, 1))
            if cut == "of pairs kept":
                a, b = (net.slice(pairs, i, i + 1) for i in (0, 1))
            else:
                a, b = net("Split", pairs, net.ints(1, 1), outputs=2, axis=-1)
            if keeps(case):
                return a, b
            return net("Squeeze", a, net.ints(-1)), net("Squeeze", b, net.ints(-1))
        end = ROTATED if cut == "slice" else 2**63 - 1
        return net.slice(x, 0, end, -1, 2), net.slice(x, 1, end, -1, 2)
    if cut.startswith("split"):
        return tuple(net("Split", x, net.ints(PAIRS, PAIRS), outputs=2, axis=-1))
    if cut == "slice to computed":
        width = net("Gather", net("Shape", x), net.const(np.int64(rank - 1)), axis=0)
        middle = net("Unsqueeze", net("Div", width, net.const(np.int64(2))), net.ints(0))
        first = net("Slice", x, net.ints(0), middle, net.ints(rank - 1))
        return first, net("Slice", x, middle, net.ints(2**63 - 1), net.ints(rank - 1))
    return net.slice(x, 0, PAIRS), net.slice(x, PAIRS, ROTATED if cut == "slice" else 2**63 - 1)


def keeps(case: dict[str, str]) -> bool:
    """Whether partners have an axis of length 1 behind them."""
    return case["kind"] == "neighbours" and case["cut"] == "of pairs kept"


def together(net: Net, a: str, b: str, rank: int, case: dict[str, str]) -> str:
    if case["kind"] == "halves":
        return net("Concat", a, b, axis=-1)
    columns = (a, b) if keeps(case) else (net.unsqueeze(a), net.unsqueeze(b))
    return net.reshape(net("Concat", *columns, axis=-1), *[0] * (rank - 1), ROTATED)


def negative(net: Net, x: str, case: dict[str, str]) -> str:
    return net("Mul", x, net.const(np.float32(-1))) if case["negation"] == "times -1" else net("Neg", x)


def rotation(net: Net, x: str, cos: str, sin: str, rank: int, case: dict[str, str]) -> str:
    swap = case["order"] == "swapped"
    a, b = halves(net, x, rank, case)
    if case["form"] == "wide":
        turned = together(net, negative(net, b, case), a, rank, case)
        products = net.commuted("Mul", x, cos, swap), net.commuted("Mul", turned, sin, swap)
        return net.commuted("Add", *products, swap)
    if keeps(case):
        cos, sin = net.unsqueeze(cos), net.unsqueeze(sin)
    ac, bs = net.commuted("Mul", a, cos, swap), net.commuted("Mul", b, sin, swap)
    bc, sa = net.commuted("Mul", b, cos, swap), net.commuted("Mul", a, sin, swap)
    real = net("Sub", ac, bs) if case["negation"] == "neg" else net("Add", ac, net("Neg", bs))
    return together(net, real, net.commuted("Add", bc, sa, swap), rank, case)


def build(case: dict[str, str]) -> onnx.ModelProto:
    """x is [B, S, H*D], p the positions, [B, S]."""
    net = Net()
    layout, width = case["layout"], ROTATED if case["partial"] == "no" else ROTATED + 3
    rank = 3 if layout == "no heads" else 4
    x = "x" if rank == 3 else net.reshape("x", 0, 0, HEADS, width)
    if layout == "heads first":
        x = net("Transpose", x, perm=[0, 2, 1, 3])
    if layout == "sequence first":
        x = net("Transpose", x, perm=[1, 0, 2, 3])
    (cos, sin), table_rank = tables(net, case)
    cos, sin = placed(net, cos, table_rank, case), placed(net, sin, table_rank, case)
    start = len(net.nodes)
    front, rest = x, ""
    if case["partial"] == "slice":
        front, rest = net.slice(x, 0, ROTATED), net.slice(x, ROTATED, 2**63 - 1)
    elif case["partial"] == "split":
        front, rest = net("Split", x, net.ints(ROTATED, width - ROTATED), outputs=2, axis=-1)
    y = rotation(net, front, cos, sin, rank, case)
    if rest:
        y = net("Concat", y, rest, axis=-1)
    if layout == "heads first later":
        y = net("Transpose", y, perm=[0, 2, 1, 3])
    elif layout == "turned keys":
        y = net("Transpose", y, perm=[0, 2, 3, 1])
    elif layout == "sequence first":
        y = net("Transpose", y, perm=[1, 2, 0, 3])
    if case["place"] == "inner":
        y = net("Relu", y)
    shape = [None] * rank
    if case["place"] == "branch":
        inner = net.nodes[start:]
        del net.nodes[start:]
        then = helper.make_graph(inner, "then", [], [helper.make_tensor_value_info(y, TensorProto.FLOAT, shape)])
        other = helper.make_node("Identity", [x], ["kept"])
        orelse = helper.make_graph(
            [other], "else", [], [helper.make_tensor_value_info("kept", TensorProto.FLOAT, shape)]
        )
        net.nodes.append(helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=orelse))
    else:
        net.nodes.append(helper.make_node("Identity", [y], ["y"]))
    heads = 1 if rank == 3 else HEADS
    graph = helper.make_graph(
        net.nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "S", heads * width]),
            helper.make_tensor_value_info("p", TensorProto.INT64, ["B", "S"]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in net.constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def optimized(proto: onnx.ModelProto) -> Model:
    model = load_onnx(proto.SerializeToString())
    run_pipeline(model, Registry().resolve(parse(PIPELINE)), Context())
    return model


def count(model: Model, name: str) -> int:
    return sum(node.op.name == name for graph in model.graphs() for node in graph)


def merged(model: Model, case: dict[str, str]) -> bool:
    """Whether nothing is left around RotaryEmbedding: no rest of a partial rotation, no Neg, no packed heads."""
    names = {node.op.name for graph in model.graphs() for node in graph}
    widths = {
        node.attr("rotary_embedding_dim")
        for graph in model.graphs()
        for node in graph
        if node.op.name == "RotaryEmbedding"
    }
    return "Neg" not in names and widths == {0 if case["partial"] == "no" else ROTATED}


def run(data: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})[0]
    return result


def exact(case: dict[str, str], x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The rotation in float64."""
    heads = 1 if case["layout"] == "no heads" else HEADS
    x = x.astype(np.float64).reshape(*x.shape[:2], heads, -1)
    stored = case["tables"].startswith("stored")
    if case["tables"] == "stored, first rows":
        positions = np.broadcast_to(np.arange(positions.shape[1]), positions.shape)
    elif case["tables"] != "stored, looked up" and (stored or case["angles"] != "batch of positions"):
        positions = np.broadcast_to(positions[:1], positions.shape)
    angles = (positions[..., None].astype(np.float32) * frequencies()).astype(np.float64)[:, :, None]
    scale = 1.25 if case["tables"] == "scaled" else 1.0
    cos, sin = np.cos(angles) * scale, np.sin(angles) * scale
    front = x[..., :ROTATED]
    halved = case["kind"] == "halves"
    a, b = (front[..., :PAIRS], front[..., PAIRS:]) if halved else (front[..., ::2], front[..., 1::2])
    real, imaginary = a * cos - b * sin, b * cos + a * sin
    joined = np.concatenate([real, imaginary], -1) if halved else np.stack([real, imaginary], -1).reshape(front.shape)
    y = np.concatenate([joined, x[..., ROTATED:]], -1)
    if case["layout"] == "no heads":
        y = y[:, :, 0]
    elif case["layout"] == "turned keys":
        y = y.transpose(0, 2, 3, 1)
    elif case["layout"] != "heads last":
        y = y.transpose(0, 2, 1, 3)
    return np.maximum(y, 0) if case["place"] == "inner" else y


def cases() -> list[dict[str, str]]:
    """Each choice beside the first ones in both forms, and some at random."""
    found: dict[str, dict[str, str]] = {}
    starts = [BASE_CASE | {"form": form, "kind": kind} for form in PARTS["form"] for kind in PARTS["kind"]]
    for start in starts:
        for part, choices in PARTS.items():
            for choice in choices:
                case = start | {part: choice}
                found[str(case)] = case
    draw = random.Random(1)
    for _ in range(60):
        case = {part: draw.choice(choices) for part, choices in PARTS.items()}
        found[str(case)] = case
    return list(found.values())


def name_of(case: dict[str, str]) -> str:
    return ", ".join(v for k, v in case.items() if k in ("form", "kind") or v != BASE_CASE[k])


@pytest.mark.parametrize("case", cases(), ids=name_of)
def test_spellings(case: dict[str, str]) -> None:
    proto = build(case)
    model = optimized(proto)
    assert count(model, "RotaryEmbedding") == 1
    assert merged(model, case)
    assert count(model, "Cos") == count(model, "Sin") == (0 if case["tables"].startswith("stored") else 1)
    before, after = proto.SerializeToString(), bytes(model_bytes(model))
    generator = np.random.default_rng(0)
    heads = 1 if case["layout"] == "no heads" else HEADS
    for batch, sequence in SIZES:
        width = ROTATED if case["partial"] == "no" else ROTATED + 3
        positions = generator.integers(0, 20, (batch, 1)) + np.arange(sequence)
        x = generator.standard_normal((batch, sequence, heads * width)).astype(np.float32)
        feeds = {"x": x, "p": positions, "flag": np.array(True)}
        old, new = run(before, feeds), run(after, feeds)
        wanted = exact(case, x, positions)
        np.testing.assert_allclose(old, wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("case", [c for c in cases() if c["place"] != "branch"][::5], ids=name_of)
def test_tables_are_computed_narrow(case: dict[str, str]) -> None:
    model = optimized(build(case))
    for graph in model.graphs():
        for node in graph:
            if node.op.name in ("Cos", "Sin"):
                assert node.output.shape is not None and node.output.shape[-1] == PAIRS


@pytest.mark.parametrize("kind", PARTS["kind"])
@pytest.mark.parametrize("form", PARTS["form"])
@pytest.mark.parametrize("layout", PARTS["layout"])
def test_known_sizes(form: str, kind: str, layout: str) -> None:
    case = BASE_CASE | {"form": form, "kind": kind, "layout": layout, "partial": "slice"}
    proto = build(case)
    for value, size in zip(proto.graph.input, ([2, 3], [2, 3], [])):
        for dim, known in zip(value.type.tensor_type.shape.dim, size):
            dim.dim_value = known
    model = optimized(proto)
    assert count(model, "RotaryEmbedding") == 1 and count(model, "Shape") == 0 and merged(model, case)
    heads = 1 if layout == "no heads" else HEADS
    x = np.random.default_rng(0).standard_normal((2, 3, heads * (ROTATED + 3))).astype(np.float32)
    feeds = {"x": x, "p": np.array([[4, 5, 6], [7, 8, 9]]), "flag": np.array(True)}
    old, new = run(proto.SerializeToString(), feeds), run(bytes(model_bytes(model)), feeds)
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("kind", PARTS["kind"])
@pytest.mark.parametrize("form", PARTS["form"])
@pytest.mark.parametrize("inside", [np.float16, np.float32])
def test_half_precision(form: str, kind: str, inside: Any) -> None:
    """x is float16; rotated as such, or in float32 with a Cast before and after: RotaryEmbedding does what was done."""
    case = BASE_CASE | {"form": form, "kind": kind, "layout": "heads first"}
    net = Net()
    element = helper.np_dtype_to_tensor_dtype(np.dtype(inside))
    x = net("Cast", "x", to=element)
    (cos, sin), rank = tables(net, case)
    cos, sin = (net("Cast", placed(net, t, rank, case), to=element) for t in (cos, sin))
    y = net("Cast", rotation(net, x, cos, sin, 4, case), to=TensorProto.FLOAT16)
    for name, value in net.constants.items():
        if inside is np.float16 and value.dtype == np.float32 and value.ndim == 0:
            net.constants[name] = value.astype(np.float16)
    graph = helper.make_graph(
        net.nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["B", HEADS, "S", ROTATED]),
            helper.make_tensor_value_info("p", TensorProto.INT64, ["B", "S"]),
        ],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT16, [None] * 4)],
        [numpy_helper.from_array(value, name) for name, value in net.constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = optimized(proto)
    made = [node for node in model.graph if node.op.name == "RotaryEmbedding"]
    assert len(made) == 1 and made[0].output.dtype is not None
    assert made[0].output.dtype.numpy == inside
    x16 = np.random.default_rng(0).standard_normal((3, HEADS, 4, ROTATED)).astype(np.float16)
    feeds = {"x": x16, "p": np.broadcast_to(np.arange(4), (3, 4)).copy()}
    old, new = run(proto.SerializeToString(), feeds), run(bytes(model_bytes(model)), feeds)
    np.testing.assert_allclose(new.astype(np.float32), old.astype(np.float32), rtol=2e-3, atol=4e-3)


PRODUCTS = (
    "none in products", "no sign", "other sign", "swapped once", "other half", "tables of two", "joined as neighbours",
)  # fmt: skip
WIDE = (
    "none in wide tables", "halves differ", "tables of neighbours", "first half turned", "not turned", "both turned",
    "other sizes", "along another axis", "used elsewhere", "a table for each head",
)  # fmt: skip


def faulty_products(net: Net, x: str, cos: str, sin: str, fault: str) -> str:
    a, b = net.slice(x, 0, PAIRS), net.slice(x, PAIRS, ROTATED)
    real = net("Add" if fault == "no sign" else "Sub", net("Mul", a, cos), net("Mul", b, sin))
    other = net("Mul", cos, net.const(np.float32(2))) if fault == "tables of two" else cos
    one, two = net("Mul", b, other), net("Mul", b if fault == "other half" else a, sin)
    if fault == "swapped once":
        one, two = net("Mul", b, sin), net("Mul", a, cos)
    imaginary = net("Sub" if fault == "other sign" else "Add", one, two)
    if fault == "joined as neighbours":
        pairs = net("Concat", net.unsqueeze(real), net.unsqueeze(imaginary), axis=-1)
        return net.reshape(pairs, 0, 0, 0, ROTATED)
    return net("Concat", real, imaginary, axis=-1)


def faulty_wide(net: Net, x: str, cos: str, sin: str, fault: str) -> list[str]:
    a, b = net.slice(x, 0, PAIRS), net.slice(x, PAIRS, ROTATED)
    wide = [net("Concat", t, net("Neg", t) if fault == "halves differ" else t, axis=-1) for t in (cos, sin)]
    if fault == "tables of neighbours":
        pairs = [net("Concat", net.unsqueeze(t), net.unsqueeze(t), axis=-1) for t in (cos, sin)]
        wide = [net.reshape(t, 0, 0, 0, ROTATED) for t in pairs]
    if fault == "first half turned":
        turned = net("Concat", b, net("Neg", a), axis=-1)
    elif fault == "not turned":
        turned = net("Concat", net("Neg", a), b, axis=-1)
    elif fault == "both turned":
        turned = net("Concat", net("Neg", b), net("Neg", a), axis=-1)
    elif fault == "other sizes":
        turned = net("Concat", net("Neg", net.slice(x, 3, ROTATED)), net.slice(x, 0, 3), axis=-1)
    elif fault == "along another axis":
        turned = net("Concat", net("Neg", net.slice(x, 1, 2, 1)), net.slice(x, 0, 1, 1), axis=1)
    else:
        turned = net("Concat", net("Neg", b), a, axis=-1)
    y = net("Add", net("Mul", x, wide[0]), net("Mul", turned, wide[1]))
    return [y, turned] if fault == "used elsewhere" else [y]


@pytest.mark.parametrize("fault", [*PRODUCTS, *WIDE])
def test_what_is_no_rotation(fault: str) -> None:
    """Graphs that only look like one; without their faults they are, so they cannot pass for another reason."""
    net = Net()
    of = (net, "x", "cos", "sin", fault)
    values = [faulty_products(*of)] if fault in PRODUCTS else faulty_wide(*of)
    tables = [HEADS if fault == "a table for each head" else 1, PAIRS]
    sizes = {"x": (HEADS, ROTATED), "cos": tables, "sin": tables}
    graph = helper.make_graph(
        net.nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", h, "S", w]) for n, (h, w) in sizes.items()],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [None] * 4) for value in values],
        [numpy_helper.from_array(value, name) for name, value in net.constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = optimized(proto)
    assert count(model, "RotaryEmbedding") == fault.startswith("none")
    generator = np.random.default_rng(0)
    feeds = {n: generator.standard_normal((3, h, 4, w)).astype(np.float32) for n, (h, w) in sizes.items()}
    old, new = run(proto.SerializeToString(), feeds), run(bytes(model_bytes(model)), feeds)
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)

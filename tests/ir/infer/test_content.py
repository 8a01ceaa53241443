"""Contents of small tensors against what the ONNX reference evaluator computes from actual shapes.

A program is a random chain of shape arithmetic on the shapes of two inputs; inferred elements, with the
symbols replaced by the sizes of a run, must be the elements it computes.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.dims import substitute, symbol
from geoc.ir.infer import content_of, infer_graph
from geoc.ir.infer.base import is_opaque, opaque_int

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

SIZES = [{"A": 2, "B": 3, "C": 5}, {"A": 1, "B": 7, "C": 4}, {"A": 6, "B": 1, "C": 1}]


class Program:
    """An ONNX graph built statement by statement, with the length of every vector in it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.vectors: dict[str, int] = {}
        self.emit("Shape", ["x"], 3)
        self.emit("Shape", ["y"], 2)
        self.emit("Shape", ["x"], 2, start=1)

    def emit(self, op: str, inputs: list[str], length: int, **attrs: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attrs))
        self.vectors[name] = length
        return name

    def const(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def pick(self) -> tuple[str, int]:
        return self.rng.choice(list(self.vectors.items()))

    def step(self) -> None:
        rng = self.rng
        kind = rng.choice(list(STEPS))
        STEPS[kind](self, *self.pick(), rng)

    def model(self) -> Any:
        inputs = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["A", "B", 4]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["C", "A"]),
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in self.vectors]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _gather(p: Program, v: str, n: int, rng: random.Random) -> None:
    count = rng.randint(1, 3)
    p.emit("Gather", [v, p.const([rng.randrange(-n, n) for _ in range(count)])], count)


def _scalar_round_trip(p: Program, v: str, n: int, rng: random.Random) -> None:
    scalar = f"s{len(p.nodes)}"
    p.nodes.append(helper.make_node("Gather", [v, p.const(rng.randrange(n))], [scalar]))
    p.emit("Unsqueeze", [scalar, p.const([0])], 1)


def _slice(p: Program, v: str, n: int, rng: random.Random) -> None:
    step = rng.choice([1, 1, 2, -1])
    start, end = sorted(rng.sample(range(n + 1), 2)) if n else (0, 0)
    if step < 0:
        start, end = n - 1, -n - 1
    length = len(range(*slice(start, None if end < 0 else end, step).indices(n)))
    p.emit("Slice", [v, p.const([start]), p.const([end]), p.const([0]), p.const([step])], length)


def _concat(p: Program, v: str, n: int, rng: random.Random) -> None:
    w, m = p.pick()
    if n + m < 12:
        p.emit("Concat", [v, p.const([rng.randint(-1, 9)]), w], n + m + 1, axis=0)


def _binary(p: Program, v: str, n: int, rng: random.Random) -> None:
    w, m = p.pick()
    if m not in (1, n):
        w = p.const([rng.randint(1, 5)])
    op = rng.choice(["Add", "Sub", "Mul", "Min", "Max"])
    p.emit(op, [v, w], n)


def _divide(p: Program, v: str, n: int, rng: random.Random) -> None:
    p.emit(rng.choice(["Div", "Mod"]), [v, p.const([rng.randint(1, 4)])], n)


def _reduce(p: Program, v: str, n: int, rng: random.Random) -> None:
    if n:
        op = rng.choice(["ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin"])
        p.emit(op, [v, p.const([0])], 1, keepdims=1)


def _through_floats(p: Program, v: str, n: int, rng: random.Random) -> None:
    casted, scaled, rounded = (f"f{len(p.nodes)}_{i}" for i in range(3))
    p.nodes.append(helper.make_node("Cast", [v], [casted], to=TensorProto.FLOAT))
    op, factor = rng.choice([("Mul", 2.0), ("Mul", 0.5), ("Div", 2.0), ("Div", 4.0), ("Mul", 1.25)])
    p.nodes.append(helper.make_node(op, [casted, p.const([factor] * n, np.float32)], [scaled]))
    p.nodes.append(helper.make_node(rng.choice(["Floor", "Ceil"]), [scaled], [rounded]))
    p.emit("Cast", [rounded], n, to=TensorProto.INT64)


def _choose(p: Program, v: str, n: int, rng: random.Random) -> None:
    mask = f"m{len(p.nodes)}"
    op = rng.choice(["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"])
    p.nodes.append(helper.make_node(op, [v, p.const([rng.randint(-1, 4)])], [mask]))
    p.emit("Where", [mask, p.const([1] * n), v], n)


def _matrix(p: Program, v: str, n: int, rng: random.Random) -> None:
    if n % 2 == 0 and n:
        square, turned, flat = (f"q{len(p.nodes)}_{i}" for i in range(3))
        p.nodes.append(helper.make_node("Reshape", [v, p.const([-1, 2])], [square]))
        starts, ends = p.const([-1]), p.const([-(1 << 62)])
        p.nodes.append(helper.make_node("Slice", [square, starts, ends, p.const([0]), p.const([-1])], [turned]))
        p.nodes.append(helper.make_node("Transpose", [turned], [flat], perm=[1, 0]))
        p.emit("Reshape", [flat, p.const([-1])], n)


def _repeat(p: Program, v: str, n: int, rng: random.Random) -> None:
    if n < 5:
        p.emit("Tile", [v, p.const([2])], 2 * n)


STEPS = {
    "gather": _gather, "scalar": _scalar_round_trip, "slice": _slice, "concat": _concat, "binary": _binary,
    "divide": _divide, "reduce": _reduce, "floats": _through_floats, "choose": _choose, "matrix": _matrix,
    "repeat": _repeat,
}  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    program = Program(random.Random(seed))
    for _ in range(14):
        program.step()
    proto = program.model()
    model = load_onnx(proto)
    infer_graph(model.graph)
    assert not infer_graph(model.graph)
    evaluator = ReferenceEvaluator(proto)
    known = 0
    for env in SIZES:
        feeds = {
            "x": np.zeros((env["A"], env["B"], 4), np.float32),
            "y": np.zeros((env["C"], env["A"]), np.float32),
        }
        for value, actual in zip(model.graph.outputs, evaluator.run(None, feeds)):
            content = content_of(value)
            if content is None:
                continue
            found = [substitute(d, env.get) for d in content]
            assert len(found) == actual.size
            for dim, expected in zip(found, actual.reshape(-1).tolist()):
                if isinstance(dim, int):
                    known += 1
                    assert dim == expected, (value, content, actual)
    assert known > 20


def shapes_of(nodes: list[Any], inits: dict[str, Any], outputs: list[str]) -> Model:
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["A", "B", 4]),
        helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(v), name) for name, v in inits.items()]
    infos = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "g", inputs, infos, initializers)
    model = load_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    infer_graph(model.graph)
    return model


def test_unknown_elements_keep_the_known_ones() -> None:
    model = shapes_of(
        [
            helper.make_node("Shape", ["x"], ["s"], end=1),
            helper.make_node("Concat", ["s", "k", "four"], ["to"], axis=0),
            helper.make_node("Reshape", ["x", "to"], ["y"]),
            helper.make_node("ConstantOfShape", ["to"], ["z"]),
        ],
        {"four": np.array([4])},
        ["y", "z"],
    )
    a, b = symbol("A"), symbol("B")
    y, z = (value.shape for value in model.graph.outputs)
    assert y == (a, b, 4)  # the one unknown element holds what is left over
    assert z is not None and z[0] is a and z[2] == 4
    assert not isinstance(z[1], int) and z[1].is_unknown and z[1] is not b


def test_an_element_of_unknown_sign_is_no_size() -> None:
    value = opaque_int()
    assert is_opaque(value) and is_opaque(value + 3) and not is_opaque(symbol("A") - 1)


def test_overflow_is_not_followed() -> None:
    model = shapes_of(
        [
            helper.make_node("Cast", ["big"], ["i"], to=TensorProto.INT32),
            helper.make_node("Mul", ["i", "i"], ["j"]),
            helper.make_node("Add", ["i", "one"], ["n"]),
        ],
        {"big": np.array([1 << 20]), "one": np.array([1], np.int32)},
        ["j", "n"],
    )
    assert [content_of(v) for v in model.graph.outputs] == [None, ((1 << 20) + 1,)]


def test_expand_written_by_exporters() -> None:
    """Where(Equal(shape, -1), 1, shape) as the target of Expand."""
    model = shapes_of(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Equal", ["s", "minus"], ["e"]),
            helper.make_node("Where", ["e", "ones", "s"], ["to"]),
            helper.make_node("Expand", ["one", "to"], ["y"]),
        ],
        {"minus": np.array(-1), "ones": np.ones(3, np.int64), "one": np.ones((1, 1), np.float32)},
        ["y"],
    )
    assert model.graph.outputs[0].shape == (symbol("A"), symbol("B"), 4)

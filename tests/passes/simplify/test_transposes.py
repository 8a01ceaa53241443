"""The transposes pass over random graphs: same results, and never more transposes than before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value, constant
from geoc.ir.dims import symbol
from geoc.ir.tensor import Tensor
from geoc.ir.types import F32, tensor_type
from geoc.passes.simplify.layouts import inverse

UNARY = ("Relu", "Neg", "Sigmoid", "Tanh", "Abs", "Clip", "Identity")
BINARY = ("Add", "Mul", "Sub", "Max", "Less")
REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2", "ReduceLogSumExp")


class Maker:
    """Grows a graph by one random operator at a time, with many transposes among them."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.graph = Graph("main")
        self.build = Builder(self.graph)
        self.rank = int(self.random.integers(2, 5))
        # Few permutations, so that a transpose meets its inverse.
        self.perms = [tuple(self.random.permutation(self.rank).tolist()) for _ in range(2)]
        self.perms += [inverse(p) for p in self.perms]
        # Axes of one size let a value meet its own transpose.
        shape = (2, 2, 2, 2) if self.random.random() < 0.4 else (symbol("B"), 2, 3, 4)
        self.values = [self.graph.add_input(f"x{i}", tensor_type(F32, shape[: self.rank])) for i in range(2)]
        if self.random.random() < 0.6:  # all of it works in another layout
            self.values = [self.build.op("Transpose", v, perm=self.perms[0]) for v in self.values]

    def pick(self, *, full: bool = True) -> Value:
        """A value, more likely a new one."""
        fitting = [v for v in self.values if v.rank == self.rank or not full]
        return fitting[max(self.random.integers(len(fitting), size=2))]

    def like(self, value: Value) -> Value | None:
        """Another value of the same shape, or a constant that broadcasts to it."""
        if self.random.random() < 0.6:
            same = [v for v in self.values if v.shape == value.shape]
            return same[self.random.integers(len(same))]
        assert value.shape is not None
        known = [d if isinstance(d, int) and self.random.random() < 0.6 else 1 for d in value.shape]
        known = known[self.random.integers(len(known) + 1) :]
        if self.random.random() < 0.2:
            return constant(Tensor.of_splat(0.5, tuple(known), F32))
        return constant(Tensor.from_array(self.random.normal(size=known).astype(np.float32)))

    def step(self) -> None:
        kind = self.random.choice(
            ["transpose"] * 8 + ["unary"] * 3 + ["binary"] * 4 + ["where", "concat", "softmax", "split", "pad", "cast"]
            + ["slice", "reduce", "argmax", "reshape"]
        )  # fmt: skip
        made = getattr(self, f"make_{kind}")()
        self.values += [v for v in made if v.dtype is F32]

    def axis(self) -> int:
        return int(self.random.integers(-self.rank, self.rank))

    def make_transpose(self) -> list[Value]:
        perm = self.perms[self.random.integers(len(self.perms))]
        return [self.build.op("Transpose", self.pick(), perm=perm)]

    def make_unary(self) -> list[Value]:
        return [self.build.op(str(self.random.choice(UNARY)), self.pick(full=False))]

    def make_binary(self) -> list[Value]:
        x = self.pick()
        operands = [x, self.like(x)]
        self.random.shuffle(operands)
        op = str(self.random.choice(BINARY))
        y = self.build.op(op, *operands)
        return [self.build.op("Cast", y, to=F32.onnx) if op == "Less" else y]

    def make_where(self) -> list[Value]:
        x = self.pick()
        condition = self.build.op("Greater", x, self.build.const(0.1, F32))
        return [self.build.op("Where", condition, x, self.like(x))]

    def make_cast(self) -> list[Value]:
        from geoc.ir.types import F64

        return [self.build.op("Cast", self.build.op("Cast", self.pick(), to=F64.onnx), to=F32.onnx)]

    def make_concat(self) -> list[Value]:
        x = self.pick()
        operands: list[Value | None] = [x, x, *[v for v in self.values if v.shape == x.shape][-1:]]
        axis = self.axis()
        assert x.shape is not None
        if all(isinstance(d, int) for d in x.shape) and self.random.random() < 0.5:
            shape = [int(d) for d in x.shape]  # type: ignore[arg-type]
            shape[axis] = int(self.random.integers(3))  # it may be empty
            operands.append(constant(Tensor.from_array(self.random.normal(size=shape).astype(np.float32))))
        return [self.build.node("Concat", operands, {"axis": axis}).output]

    def make_softmax(self) -> list[Value]:
        op = str(self.random.choice(["Softmax", "LogSoftmax", "Hardmax"]))
        return [self.build.op(op, self.pick(), axis=self.axis())]

    def make_split(self) -> list[Value]:
        x, axis = self.pick(), self.axis()
        size = x.shape[axis] if x.shape is not None else None
        if not isinstance(size, int) or size < 2:
            return []
        sizes = self.build.ints([1, size - 1])
        return list(self.build.node("Split", [x, sizes], {"axis": axis}, outputs=["a", "b"]).outputs)

    def make_pad(self) -> list[Value]:
        pads = self.build.ints(self.random.integers(0, 2, 2 * self.rank).tolist())
        mode = str(self.random.choice(["constant", "edge"]))
        value = self.build.const(7.0, F32) if mode == "constant" and self.random.random() < 0.5 else None
        return [self.build.node("Pad", [self.pick(), pads, value], {"mode": mode}).output]

    def make_slice(self) -> list[Value]:
        x = self.pick()
        axes = self.random.permutation(self.rank)[: self.random.integers(1, 3)].tolist()
        assert x.shape is not None
        # Something is left of every axis: runtimes do not agree on what is computed from nothing.
        starts = [int(self.random.integers(2)) if isinstance(d := x.shape[a], int) and d > 1 else 0 for a in axes]
        operands = [self.build.ints(v) for v in (starts, [100] * len(axes), axes, [1] * len(axes))]
        if self.random.random() < 0.3:  # backwards
            operands = [self.build.ints(v) for v in ([-1] * len(axes), [-100] * len(axes), axes, [-1] * len(axes))]
        return [self.build.op("Slice", x, *operands)]

    def make_reduce(self) -> list[Value]:
        axes = self.random.permutation(self.rank)[: self.random.integers(0, self.rank + 1)].tolist()
        axes = [int(a) - self.rank * int(self.random.integers(2)) for a in axes]
        attributes = {"keepdims": int(self.random.integers(2)), "noop_with_empty_axes": int(self.random.integers(2))}
        op = str(self.random.choice(REDUCTIONS))
        # Logarithms and roots of what is below zero are not the point.
        x = self.build.op("Abs", self.pick())
        return [self.build.node(op, [x, self.build.ints(axes)], attributes).output]

    def make_argmax(self) -> list[Value]:
        x = self.pick()
        y = self.build.op("ArgMax", x, axis=self.axis(), keepdims=int(self.random.integers(2)))
        return [self.build.op("Cast", y, to=F32.onnx)]

    def make_reshape(self) -> list[Value]:
        x = self.pick()
        return [self.build.op("Reshape", x, self.build.op("Shape", x))]

    def model(self) -> Model:
        loose = [v for v in self.values if not v.uses and v.producer is not None]
        outputs = loose[-int(self.random.integers(1, 4)) :] or [self.build.op("Neg", self.values[0])]
        if self.random.random() < 0.6:
            back = inverse(self.perms[0])
            outputs = [self.build.op("Transpose", v, perm=back) if v.rank == self.rank else v for v in outputs]
        self.graph.set_outputs(outputs, [f"y{i}" for i in range(len(outputs))])
        return Model(self.graph)


def transposes(model: Model) -> int:
    return sum(node.op.name == "Transpose" for node in model.walk())


@pytest.mark.parametrize("seed", range(150))
def test_random_graphs(seed: int, check: Any) -> None:
    maker = Maker(seed)
    for _ in range(maker.random.integers(4, 25)):
        maker.step()
    model = maker.model()
    before = transposes(model)
    after, _ = check(model, "dce,transposes,dce", [{"B": 3}, {"B": 1}])
    once = transposes(after)
    assert once <= before
    again, _ = check(after, "transposes,dce", [{"B": 4}])
    assert transposes(again) <= once


def test_random_graphs_lose_many(check: Any) -> None:
    before = after = 0
    for seed in range(40):
        maker = Maker(1000 + seed)
        for _ in range(12):
            maker.step()
        model = maker.model()
        before += transposes(model)
        after += transposes(check(model, "views,transposes,dce", [{"B": 2}])[0])
    assert after < 0.75 * before


def test_large_constants_stay_in_the_file(gir: Any, check: Any) -> None:
    text = """graph @main(%x: f32[1,2,N]) -> (%y: f32[1,2,N]) {{
      weight %w: f32[{0},2] = splat(0.5)
      %t: f32[1,N,2] = Transpose(%x) {{perm = [0, 2, 1]}}
      %m: f32[1,N,2] = Mul(%t, %w)
      %y: f32[1,2,N] = Transpose(%m) {{perm = [0, 2, 1]}}
    }}"""
    for rows, stays in ((1 << 10, False), (1 << 18, True)):
        model = gir(text.format(rows))
        node = next(n for n in model.graph if n.op.name == "Mul")
        array = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
        node.set_input(1, constant(Tensor.from_array(array)))
        after, _ = check(model, "transposes,dce", [{"N": rows}])
        assert (transposes(after) == 2) == stays

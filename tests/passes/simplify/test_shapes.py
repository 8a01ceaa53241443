"""The shapes pass over random arithmetic on shapes: Reshape, Expand and Slice get the same sizes as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value
from geoc.ir.dims import symbol
from geoc.ir.types import BOOL, F32, I64, tensor_type

SIZES = [{"B": 2, "S": 3, "T": 5}, {"B": 1, "S": 1, "T": 1}, {"B": 4, "S": 1, "T": 4}, {"B": 3, "S": 3, "T": 3}]


class Maker:
    """A graph of tensors whose sizes come from each other by computed shapes."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.graph = Graph("main")
        names = [symbol(n) for n in "BST"]
        self.tensors: list[Value] = []
        for i in range(2):
            shape = [names[k] if k < 3 else 4 for k in self.random.integers(0, 4, 3)]
            self.tensors.append(self.graph.add_input(f"x{i}", tensor_type(F32, tuple(shape))))
        self.flag = self.graph.add_input("flag", tensor_type(BOOL, ()))
        self.build = Builder(self.graph)
        self.sizes: list[Value] = []  # single numbers, rank 1

    def pick(self, values: list[Value]) -> Value:
        return values[self.random.integers(len(values))]

    def shape_of(self, tensor: Value) -> Value:
        """Its whole shape, sometimes put together from its parts."""
        shape = self.build.op("Shape", tensor)
        if self.random.random() < 0.5 or not tensor.rank:
            return shape
        parts = [self.size_at(shape, axis, tensor.rank) for axis in range(tensor.rank)]
        return self.build.node("Concat", parts, {"axis": 0}).output

    def size_at(self, shape: Value, axis: int, rank: int) -> Value:
        """One element of a shape, in one of the ways that exporters write."""
        build = self.build
        kind = self.random.integers(4)
        if kind == 0:
            return build.op("Gather", shape, build.ints([axis]))
        if kind == 1:
            scalar = build.op("Gather", shape, build.const(axis - rank, I64))
            return build.op("Unsqueeze", scalar, build.ints([0]))
        if kind == 2:
            end = axis + 1 if axis + 1 < rank else 1 << 62
            return build.op("Slice", shape, build.ints([axis]), build.ints([end]), build.ints([0]))
        return build.node("Split", [shape, build.ints([1] * rank)], {"axis": 0}, outputs=["d"] * rank).outputs[axis]

    def size(self) -> Value:
        """A number computed from sizes."""
        build, kind = self.build, self.random.integers(6)
        if kind == 0 and self.sizes:
            a, b = self.pick(self.sizes), self.pick(self.sizes)
            return build.op(str(self.random.choice(["Add", "Mul", "Max", "Min"])), a, b)
        if kind == 1 and self.sizes:
            return build.op("Add", self.pick(self.sizes), build.ints([int(self.random.integers(0, 3))]))
        if kind == 2 and self.sizes:
            return build.op("Cast", build.op("Cast", self.pick(self.sizes), to=F32.onnx), to=I64.onnx)
        tensor = self.pick([t for t in self.tensors if t.rank])
        assert tensor.rank is not None
        return self.size_at(build.op("Shape", tensor), int(self.random.integers(tensor.rank)), tensor.rank)

    def step(self) -> None:
        made = getattr(self, f"make_{self.random.choice(['size', 'merge', 'copy', 'flat', 'expand', 'cut', 'fill', 'branch'])}")()
        if made is not None:
            self.tensors.append(made)

    def make_size(self) -> None:
        self.sizes.append(self.size())

    def make_merge(self) -> Value | None:
        """Two neighbouring axes as one, by their product."""
        x = self.pick(self.tensors)
        if not x.rank or x.rank < 2:
            return None
        axis = int(self.random.integers(x.rank - 1))
        shape = self.build.op("Shape", x)
        parts = [self.size_at(shape, i, x.rank) for i in range(x.rank)]
        parts[axis : axis + 2] = [self.build.op("Mul", parts[axis], parts[axis + 1])]
        target = self.build.node("Concat", parts, {"axis": 0}).output
        return self.build.op("Reshape", x, target, allowzero=int(self.random.integers(2)))

    def make_copy(self) -> Value:
        x = self.pick(self.tensors)
        turned = self.build.op("Neg", x)
        return self.build.op("Reshape", turned, self.shape_of(x))

    def make_flat(self) -> Value:
        """An axis of length 1 or -1 added, and perhaps the rest flattened."""
        x = self.pick(self.tensors)
        one = self.build.ints([int(self.random.choice([1, -1]))])
        if one.const is not None and one.const.ints() == (1,):
            target = self.build.node("Concat", [one, self.shape_of(x)], {"axis": 0}).output
        else:
            target = one
        return self.build.op("Reshape", x, target)

    def make_expand(self) -> Value:
        x = self.pick(self.tensors)
        parts = [self.size() for _ in range(self.random.integers(1, 3))]
        scalar = self.build.op("ReduceMax", x, keepdims=0)
        if self.random.random() < 0.5:
            return self.build.op("Expand", scalar, self.build.node("Concat", parts, {"axis": 0}).output)
        whole = self.build.node("Concat", [parts[0], self.shape_of(x)], {"axis": 0}).output
        return self.build.op("Expand", x, whole)

    def make_cut(self) -> Value | None:
        x = self.pick(self.tensors)
        if not x.rank:
            return None
        axis = int(self.random.integers(x.rank))
        size = self.size_at(self.build.op("Shape", x), axis, x.rank)
        end = size if self.random.random() < 0.5 else self.build.op("Add", size, self.build.ints([0]))
        return self.build.op("Slice", x, self.build.ints([0]), end, self.build.ints([axis]))

    def make_fill(self) -> Value:
        shape = self.shape_of(self.pick(self.tensors))
        return self.build.op("Cast", self.build.op("ConstantOfShape", shape), to=F32.onnx)

    def make_branch(self) -> Value:
        """The same sizes again, in both branches of an If."""
        x = self.pick(self.tensors)
        outer = self.build
        regions = {}
        for name in ("then_branch", "else_branch"):
            region = Graph(name)
            self.build = Builder(region)
            turned = self.build.op("Neg", x)
            y = self.build.op("Reshape", turned, self.shape_of(x))
            region.set_outputs([y], ["y"])
            regions[name] = region
        self.build = outer
        return outer.node("If", [self.flag], regions=regions).output

    def model(self) -> Model:
        outputs = [v for v in self.tensors[2:] if not v.uses] or [self.build.op("Neg", self.tensors[0])]
        outputs += self.sizes[-2:]
        self.graph.set_outputs(outputs, [f"y{i}" for i in range(len(outputs))])
        return Model(self.graph)


@pytest.mark.parametrize("seed", range(150))
def test_random_graphs(seed: int, check: Any) -> None:
    maker = Maker(seed)
    for _ in range(maker.random.integers(2, 12)):
        maker.step()
    model = maker.model()
    before = model.node_count
    after, _ = check(model, "shapes,dce", SIZES)
    assert after.node_count <= before
    _, fired = check(after, "shapes", SIZES[:1])
    assert not fired.counts, "a second run finds something to do"


@pytest.mark.parametrize("seed", range(60))
def test_with_all_other_passes(seed: int, check: Any) -> None:
    maker = Maker(5000 + seed)
    for _ in range(maker.random.integers(2, 12)):
        maker.step()
    check(maker.model(), "infer,repeat(4){identity,fold,shapes,views,transposes,cse,dce}", SIZES)

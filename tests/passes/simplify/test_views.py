"""The rules of identity and views over random chains of operators that only move elements; nothing may differ in a bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value
from geoc.ir.dims import symbol
from geoc.ir.types import BOOL, F16, F32, F64, I8, I32, I64, U8, DType, tensor_type

SIZES = [{"B": 2, "S": 3}, {"B": 1, "S": 1}, {"B": 3, "S": 1}, {"B": 1, "S": 4}]
EMPTY = [{"B": 0, "S": 2}, {"B": 2, "S": 0}]
CASTS: tuple[DType, ...] = (F16, F32, F64, I8, U8, I32, I64, BOOL)
VIEWS = ("unsqueeze", "squeeze", "flatten", "transpose")
MOVES = (*VIEWS, "expand", "slice", "concat", "split", "identity", "add", "where", "tile", "pad")
ALL = (*MOVES, "reshape", "reshape", "reshape", "cast", "reduce")


class Maker:
    """Grows chains: an operator mostly works on the value before it."""

    def __init__(self, seed: int, kinds: tuple[str, ...]) -> None:
        self.random = np.random.default_rng(seed)
        self.kinds = kinds
        self.graph = Graph("main")
        self.build = Builder(self.graph)
        shape = tuple(
            [symbol("B"), symbol("S"), 1, 2, 3, 4][i] for i in self.random.permutation(6)[: self.random.integers(1, 5)]
        )
        self.start = self.graph.add_input("x", tensor_type(F32, shape))
        self.values = [self.start]

    def pick(self) -> Value:
        fitting = [v for v in self.values if v.dtype is F32]
        if self.random.random() < 0.7 and self.values[-1].dtype is F32:
            return self.values[-1]
        return fitting[self.random.integers(len(fitting))]

    def step(self) -> None:
        x = self.pick()
        if x.shape is None or len(x.shape) > 5:
            return
        made = getattr(self, f"make_{self.random.choice(self.kinds)}")(x, len(x.shape))
        if made is not None and made.shape is not None and not any(isinstance(d, int) and d > 99 for d in made.shape):
            self.values.append(made)

    def axes(self, rank: int, most: int = 2) -> list[int]:
        found = self.random.permutation(rank)[: self.random.integers(1, most + 1)].tolist()
        return [int(a) - rank * int(self.random.random() < 0.2) for a in found]

    def make_identity(self, x: Value, rank: int) -> Value:
        build = self.build
        kind = self.random.integers(5)
        if kind == 0:
            return build.op("Identity", x)
        if kind == 1:
            return build.op("Mul", build.const(np.ones((1,) * int(self.random.integers(rank + 2)), np.float32)), x)
        if kind == 2:
            return build.op("Max", x)
        if kind == 3:
            return build.op("Concat", x, axis=0) if rank else build.op("Neg", build.op("Neg", x))
        return build.op("Dropout", x)

    def make_unsqueeze(self, x: Value, rank: int) -> Value:
        count = int(self.random.integers(1, 3))
        axes = self.random.permutation(rank + count)[:count].tolist()
        axes = [int(a) - (rank + count) * int(self.random.random() < 0.2) for a in axes]
        return self.build.op("Unsqueeze", x, self.build.ints(axes))

    def make_squeeze(self, x: Value, rank: int) -> Value | None:
        assert x.shape is not None
        ones = [i for i, d in enumerate(x.shape) if d == 1]
        if not ones:
            return None
        chosen = self.random.permutation(ones)[: self.random.integers(1, len(ones) + 1)].tolist()
        return self.build.op("Squeeze", x, self.build.ints(chosen))

    def make_flatten(self, x: Value, rank: int) -> Value:
        return self.build.op("Flatten", x, axis=int(self.random.integers(-rank, rank + 1)))

    def make_transpose(self, x: Value, rank: int) -> Value:
        if self.random.random() < 0.2:
            return self.build.op("Transpose", x)
        return self.build.op("Transpose", x, perm=tuple(self.random.permutation(rank).tolist()))

    def make_reshape(self, x: Value, rank: int) -> Value:
        build = self.build
        assert x.shape is not None
        kind = self.random.integers(5)
        if kind == 0:
            return build.op("Reshape", x, build.op("Shape", x))
        target = [0] * rank
        if kind == 1 and rank >= 2:  # two axes as one, 0 for what stays in its place
            axis = int(self.random.integers(rank - 1))
            target = [0] * axis + [-1] + [d if isinstance(d, int) and d else 0 for d in x.shape[axis + 2 :]]
            if any(not isinstance(d, int) for d in x.shape[axis + 2 :]):
                target = [-1]
        elif kind == 2 and any(d == 4 for d in x.shape):  # one axis as two
            axis = list(x.shape).index(4)
            if any(not isinstance(d, int) for d in x.shape[axis + 1 :]):
                return build.op("Reshape", x, build.ints([-1]))
            target = [0] * axis + [2, 2] + [int(d) for d in x.shape[axis + 1 :]]
        elif kind == 3:
            target = [1, -1]
        elif kind == 4 and rank:
            target[int(self.random.integers(rank))] = -1
        return build.op("Reshape", x, build.ints(target))

    def make_expand(self, x: Value, rank: int) -> Value:
        assert x.shape is not None
        if self.random.random() < 0.3:
            y = self.values[self.random.integers(len(self.values))]
            z = self.build.op("Expand", self.build.op("ReduceMin", x, keepdims=0), self.build.op("Shape", y))
            return self.build.op("Add", z, y) if y.dtype is F32 else z
        target = [1 if d != 1 or self.random.random() < 0.5 else int(self.random.integers(1, 3)) for d in x.shape]
        target = [int(self.random.integers(1, 3))] * int(self.random.random() < 0.3) + target
        return self.build.op("Expand", x, self.build.ints(target or [1]))

    def make_tile(self, x: Value, rank: int) -> Value:
        return self.build.op("Tile", x, self.build.ints([int(self.random.choice([1, 1, 1, 2])) for _ in range(rank)]))

    def make_pad(self, x: Value, rank: int) -> Value | None:
        if not rank:
            return None
        pads = [0] * (2 * rank)
        if self.random.random() < 0.5:
            pads[int(self.random.integers(2 * rank))] = 1
        return self.build.op("Pad", x, self.build.ints(pads))

    def make_slice(self, x: Value, rank: int) -> Value | None:
        if not rank:
            return None
        axes = self.axes(rank)
        assert x.shape is not None
        back = bool(self.random.random() < 0.3)
        # Something is left of an axis of known length.
        starts = [-1 if back else int(self.random.integers(2)) * (x.shape[axis] not in (0, 1)) for axis in axes]
        ends = [-(1 << 62) if back else 1 << 62] * len(axes)
        operands = [self.build.ints(v) for v in (starts, ends, axes)]
        if back or self.random.random() < 0.5:
            operands.append(self.build.ints([-1 if back else 1] * len(axes)))
        return self.build.op("Slice", x, *operands)

    def make_concat(self, x: Value, rank: int) -> Value | None:
        same = [v for v in self.values if v.shape == x.shape and v.dtype is F32]
        parts = [same[self.random.integers(len(same))] for _ in range(self.random.integers(1, 3))] + [x]
        return self.build.op("Concat", *parts, axis=int(self.random.integers(rank))) if rank else None

    def make_split(self, x: Value, rank: int) -> Value | None:
        if not rank:
            return None
        axis = int(self.random.integers(rank))
        return self.build.node("Split", [x], {"axis": axis, "num_outputs": 1}).output

    def make_add(self, x: Value, rank: int) -> Value:
        shape = (1,) * int(self.random.integers(rank + 2))
        return self.build.op(str(self.random.choice(["Add", "Sub"])), x, self.build.const(np.zeros(shape, np.float32)))

    def make_where(self, x: Value, rank: int) -> Value:
        condition = self.build.const(np.full((1,) * int(self.random.integers(rank + 2)), self.random.random() < 0.5))
        other = self.values[self.random.integers(len(self.values))]
        if other.dtype is not F32 or other.shape != x.shape:
            other = self.build.const(2.0, F32)
        return self.build.op("Where", condition, *((x, other) if self.random.random() < 0.5 else (other, x)))

    def make_cast(self, x: Value, rank: int) -> Value:
        first, second = (CASTS[i] for i in self.random.integers(0, len(CASTS), 2))
        # What a float out of range becomes as an integer is not defined.
        x = self.build.op("Where", self.build.op("IsNaN", x), self.build.const(1.0, F32), x)
        x = self.build.op("Clip", x, self.build.const(0.0, F32), self.build.const(100.0, F32))
        y = self.build.op("Cast", self.build.op("Cast", x, to=first.onnx), to=second.onnx)
        self.values.append(self.build.op("Cast", y, to=first.onnx))
        return self.build.op("Cast", y, to=F32.onnx)

    def make_reduce(self, x: Value, rank: int) -> Value:
        op = str(self.random.choice(["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean"]))
        axes = self.build.ints(self.axes(rank) if rank and self.random.random() < 0.8 else [])
        attributes = {"keepdims": int(self.random.integers(2)), "noop_with_empty_axes": int(self.random.integers(2))}
        return self.build.node(op, [x, axes], attributes).output

    def model(self) -> Model:
        outputs = [v for v in self.values[1:] if not v.uses][-3:]
        outputs = outputs or [self.build.op("Neg", self.start)]
        if self.random.random() < 0.4:
            outputs.append(self.values[self.random.integers(len(self.values))])
        self.graph.set_outputs(outputs, [f"y{i}" for i in range(len(outputs))])
        return Model(self.graph)


@pytest.mark.parametrize("passes", ["identity", "views", "repeat(4){identity,views,dce}"])
@pytest.mark.parametrize("seed", range(100))
def test_random_chains(seed: int, passes: str, check: Any) -> None:
    maker = Maker(seed, ALL)
    for _ in range(maker.random.integers(2, 12)):
        maker.step()
    check(maker.model(), passes, SIZES, exact=True)


@pytest.mark.parametrize("seed", range(100))
def test_random_chains_over_nothing(seed: int, check: Any) -> None:
    # Only operators that need no elements to work a size out: then neither may what they become.
    maker = Maker(1000 + seed, MOVES + VIEWS * 2)
    for _ in range(maker.random.integers(2, 12)):
        maker.step()
    check(maker.model(), "repeat(4){identity,views,dce}", SIZES[:1] + EMPTY, exact=True)

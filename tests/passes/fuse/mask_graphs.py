"""Random graphs that build masks, and element expressions evaluated at concrete indices."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value
from geoc.ir.dims import Dim, DimLike, apply_function, atoms, symbol
from geoc.ir.errors import InvalidModel
from geoc.ir.types import BOOL, F32, I32, I64, tensor_type
from geoc.passes.fuse.elements import Expr, Space

LOWEST = float(np.finfo(np.float32).min)
NUMBERS = [0.0, 1.0, -1.0, 2.0, LOWEST, -float("inf"), -1e4, -1e9]
KINDS = """
compare compare logic where where where arithmetic arithmetic cast cast unsqueeze unsqueeze expand trilu
slice concat gather constant full scatter gathernd transpose reshape trig cumsum split minmax
"""  # the more often, the more likely


class MaskGraph:
    """A random graph over [B, S], [B, T] and [S, T] tensors, ids and masks; every value is an output."""

    def __init__(self, seed: int, steps: int = 25) -> None:
        self.random = random.Random(seed)
        graph = Graph("main")
        b, s, t = symbol("B"), symbol("S"), symbol("T")
        self.values = [
            graph.add_input("mask", tensor_type(I64, (b, t))),
            graph.add_input("flags", tensor_type(BOOL, (b, t))),
            graph.add_input("small", tensor_type(I32, (b, s))),
            graph.add_input("bias", tensor_type(F32, (s, t))),
            graph.add_input("past", tensor_type(F32, (b, symbol("P"), 4))),
        ]
        self.builder = Builder(graph)
        self.model = Model(graph)
        rows, columns, past = self.size(3, 0), self.size(3, 1), self.size(4, 1)
        self.total = self.op("Add", rows, past)
        self.lengths = [rows, columns, past, self.total]
        for length in (rows, columns, rows):
            self.keep(self.op("Range", self.int(0), length, self.int(1)))
        self.keep(self.op("Range", past, self.total, self.int(1)))
        for _ in range(steps):
            try:
                self.step()
            except (InvalidModel, ValueError):
                continue
        kept = [v for v in dict.fromkeys(self.values) if v.producer is not None]
        graph.set_outputs(kept, [f"out{i}" for i in range(len(kept))])

    def op(self, name: str, *operands: Value | None, **attrs: Any) -> Value:
        return self.builder.op(name, *operands, **attrs)

    def keep(self, value: Value) -> None:
        """Go on with a value, unless its shapes fit at few sizes only."""
        shape = value.shape
        unsure = shape is None or any(isinstance(d, Dim) and any(a.is_unknown for a in atoms(d)) for d in shape)
        if shape is not None and len(shape) <= 5 and (not unsure or self.random.random() < 0.03):
            self.values.append(value)
        elif value.producer is not None and not value.uses:
            self.builder.graph.erase(value.producer)

    def int(self, number: int) -> Value:
        return self.builder.const(number, I64)

    def size(self, source: int, axis: int) -> Value:
        shape = self.builder.node("Shape", [self.values[source]]).output
        return self.op("Gather", shape, self.int(axis))

    def pick(self, *kinds: str, rank: int | None = None) -> Value:
        found = [v for v in self.values if v.dtype.kind in "".join(kinds) and rank in (None, v.rank)]
        if not found:
            raise ValueError
        # The younger half more often, so that the graphs grow deep.
        return self.random.choice(found[-8:] if self.random.random() < 0.7 else found)

    def number(self, like: Value) -> Value:
        if like.dtype is BOOL:
            return self.builder.const(self.random.random() < 0.5, BOOL)
        if like.dtype.is_int:
            return self.builder.const(self.random.randint(-1, 2), like=like)
        return self.builder.const(self.random.choice(NUMBERS), like=like)

    def step(self) -> None:
        kind = self.random.choice(KINDS.split())
        self.keep(getattr(self, "_" + kind)())

    def _pair(self, *kinds: str) -> tuple[Value, Value]:
        a = self.pick(*kinds)
        if self.random.random() < 0.4:
            return (a, self.number(a)) if self.random.random() < 0.5 else (self.number(a), a)
        same = [v for v in self.values if v.dtype is a.dtype]
        return a, self.random.choice(same)

    def _compare(self) -> Value:
        name = self.random.choice(["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])
        return self.op(name, *self._pair("fi"))

    def _logic(self) -> Value:
        name = self.random.choice(["And", "Or", "Xor", "Not", "Equal"])
        return self.op("Not", self.pick("b")) if name == "Not" else self.op(name, *self._pair("b"))

    def _where(self) -> Value:
        return self.op("Where", self.pick("b"), *self._pair("fib"))

    def _arithmetic(self) -> Value:
        if self.random.random() < 0.1:
            return self.op(self.random.choice(["Neg", "Abs"]), self.pick("fi"))
        return self.op(self.random.choice(["Add", "Sub", "Mul"]), *self._pair("fi"))

    def _minmax(self) -> Value:
        return self.op(self.random.choice(["Min", "Max"]), *self._pair("fi"))

    def _cast(self) -> Value:
        to = self.random.choice([F32, BOOL, I64, I32, F32])
        value = self.pick("fib")
        # What a float too large for an integer becomes is not defined.
        return self.op("Cast", value, to=to.onnx if value.dtype.kind != "f" or not to.is_int else BOOL.onnx)

    def _unsqueeze(self) -> Value:
        value = self.pick("fib")
        assert value.rank is not None
        return self.op("Unsqueeze", value, self.builder.ints([self.random.randint(0, value.rank)]))

    def _expand(self) -> Value:
        parts = [self.size(self.random.choice([0, 3]), 1), self.size(0, 0), self.int(1)]
        count = self.random.randint(1, 3)
        target = [self.op("Unsqueeze", self.random.choice(parts), self.builder.ints([0])) for _ in range(count)]
        return self.op("Expand", self.pick("fib"), self.op("Concat", *target, axis=0))

    def _trilu(self) -> Value:
        k = self.random.choice([None, self.int(1), self.int(0), self.int(-1), self.lengths[2]])
        value = self.random.choice([v for v in self.values if (v.rank or 0) >= 2])
        return self.op("Trilu", value, k, upper=self.random.randint(0, 1))

    def _vector(self, value: Value) -> Value:
        return self.op("Unsqueeze", value, self.builder.ints([0]))

    def _slice(self) -> Value:
        value = self.random.choice([v for v in self.values if v.rank])
        axis = self.random.randrange(value.rank or 0)
        starts = [self.builder.ints([self.random.choice([0, 1, -1, -2])]), self._vector(self.lengths[2])]
        ends = [self.builder.ints([2**31 - 1]), self._vector(self.random.choice(self.lengths)), self.builder.ints([-1])]
        step = self.builder.ints([self.random.choice([1, 1, 1, 2])])
        return self.op(
            "Slice", value, self.random.choice(starts), self.random.choice(ends), self.builder.ints([axis]), step
        )

    def _concat(self) -> Value:
        value = self.random.choice([v for v in self.values if v.rank])
        axis = self.random.randrange(value.rank or 0)
        around = [v.shape and (*v.shape[:axis], *v.shape[axis + 1 :]) for v in (value, *self.values)]
        same = [v for v, rest in zip(self.values, around[1:]) if v.dtype is value.dtype and rest == around[0]]
        return self.op("Concat", value, self.random.choice(same), axis=axis)

    def _gather(self) -> Value:
        value = self.random.choice([v for v in self.values if v.rank])
        axis = self.random.randrange(value.rank or 0)
        places = self.random.choice(
            [self.int(0), self.int(-1), *[v for v in self.values if v.dtype is I64 and (v.rank or 9) <= 2]]
        )
        return self.op("Gather", value, places, axis=axis)

    def _split(self) -> Value:
        value = self.random.choice([v for v in self.values if v.rank])
        node = self.builder.node("Split", [value], {"axis": 0, "num_outputs": 2}, outputs=2)
        return node.outputs[self.random.randrange(2)]

    def _constant(self) -> Value:
        n, m = 6, 6
        i, j = np.indices((n, m))
        table = self.random.choice(
            [j <= i, j <= i + 1, (j <= i) & (j > i - 2), i == j, j < 3, np.ones((n, m), bool), i > 1]
        )
        kind = self.random.randrange(3)
        array = table if kind == 0 else np.where(table, 0, self.random.choice(NUMBERS)).astype(np.float32)
        if kind == 2:
            array = np.arange(6) * self.random.choice([1, -2]) + self.random.choice([0, 3])
        value = self.builder.const(np.ascontiguousarray(array))
        for axis, length in list(enumerate((self.lengths[0], self.lengths[1])))[: array.ndim]:
            value = self.op("Slice", value, self.builder.ints([0]), self._vector(length), self.builder.ints([axis]))
        return value

    def _full(self) -> Value:
        shape = self.op("Concat", self._vector(self.lengths[0]), self._vector(self.lengths[1]), axis=0)
        from geoc.ir.tensor import Tensor

        return self.op("ConstantOfShape", shape, value=Tensor.of([self.random.choice(NUMBERS)], F32))

    def _grid(self, *lengths: Value, shift: int = 0) -> Value:
        """Places [len0, len1, 2] that run over two axes."""
        parts = []
        for axis, length in enumerate(lengths):
            ramp = self.op("Add", self.op("Range", self.int(0), length, self.int(1)), self.int(shift))
            ramp = self.op("Unsqueeze", ramp, self.builder.ints([a for a in range(len(lengths)) if a != axis]))
            shape = self.op("Concat", *[self._vector(x) for x in lengths], axis=0)
            parts.append(self.op("Unsqueeze", self.op("Expand", ramp, shape), self.builder.ints([len(lengths)])))
        return self.op("Concat", *parts, axis=len(lengths))

    def _scatter(self) -> Value:
        full, mask = self.values[3], self.size(3, 0)
        data = self.random.choice([v for v in self.values if v.rank == 2 and v.shape == full.shape])
        updates = self.random.choice(
            [v for v in self.values if v.rank == 2 and v.shape == full.shape and v.dtype is data.dtype]
        )
        return self.op("ScatterND", data, self._grid(mask, self.size(3, 1)), updates)

    def _gathernd(self) -> Value:
        return self.op("GatherND", self.values[self.random.randrange(2)], self._grid(self.size(0, 0), self.lengths[0]))

    def _transpose(self) -> Value:
        value = self.pick("fib")
        perm = list(range(value.rank or 0))
        self.random.shuffle(perm)
        return self.op("Transpose", value, perm=tuple(perm))

    def _reshape(self) -> Value:
        value = self.pick("fib")
        target = self.random.choice([[-1], [1, -1], [-1, 1]])
        return self.op("Reshape", value, self.builder.ints(target))

    def _trig(self) -> Value:
        return self.op("Cos", self.pick("f"))

    def _cumsum(self) -> Value:
        value = self.pick("i")
        return self.op("CumSum", value, self.int(self.random.randrange(value.rank or 1)))


class Evaluation:
    """Expressions of one space, evaluated for given dimensions and tensors."""

    def __init__(self, space: Space, dims: dict[str, int], tensors: Sequence[Any]) -> None:
        self.space = space
        self.dims = dims
        self.outside = 7
        self.tensors = tensors

    def size(self, dim: DimLike, at: dict[str, int]) -> int:
        if not isinstance(dim, Dim):
            return dim
        total = 0
        for monomial, coefficient in dim.terms:
            for atom in monomial:
                if atom.args:
                    args: list[DimLike] = [self.size(a, at) for a in atom.args]
                    factor = apply_function(atom.name, args)
                    assert isinstance(factor, int)
                else:
                    factor = at[atom.name] if atom.name in at else self.dims[atom.name]
                coefficient *= factor
            total += coefficient
        return total

    def value(self, expr: Expr, at: dict[str, int]) -> Any:
        kind, args = expr.kind, expr.args
        if kind == "if":
            return self.value(args[1] if self.value(args[0], at) else args[2], at)
        if kind in ("ge", "eq"):
            size = self.size(args[0], at)
            return size >= 0 if kind == "ge" else size == 0
        if kind == "test":
            return self.value(args[0], at)
        if kind == "num":
            return args[0]
        if kind == "dim":
            return self.size(args[0], at)
        if kind == "read":
            tensor = self.tensors[args[0]]
            place = [self.size(i, at) for i in args[1]]
            # Conditions are asked in a fixed order, also where the answer does not matter: not always inside.
            inside = all(0 <= i < n for i, n in zip(place, tensor.shape))
            return tensor[tuple(place)] if inside else tensor.dtype.type(self.outside)
        return self.applied(args[0], args[1], args[2:], [self.value(a, at) for a in args[2:]])

    def applied(self, op: str, dtype: Any, leaves: Sequence[Expr], values: list[Any]) -> Any:
        from geoc.passes.fuse.elements_leaves import dtype_of

        if op == "Cast":
            return dtype.numpy.type(values[0])
        a, b = [dtype_of(leaf).numpy.type(v) for leaf, v in zip(leaves, values)] if len(values) == 2 else (None, None)
        with np.errstate(all="ignore"):
            return {
                "Add": lambda: a + b,
                "Sub": lambda: a - b,
                "Mul": lambda: a * b,
                "Min": lambda: np.minimum(a, b),
                "Max": lambda: np.maximum(a, b),
                "Neg": lambda: -values[0],
                "Abs": lambda: abs(values[0]),
                "Equal": lambda: a == b,
                "Less": lambda: a < b,
                "LessOrEqual": lambda: a <= b,
            }[op]()

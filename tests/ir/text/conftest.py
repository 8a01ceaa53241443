"""Random models that use every feature of the IR, valid in structure though not in meaning."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from geoc.ir.attributes import AttrRef, EmptyList, SparseTensor
from geoc.ir.core import Function, Graph, Model, Node, Value, constant
from geoc.ir.dims import DimLike, floordiv, fresh, maximum, mod, symbol
from geoc.ir.ops import op, resolve
from geoc.ir.tensor import Tensor
from geoc.ir.types import (
    DTYPES,
    F32,
    I64,
    STR,
    DType,
    Type,
    map_type,
    opaque_type,
    optional_type,
    sequence_type,
    sparse_tensor_type,
    tensor_type,
)

_NAMES = [
    "x", "y", "w", "t", "out", "a.b", "a/b", "fc1/out:0", "with space", 'q"uote', "back\\slash", "", "none",
    "_", "new\nline", "ünï", "%", "0", "-1", "x_1", "tab\t", "\x7f", "?", "as", "#", "\u2028", "a,b", "a)",
]  # fmt: skip
_OPAQUE = [("my.dom", "Foo"), ("", "NotAnOp"), ("we ird", 'o"p'), ("a-b", "C"), ("x", "y z")]


class Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.unknown: list[DimLike] = []
        self.depth = 0

    def name(self) -> str:
        return self.random.choice(_NAMES)

    def dim(self) -> DimLike:
        pick = self.random.randrange(9)
        if pick < 3:
            return self.random.choice([0, 1, 2, 3, 768, 1 << 40])
        if pick == 3:
            return symbol(self.random.choice(["B", "S", "B*S", "floor(B,2)", 'we"ird', "max", "x y", "n\nl"]))
        if pick == 4:
            self.unknown.append(fresh())
            return self.unknown[-1]
        if pick == 5 and self.unknown:
            return self.random.choice(self.unknown)
        left, right = self.dim(), self.random.choice([symbol("B"), symbol("T"), 3, *self.unknown[-2:]])
        function = self.random.choice([floordiv, mod, maximum, lambda a, b: a * b, lambda a, b: a + b * 2])
        return function(left, right)

    def type(self, depth: int = 0) -> Type | None:
        pick = self.random.randrange(12)
        if pick == 0:
            return None
        if pick < 8 or depth > 2:
            shape = None if pick == 1 else tuple([self.dim() for _ in range(self.random.randrange(4))])
            return tensor_type(self.random.choice(DTYPES), shape)
        if pick == 8:
            return sequence_type(self.type(depth + 1))
        if pick == 9:
            return optional_type(self.type(depth + 1))
        if pick == 10:
            return map_type(self.random.choice([STR, I64]), self.type(depth + 1))
        if self.random.random() < 0.5:
            return sparse_tensor_type(F32, (self.dim(),))
        return opaque_type(self.random.choice(["", "dom", "a b"]), "T,)")

    def tensor(self, dtype: DType | None = None) -> Tensor:
        dtype = dtype or self.random.choice(DTYPES)
        shape = self.random.choice([(), (0,), (3,), (2, 2), (70,), (5, 0)])
        count = math.prod(shape)
        if dtype is STR:
            return Tensor(STR, shape, data=[self.random.randbytes(self.random.randrange(4)) for _ in range(count)])
        return Tensor(dtype, shape, data=self.random.randbytes(dtype.nbytes(count)))

    def float(self) -> float:
        if self.random.random() < 0.3:
            return self.random.choice([0.0, -0.0, 1.0, math.inf, -math.inf, math.nan, float(np.float32(0.1))])
        # A quiet NaN stays what it is when it becomes a double and back; a signalling one does not.
        bits = self.random.getrandbits(32)
        value = struct.unpack("<f", struct.pack("<I", bits))[0]
        return float(value)

    def attribute(self, inside_function: bool) -> Any:
        r = self.random
        makers: list[Callable[[], Any]] = [
            lambda: r.choice([0, 1, -1, 2**63 - 1, -(2**63)]),
            self.float,
            self.name,
            lambda: r.choice([b"\xff\x00", b'\xfe"\\']),
            lambda: tuple(r.randrange(-5, 5) for _ in range(r.randrange(4))),
            lambda: tuple(self.float() for _ in range(1 + r.randrange(3))),
            lambda: tuple(self.name() for _ in range(1 + r.randrange(3))),
            lambda: EmptyList(r.choice(["ints", "floats", "strings", "tensors"])),
            self.tensor,
            lambda: (self.tensor(), self.tensor()),
            lambda: SparseTensor(
                Tensor.of([1.5], F32), Tensor.of([[0, 1]], I64), (2, r.choice([2, 5]))
            ),
            lambda: self.type() or tensor_type(F32, ()),
            lambda: (tensor_type(F32, (self.dim(),)), sequence_type(None)),
        ]
        if inside_function:
            makers.append(lambda: AttrRef(r.choice(["alpha", "be ta"]), r.choice(["float", "ints"])))
        return r.choice(makers)()

    def meta(self) -> dict[str, str] | None:
        if self.random.random() < 0.7:
            return None
        return {self.name(): self.name() for _ in range(1 + self.random.randrange(2))}

    def fill(self, graph: Graph, outer: list[Value], size: int, function: bool) -> None:
        r = self.random
        graph.meta = self.meta()
        used: set[str] = set()
        for _ in range(r.randrange(3)):
            name = self.name() + str(len(used))
            used.add(name)
            value = graph.add_input(name, self.type())
            value.hint = r.choice([name, self.name()])
            value.meta = self.meta()
            outer = [*outer, value]
            if r.random() < 0.2:
                tensor = self.tensor()
                value.type = tensor.type
                graph.defaults[value] = tensor
        visible = list(outer)
        for _ in range(size):
            visible += self.node(graph, visible, function)
        results = r.choices(visible, k=r.randrange(3)) if visible else []
        graph.set_outputs(results, [r.choice([v.hint or "o", "out"]) + f".{i}" for i, v in enumerate(results)])

    def node(self, graph: Graph, visible: list[Value], function: bool) -> list[Value]:
        r = self.random
        operands: list[Value | None] = []
        for _ in range(r.randrange(4)):
            pick = r.random()
            if pick < 0.2:
                operands.append(None)
            elif pick < 0.5 or not visible:
                operands.append(constant(self.tensor(), self.name()))
                operands[-1].meta = self.meta()  # type: ignore[union-attr]
                visible.append(operands[-1])  # type: ignore[arg-type]
            else:
                operands.append(r.choice(visible))
        outputs = [Value(self.type(), self.name()) for _ in range(r.choice([0, 1, 1, 1, 1, 2, 3]))]
        for value in outputs:
            value.meta = self.meta() if value.hint else None
        if r.random() < 0.4:
            which = op(r.choice(["Relu", "LeakyRelu", "Split", "com.microsoft::Gelu", "GroupNormalization@18"]))
        else:
            which = resolve(*r.choice(_OPAQUE))
        attrs = {self.name(): self.attribute(function) for _ in range(r.choice([0, 0, 1, 3]))}
        regions: dict[str, Graph] | None = None
        if self.depth < 3 and r.random() < 0.15:
            self.depth += 1
            regions = {name: Graph(self.name()) for name in r.sample(["then_branch", "body", "bodies[0]"], 2)}
            for region in regions.values():
                self.fill(region, visible, r.randrange(4), function)
            self.depth -= 1
        loc = tuple(self.name() for _ in range(r.choice([0, 1, 1, 2])))
        node = graph.append(Node(which, operands, outputs, attrs, regions, loc))
        node.meta = self.meta()
        return outputs

    def model(self) -> Model:
        model = Model(Graph(self.name()))
        self.fill(model.graph, [], 3 + self.random.randrange(12), False)
        model.opsets = {"": 20, "a b": 1}
        model.ir_version = self.random.choice([0, 9])
        model.metadata = {self.name(): self.name() for _ in range(2)}
        model.info = {"producer_name": self.name(), "model_version": 7}
        model.opaque = {"training_info[0]": self.random.randbytes(5)}
        for index in range(self.random.randrange(3)):
            function = Function("d", f"f{index}", Graph(), self.random.choice(["", "ov"]))
            function.attributes = {"alpha": None, "be ta": self.attribute(False)}
            function.doc = self.name()
            self.fill(function.graph, [], 4, True)
            model.functions["d", f"f{index}", function.overload] = function
        return model


@pytest.fixture
def random_model() -> Callable[[int], Model]:
    """A function from a seed to a model."""
    return lambda seed: Maker(seed).model()

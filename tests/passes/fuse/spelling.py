"""Graphs from formulas, with the operands of commutative operators in any order, and what passes make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from geoc.ir.core import Model
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.ir.verify import verify
from geoc.passes.base import Context, Pass
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry

from ...golden import Runner, compare

Formula = Callable[["Spelling", str], str]
COMMUTATIVE = ("Add", "Mul", "Max", "Min")


class Spelling:
    """The nodes of one formula over %x; bit i of `order` exchanges the operands of commutative node i.

    `division`: halves and the like are written as Div and not as Mul.
    """

    def __init__(self, formula: Formula, order: int = 0, division: bool = False) -> None:
        self.order = order
        self.division = division
        self.nodes: list[tuple[str, list[str], str]] = []
        self.constants: dict[str, Any] = {}
        self.pairs = 0  # commutative nodes so far
        self.result = formula(self, "x")

    def op(self, name: str, *operands: str | float) -> str:
        """The name of one operator's result; numbers become constants."""
        names = [o if isinstance(o, str) else self.constant(o) for o in operands]
        if name in COMMUTATIVE:
            if self.order >> self.pairs & 1:
                names.reverse()
            self.pairs += 1
        self.nodes.append((name, names, f"v{len(self.nodes)}"))
        return self.nodes[-1][2]

    def constant(self, number: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = number
        return name

    def over(self, v: str, number: float) -> str:
        """v / number, in one of two ways."""
        return self.op("Div", v, number) if self.division else self.op("Mul", v, 1 / number)

    def text(self, dtype: str, ending: str) -> str:
        """As .gir; `ending`: the result is "returned", has a "user", or all is inside a "branch"."""
        shown = [
            f"weight %{name}: {'i64' if isinstance(c, list) else dtype}[{len(c) if isinstance(c, list) else ''}] = "
            f"{c if isinstance(c, list) else np.float16(c) if dtype == 'f16' else np.float32(c)}"
            for name, c in self.constants.items()
        ]
        shown += [f"%{out} = {op}({', '.join('%' + i for i in operands)})" for op, operands, out in self.nodes]
        body = "\n  ".join(shown)
        head = f'geoc 1\nopset "" 24\n\ngraph @main(%x: {dtype}[B,S,4], %flag: bool[]) -> (%y) {{\n  '
        if ending == "returned":
            return f"{head}{body}\n  %y = Identity(%{self.result})\n}}\n"
        if ending == "user":
            return f"{head}{body}\n  %y = Neg(%{self.result})\n}}\n"
        branches = f"with then_branch = () -> (%{self.result}) {{\n  {body}\n  }}\n"
        branches += "with else_branch = () -> (%e) {\n  %e = Neg(%x)\n  }\n"
        return f"{head}%y = If(%flag)\n{branches}}}\n"

    def model(self, dtype: str = "f32", ending: str = "returned") -> Model:
        """The graph with all types."""
        model = parse_model(self.text(dtype, ending))
        for root in model.roots():
            infer_graph(root)
        run_pipeline(model, passes("identity"), Context())
        verify(model)
        return model

    def onnx(self, opset: int) -> bytes:
        """As an ONNX model of an opset, in f32."""
        tensors = [
            helper.make_tensor(name, TensorProto.INT64 if isinstance(c, list) else TensorProto.FLOAT,
                               [len(c)] if isinstance(c, list) else [], c if isinstance(c, list) else [c])
            for name, c in self.constants.items()
        ]  # fmt: skip
        graph = helper.make_graph(
            [helper.make_node(op, operands, [out]) for op, operands, out in self.nodes],
            "main",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "S", 4])],
            [helper.make_tensor_value_info(self.result, TensorProto.FLOAT, None)],
            tensors,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
        return bytes(made.SerializeToString())


@lru_cache
def passes(names: str) -> list[Pass]:
    """The passes of a pipeline."""
    return Registry().resolve(parse(names))


def orders(formula: Formula, most: int, division: bool = False) -> Iterator[int]:
    """All operand orders of a formula, or `most` of them: the first, the last, and some between."""
    count = 1 << Spelling(formula, division=division).pairs
    if count <= most:
        yield from range(count)
        return
    random = np.random.default_rng(count)
    yield from {0, count - 1, *(int(n) for n in random.integers(0, count, most - 2))}


def operators(model: Model, names: str) -> Counter[str]:
    """What is left after a pipeline, by operator, regions included; Identity left out."""
    run_pipeline(model, passes(names), Context())
    verify(model)
    return Counter(n.op.key for graph in model.graphs() for n in graph if n.op.key not in ("Identity", "If", "Neg"))


def check_numbers(before: Model, after: Model, special: bool = True) -> None:
    """Both compute the same, batch 1 and 3, sequence 1 and 5; `special`: also for numbers that are far from 0."""
    old = Runner(before)
    new = Runner(after, like=old)
    random = np.random.default_rng(0)
    for sizes in ((1, 1), (3, 5)):
        dtype = before.graph.inputs[0].dtype
        assert dtype is not None
        x = random.normal(size=(*sizes, 4)) * 2
        if special:
            x[0, 0] = (-300, 300, 0, -0.01)
        feeds = {"x": x.astype(dtype.numpy), "flag": np.array(True)}
        for a, b in zip(new.run(feeds), old.run(feeds), strict=True):
            compare(a, b, str(sizes), exact=False)

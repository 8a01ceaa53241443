from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model
from geoc.ir.types import F32, tensor_type
from geoc.passes.base import Context
from geoc.passes.clean.cse import Cse

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_equal_nodes_become_one(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4]) -> (%y: f32[3,4]) {
      %a: f32[3,4] = Softmax(%x) {axis = 0}  !"first"
      %b: f32[3,4] = Softmax(%x) {axis = 0}  !"second"
      %p: f32[3,4] = Exp(%a)
      %q: f32[3,4] = Exp(%b)
      %y: f32[3,4] = Sub(%p, %q)
    }"""
    )
    assert apply(Cse(), model, {"x": X})
    assert ops(model.graph) == {"Softmax": 1, "Exp": 1, "Sub": 1}
    assert model.graph.first is not None and model.graph.first.loc == ("first", "second")


def test_operands_of_commutative_operators_in_any_order(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %z: f32[3,4]) -> (%y: f32[3,4], %w: f32[3,4]) {
      %a: f32[3,4] = Add(%x, %z)
      %b: f32[3,4] = Add(%z, %x)
      %c: f32[3,4] = Sub(%x, %z)
      %d: f32[3,4] = Sub(%z, %x)
      %y: f32[3,4] = Mul(%a, %b)
      %w: f32[3,4] = Mul(%c, %d)
    }"""
    )
    assert apply(Cse(), model, {"x": X, "z": X[::-1].copy()})
    assert ops(model.graph) == {"Add": 1, "Sub": 2, "Mul": 2}


def test_small_equal_constants_are_the_same_operand(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4]) -> (%y: f32[3,4], %z: f32[3,4], %w: f32[3,4]) {
      weight %a: f32[] = 2.0
      weight %b: f32[] = 2.0
      weight %c: f32[1] = [2.0]
      %y: f32[3,4] = Mul(%x, %a)
      %z: f32[3,4] = Mul(%b, %x)
      %w: f32[3,4] = Mul(%x, %c)
    }"""
    )
    assert apply(Cse(), model, {"x": X})
    assert ops(model.graph) == {"Mul": 2}


def test_two_outputs_become_one_value(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4]) -> (%y: f32[3,4], %z: f32[3,4]) {
      %y: f32[3,4] = Exp(%x)
      %z: f32[3,4] = Exp(%x)
    }"""
    )
    assert apply(Cse(), model, {"x": X})
    assert ops(model.graph) == {"Exp": 1}
    assert model.graph.outputs[0] is model.graph.outputs[1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Softmax(%x) {axis = 0}", "Softmax(%x)"),
        ("RandomNormalLike(%x) {seed = 1.0}", "RandomNormalLike(%x) {seed = 1.0}"),
        ("my.domain::Thing(%x)", "my.domain::Thing(%x)"),
        ("Exp(%x)", "Sin(%x)"),
        ("LeakyRelu(%x) {alpha = 0.0}", "LeakyRelu(%x) {alpha = -0.0}"),
    ],
)
def test_nodes_that_differ_or_may_differ(first: str, second: str, gir: Any) -> None:
    model = gir(
        f"""graph @main(%x: f32[3,4]) -> (%y: f32[3,4], %z: f32[3,4]) {{
      %y: f32[3,4] = {first}
      %z: f32[3,4] = {second}
    }}"""
    )
    assert not Cse().run(model, Context())


def test_dropout_in_training_is_not_merged(gir: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %t: bool[]) -> (%y: f32[3,4], %z: f32[3,4]) {
      weight %half: f32[] = 0.5
      %y: f32[3,4] = Dropout(%x, %half, %t)
      %z: f32[3,4] = Dropout(%x, %half, %t)
    }"""
    )
    assert not Cse().run(model, Context())


REGIONS = """graph @main(%x: f32[3,4], %c: bool[]) -> (%y: f32[3,4]) {
      BEFORE
      %i: f32[3,4] = If(%c)
        with then_branch = () -> (%t) {
          %t: f32[3,4] = Exp(%x)
        }
        with else_branch = () -> (%f) {
          %e: f32[3,4] = Exp(%x)
          %f: f32[3,4] = Neg(%e)
        }
      AFTER
    }"""


def test_a_node_in_a_region_gives_way_to_one_before_it(gir: Any, ops: Any, apply: Any) -> None:
    text = REGIONS.replace("BEFORE", "%a: f32[3,4] = Exp(%x)").replace("AFTER", "%y: f32[3,4] = Add(%i, %a)")
    model = gir(text)
    assert apply(Cse(), model, {"x": X, "c": np.array(True)}, {"x": X, "c": np.array(False)})
    assert ops(model.graph) == {"Exp": 1, "If": 1, "Neg": 1, "Add": 1}


def test_nothing_leaves_a_region_and_branches_share_nothing(gir: Any, apply: Any) -> None:
    after = "%a: f32[3,4] = Exp(%x)\n      %y: f32[3,4] = Add(%i, %a)"
    model = gir(REGIONS.replace("BEFORE", "").replace("AFTER", after))
    assert not apply(Cse(), model, {"x": X, "c": np.array(True)}, {"x": X, "c": np.array(False)})


def test_tensor_attributes_are_compared_by_content() -> None:
    from geoc.ir.tensor import Tensor

    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (3,)))
    b = Builder(graph)
    shape = b.op("Shape", x)
    filled = [b.op("ConstantOfShape", shape, value=Tensor.of([v], F32)) for v in (1.0, 1.0, 2.0)]
    graph.set_outputs(filled, ["a", "b", "c"])
    assert Cse().run(Model(graph), Context())
    assert graph.size == 3 and graph.outputs[0] is graph.outputs[1]


def test_linear_time() -> None:
    from time import process_time

    def seconds(count: int) -> float:
        graph = Graph("main")
        x = graph.add_input("x", tensor_type(F32, (4,)))
        b = Builder(graph)
        a = c = x
        for _ in range(count // 2):
            a, c = b.op("Exp", a), b.op("Exp", c)
        graph.set_outputs([a, c], ["a", "c"])
        start = process_time()
        assert Cse().run(Model(graph), Context())
        assert graph.size == count // 2
        return process_time() - start

    small = min(seconds(1000) for _ in range(3))
    assert min(seconds(10_000) for _ in range(3)) < 15 * small + 0.01

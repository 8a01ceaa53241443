from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model
from geoc.ir.types import F32, tensor_type
from geoc.passes.base import Context
from geoc.passes.clean.dce import Dce

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_a_chain_that_nobody_uses(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %unused: f32[2]) -> (%y: f32[3,4]) {
      %a: f32[3,4] = Exp(%x)
      %b: f32[3,4] = Mul(%a, %a)
      %y: f32[3,4] = Relu(%x)
    }"""
    )
    assert apply(Dce(), model, {"x": X, "unused": np.zeros(2, np.float32)})
    assert ops(model.graph) == {"Relu": 1}


def test_what_only_dead_code_in_a_region_captured(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %c: bool[]) -> (%y: f32[3,4]) {
      %dead: f32[3,4] = Exp(%x)
      %live: f32[3,4] = Sin(%x)
      %y: f32[3,4] = If(%c)
        with then_branch = () -> (%t) {
          %d: f32[3,4] = Neg(%dead)
          %t: f32[3,4] = Neg(%live)
        }
        with else_branch = () -> (%live) {
        }
    }"""
    )
    assert apply(Dce(), model, {"x": X, "c": np.array(True)})
    assert ops(model.graph) == {"Sin": 1, "If": 1, "Neg": 1}


def test_used_only_inside_a_region_is_used(gir: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %c: bool[]) -> (%y: f32[3,4]) {
      %a: f32[3,4] = Exp(%x)
      %y: f32[3,4] = If(%c)
        with then_branch = () -> (%a) {
        }
        with else_branch = () -> (%x) {
        }
    }"""
    )
    assert not apply(Dce(), model, {"x": X, "c": np.array(True)}, {"x": X, "c": np.array(False)})


def test_unknown_operators_stay_and_so_does_what_holds_them(gir: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %c: bool[]) -> (%y: f32[3,4]) {
      %a: f32[3,4] = my.domain::Log(%x)
      %b: f32[3,4] = If(%c)
        with then_branch = () -> (%t) {
          %t: f32[3,4] = my.domain::Log(%x)
        }
        with else_branch = () -> (%x) {
        }
      %y: f32[3,4] = Relu(%x)
    }"""
    )
    assert not Dce().run(model, Context())


def test_a_random_node_may_go(gir: Any, ops: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4]) -> (%y: f32[3,4]) {
      %a: f32[3,4] = RandomNormalLike(%x)
      %y: f32[3,4] = Relu(%x)
    }"""
    )
    assert Dce().run(model, Context())
    assert ops(model.graph) == {"Relu": 1}


def test_optional_outputs_become_absent() -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (2, 3, 8, 8)))
    b = Builder(graph)
    pool = b.node("MaxPool", [x], {"kernel_shape": (2, 2)}, outputs=["p", "indices"])
    values, found = b.node("TopK", [x, b.ints([2])], outputs=["v", "i"]).outputs
    graph.set_outputs([pool.output, values], ["p", "v"])
    assert Dce().run(Model(graph), Context())
    assert len(pool.outputs) == 1
    assert found.hint == "i"  # TopK has no optional outputs
    assert not Dce().run(Model(graph), Context())


def test_an_optional_output_ahead_of_a_used_one_keeps_its_place(apply: Any) -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (5, 1, 3)))
    b = Builder(graph)
    w = b.const(np.ones((1, 8, 3), np.float32))
    r = b.const(np.ones((1, 8, 2), np.float32))
    lstm = b.node("LSTM", [x, w, r], {"hidden_size": 2}, outputs=["all", "last", "cell"])
    graph.set_outputs([lstm.outputs[1]], ["last"])
    assert apply(Dce(), Model(graph), {"x": np.ones((5, 1, 3), np.float32)})
    assert [v.hint for v in lstm.outputs] == ["", "last"]


def test_batch_normalization_in_training_keeps_its_outputs() -> None:
    graph = Graph("main")
    x = graph.add_input("x", tensor_type(F32, (2, 3, 4)))
    b = Builder(graph)
    parts = [b.const(np.ones(3, np.float32)) for _ in range(4)]
    node = b.node("BatchNormalization", [x, *parts], {"training_mode": 1}, outputs=["y", "m", "v"])
    graph.set_outputs([node.output], ["y"])
    assert not Dce().run(Model(graph), Context())


def test_outputs_of_an_if_that_nobody_uses(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %c: bool[]) -> (%y: f32[3,4]) {
      %a: f32[3,4], %y: f32[3,4], %b: f32[3,4] = If(%c)
        with then_branch = () -> (%t1, %t2, %t1) {
          %t1: f32[3,4] = Exp(%x)
          %t2: f32[3,4] = Sin(%x)
        }
        with else_branch = () -> (%x, %e2, %e3) {
          %e2: f32[3,4] = Cos(%x)
          %e3: f32[3,4] = Neg(%e2)
        }
    }"""
    )
    assert apply(Dce(), model, {"x": X, "c": np.array(True)}, {"x": X, "c": np.array(False)})
    assert ops(model.graph) == {"If": 1, "Sin": 1, "Cos": 1}
    (node,) = model.graph
    assert len(node.outputs) == 1 and node.output.index == 0


LOOP = """graph @main(%x: f32[3,4], %n: i64[]) -> (%y: f32[3,4]) {{
      weight %true: bool[] = true
      weight %one: i64[] = 1
      %cnt: i64[], %y: f32[3,4], %z: f32[3,4], %q: f32[?n,3,4], %m: f32[?n,3,4] = Loop(%n, %true, %one, %x, %x)
        with body = (%k: i64[], %go: bool[], %c: i64[], %v: f32[3,4], %u: f32[3,4]) -> (%go2, %c2, %v2, %u2, %r, %u2) {{
          %go2: bool[] = {again}
          %c2: i64[] = Add(%c, %k)
          %v2: f32[3,4] = Sin(%v)
          %u2: f32[3,4] = Cos({source})
          %r: f32[3,4] = Exp(%v)
        }}
    }}"""


def test_loop_state_that_influences_nothing(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(LOOP.format(again="Identity(%go)", source="%u"))
    assert apply(Dce(), model, {"x": X, "n": np.array(3)}, {"x": X, "n": np.array(0)})
    assert ops(model.graph) == {"Loop": 1, "Identity": 1, "Sin": 1}
    (loop,) = model.graph
    assert len(loop.inputs) == 3 and len(loop.regions["body"].inputs) == 3


def test_loop_state_that_the_condition_reads_stays(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(LOOP.format(again="Less(%c, %n)", source="%u"))
    assert apply(Dce(), model, {"x": X, "n": np.array(3)})
    assert ops(model.graph) == {"Loop": 1, "Less": 1, "Add": 1, "Sin": 1}


def test_dead_state_that_reads_live_state(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(LOOP.format(again="Identity(%go)", source="%v"))
    assert apply(Dce(), model, {"x": X, "n": np.array(3)})
    assert ops(model.graph) == {"Loop": 1, "Identity": 1, "Sin": 1}


def test_state_read_inside_a_nested_region_stays(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %n: i64[], %c: bool[]) -> (%y: f32[3,4]) {
      weight %true: bool[] = true
      %y: f32[3,4], %other: f32[3,4] = Loop(%n, %true, %x, %x)
        with body = (%k: i64[], %go: bool[], %v: f32[3,4], %u: f32[3,4]) -> (%go, %v2, %u2) {
          %v2: f32[3,4] = If(%c)
            with then_branch = () -> (%t) {
              %t: f32[3,4] = Add(%v, %u)
            }
            with else_branch = () -> (%v) {
            }
          %u2: f32[3,4] = Cos(%u)
        }
    }"""
    )
    feeds = {"x": X, "n": np.array(3), "c": np.array(True)}
    assert not apply(Dce(), model, feeds)


@pytest.mark.parametrize("axis", [0, 1])
def test_scan_outputs_and_their_axes(axis: int, gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4]) -> (%y: f32[?a,?b]) {{
      weight %zero: f32[4] = [0.0, 0.0, 0.0, 0.0]
      %l: f32[4], %a: f32[?c,?d], %y: f32[?a,?b] = Scan(%zero, %x) {{num_scan_inputs = 1, scan_output_axes = AXES}}
        with body = (%s: f32[4], %row: f32[4]) -> (%s2, %p, %q) {{
          %s2: f32[4] = Add(%s, %row)
          %p: f32[4] = Exp(%row)
          %q: f32[4] = Neg(%row)
        }}
    }}""".replace("AXES", f"[1, {axis}]").replace("{{", "{").replace("}}", "}")
    )
    assert apply(Dce(), model, {"x": X})
    assert ops(model.graph) == {"Scan": 1, "Neg": 1}
    (scan,) = model.graph
    assert scan.attrs.get("scan_output_axes") in ((axis,), None) and len(scan.inputs) == 1


def test_linear_time() -> None:
    from time import process_time

    def seconds(count: int) -> float:
        graph = Graph("main")
        x = graph.add_input("x", tensor_type(F32, (4,)))
        b = Builder(graph)
        dead = live = x
        for _ in range(count // 2):
            dead, live = b.op("Exp", dead), b.op("Relu", live)
        graph.set_outputs([live], ["y"])
        start = process_time()
        assert Dce().run(Model(graph), Context())
        assert graph.size == count // 2
        return process_time() - start

    small = min(seconds(1000) for _ in range(3))
    assert min(seconds(10_000) for _ in range(3)) < 15 * small + 0.01

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.passes.clean.hoist import Hoist

X = np.arange(12, dtype=np.float32).reshape(3, 4)
FEEDS = [{"x": X, "n": np.array(n), "i": np.array([1, 0])} for n in (0, 1, 3)]

LOOP = """graph @main(%x: f32[3,4], %n: i64[], %i: i64[2]) -> (%y: f32[3,4]) {{
      weight %true: bool[] = true
      weight %half: f32[] = 0.5
      weight %three: i64[] = 3
      weight %shape: i64[2] = [4, 3]
      %y: f32[3,4] = Loop({trips}, %true, %x)
        with body = (%k: i64[], %go: bool[], %v: f32[3,4]) -> (%go, %w) {{
          {invariant}
          %w: f32[3,4] = Add(%v, %s)
        }}
    }}"""


def names_in_loop(model: Any) -> list[str]:
    (body,) = (g for g in model.graphs() if g.parent is not None)
    return [node.op.key for node in body]


@pytest.mark.parametrize(
    "statements",
    [
        ["%a: f32[3,4] = Exp(%x)", "%s: f32[3,4] = Mul(%a, %half)"],
        ["%a: f32[4,3] = Transpose(%x)", "%b: f32[3,3] = MatMul(%x, %a)", "%s: f32[3,4] = MatMul(%b, %x)"],
        ["%a: f32[6,4] = Concat(%x, %x) {axis = 0}", "%b: i64[] = Size(%a)", "%s: f32[] = Cast(%b) {to = 1}"],
    ],
)
def test_invariant_nodes_move_out(statements: list[str], gir: Any, apply: Any) -> None:
    model = gir(LOOP.format(trips="%n", invariant="\n          ".join(statements)))
    assert apply(Hoist(), model, *FEEDS)
    assert names_in_loop(model) == ["Add"]


MAY_FAIL = [
    "%a: f32[2,4] = Gather(%x, %i)\n          %s: f32[1,4] = ReduceMax(%a, %zero)",
    "%a: i64[2] = Div(%three, %i)\n          "
    "%b: i64[1] = ReduceMax(%a, %zero)\n          %s: f32[1] = Cast(%b) {to = 1}",
]


@pytest.mark.parametrize("text", MAY_FAIL)
def test_what_may_fail_stays_in_a_loop_that_may_not_run(text: str, gir: Any, apply: Any) -> None:
    whole = LOOP.replace("%half: f32[] = 0.5", "%zero: i64[1] = [0]")
    model = gir(whole.format(trips="%n", invariant=text))
    feeds = {**FEEDS[0], "i": np.array([0, 0])}
    assert not apply(Hoist(), model, feeds)
    assert len(names_in_loop(model)) == text.count("=") - text.count("{to =") + 1


@pytest.mark.parametrize("text", MAY_FAIL)
def test_what_may_fail_leaves_a_loop_that_runs(text: str, gir: Any, apply: Any) -> None:
    whole = LOOP.replace("%half: f32[] = 0.5", "%zero: i64[1] = [0]")
    model = gir(whole.format(trips="%three", invariant=text))
    assert apply(Hoist(), model, {**FEEDS[0], "i": np.array([1, 2])})
    assert names_in_loop(model) == ["Add"]


def test_shapes_that_may_not_broadcast_stay(gir: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[A], %z: f32[B], %n: i64[]) -> (%y: f32[A]) {
      weight %true: bool[] = true
      %y: f32[A] = Loop(%n, %true, %x)
        with body = (%k: i64[], %go: bool[], %v: f32[A]) -> (%go, %w) {
          %e: f32[?e] = Add(%x, %z)
          %f: f32[A] = Mul(%x, %x)
          %s: f32[] = ReduceMax(%e) {keepdims = 0}
          %p: f32[A] = Mul(%v, %f)
          %w: f32[A] = Add(%p, %s)
        }
    }"""
    )
    x = np.ones(3, np.float32)
    # Three and two elements: the body would fail, but it does not run.
    assert apply(Hoist(), model, {"x": x, "z": x[:2], "n": np.array(0)}, {"x": x, "z": x, "n": np.array(2)})
    assert names_in_loop(model) == ["Add", "ReduceMax", "Mul", "Add"]


def test_what_depends_on_the_trip_stays(gir: Any, apply: Any) -> None:
    model = gir(LOOP.format(trips="%n", invariant="%s: f32[] = Cast(%k) {to = 1}"))
    assert not apply(Hoist(), model, *FEEDS)


def test_random_numbers_stay(gir: Any) -> None:
    from geoc.passes.base import Context

    model = gir(LOOP.format(trips="%three", invariant="%s: f32[3,4] = RandomNormalLike(%x)"))
    assert not Hoist().run(model, Context())


def test_out_of_two_loops_and_not_out_of_a_branch(gir: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %n: i64[], %c: bool[]) -> (%y: f32[3,4]) {
      weight %true: bool[] = true
      %y: f32[3,4] = Loop(%n, %true, %x)
        with body = (%k: i64[], %go: bool[], %v: f32[3,4]) -> (%go, %w) {
          %w: f32[3,4] = Loop(%n, %true, %v)
            with body = (%k2: i64[], %go2: bool[], %v2: f32[3,4]) -> (%go2, %w2) {
              %e: f32[3,4] = Exp(%x)
              %d: f32[3,4] = If(%c)
                with then_branch = () -> (%t) {
                  %t: f32[3,4] = Sin(%x)
                }
                with else_branch = () -> (%e) {
                }
              %w2: f32[3,4] = Add(%v2, %d)
            }
        }
    }"""
    )
    assert apply(Hoist(), model, {"x": X, "n": np.array(2), "c": np.array(False)})
    assert [node.op.key for node in model.graph] == ["Exp", "Loop"]
    assert sorted(node.op.key for node in model.walk()) == ["Add", "Exp", "If", "Loop", "Loop", "Sin"]


@pytest.mark.parametrize(("length", "left"), [("3", 1), ("L", 2)])
def test_scan(length: str, left: int, gir: Any, apply: Any) -> None:
    model = gir(
        f"""graph @main(%x: f32[{length},4], %i: i64[1], %z: f32[5,4]) -> (%y: f32[1,4]) {{
      weight %zero: f32[1,4] = [0.0, 0.0, 0.0, 0.0]
      %y: f32[1,4] = Scan(%zero, %x) {{num_scan_inputs = 1}}
        with body = (%s: f32[1,4], %row: f32[4]) -> (%s2) {{
          %g: f32[1,4] = Gather(%z, %i)
          %s2: f32[1,4] = Add(%s, %g)
        }}
    }}"""
    )
    z = np.arange(20, dtype=np.float32).reshape(5, 4)
    apply(Hoist(), model, {"x": X, "i": np.array([2]), "z": z})
    assert len(names_in_loop(model)) == left

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.passes.base import Context
from geoc.passes.clean.constant_if import ConstantIf
from geoc.passes.clean.constant_loop import ConstantLoop

X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(("condition", "left"), [("true", "Exp"), ("false", "Neg")])
def test_the_branch_takes_the_place_of_the_if(condition: str, left: str, gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        f"""graph @main(%x: f32[3,4]) -> (%y: f32[3,4], %z: f32[3,4]) {{
      weight %c: bool[] = {condition}
      %y: f32[3,4], %z: f32[3,4] = If(%c)
        with then_branch = () -> (%t, %x) {{
          %t: f32[3,4] = Exp(%x)
        }}
        with else_branch = () -> (%t, %t) {{
          %t: f32[3,4] = Neg(%x)
        }}
    }}"""
    )
    assert apply(ConstantIf(), model, {"x": X})
    assert ops(model.graph) == {left: 1}


def test_nested_ifs_in_loops(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %n: i64[]) -> (%y: f32[3,4]) {
      weight %true: bool[] = true
      weight %false: bool[] = false
      %y: f32[3,4] = Loop(%n, %true, %x)
        with body = (%k: i64[], %go: bool[], %v: f32[3,4]) -> (%go, %w) {
          %w: f32[3,4] = If(%true)
            with then_branch = () -> (%t) {
              %a: f32[3,4] = Sin(%v)
              %t: f32[3,4] = If(%false)
                with then_branch = () -> (%a) {
                }
                with else_branch = () -> (%d) {
                  %d: f32[3,4] = Cos(%a)
                }
            }
            with else_branch = () -> (%v) {
            }
        }
    }"""
    )
    assert apply(ConstantIf(), model, {"x": X, "n": np.array(2)}, {"x": X, "n": np.array(0)})
    assert ops(model.graph) == {"Loop": 1, "Sin": 1, "Cos": 1}


def test_an_unknown_condition_stays(gir: Any, apply: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4], %c: bool[]) -> (%y: f32[3,4]) {
      %y: f32[3,4] = If(%c)
        with then_branch = () -> (%t) {
          %t: f32[3,4] = Exp(%x)
        }
        with else_branch = () -> (%x) {
        }
    }"""
    )
    assert not apply(ConstantIf(), model, {"x": X, "c": np.array(True)})


def test_types_follow_the_branch(gir: Any) -> None:
    model = gir(
        """graph @main(%x: f32[3,4]) -> (%y: f32[*]) {
      weight %true: bool[] = true
      weight %axes: i64[1] = [0]
      %i: f32[*] = If(%true)
        with then_branch = () -> (%x) {
        }
        with else_branch = () -> (%e) {
          %e: f32[1,3,4] = Unsqueeze(%x, %axes)
        }
      %y: f32[*] = Relu(%i)
    }"""
    )
    assert ConstantIf().run(model, Context())
    assert str(model.graph.outputs[0].type) == "f32[3,4]"


LOOP = """graph @main(%x: f32[3,4]) -> (%y: f32[3,4], %z: f32[3,4], %r: f32[?n,3,4]) {{
      weight %n: i64[] = {trips}
      weight %going: bool[] = {going}
      %other: f32[3,4] = Exp(%x)
      %y: f32[3,4], %z: f32[3,4], %r: f32[?n,3,4] = Loop(%n, %going, %x, %other)
        with body = (%k: i64[], %go: bool[], %a: f32[3,4], %b: f32[3,4]) -> (%go, %b, %c, %s) {{
          %f: f32[] = Cast(%k) {{to = 1}}
          %c: f32[3,4] = Add(%a, %f)
          %s: f32[3,4] = Sub(%a, %b)
        }}
    }}"""


def test_one_trip_is_the_body(gir: Any, ops: Any, apply: Any) -> None:
    model = gir(LOOP.format(trips=1, going="true"))
    assert apply(ConstantLoop(), model, {"x": X})
    assert ops(model.graph) == {"Exp": 1, "Cast": 1, "Add": 1, "Sub": 1, "Unsqueeze": 1}


@pytest.mark.parametrize(("trips", "going"), [(0, "true"), (1, "false"), (-1, "true")])
def test_no_trip_with_scan_outputs_stays(trips: int, going: str, gir: Any, apply: Any) -> None:
    model = gir(LOOP.format(trips=trips, going=going))
    assert not apply(ConstantLoop(), model, {"x": X})


@pytest.mark.parametrize(("trips", "going"), [(0, "true"), (7, "false")])
def test_no_trip_gives_the_initial_values(trips: int, going: str, gir: Any, ops: Any, apply: Any) -> None:
    text = LOOP.format(trips=trips, going=going).replace(", %r: f32[?n,3,4]) {", ") {")
    model = gir(text)
    assert apply(ConstantLoop(), model, {"x": X})
    assert ops(model.graph) == {"Exp": 1}


def test_more_trips_stay(gir: Any, apply: Any) -> None:
    assert not apply(ConstantLoop(), gir(LOOP.format(trips=2, going="true")), {"x": X})


def unread_start(limit: str, body: str = "%w: f32[3,4] = Add(%v, %v)") -> str:
    """A loop whose second state starts as a number, and is a matrix after each trip."""
    return f"""graph @main(%x: f32[3,4], %n: i64[], %c: bool[]) -> (%y: f32[*]) {{
      weight %three: i64[] = 3
      weight %true: bool[] = true
      weight %zero: f32[] = 0.0
      %z: f32[3,4], %y: f32[*] = Loop({limit}, %x, %zero)
        with body = (%k: i64[], %go: bool[], %v: f32[3,4], %unread: f32[*]) -> (%less, %w, %s) {{
          %less: bool[] = Less(%k, %n)
          {body}
          %s: f32[3,4] = Sin(%w)
        }}
    }}"""


def test_a_start_that_no_trip_reads_has_the_type_of_what_comes_out(gir: Any, apply: Any) -> None:
    model = gir(unread_start("%three, %true"))
    feeds = [{"x": X, "n": np.array(n), "c": np.array(True)} for n in (0, 1, 5)]
    assert apply(ConstantLoop(), model, *feeds)
    (loop,) = (node for node in model.graph if node.op.key == "Loop")
    assert str(loop.inputs[3].type) == str(loop.outputs[1].type) == "f32[3,4]"  # type: ignore[union-attr]
    assert not ConstantLoop().run(model, Context())


@pytest.mark.parametrize(
    ("limit", "body"),
    [
        ("%n, %true", "%w: f32[3,4] = Add(%v, %v)"),  # perhaps no trip at all
        ("%three, %c", "%w: f32[3,4] = Add(%v, %v)"),
        ("%three, %true", "%w: f32[3,4] = Add(%v, %unread)"),
    ],
)
def test_a_start_that_may_be_read_or_returned_stays(limit: str, body: str, gir: Any) -> None:
    assert not ConstantLoop().run(gir(unread_start(limit, body)), Context())

from __future__ import annotations

import pytest

from geoc.ir.errors import InvalidModel
from geoc.ir.text import parse_model
from geoc.passes.base import Context
from geoc.passes.clean.infer import Infer

TEXT = """geoc 1
opset "" 20

graph @main(%x: f32[B,4], %c: bool[]) -> (%y: f32[*]) {
  %a: ? = Exp(%x)
  %y: f32[*] = If(%c)
    with then_branch = () -> (%t) {
      %t: ? = Sin(%a)
    }
    with else_branch = () -> (%x) {
    }
}
"""


def test_types_of_all_graphs_are_completed() -> None:
    model = parse_model(TEXT)
    assert Infer().run(model, Context())
    assert {str(v.type) for node in model.walk() for v in node.outputs} == {"f32[B,4]"}
    assert not Infer().run(model, Context())


def test_it_runs_when_every_rewrite_is_refused() -> None:
    model = parse_model(TEXT)
    assert Infer.required and Infer().run(model, Context(bisect_limit=0))


def test_a_contradiction_is_an_error() -> None:
    text = """geoc 1
opset "" 20

graph @main(%x: f32[2,3], %z: f32[4,5]) -> (%y: f32[2,5]) {
  %y: f32[2,5] = MatMul(%x, %z)
}
"""
    with pytest.raises(InvalidModel, match="MatMul"):
        Infer().run(parse_model(text), Context())

"""Near misses: which part of which rule stopped the match that got furthest."""

from __future__ import annotations

from typing import Any

import pytest

from geoc.ir.rewrite import explain, find_matches

RULE = """rule fuse {
  \"\"\"D.\"\"\"
  match
    %t = Add(%m, %b: const)
    %y = Div(%t, 1.4142135) |> Erf(_) |> Add(_, 1.0) |> Mul(%t, _) |> Mul(_, $h)
  where
    rank(%b) == 1,
    $h < 1.0
  rewrite
    %y = Gelu(%t)
}
"""
BODY = """
weight %b: f32[8] = [1, 2, 3, 4, 5, 6, 7, 8]
weight %q: f32[] = 1.4142135
weight %o: f32[] = 1
weight %h: f32[] = 0.5
%t = Add(%x, %b)
%d = Div(%t, %q)
%e = Erf(%d)
%p = Add(%e, %o)
%m = Mul(%t, %p)
%y = Mul(%m, %h)
"""

MISSES = [
    # change, matched operators, line:column, needed, had
    (("= 0.5", "= 1.5"), 6, "8:5", "$h < 1.0", "$h = 1.5"),
    (("%b: f32[8]", "%b: f32[1,8]"), 6, "7:5", "rank(%b) == 1", "rank(%b) = 2"),
    (("= 1.4142135", "= 1.5"), 5, "5:18", "the number 1.4142135", "the constant 1.5"),
    (("Erf(%d)", "Tanh(%d)"), 3, "5:32", "Erf", "Tanh"),
    (("Div(%t, %q)", "Div(%x, %q)"), 5, "4:10", "Add", "an input %x"),
    (("Add(%x, %b)", "Add(%x, %x)"), 6, "4:18", "%b: const", "%x"),
    (("%y = Mul(%m, %h)", "%y0 = Mul(%m, %h)\n%y = Add(%y0, %e)"), 6, "1:1", "no use of %e outside", "Add"),
    (("%y = Mul(%m, %h)", "%y0 = Mul(%m, %h)\n%y = Add(%y0, %t)"), 6, "1:1", "no use of %t outside", "Add"),
]


@pytest.mark.parametrize("change,matched,place,needed,had", MISSES, ids=[str(m[0][1]) for m in MISSES])
def test_near_miss(
    lab: Any, change: tuple[str, str], matched: int, place: str, needed: str, had: str
) -> None:
    (rule,) = lab.load(RULE)
    target = lab.model(BODY.replace(*change))
    assert find_matches(rule, target) == []
    near = explain(rule, target)[0]
    assert f"{near.place[0]}:{near.place[1]}" == place, str(near)
    assert near.matched == matched and near.total == 6, str(near)
    assert needed in near.needed and had in near.had, str(near)
    assert str(near).startswith("fuse at <%y") and f"r.rules:{place} needs" in str(near)


def test_one_node(lab: Any) -> None:
    (rule,) = lab.load(RULE)
    target = lab.model(BODY.replace("= 0.5", "= 1.5"))
    nodes = {node.output.hint: node for node in target.graph}
    (near,) = explain(rule, target, nodes["m"])
    assert near.node is nodes["m"]
    assert (near.matched, near.needed, near.had[:10]) == (1, "Mul", "<%t = Add(")
    assert explain(rule, target, nodes["e"]) == []


def test_a_match_is_no_miss(lab: Any) -> None:
    (rule,) = lab.load(RULE)
    target = lab.model(BODY)
    (found,) = find_matches(rule, target)
    assert found.nodes[0] is target.graph.last
    assert sorted(n.op.key for n in found.nodes) == ["Add", "Add", "Div", "Erf", "Mul", "Mul"]
    assert {k: v.hint for k, v in found.values.items()} == {"y": "y", "t": "t", "m": "x", "b": "b"}
    assert found.captures == {"h": 0.5}
    assert all(near.node is not target.graph.last for near in explain(rule, target))


@pytest.mark.parametrize(
    ("match", "body", "needed", "had"),
    [
        ("%y = Abs(Softmax(%x) {axis = 1})", "%a = Softmax(%x) {axis=0}\n%y = Abs(%a)", "axis = 1", "axis = 0"),
        ("%y = Abs(Softmax(%x))", "%a = Softmax(%x) {axis=0}\n%y = Abs(%a)", "no attributes but those", "axis = 0"),
        ("%y = Abs(Clip(%x, 0.0))", "weight %k: f32[] = 0\n%a = Clip(%x, %k, %k)\n%y = Abs(%a)", "2 operands", "Clip"),
        ("%y = Abs(Clip(%x, none, _))", "weight %k: f32[] = 0\n%a = Clip(%x, %k, %k)\n%y = Abs(%a)", "no oper", "0.0"),
        ("%y = Sub(Neg(%a), Exp(%a))", "%a = Neg(%x)\n%b = Exp(%z)\n%y = Sub(%a, %b)", "%a to be the same", "%z"),
        ("%y = Abs(Neg(%x: f16))", "%a = Neg(%x)\n%y = Abs(%a)", "%x: f16", "f32[2,8]"),
        ("%a = Neg(%x) %b = Abs(%x)", "%y = Neg(%x)", "%x to be used by", "no such user"),
        ("%y = Abs(Neg(Exp(%x)))", "%a = Neg(%x)\n%y = Abs(%a)", "Exp", "an input %x"),
        (
            "%y = Abs(Clip(%x, %rest...))",
            "weight %k: f32[] = 0\n%a = Clip(%x, none, %k)\n%y = Abs(%a)",
            "%rest present",
            "an operand is absent",
        ),
    ],
)
def test_kinds_of_reasons(lab: Any, match: str, body: str, needed: str, had: str) -> None:
    rewrite = "%a = %x %b = %x" if "%b = Abs" in match else "%y = Relu(%a)" if "%a" in match else "%y = Relu(%x)"
    (rule,) = lab.load(lab.rule(match, rewrite))
    target = lab.model(body, "%x: f32[2,8], %z: f32[2,8]")
    near = explain(rule, target)[0]
    assert needed in near.needed and had in near.had, str(near)


def test_explaining_agrees_with_matching(lab: Any) -> None:
    """The recorder must not change what matches."""
    (rule,) = lab.load(RULE)
    for change in [("", ""), *(m[0] for m in MISSES)]:
        target = lab.model(BODY.replace(*change) if change[0] else BODY)
        for node in target.graph:
            if node.op.key == "Mul":
                matched = any(m.nodes[0] is node for m in find_matches(rule, target))
                assert matched == (explain(rule, target, node) == [])

"""Named sub-patterns: parameters, alternatives, locals, guards of one alternative."""

from __future__ import annotations

from typing import Any

import pytest

from geoc.ir.rewrite import RewriteDriver, parse_rules
from geoc.ir.text import parse_model

ROTATE = """
pattern rotate_half(%x, D) =
    Concat(Neg(Slice(%x, D, _, -1)), Slice(%x, 0, D, -1)) {axis = -1}
  | { (%a, %b) = Split(%x) {axis = -1, num_outputs = 2}
      %r = Concat(Neg(%b), %a) {axis = -1}
      where dim(%x, -1) == 2 * D }

rule rope {
  \"\"\"x * cos + rotate_half(x) * sin.\"\"\"
  match   %y = Add(Mul(%x, %cos), Mul(rotate_half(%x, H), %sin))
  where   dim(%x, -1) == 2 * H
  rewrite %y = my.domain::Rope(%x, %cos, %sin)
}
"""
INPUTS = "%x: f32[B,4,S,8], %c: f32[S,8], %s: f32[S,8]"
SLICES = """
weight %zero: i64[1] = [0]
weight %half: i64[1] = [{half}]
weight %end: i64[1] = [9223372036854775807]
weight %axis: i64[1] = [-1]
%l = Slice(%x, %zero, %half, %axis)
%h = Slice(%x, %half, %end, %axis)
%n = Neg(%h)
"""
SUM = "%xc = Mul(%c, %x)\n%rs = Mul(%r, %s)\n%y = Add(%rs, %xc)"


def test_both_spellings(lab: Any) -> None:
    first = lab.model(SLICES.format(half=4) + "%r = Concat(%n, %l) {axis=-1}\n" + SUM, INPUTS)
    assert lab.apply(ROTATE, first) == 1
    assert lab.statements(first) == ["%y = my.domain::Rope(%x, %c, %s)"]
    second = lab.model(
        "%l, %h = Split(%x) {axis=-1, num_outputs=2}\n%n = Neg(%h)\n%r = Concat(%n, %l) {axis=-1}\n" + SUM, INPUTS
    )
    assert lab.apply(ROTATE, second) == 1
    assert lab.statements(second) == ["%y = my.domain::Rope(%x, %c, %s)"]


@pytest.mark.parametrize(
    "body",
    [
        SLICES.format(half=3) + "%r = Concat(%n, %l) {axis=-1}\n" + SUM,
        SLICES.format(half=4) + "%r = Concat(%l, %n) {axis=-1}\n" + SUM,
        "%l, %h = Split(%x) {axis=-1, num_outputs=2}\n%n = Neg(%l)\n%r = Concat(%n, %h) {axis=-1}\n" + SUM,
        "%l, %h = Split(%s) {axis=-1, num_outputs=2}\n%n = Neg(%h)\n%r = Concat(%n, %l) {axis=-1}\n" + SUM,
    ],
    ids=["wrong half", "wrong order", "wrong part", "other value"],
)
def test_near_spellings_do_not_match(lab: Any, body: str) -> None:
    assert lab.apply(ROTATE, lab.model(body, INPUTS)) == 0


def test_the_guard_of_an_alternative_counts_only_there(lab: Any) -> None:
    text = """
    pattern either(%x) = Neg(%x) | { %e = Exp(%x) where rank(%x) == 3 }
    rule r { \"\"\"D.\"\"\" match %y = Abs(either(%x)) rewrite %y = Relu(%x) }
    """
    for op, rank, fires in (("Neg", 2, 1), ("Neg", 3, 1), ("Exp", 2, 0), ("Exp", 3, 1)):
        shape = "f32[2,8]" if rank == 2 else "f32[2,2,8]"
        target = lab.model(f"%a = {op}(%x)\n%y = Abs(%a)", f"%x: {shape}")
        assert lab.apply(text, target) == fires, (op, rank)


def test_locals_of_two_uses_are_apart(lab: Any) -> None:
    """Each use of a pattern has its own %t, $c and dimensions; parameters are shared."""
    text = """
    pattern scaled(%x, $s) = { %t = Neg(%x)  %r = Mul(%t, $s) where $c = $s * 2, shape(%t) = [N, ...] }
    rule r { \"\"\"D.\"\"\" match %y = Add(scaled(%a, $p), scaled(%b, $q))
             where shape(%a) = [N, ...], N == 2 rewrite %y = Sum(%a, %b) }
    """
    body = (
        "weight %c: f32[] = 2\nweight %d: f32[] = 3\n%n = Neg(%x)\n%m = Neg(%z)\n"
        "%p = Mul(%n, %c)\n%q = Mul(%d, %m)\n%y = Add(%p, %q)"
    )
    target = lab.model(body, "%x: f32[2,8], %z: f32[8]")
    assert lab.apply(text, target) == 1
    assert lab.ops(target) == ["Sum"]


def test_arguments_may_be_patterns_literals_and_holes(lab: Any) -> None:
    text = """
    pattern twice(%x, $s) = Mul(Exp(%x), Sub(%x, $s))
    rule r { \"\"\"D.\"\"\" match %y = Abs(twice(Neg(%x), 2.0)) rewrite %y = Relu(%x) }
    rule s { \"\"\"D.\"\"\" match %y = Cos(twice(_, 3.0)) rewrite %y = Cos(0.0) }
    """
    text = text.replace("%y = Cos(0.0)", "%y = Expand(0.5, [2, 8])")
    body = "weight %c: f32[] = {c}\n%n = Neg(%x)\n%e = Exp(%n)\n%s = Sub({of}, %c)\n%m = Mul(%s, %e)\n%y = {op}(%m)"
    assert lab.apply(text, lab.model(body.format(c=2, of="%n", op="Abs"))) == 1
    assert lab.apply(text, lab.model(body.format(c=3, of="%n", op="Abs"))) == 0
    assert lab.apply(text, lab.model(body.format(c=3, of="%n", op="Cos"))) == 1
    assert lab.apply(text, lab.model(body.format(c=3, of="%x", op="Cos"))) == 0


def test_the_operator_that_matched_may_be_a_parameter(lab: Any) -> None:
    text = """
    pattern scaled(%x, $op, $c) = Mul|Div:$op(%x, $c)
    rule r { \"\"\"D.\"\"\" match %y = Neg(scaled(%x, $op, $c)) where has($op) rewrite %y = $op(Neg(%x), $c) }
    rule s { \"\"\"D.\"\"\" match %y = Add(scaled(%x, $op, $c), scaled(%x, $op, $d)) rewrite %y = $op(%x, $c) }
    """
    assert lab.apply(text, target := lab.model("weight %c: f32[] = 4\n%m = Div(%x, %c)\n%y = Neg(%m)")) == 1
    assert lab.ops(target) == ["Neg", "Div"]
    both = "weight %c: f32[] = 4\n%m = Div(%x, %c)\n%n = {op}(%x, %c)\n%y = Add(%m, %n)"
    assert lab.apply(text, lab.model(both.format(op="Div"))) == 1
    assert lab.apply(text, lab.model(both.format(op="Mul"))) == 0, "another operator under the same name"


def test_a_pattern_as_stage_and_as_root(lab: Any) -> None:
    text = """
    pattern half(%t, %x) = Mul(%x, %t) |> Mul(_, 0.5) | Mul(Mul(%x, 0.5), %t)
    pattern gelu(%x) = half(Div(%x, 1.41421356) |> Erf(_) |> Add(_, 1.0), %x)
    rule r { \"\"\"D.\"\"\" match %y = gelu(%x) rewrite %y = Gelu(%x) }
    rule s { \"\"\"D.\"\"\" match %y = Neg(%x) |> gelu(_) |> Abs(_) rewrite %y = Relu(%x) }
    """
    head = "weight %q: f32[] = 1.4142135\nweight %o: f32[] = 1\nweight %h: f32[] = 0.5\n"
    erf = "%d = Div(%n, %q)\n%e = Erf(%d)\n%p = Add(%e, %o)\n"
    for tail in ("%m = Mul(%n, %p)\n%g = Mul(%m, %h)\n", "%m = Mul(%n, %h)\n%g = Mul(%m, %p)\n"):
        target = lab.model(head + "%n = Exp(%x)\n" + erf + tail + "%y = Cos(%g)")
        assert lab.apply(text, target) == 1
        assert lab.ops(target) == ["Exp", "Gelu", "Cos"]
        target = lab.model(head + "%n = Neg(%x)\n" + erf + tail + "%y = Abs(%g)")
        assert lab.apply(text, target) == 1
        assert lab.ops(target) == ["Relu"]


def test_a_pattern_may_leave_an_operand_open(lab: Any) -> None:
    """A value that only one alternative binds is absent when another one matched."""
    text = """
    pattern biased(%x, %b) = Add(MatMul(%x, %w), %b) | MatMul(%x, %w)
    rule r { \"\"\"D.\"\"\" match %y = Abs(biased(%x, %b)) rewrite %y = Relu(%x) |> Add(_, %b)? }
    """
    inputs = "%x: f32[8,8], %v: f32[8,8], %b: f32[8]"
    plain = lab.model("%m = MatMul(%x, %v)\n%y = Abs(%m)", inputs)
    assert lab.apply(text, plain) == 1
    assert lab.ops(plain) == ["Relu"]
    biased = lab.model("%m = MatMul(%x, %v)\n%a = Add(%b, %m)\n%y = Abs(%a)", inputs)
    assert lab.apply(text, biased) == 1
    assert lab.ops(biased) == ["Relu", "Add"]


@pytest.mark.parametrize(("returned", "applied"), [("%a, %b", 0), ("%a", 1)])
def test_sharing_does_not_compute_an_operator_twice(returned: str, applied: int) -> None:
    """What a rule replaces has no other output that somebody reads, whatever is shared."""
    rules = parse_rules('''
        rule top : shared {
          """The largest of a row that is sorted."""
          match
            %e = Neg(%x)
            %y = TopK(%e, %k) {*}
          rewrite
            %y = Slice(%x, [0], [2], [1])
        }
    ''')
    model = parse_model(
        f'geoc 1\nopset "" 21\n\ngraph @main(%x: f32[2,4], %k: i64[1]) -> ({returned}) {{\n'
        "  %e = Neg(%x)\n  %a, %b = TopK(%e, %k)\n}\n"
    )
    assert RewriteDriver(rules).run(model) == applied

"""Faults that are found when a text is loaded: message, line and column of each."""

from __future__ import annotations

from typing import Any

import pytest

from geoc.ir.errors import TextError, UsageError
from geoc.ir.rewrite import RuleSet

HEAD = 'rule r {\n  """Doc."""\n'

# The text after the head begins in line 3.
FAULTS: list[tuple[str, str, str]] = [
    ("match %y = Reluu(%x)\nrewrite %y = %x", "3:12", "unknown operator Reluu; did you mean Relu"),
    ("match %y = com.microsoft::Gellu(%x)\nrewrite %y = %x", "3:12", "did you mean com.microsoft::"),
    ("match %y = relu(%x)\nrewrite %y = %x", "3:12", "unknown pattern 'relu'; operators begin with a capital"),
    ("match %y = Relu(%x)\nrewrite %y = relu(%x)", "4:14", "unknown function 'relu'"),
    ("match %y = Softmax(%x) {axes = 1}\nrewrite %y = %x", "3:25", "has no attribute 'axes'; did you mean axis"),
    ("match %y = Softmax(%x) {axis = 1.5}\nrewrite %y = %x", "3:32", "'axis' of Softmax is of kind int, not float"),
    ('match %y = Softmax(%x) {axis = "1"}\nrewrite %y = %x', "3:32", "is of kind int, not string"),
    ("match %y = Transpose(%x) {perm = 1}\nrewrite %y = %x", "3:34", "is of kind ints, not int"),
    ("match %y = Gelu(%x) {approximate = tanh}\nrewrite %y = %x", "3:36", 'write "tanh" for a string'),
    ("match %y = Cast(%x)\nrewrite %y = %x", "3:12", "Cast needs the attribute 'to'; write to = $c"),
    ("match %y = Relu(%x)\nrewrite %y = Cast(%x)", "4:14", "Cast needs the attribute 'to'"),
    ("match %y = Relu(%x, %z)\nrewrite %y = %x", "3:12", "Relu has at most 1 operands"),
    ("match %y = Add(%x)\nrewrite %y = %x", "3:12", "Add has at least 2 operands"),
    ("match (%y, %z) = Relu(%x)\nrewrite %y = %x", "3:18", "Relu has at most 1 outputs"),
    ("match %y = If(%x) {*}\nrewrite %y = %x", "3:12", "If has subgraphs"),
    ("match %y = Relu(%x)\nrewrite %y = Neg(%input)", "4:18", "%input is not bound"),
    ("match %y = Relu(%inputs)\nrewrite %y = Neg(%input)", "4:18", "did you mean %inputs"),
    ("match %y = Mul(%x, $scale)\nrewrite %y = Mul(%x, $scal)", "4:22", "$scal is not bound; did you mean $scale"),
    ("match %y = Relu(%x)\nwhere rank(%z) == 1\nrewrite %y = %x", "4:12", "%z is not bound"),
    ("match %y = Relu(%x)\nwhere ranc(%x) == 1\nrewrite %y = %x", "4:7", "unknown function 'ranc'; did you mean rank"),
    ("match %y = Relu(%x)\nwhere dim(%x) == 1\nrewrite %y = %x", "4:7", "dim(...) takes 2 arguments, 1 are given"),
    ("match %y = Relu(%x)\nwhere B < 2, shape(%x) = [B]\nrewrite %y = %x", "4:7", "unknown name 'B'"),
    ("match %y = Relu(%x)\nwhere shape(%x) = 3\nrewrite %y = %x", "4:7", "write '==' to compare"),
    ("match %y = Relu(%x)\nwhere shape(%x) = [..., B, ...]\nrewrite %y = %x", "4:19", "one '...' at most"),
    ("match %y = Relu(%x)\nwhere has(rank(%x))\nrewrite %y = %x", "4:7", "has(...) takes one %value"),
    ("match %y = Relu(%x)\nwhere shape([1]) == [1]\nrewrite %y = %x", "4:7", "shape(...) takes a %value"),
    ("match %y = Relu(%x: cosnt)\nrewrite %y = %x", "3:17", "unknown mark 'cosnt'; did you mean const"),
    ("match %y = Relu(%x: shared)\nrewrite %y = %x", "3:17", "can be shared"),
    ("match %y = Add(%x, %m)?\nrewrite %y = %x", "3:23", "unexpected '?'"),
    ("match %y = %x |> Add(_, %m)?\nrewrite %y = %x", "3:7", "nothing but %x"),
    ("match %y = Neg(%x) |> Add(%x, %x)\nrewrite %y = %x", "3:23", "needs '_'"),
    ("match %y = Neg(%x) |> Add(_, %m)?\nrewrite %y = Add(%x, %m)", "4:22", "%m may be absent; write %m?"),
    ("match %y = Neg(%x) |> Mul(_, $s)?\nrewrite %y = Mul(%x, $s)", "4:22", "$s may be absent"),
    ("match %y = Neg(%x)\nrewrite %z = %x", "3:7", "does not say what replaces %y"),
    ("match %y = Neg(%x)\nrewrite %x = Neg(%y)", "4:9", "%x is an operand of the pattern: it cannot be replaced"),
    ("match %y = Neg(%x)\nrewrite %y = Neg(%y)", "4:18", "used in its own replacement"),
    ("match %y = Neg(%x)\nrewrite %t = Exp(%x) %y = %x", "4:9", "%t is built and not used"),
    ("match %y = Neg(%x)\nrewrite %y = %x %y = Neg(%x)", "4:17", "%y is built twice"),
    ("match %y = Neg(%x) %z = Exp(%w)\nrewrite %y = %x %z = %w", "3:20", "nothing connects %z"),
    ("match %y = Neg(%z) %z = Exp(%y)\nrewrite %y = %z", "3:7", "%y is defined by itself"),
    ("match %y = Neg(%x) %y = Exp(%x)\nrewrite %y = %x", "3:20", "%y is defined twice"),
    ("match %y = Neg(%x: const)\nrewrite %y = Neg(%x: const)", "4:18", "marks stand on the left side"),
    ("match %y = Neg|Exp(%x)\nrewrite %y = Neg|Exp(%x)", "4:14", "the right side names one operator"),
    ("match %y = Neg(%x)\nrewrite %y = $f(%x)", "4:14", "$f does not name an operator"),
    ("match %y = Mul(%x, $f)\nrewrite %y = $f(%x)", "4:14", "$f does not name an operator"),
    ("match %y = Concat(%a..., %b...) {axis = 0}\nrewrite %y = Concat(%a..., %b...) {axis = 0}", "3:26", "two lists"),
    ("match %y = Concat(%a...) {axis = 0}\nrewrite %y = Concat(%a) {axis = 0}", "4:21", "write %a..."),
    ("match %y = Concat(%a...) {axis = 0}\nrewrite %y = Concat(%a..., %b...) {axis = 0}", "4:28", "%b is not bound"),
    ("match %y = Softmax(%x) {axis = -1, axis = 1}\nrewrite %y = %x", "3:12", "an attribute is named twice"),
    ("match %y = Softmax(%x) {axis = A}\nrewrite %y = %x", "3:32", "unknown value 'A'"),
    ("match %y = Softmax(%x) {axis = 1 + 1}\nrewrite %y = %x", "3:32", "a literal or a $capture"),
    ("match %y = Softmax(%x)\nrewrite %y = Softmax(%x) {*}", "4:14", "'*' stands on the left side"),
    ("match %y = Softmax(%x) {*}\nrewrite %y = Relu(%x) {*%y}", "4:14", "Relu has no attribute 'axis'"),
    ("match %y = Softmax(%x) {*}\nrewrite %y = Softmax(%x) {*%x}", "4:14", "not defined by an operator"),
    ("match %y = Mul(%x, 1 + 1)\nrewrite %y = %x", "3:20", "cannot be computed"),
    ("match %y = Neg(_)\nrewrite %y = Neg(_)", "4:18", "an operator cannot stand in an expression"),
    ('match %y = Neg("a")\nrewrite %y = %y', "3:16", "cannot be a string"),
    ("match %y = Add@99(%x, %x)\nrewrite %y = %x", "3:12", "no revision of Add opens at opset 99"),
    ("match %y = Neg(%x)\nwhere %z = 3\nrewrite %y = %z", "4:7", "can only be what a function gives"),
]


@pytest.mark.parametrize(("body", "place", "message"), FAULTS, ids=[f[2] + " " + f[1] for f in FAULTS])
def test_fault(lab: Any, body: str, place: str, message: str) -> None:
    with pytest.raises(TextError) as caught:
        lab.load(HEAD + body + "\n}")
    assert caught.value.source == "r.rules"
    assert (caught.value.place, message in caught.value.message) == (place, True), str(caught.value)


WHOLE: list[tuple[str, str, str]] = [
    ("rule r { match %y = Neg(%x) rewrite %y = %x }", "1:1", '"""docstring"""'),
    ('rule r : benefits 3 { """D.""" match %y = Neg(%x) rewrite %y = %x }', "1:1", "did you mean benefit"),
    ('rule r { """D.""" match %y = Neg(%x) }', "1:38", "unexpected '}', expected"),
    ('rule r {\n """D.""" match %y = Neg(%x) rewrite %y = %x', "2:45", "unexpected end of the text"),
    ('rule r {\n """D.""" match %y = Neg(%x) ; rewrite', "2:30", "unexpected ';'"),
    ('rule r { """D.""" match %y = Neg(%x) rewrite %y = %x }\n' * 2, "2:1", "'r' is defined twice, first in line 1"),
    ("pattern p(%x) = Neg(%x)\npattern p(%x) = Neg(%x)", "2:1", "pattern 'p' is defined twice"),
    ('pattern p(%x) = Neg(p(%x))\nrule r { """D.""" match %y = p(%x) rewrite %y = %x }', "1:21", "uses itself"),
    ('pattern p(%x) = Neg(%x)\nrule r { """D.""" match %y = p(%x, %z) rewrite %y = %x }', "2:30", "has 1 parameters"),
    ('pattern pat(%x) = Neg(%x)\nrule r { """D.""" match %y = pad(%x) rewrite %y = %x }', "2:30", "did you mean pat"),
    ('pattern p(D) = Neg(D)\nrule r { """D.""" match %y = p(%x) rewrite %y = %x }', "2:32", "D is a dimension"),
    ('pattern p($c) = Mul(%x, $c)\nrule r { """D.""" match %y = p(%x) rewrite %y = %x }', "2:32", "is a capture"),
]


@pytest.mark.parametrize(("text", "place", "message"), WHOLE, ids=[w[2] for w in WHOLE])
def test_fault_of_a_text(lab: Any, text: str, place: str, message: str) -> None:
    with pytest.raises(TextError) as caught:
        lab.load(text)
    assert (caught.value.place, message in caught.value.message) == (place, True), str(caught.value)


def named(name: str, match: str, rewrite: str = "%x", where: str = "", headers: str = "") -> str:
    guards = f"where {where}" if where else ""
    return f'rule {name}{headers} {{ """D.""" match %y = {match} {guards} rewrite %y = {rewrite} }}\n'


SHADOWED = [
    ("Neg(%x)", "Neg(Exp(%x))"),
    ("Add(%x, %b)", "Add(%x, 1.0)"),
    ("Add(%x, 1.0)", "Add(Exp(%x), 1.0)"),
    ("Add(%x, Exp(%b))", "Add(Exp(Neg(%x)), %b)"),
    ("Neg|Abs(%x)", "Abs(%x)"),
    ("Softmax(%x) {*}", "Softmax(%x) {axis = 1}"),
    ("Softmax(%x) {axis = $a}", "Softmax(%x)"),
    ("Softmax(%x) {axis in {0, 1}}", "Softmax(%x) {axis = 1}"),
    ("Mul(%x, $a)", "Mul(%x, 2.0)"),
    ("Add(%x, %w: const)", "Add(%x, %b: const)"),
    ("Neg(%x) |> Add(_, %b)?", "Neg(%x)"),
]
DISTINCT = [
    ("Neg(Exp(%x))", "Neg(%x)"),
    ("Add(%x, %x)", "Add(%x, %b)"),
    ("Add(%x, 1.0)", "Add(%x, 2.0)"),
    ("Add(%x, 1)", "Add(%x, 1.0)"),
    ("Sub(%x, Exp(%b))", "Sub(Exp(%x), %b)"),
    ("Softmax(%x)", "Softmax(%x) {axis = 1}"),
    ("Softmax(%x) {axis = 1}", "Softmax(%x) {*}"),
    ("Add(%x, %w: const)", "Add(%x, %b)"),
    ("Softmax(Softmax(%x) {axis = $a}) {axis = $a}", "Softmax(Softmax(%x) {axis = $a}) {axis = $b}"),
    ("Clip(%x, 0.0)", "Clip(%x, 0.0, %m)"),
]


@pytest.mark.parametrize(("first", "second"), SHADOWED)
def test_shadowed_rule_is_refused(lab: Any, first: str, second: str) -> None:
    with pytest.raises(TextError) as caught:
        lab.load(named("a", first) + named("b", second))
    assert caught.value.place == "2:1"
    assert "'b' can never fire" in caught.value.message and "'a' at r.rules:1:1" in caught.value.message
    # A guard, or a higher benefit of the special one, makes room for it.
    lab.load(named("a", first, where="rank(%x) == 2") + named("b", second))
    if second != "Add(%x, %b: const)":  # as general as the first
        lab.load(named("a", first) + named("b", second, headers=" : benefit 1"))


@pytest.mark.parametrize(("first", "second"), DISTINCT)
def test_rules_that_do_not_shadow(lab: Any, first: str, second: str) -> None:
    assert len(lab.load(named("a", first) + named("b", second))) == 2


def test_an_inner_value_used_twice_is_not_shadowed(lab: Any) -> None:
    """The general rule refuses an inner value with another use, so the special one still has a place."""
    special = 'rule b { """D.""" match %t = Exp(%x) %y = Mul(%t, Neg(%t)) rewrite %y = %x }'
    text = named("a", "Mul(Exp(%x), %b)") + special
    assert len(lab.load(text)) == 2


def test_one_name_in_two_sets(lab: Any) -> None:
    a, b = lab.load(named("a", "Neg(%x)")), lab.load(named("a", "Exp(%x)"))
    with pytest.raises(UsageError, match=r"'a' is defined twice: r.rules:1 and r.rules:1"):
        a + b
    assert isinstance(a, RuleSet)

"""Each feature of patterns: a graph on which the rule fires and one on which it must not."""

from __future__ import annotations

import time
from typing import Any

import pytest

# name, match, where, rewrite, body that fires, body that must not, inputs
X = "%x: f32[2,8]"
XZ = "%x: f32[2,8], %z: f32[2,8]"
CASES: list[tuple[str, str, str, str, str, str, str]] = [
    ("chain", "%y = Neg(%x) |> Exp(_) |> Abs(_)", "", "%y = Relu(%x)",
     "%a = Neg(%x)\n%b = Exp(%a)\n%y = Abs(%b)", "%a = Exp(%x)\n%b = Neg(%a)\n%y = Abs(%b)", X),
    ("nested in a stage", "%y = Neg(%x) |> Mul(%x, Add(_, 1.0))", "", "%y = Relu(%x)",
     "weight %o: f32[] = 1.0\n%a = Neg(%x)\n%b = Add(%o, %a)\n%y = Mul(%b, %x)",
     "weight %o: f32[] = 1.0\n%a = Neg(%x)\n%b = Add(%o, %x)\n%y = Mul(%b, %a)", X),
    ("definitions", "%t = Neg(%x)\n%y = Mul(%t, Exp(%t))", "", "%y = Relu(%x)",
     "%a = Neg(%x)\n%b = Exp(%a)\n%y = Mul(%b, %a)",
     "%a = Neg(%x)\n%c = Neg(%x)\n%b = Exp(%c)\n%y = Mul(%b, %a)", X),
    ("square", "%y = Neg(%x) |> Mul(_, _)", "", "%y = Relu(%x)",
     "%a = Neg(%x)\n%y = Mul(%a, %a)", "%a = Neg(%x)\n%c = Neg(%x)\n%y = Mul(%a, %c)", X),
    ("commutative", "%y = Add(Neg(%x), Exp(%z))", "", "%y = Max(%x, %z)",
     "%a = Neg(%x)\n%b = Exp(%z)\n%y = Add(%b, %a)", "%a = Neg(%x)\n%b = Exp(%z)\n%y = Sub(%b, %a)", XZ),
    ("not commutative", "%y = Sub(Neg(%x), Exp(%z))", "", "%y = Max(%x, %z)",
     "%a = Neg(%x)\n%b = Exp(%z)\n%y = Sub(%a, %b)", "%a = Neg(%x)\n%b = Exp(%z)\n%y = Sub(%b, %a)", XZ),
    ("three operands in any order", "%y = Sum(Neg(%a), Exp(%b), Abs(%c))", "", "%y = Sum(%a, %b, %c)",
     "%a = Neg(%x)\n%b = Exp(%x)\n%c = Abs(%x)\n%y = Sum(%c, %a, %b)",
     "%a = Neg(%x)\n%b = Exp(%x)\n%c = Neg(%x)\n%y = Sum(%c, %a, %b)", X),
    ("alternatives of ops", "%y = Exp|Log(Neg(%x))", "", "%y = Relu(%x)",
     "%a = Neg(%x)\n%y = Log(%a)", "%a = Neg(%x)\n%y = Abs(%a)", X),
    ("captured op", "%y = Exp|Log:$f(Neg(%x))", '$f == "Log"', "%y = Relu(%x)",
     "%a = Neg(%x)\n%y = Log(%a)", "%a = Neg(%x)\n%y = Exp(%a)", X),
    ("captured op built", "%y = Neg(Exp|Abs:$f(%x))", "", "%y = $f(Relu(%x))",
     "%a = Abs(%x)\n%y = Neg(%a)", "%a = Log(%x)\n%y = Neg(%a)", X),
    ("alternatives of patterns", "%y = Abs((Neg(%x) | Exp(Relu(%x))))", "", "%y = Relu(%x)",
     "%a = Relu(%x)\n%b = Exp(%a)\n%y = Abs(%b)", "%a = Log(%x)\n%b = Exp(%a)\n%y = Abs(%b)", X),
    ("optional stage, there", "%y = Neg(%x) |> Mul(_, $s)? |> Exp(_)", "$s == 2", "%y = Relu(%x)",
     "weight %c: f32[] = 2.0\n%a = Neg(%x)\n%b = Mul(%a, %c)\n%y = Exp(%b)",
     "weight %c: f32[] = 3.0\n%a = Neg(%x)\n%b = Mul(%a, %c)\n%y = Exp(%b)", X),
    ("optional stage, not there", "%y = Neg(%x) |> Mul(_, $s)? |> Exp(_)", "", "%y = Relu(%x)",
     "%a = Neg(%x)\n%y = Exp(%a)", "%a = Neg(%x)\n%b = Abs(%a)\n%y = Exp(%b)", X),
    ("two optional stages", "%y = Neg(%x) |> Mul(_, $s)? |> Add(_, %m)? |> Exp(_)", "", "%y = Relu(%x) |> Add(_, %m)?",
     "%a = Neg(%x)\n%b = Add(%z, %a)\n%y = Exp(%b)", "%a = Neg(%x)\n%b = Add(%z, %a)\n%y = Abs(%b)", XZ),
    ("optional call", "%y = Exp(Cast?(Neg(%x)) {*})", "", "%y = Relu(%x)",
     "%a = Neg(%x)\n%b = Cast(%a) {to=1}\n%y = Exp(%b)", "%a = Neg(%x)\n%b = Relu(%a)\n%y = Exp(%b)", X),
    ("optional call absent", "%y = Exp(Cast?(Neg(%x)) {*})", "", "%y = Relu(%x)",
     "%a = Neg(%x)\n%y = Exp(%a)", "%y = Exp(%x)", X),
    ("same value", "%y = Sub(Exp(%a), Neg(%a))", "", "%y = Relu(%a)",
     "%a = Exp(%x)\n%b = Neg(%x)\n%y = Sub(%a, %b)", "%a = Exp(%x)\n%b = Neg(%z)\n%y = Sub(%a, %b)", XZ),
    ("number", "%y = Mul(%x, 0.5)", "", "%y = Relu(%x)",
     "weight %c: f32[] = 0.5\n%y = Mul(%c, %x)", "weight %c: f32[] = 0.51\n%y = Mul(%c, %x)", X),
    ("number within float32", "%y = Div(%x, 1.4142135623)", "", "%y = Relu(%x)",
     "weight %c: f32[] = 1.41421\n%y = Div(%x, %c)", "weight %c: f32[] = 1.4141\n%y = Div(%x, %c)", X),
    ("number within float16", "%y = Div(%x, 1.4142135623)", "", "%y = Relu(%x)",
     "weight %c: f16[] = 1.4140625\n%y = Div(%x, %c)", "weight %c: f16[] = 1.41796875\n%y = Div(%x, %c)",
     "%x: f16[2,8]"),
    ("number of rank 1", "%y = Mul(%x, 0.5)", "", "%y = Relu(%x)",
     "weight %c: f32[1,1] = [0.5]\n%y = Mul(%c, %x)", "weight %c: f32[1,1,1] = [0.5]\n%y = Mul(%c, %x)", X),
    ("integer is exact", "%y = Mul(%x, 3)", "", "%y = Neg(%x)",
     "weight %c: i32[] = 3\n%y = Mul(%c, %x)", "weight %c: i32[] = 4\n%y = Mul(%c, %x)", "%x: i32[2,8]"),
    ("integer matches a float", "%y = Pow(%x, 2)", "", "%y = Relu(%x)",
     "weight %c: f32[] = 2.0\n%y = Pow(%x, %c)", "weight %c: f32[] = 2.5\n%y = Pow(%x, %c)", X),
    ("float does not match an integer", "%y = Pow(%x, 2.0)", "", "%y = Relu(%x)",
     "weight %c: f32[] = 2.0\n%y = Pow(%x, %c)", "weight %c: i64[] = 2\n%y = Pow(%x, %c)", X),
    ("infinity", "%y = Max(%x, -inf)", "", "%y = %x",
     "weight %c: f32[] = -inf\n%y = Max(%c, %x)", "weight %c: f32[] = inf\n%y = Max(%c, %x)", X),
    ("capture", "%y = Mul(Mul(%x, $a), $b)", "", "%y = Mul(%x, $a * $b)",
     "weight %c: f32[] = 0.5\n%a = Mul(%c, %x)\n%y = Mul(%a, %c)",
     "%a = Mul(%z, %x)\n%y = Mul(%a, %z)", XZ),
    ("capture twice", "%y = Div(Mul(%x, $a), $a)", "", "%y = %x",
     "weight %c: f32[] = 0.5\n%a = Mul(%c, %x)\n%y = Div(%a, %c)",
     "weight %c: f32[] = 0.5\nweight %d: f32[] = 0.25\n%a = Mul(%c, %x)\n%y = Div(%a, %d)", X),
    ("const mark", "%y = Add(%x, %w: const)", "", "%y = Sub(%x, Neg(%w))",
     "weight %w: f32[8] = [1, 2, 3, 4, 5, 6, 7, 8]\n%y = Add(%w, %x)", "%y = Add(%z, %x)", XZ),
    ("weight mark", "%y = Add(%x, %w: weight)", "", "%y = Sub(%x, Neg(%w))",
     "weight %w: f32[8] = [1, 2, 3, 4, 5, 6, 7, 8]\n%y = Add(%w, %x)", "weight %w: f32[] = 1\n%y = Add(%w, %x)", X),
    ("dtype mark", "%y = Neg(%x: f32)", "", "%y = Relu(%x)", "%y = Neg(%x)",
     "%h = Cast(%x) {to=10}\n%n = Neg(%h)\n%y = Cast(%n) {to=1}", X),
    ("unmentioned attribute", "%y = Neg(Softmax(%x))", "", "%y = Relu(%x)",
     "%a = Softmax(%x)\n%y = Neg(%a)", "%a = Softmax(%x) {axis=0}\n%y = Neg(%a)", X),
    ("any attributes", "%y = Neg(Softmax(%x) {*})", "", "%y = Relu(%x)",
     "%a = Softmax(%x) {axis=0}\n%y = Neg(%a)", "%a = LogSoftmax(%x) {axis=0}\n%y = Neg(%a)", X),
    ("attribute", "%y = Softmax(%x) {axis = 0}", "", "%y = Relu(%x)",
     "%y = Softmax(%x) {axis=0}", "%y = Softmax(%x)", X),
    ("default attribute mentioned", "%y = Softmax(%x) {axis = -1}", "", "%y = Relu(%x)",
     "%y = Softmax(%x)", "%y = Softmax(%x) {axis=0}", X),
    ("attribute set", "%y = Softmax(%x) {axis in {-1, 1}}", "", "%y = Relu(%x)",
     "%y = Softmax(%x) {axis=1}", "%y = Softmax(%x) {axis=0}", X),
    ("attribute list", "%y = Transpose(%x) {perm = [0, 1]}", "", "%y = %x",
     "%y = Transpose(%x) {perm=[0,1]}", "%a = Transpose(%x) {perm=[1,0]}\n%y = Transpose(%a)", X),
    ("attribute string", '%y = Gelu(%x) {approximate = "tanh"}', "", "%y = Relu(%x)",
     '%y = Gelu(%x) {approximate="tanh"}', "%y = Gelu(%x)", X),
    ("attribute dtype", "%y = Cast(%x) {to = f32}", "", "%y = %x",
     "%y = Cast(%x) {to=1}", "%a = Cast(%x) {to=10}\n%y = Neg(%a)", X),
    ("attribute float", "%y = LeakyRelu(%x) {alpha = 0.01}", "", "%y = Relu(%x)",
     "%y = LeakyRelu(%x)", "%y = LeakyRelu(%x) {alpha=0.5}", X),
    ("captured attribute twice", "%y = Softmax(Softmax(%x) {axis = $a}) {axis = $a}", "",
     "%y = Softmax(%x) {axis = $a}",
     "%a = Softmax(%x) {axis=0}\n%y = Softmax(%a) {axis=0}", "%a = Softmax(%x) {axis=0}\n%y = Softmax(%a)", X),
    ("absent operand", "%y = Clip(%x, none, 6.0)", "", "%y = Relu(%x)",
     "weight %c: f32[] = 6\n%y = Clip(%x, none, %c)", "weight %c: f32[] = 6\n%y = Clip(%x, %c, %c)", X),
    ("fewer operands", "%y = Clip(%x, 0.0)", "", "%y = Relu(%x)",
     "weight %c: f32[] = 0\n%y = Clip(%x, %c)",
     "weight %c: f32[] = 0\nweight %d: f32[] = 6\n%y = Clip(%x, %c, %d)", X),
    ("hole takes anything", "%y = Clip(%x, 0.0, _)", "", "%y = Relu(%x)",
     "weight %c: f32[] = 0\n%y = Clip(%x, %c)", "weight %c: f32[] = 1\n%y = Clip(%x, %c)", X),
    ("optional operand there", "%y = Clip(%x, 0.0, %m?)", "has(%m)", "%y = %x |> Min(_, %m)?",
     "weight %c: f32[] = 0\nweight %d: f32[] = 6\n%y = Clip(%x, %c, %d)", "weight %c: f32[] = 0\n%y = Clip(%x, %c)", X),
    ("optional operand passed", "%y = Clip(%x, 0.0, %m?)", "not has(%m)", "%y = Clip(Relu(%x), none, %m?)",
     "weight %c: f32[] = 0\n%y = Clip(%x, %c)", "weight %c: f32[] = 0\nweight %d: f32[] = 6\n%y = Clip(%x, %c, %d)", X),
    ("variadic", "%y = Concat(%a..., Concat(%b...) {axis = $i}, %c...) {axis = $i}", "",
     "%y = Concat(%a..., %b..., %c...) {axis = $i}",
     "%a = Concat(%x, %z) {axis=0}\n%y = Concat(%x, %a, %z) {axis=0}",
     "%a = Concat(%x, %z) {axis=0}\n%b = Concat(%a, %a) {axis=1}\n%y = Relu(%b)", XZ),
    ("operands as a list", "%y = Reshape(%x, [2, 4, 2])", "", "%y = Reshape(Relu(%x), [2, 4, -1])",
     "weight %s: i64[3] = [2,4,2]\n%y = Reshape(%x, %s)", "weight %s: i64[3] = [2,2,4]\n%y = Reshape(%x, %s)", X),
    ("dimension as an operand", "%y = Slice(%x, 0, E, 1)", "shape(%x) = [_, E]", "%y = %x",
     "weight %a: i64[1] = [0]\nweight %e: i64[1] = [8]\nweight %i: i64[1] = [1]\n%y = Slice(%x, %a, %e, %i)",
     "weight %a: i64[1] = [0]\nweight %e: i64[1] = [7]\nweight %i: i64[1] = [1]\n%y = Slice(%x, %a, %e, %i)", X),
    ("several outputs", "(%a, %b) = Split(%x) {axis = 1, num_outputs = 2}\n%y = Concat(%a, %b) {axis = 1}", "",
     "%y = %x",
     "%a, %b = Split(%x) {axis=1, num_outputs=2}\n%y = Concat(%a, %b) {axis=1}",
     "%a, %b = Split(%x) {axis=1, num_outputs=2}\n%y = Concat(%b, %a) {axis=1}", X),
    ("all of variadic outputs", "%a = Split(%x) {*}\n%y = Neg(%a)", "", "%y = Relu(%x)",
     "weight %s: i64[1] = [2]\n%a = Split(%x, %s)\n%y = Neg(%a)",
     "%a, %b = Split(%x) {axis=1, num_outputs=2}\n%y = Neg(%a)", X),
]  # fmt: skip

MUST_LOAD_ONLY = {"all of variadic outputs"}


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_fires_and_does_not(lab: Any, case: tuple[str, ...]) -> None:
    name, match, where, rewrite, body, other, inputs = case
    if name in MUST_LOAD_ONLY:
        match = match.replace("Split(%x)", "Split(%x, _)")
    text = lab.rule(match, rewrite, where)
    fires = lab.model(body, inputs)
    assert lab.apply(text, fires) == 1
    quiet = lab.model(other, inputs)
    before = lab.statements(quiet)
    assert lab.apply(text, quiet) == 0
    assert lab.statements(quiet) == before


def test_many_optional_stages_load_at_once(lab: Any) -> None:
    """Each stage may be missing, so that there are 2^30 ways through the pattern: none of them is walked one by one."""
    stages = "".join(f" |> {op}(_)?" for op in ("Abs", "Neg", "Exp") * 10)
    begun = time.process_time()
    rules = lab.load(lab.rule(f"%y = Relu(%x){stages}", "%y = Tanh(%x)"))
    target = lab.model("%a = Relu(%x)\n%b = Neg(%a)\n%y = Exp(%b)")
    assert lab.apply(rules, target) == 1
    assert lab.ops(target) == ["Tanh"]
    assert time.process_time() - begun < 5.0

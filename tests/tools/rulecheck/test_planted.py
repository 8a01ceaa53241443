"""Rules with a planted mistake are found, each with a counterexample that another runtime confirms."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx.reference
import pytest

from geoc.ir.rewrite import native, parse_rules
from geoc.ir.text import parse_model
from geoc.ir.verify import verify
from geoc.lowering.onnx import to_proto
from geoc.tools.rulecheck.report import counterexample, line_of
from geoc.tools.rulecheck.run import check_rules
from geoc.tools.rulecheck.search import Result


@native
def rulecheck_first_axis(c: Any) -> Any:
    """A native that breaks on constants without axes."""
    return c.const is not None and c.const.shape[0] == 1


def check(text: str, **options: int) -> Result:
    (rule,) = parse_rules(text, "planted.rules").rules
    (result,) = check_rules([("planted", rule)], **options)
    return result


WRONG = {
    "wrong constant": (
        'rule r { """d.""" match %y = Mul(Mul(%x, 2.0), 3.0) rewrite %y = Mul(%x, 5.0) }',
        "values",
    ),
    "nearly the right constant": (
        'rule r { """d.""" match %y = Mul(%x, Sigmoid(Mul(%x, 1.702))) rewrite %y = Mul(%x, Sigmoid(Mul(%x, 1.7))) }',
        "values",
    ),
    "the approximation instead of the exact one": (
        """rule r { \"""d.\"""
           match %y = Mul(Mul(%x, 0.5), Add(Erf(Div(%x, 1.4142135)), 1.0))
           rewrite %y = Gelu(%x) {approximate = "tanh"} }""",
        "values",
    ),
    "dropped bias": (
        'rule r : expands { """d.""" match %y = Relu(Conv(%x, %w, %b?) {*}) rewrite %y = Relu(Conv(%x, %w)) }',
        "values",
    ),
    "dropped bias, attributes copied": (
        """rule r { \"""d.\"""
           match %c = Conv(%x, %w, %b?) {*}
                 %y = Relu(%c)
           rewrite %y = Relu(Conv(%x, %w) {*%c}) }""",
        "values",
    ),
    "wrong axis": (
        'rule r { """d.""" match %y = ReduceMean(%x, [-1]) where rank(%x) == 3 rewrite %y = ReduceMean(%x, [1]) }',
        "",
    ),
    "wrong axis of the same size": (
        """rule r { \"""d.\"""
           match %y = Softmax(%x) {axis = -1} where rank(%x) == 3 rewrite %y = Softmax(%x) {axis = 1} }""",
        "values",
    ),
    "no guard against broadcasting": (
        'rule r { """d.""" match %y = Mul(%x, %zero: const) where values(%zero) == [0.0] rewrite %y = Mul(%zero, %zero) }',
        "",
    ),
    "shapes are not compared": (
        'rule r { """d.""" match %y = Where(_, %x, %x) rewrite %y = %x }',
        "",
    ),
    "product of more than matrices": (
        """rule r { \"""d.\"""
           match %y = Add(MatMul(%x, %w), %b) where rank(%w) == 2 rewrite %y = Gemm(%x, %w, %b) }""",
        "",
    ),
    "rounding is lost": (
        'rule r { """d.""" match %y = Cast(Cast(%x) {*}) {to = f32} where dtype(%x) == f32 rewrite %y = %x }',
        "values",
    ),
    "operands of Sub the other way round": (
        'rule r { """d.""" match %y = Neg(Sub(%a, %b)) rewrite %y = Sub(%a, %b) }',
        "values",
    ),
    "a division that has two sides": (
        'rule r { """d.""" match %y = Mul|Div:$op(Mul(%x, $c), $d) rewrite %y = Mul(%x, $c * $d) }',
        "values",
    ),
    "the alternative is forgotten": (
        """rule r { \"""d.\"""
           match %y = Div(%x, (Sqrt(Add(%v, $e)) | Add(Sqrt(%v), $e)))
           rewrite %y = Div(%x, Sqrt(Add(%v, $e))) }""",
        "values",
    ),
    "costs more": (
        'rule r { """d.""" match %y = Relu(%x) rewrite %y = Max(%x, Mul(%x, 0.0)) }',
        "cost",
    ),
    "a shape that holds for one size alone": (
        """rule r { \"""d.\"""
           match %y = Reshape(Relu(%x), [0, -1]) where rank(%x) == 3
           rewrite %y = Relu(Reshape(%x, [-1, 6])) }""",
        "",
    ),
    "undone by itself": (
        'rule r { """d.""" match %y = Add(%a, %b) rewrite %y = Add(%b, %a) }',
        "loop",
    ),
    "a native that breaks": (
        'rule r { """d.""" match %y = Mul(%x, %c: const) where rulecheck_first_axis(%c) rewrite %y = Mul(%x, %c) }',
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_planted_mistake_is_found(what: str) -> None:
    text, kind = WRONG[what]
    result = check(text)
    assert result.fault is not None, line_of(result)
    assert not kind or result.fault.kind == kind, result.fault.text
    assert "wrong" in line_of(result)


@pytest.mark.parametrize("what", [w for w in WRONG if WRONG[w][1] == "values" and "Conv" not in WRONG[w][0]])
def test_counterexamples_are_confirmed_by_onnx(what: str) -> None:
    result = check(WRONG[what][0])
    assert result.fault is not None
    text = counterexample(result)
    left, right = text.split("# ----\n")
    models = [parse_model(half) for half in (left, right)]
    for model in models:
        verify(model)
    feeds = {name: np.asarray(array) for name, array in result.fault.feeds.items()}
    outs = [onnx.reference.ReferenceEvaluator(to_proto(m)).run(None, {n: feeds[n] for n in m.graph.input_names}) for m in models]
    for found, said in zip(outs, (result.fault.wanted, result.fault.found)):
        np.testing.assert_allclose(found[0].astype(float), said[0].astype(float), 1e-2, 1e-4)
    assert not np.allclose(outs[0][0].astype(float), outs[1][0].astype(float), 1e-6, 1e-9)


def test_a_counterexample_is_small() -> None:
    result = check(WRONG["wrong constant"][0])
    assert result.fault is not None
    text = counterexample(result)
    assert "# RUN: --passes=planted" in text
    assert "# FEED: x=1" in text  # all elements 1
    assert re.search(r"graph @main\(%x: f32\[1?(,1)?\]\)", text), text
    assert len(text.splitlines()) < 25


def test_optional_operands_and_attributes_are_left_out_of_a_counterexample() -> None:
    result = check(WRONG["dropped bias, attributes copied"][0])
    assert result.fault is not None
    conv = next(node for node in result.fault.before.graph if node.op.key == "Conv")
    assert not conv.attrs
    assert conv.inputs[2] is not None  # without it there is no fault


WITHOUT = {
    "conditions that contradict each other": (
        'rule r { """d.""" match %y = Relu(%x) where rank(%x) == 2, rank(%x) == 3 rewrite %y = %x }',
        "rank(%x)",
    ),
    "types that no operator has": (
        'rule r { """d.""" match %y = And(%x, Relu(%z)) rewrite %y = %x }',
        "Relu",
    ),
    "sizes that do not fit": (
        """rule r { \"""d.\"""
           match %y = MatMul(%a, %b) where shape(%a) == [2, 3], shape(%b) == [4, 5] rewrite %y = %a }""",
        "",
    ),
    "a constant with two values": (
        'rule r { """d.""" match %y = Add(%x, $c) where $c > 3.0, $c < 2.0 rewrite %y = %x }',
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WITHOUT)
def test_a_rule_without_an_instance_fails_and_says_why(what: str) -> None:
    text, said = WITHOUT[what]
    result = check(text)
    assert not result.ok and result.fault is None
    assert result.nearest and said in result.nearest
    assert "no instance" in line_of(result)


RIGHT = {
    "rounding is no mistake": (
        'rule r { """d.""" match %y = Sub(Add(%x, %c: const), %c) where is_float(%x), shape(%x) == shape(%y) '
        "rewrite %y = Mul(%x, 1.0) }"
    ),
    "both overflow": 'rule r { """d.""" match %y = Exp(Add(%x, %x)) where is_float(%x) rewrite %y = Exp(Mul(%x, 2.0)) }',
    "both divide by zero": (
        'rule r : expands { """d.""" match %y = Div(Neg(%a), %b) where is_float(%a) rewrite %y = Neg(Div(%a, %b)) }'
    ),
    "dimensions from the conditions": (
        """rule r { \"""d.\"""
           match %t = Transpose(%k) {perm = [0, 1, 3, 2]}
                 %y = MatMul(%q, %t)
           where shape(%q) = [B, Hq, S, D], shape(%k) = [B, Hk, T, D], R * Hk == Hq, R == 1, is_float(%q)
           rewrite %y = MatMul(%q, Transpose(%k) {perm = [0, 1, 3, 2]}) }"""
    ),
    "costs more and says so": (
        'rule r : expands { """d.""" match %y = Gelu(%x) rewrite %y = Mul(Mul(%x, 0.5), Add(Erf(Div(%x, 1.4142135623730951)), 1.0)) }'
    ),
    "two roots": """
        rule r { \"""d.\"""
          match %l = Slice(%x, 0, $m, $a)
                %r = Slice(%x, $m, $e, $a)
          where $a >= 0, $m > 0, $m < dim(%x, $a), $e >= dim(%x, $a)
          rewrite (%l, %r) = Split(%x, [$m, dim(%x, $a) - $m]) {axis = $a} }""",
}  # fmt: skip


@pytest.mark.parametrize("what", [w for w in RIGHT if "dimensions" not in w])
def test_a_right_rule_passes(what: str) -> None:
    result = check(RIGHT[what])
    assert result.ok, line_of(result) + (f"\n{counterexample(result)}" if result.fault else "")
    assert result.runs >= 10


def test_dimensions_are_solved_from_the_conditions() -> None:
    # The right side is the left one, so the rule never comes to an end: it fires, which is what is asked here.
    result = check(RIGHT["dimensions from the conditions"])
    assert result.fault is not None and result.fault.kind == "loop"
    q, k = result.fault.before.graph.inputs
    assert q.shape is not None and k.shape is not None
    assert q.shape[:2] == k.shape[:2] and q.shape[3] == k.shape[3]


def test_all_ways_and_types_are_tried() -> None:
    result = check(
        """
        rule r { \"""d.\"""
          match %y = (Mul(%x, $s) | Div(%x, $d)) |> Add(_, %m?)? |> Relu|Neg(_) where is_float(%x)
          rewrite %y = Identity(%y) }""".replace("rewrite %y = Identity(%y)", "rewrite %y = Gelu(%x)"),
        count=1,
    )
    assert result.fault is not None  # the right side is nonsense, which the first instance shows
    texts = [o.text for o in result.options]
    assert "Mul(%x, $s)" in texts and "Div(%x, $d)" in texts and "Relu" in texts and "Neg" in texts


def test_coverage_of_a_right_rule() -> None:
    result = check(
        """
        pattern half(%v) = Mul(%v, 0.5) | Div(%v, 2.0)
        rule r { \"""d.\"""
          match %h = half(%x) |> Relu(_)?
                %y = Mul|Div:$op(%h, %z) where is_float(%x)
          rewrite %y = (%h |> $op(_, %z)) |> Identity(_) }""".replace("(%h |> $op(_, %z)) |> Identity(_)", "Neg(Neg($op(%h, %z)))").replace("rule r {", "rule r : expands {"),
        count=1,
    )
    # Rewritten again and again: a loop, but every instance fires.
    assert result.fault is not None and result.fault.kind == "loop"


def test_of_a_rule_that_refuses_there_must_be_something_to_refuse() -> None:
    result = check('rule r { """d.""" match %y = Exp|Log(%x) where rank(%x) == 3 refuse "no {%x}" }')
    assert result.ok and result.instances and not result.runs and line_of(result).startswith("refuses planted")
    assert not [option.text for option in result.options if option not in result.covered]
    result = check('rule r { """d.""" match %y = _:$op(%a..., %x, %b...) {*} where dtype(%x) == f64 refuse "no {$op}" }')
    assert result.ok and set(result.dtypes) == {"f64"}
    result = check('rule r { """d.""" match %y = Exp(%x) where rank(%x) == 1, rank(%y) == 2 refuse "never" }')
    assert not result.ok and line_of(result).startswith("NOTHING") and "no instance" in line_of(result)


def test_the_same_seed_gives_the_same_instances() -> None:
    text = RIGHT["both divide by zero"]
    first, again, other = check(text, seed=1), check(text, seed=1), check(text, seed=2)
    facts = lambda r: (r.attempts, r.instances, r.runs, r.dtypes, r.dynamic)  # noqa: E731
    assert facts(first) == facts(again)
    assert first.ok and other.ok

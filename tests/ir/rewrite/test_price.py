"""Rewrites that would cost more than what they take away are refused."""

from __future__ import annotations

from typing import Any

import pytest

from geoc.ir.ops.cost import CostModel, Machine
from geoc.ir.rewrite import Hooks
from geoc.ir.text import print_model

X = "%x: f32[64,64]"


def run(lab: Any, rule: str, body: str, inputs: str = X, machine: Machine | None = None) -> tuple[int, list[str]]:
    """Number of rewrites and what was refused."""
    said: list[str] = []
    hooks = Hooks(cost=CostModel(machine), refused=lambda rule, node, why, dearer: said.append(why))
    target = lab.model(body, inputs)
    before = print_model(target)
    count = lab.apply(rule, target, hooks)
    assert count or print_model(target) == before
    return count, said


def test_more_work_is_refused(lab: Any) -> None:
    rule = lab.rule("%y = Relu(%x)", "%y = Exp(Neg(%x))")
    count, (said,) = run(lab, rule, "%y = Relu(%x)")
    assert count == 0
    # 32 KiB at 10 GB/s and a launch for each node
    assert said == "estimated cost 2x: Neg, Exp (8.55 us) for Relu (4.28 us)"


def test_unless_the_rule_says_so(lab: Any) -> None:
    rule = lab.rule("%y = Relu(%x)", "%y = Exp(Neg(%x))", headers=" : expands")
    assert run(lab, rule, "%y = Relu(%x)") == (1, [])


def test_without_estimates_nothing_is_refused(lab: Any) -> None:
    rule = lab.rule("%y = Relu(%x)", "%y = Exp(Neg(%x))")
    assert lab.apply(rule, lab.model("%y = Relu(%x)")) == 1


def test_less_work_is_not(lab: Any) -> None:
    rule = lab.rule("%y = Relu(Neg(%x))", "%y = Elu(%x)")
    assert run(lab, rule, "%a = Neg(%x)\n%y = Relu(%a)") == (1, [])


def test_what_stays_for_others_is_not_saved(lab: Any) -> None:
    rule = lab.rule("%y = Add(Exp(%x), Neg(%x))", "%y = Mul(Abs(%x), Sin(%x))", headers=" : shared")
    body = "%a = Exp(%x)\n%b = Neg(%x)\n%y = Add(%a, %b)\n"
    assert run(lab, rule, body) == (1, [])
    count, (said,) = run(lab, rule, body + "%c = Sub(%a, %b)\n%d = Mul(%c, %y)".replace("%d", "%z"), X)
    assert count == 0 and "Abs, Sin, Mul" in said and said.endswith("for Add (5.92 us)")


def test_what_dies_below_the_match_is_saved(lab: Any) -> None:
    """The Exp is not part of the pattern, and nothing needs it afterwards."""
    rule = lab.rule("%y = Where(%c, %a, %b)", "%y = Relu(Neg(%b))")
    inputs = X + ", %c: bool[64,64]"
    assert run(lab, rule, "%a = Exp(%x)\n%y = Where(%c, %a, %x)", inputs) == (1, [])


def test_views_are_free(lab: Any) -> None:
    rule = lab.rule("%y = Relu(%x)", "%y = Reshape(Elu(Reshape(%x, [4096])), [64, 64])")
    assert run(lab, rule, "%y = Relu(%x)") == (1, [])


def test_what_nobody_can_estimate_goes_through(lab: Any) -> None:
    rule = lab.rule("%y = Relu(%x)", "%y = Exp(Neg(%x))")
    assert run(lab, rule, "%y = Relu(%x)", "%x: f32[?,64]") == (1, [])
    assert run(lab, lab.rule("%y = Relu(%x)", "%y = my.domain::Odd(Exp(%x))"), "%y = Relu(%x)") == (1, [])


@pytest.mark.parametrize(("flops", "count"), [(1e9, 0), (1e15, 1)])
def test_the_machine_decides(lab: Any, flops: float, count: int) -> None:
    """A product instead of three walks over memory: worth it where arithmetic is cheap."""
    rule = lab.rule("%y = Exp(Neg(Abs(%x)))", "%y = MatMul(%x, %x)")
    found, said = run(lab, rule, "%a = Abs(%x)\n%b = Neg(%a)\n%y = Exp(%b)", X, Machine(flops, 1e9, 0))
    assert (found, len(said)) == (count, 1 - count)

"""Rule sets as passes: what they may cost, and when they need not run again."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model
from geoc.ir.ops import op
from geoc.ir.ops.cost import CostModel, Machine
from geoc.ir.rewrite import parse_rules
from geoc.ir.types import F32, tensor_type
from geoc.passes.base import Context, Instrument, Pass, Remark
from geoc.passes.instruments import Refusals
from geoc.passes.manager import Repeat, run_pipeline
from geoc.passes.rulepass import rule_pass

PRODUCT = parse_rules('''
rule product {
  """Less memory, more arithmetic."""
  match   %y = Exp(Neg(Abs(%x)))
  rewrite %y = MatMul(%x, %x)
}''', "product.rules")  # fmt: skip


def model(*chain: str) -> Model:
    graph = Graph("main")
    build = Builder(graph, loc=("/here",))
    x = graph.add_input("x", tensor_type(F32, (64, 64)))
    for name in chain:
        x = build.op(name, x)
    graph.set_outputs([x], ["y"])
    return Model(graph)


@pytest.mark.parametrize(("flops", "ops"), [(1e9, ["Abs", "Neg", "Exp"]), (1e15, ["MatMul"])])
def test_the_target_gives_the_cost_model(flops: float, ops: list[str]) -> None:
    target = SimpleNamespace(cost_model=CostModel(Machine(flops, 1e9, 0.0)))
    refusals = Refusals()
    work = model("Abs", "Neg", "Exp")
    step = rule_pass("product", list(PRODUCT))()
    run_pipeline(work, [step], Context(capabilities=target, instruments=[refusals]))
    assert [node.op.name for node in work.graph] == ops
    assert [(r.rule, r.loc) for r in refusals.found] == ([("product", ("/here",))] if len(ops) > 1 else [])


def test_a_target_without_one_has_the_default() -> None:
    assert Context(capabilities=SimpleNamespace()).cost.machine.flops == Machine().flops
    assert Context().cost.machine.bandwidth == Machine().bandwidth


class Runs(Instrument):
    """What passes were looked at, and what was told."""

    def __init__(self) -> None:
        self.remarks: list[Remark] = []

    def on_remark(self, remark: Remark) -> None:
        self.remarks.append(remark)


@dataclass(frozen=True)
class Counted(Pass):
    """Counts its runs; says that it changed something in the first `changes` of them."""

    name: ClassVar[str] = "counted"
    settles: ClassVar[bool] = True
    changes: int = 0
    runs: ClassVar[list[int]] = []

    def run(self, model: Model, ctx: Context) -> bool:
        self.runs.append(self.changes)
        return len(self.runs) <= self.changes


@dataclass(frozen=True)
class Grows(Pass):
    """Adds a node at each run."""

    name: ClassVar[str] = "grows"

    def run(self, model: Model, ctx: Context) -> bool:
        value = Builder(model.graph).op("Neg", model.graph.outputs[0])
        model.graph.set_outputs([value], ["y"])
        return True


@pytest.mark.parametrize(
    ("steps", "runs"),
    [
        ([Counted(), Counted()], 1),
        ([Counted(), Grows(), Counted()], 2),
        ([Counted(1), Counted(1)], 1),  # what it did itself leaves nothing to do
        ([Repeat((Counted(), Grows()), 3)], 3),
        ([Counted(), Repeat((Counted(),), 3), Counted()], 1),
    ],
)
def test_a_settled_pass_runs_again_only_after_changes(steps: list[Pass], runs: int) -> None:
    Counted.runs.clear()
    run_pipeline(model("Abs"), steps, Context())
    assert len(Counted.runs) == runs


def test_another_model_is_not_settled() -> None:
    Counted.runs.clear()
    ctx = Context()
    for _ in range(2):
        run_pipeline(model("Abs"), [Counted()], ctx)
    assert len(Counted.runs) == 2


def test_rules_do_not_start_where_nothing_can_match() -> None:
    work = model(*["Neg"] * 5, "Sigmoid")
    runs = Runs()
    run_pipeline(work, [rule_pass("product", list(PRODUCT))()], Context(instruments=[runs]))
    assert runs.remarks == [] and len(work.graph.index[op("Neg")]) == 5

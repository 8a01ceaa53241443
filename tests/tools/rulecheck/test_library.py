"""Every rule of the library is tried on graphs made up for it, a few for each way that it is written."""

from __future__ import annotations

import pytest

from geoc.ir.rewrite.instances import INSTANCES
from geoc.lowering.backend import all_row_sets, all_rule_sets
from geoc.passes.registry import Registry
from geoc.tools.rulecheck.report import counterexample, line_of
from geoc.tools.rulecheck.run import check_rules, rules_to_check

REGISTRY = Registry(all_rule_sets())
RULES = rules_to_check(REGISTRY, (), rows=all_row_sets())

# Sets whose rules are tried in every way that they are written.
SIMPLE = frozenset({"identity", "views", "pads", "affine", "gemm"})


@pytest.mark.parametrize("name", sorted({owner for owner, _ in RULES}))
def test_rules_are_right(name: str) -> None:
    mine = [(owner, rule) for owner, rule in RULES if owner == name]
    simple = name in SIMPLE
    results = list(check_rules(mine, count=1, seed=7 if simple else 0, effort=0.5 if simple else None))
    faults = [r for r in results if not r.ok]
    shown = [line_of(r) + (f"\n{counterexample(r)}" if r.fault is not None else "") for r in faults]
    assert not faults, "\n\n".join(shown)
    if simple:  # what is given for a rule need not be one of its ways
        made_up = [r for r in results if r.rule.name not in INSTANCES]
        assert not [o.text for r in made_up for o in r.options if o not in r.covered]


def test_rules_that_change_numbers_are_left_out() -> None:
    lossy = [name for name in REGISTRY.rule_sets if REGISTRY.find(name).lossy]
    assert lossy == ["trt-unrounded"] and not {owner for owner, _ in RULES} & set(lossy)

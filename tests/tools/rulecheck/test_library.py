"""Every rule of the library is tried on graphs made up for it, a few for each way that it is written."""

from __future__ import annotations

import pytest

from geoc.lowering.targets import get_target
from geoc.passes.registry import Registry
from geoc.tools.rulecheck.report import counterexample, line_of
from geoc.tools.rulecheck.run import check_rules, rules_to_check

REGISTRY = Registry(get_target("cpu").rule_sets)
RULES = rules_to_check(REGISTRY, ())

# Left sides that are not found by trying, because natives ask for whole computations of tables and masks.
WITHOUT = frozenset({
    "attention_3d", "attention_scale", "mask_of_positions", "mask_of_padding", "mask_of_positions_and_padding",
    "mask_of_positions_with_padding",
    "rotary_wide", "rotary_products", "rotary_products_front", "rotary_front_packed",
})  # fmt: skip
# Where the dispute is mistaken. mask_shape: by onnx's reference implementation, which serves where onnxruntime has no
# kernel: with `is_causal` it hides later keys in a mask of one row for all queries, where the function body in the
# specification does so for each. The others: where scores overflow to infinity the softmax is not a number, which a
# Where(IsNaN) around it makes 0; what overflows inside is not compared, but this cannot be seen from outside.
OPEN = frozenset({"attention", "attention_folded_heads", "mask_shape", "mask_shape_past"})


@pytest.mark.parametrize("name", sorted({owner for owner, _ in RULES}))
def test_rules_are_right(name: str) -> None:
    mine = [(owner, rule) for owner, rule in RULES if owner == name and rule.name not in WITHOUT | OPEN]
    results = list(check_rules(mine, count=1))
    faults = [r for r in results if not r.ok]
    shown = [line_of(r) + (f"\n{counterexample(r)}" if r.fault is not None else "") for r in faults]
    assert not faults, "\n\n".join(shown)


@pytest.mark.parametrize("name", ["identity", "views", "pads", "affine", "gemm"])
def test_every_way_of_the_simple_rules_is_tried(name: str) -> None:
    mine = [(owner, rule) for owner, rule in RULES if owner == name]
    for result in check_rules(mine, count=1, seed=7):
        assert result.ok, line_of(result)
        assert [o.text for o in result.options if o not in result.covered] == []


def test_the_exceptions_are_rules() -> None:
    assert {rule.name for _, rule in RULES} >= WITHOUT | OPEN

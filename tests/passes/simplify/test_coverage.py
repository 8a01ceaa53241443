"""Every rule and pass of passes/simplify has golden cases: one where it fires, one where it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoc.passes.registry import BUILT_IN, RULE_SETS, Registry

from ...golden import read_cases

HERE = Path(__file__).parent
RULES = [(name, rule) for name in RULE_SETS for rule in Registry().find(name)().rule_names()]
PASSES = [name for name, place in BUILT_IN.items() if place.startswith(".simplify.")]


@pytest.mark.parametrize(("name", "rule"), RULES)
def test_every_rule(name: str, rule: str) -> None:
    # That the rule fires in the one kind and not in the other is checked with each case.
    cases = read_cases(HERE / name / f"{rule}.gir")
    assert any("WHY" not in case.head for case in cases), "no case where it fires"
    assert any("WHY" in case.head for case in cases), "no case where it must not fire"


@pytest.mark.parametrize("name", PASSES)
def test_every_pass(name: str) -> None:
    cases = [case for path in (HERE / name).glob("*.gir") for case in read_cases(path)]
    assert any("WHY" not in case.head for case in cases), "no case where it changes something"
    assert any("WHY" in case.head for case in cases), "no case where it must not"


def test_every_case_is_about_a_rule_or_a_pass() -> None:
    known = {HERE / name / f"{rule}.gir" for name, rule in RULES}
    known.update(path for name in PASSES for path in (HERE / name).glob("*.gir"))
    assert set(HERE.rglob("*.gir")) == known

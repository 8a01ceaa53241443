"""Every rule, and every pass of passes/simplify, has golden cases: one where it fires, one where it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoc.lowering.backend import all_row_sets
from geoc.lowering.rows import load_rows
from geoc.passes.registry import BUILT_IN

from .golden import library, read_cases

HERE = Path(__file__).parent
REGISTRY = library()


def folder(name: str) -> Path:
    """The folder with the cases of a rule set: where its file lies, seen from the tests."""
    parts = Path({**REGISTRY.rule_sets, **ROWS}[name][0]).parts
    top = max(parts.index(part) for part in ("passes", "lowering") if part in parts)
    return HERE.joinpath(*parts[top:-1], name)


ROWS = all_row_sets()
RULES = [(name, rule) for name in REGISTRY.rule_sets for rule in REGISTRY.find(name)().rule_names()]
RULES += [(name, rule.name) for name, place in ROWS.items() for rule in load_rows(*place)]
PASSES = {
    name: HERE / "passes" / "simplify" / name
    for name, place in BUILT_IN.items()
    if place.startswith(".simplify.")
}


@pytest.mark.parametrize(("name", "rule"), RULES)
def test_every_rule(name: str, rule: str) -> None:
    # That the rule fires in the one kind and not in the other is checked with each case.
    cases = read_cases(folder(name) / f"{rule}.gir")
    assert any("WHY" not in case.head for case in cases), "no case where it fires"
    assert any("WHY" in case.head for case in cases), "no case where it must not fire"


@pytest.mark.parametrize("name", PASSES)
def test_every_pass(name: str) -> None:
    cases = [case for path in PASSES[name].glob("*.gir") for case in read_cases(path)]
    assert any("WHY" not in case.head for case in cases), "no case where it changes something"
    assert any("WHY" in case.head for case in cases), "no case where it must not"


def test_every_case_is_about_a_rule_or_a_pass() -> None:
    known = {folder(name) / f"{rule}.gir" for name, rule in RULES}
    known.update(path for place in PASSES.values() for path in place.glob("*.gir"))
    folders = {*PASSES.values(), *(folder(name) for name in (*REGISTRY.rule_sets, *ROWS))}
    assert {path for place in folders for path in place.rglob("*.gir")} == known

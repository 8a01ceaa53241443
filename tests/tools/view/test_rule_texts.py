"""The text of the rule that a trace names."""

from __future__ import annotations

from pathlib import Path

from geoc.ir.rewrite import load_rules
from geoc.tools.view.rule_texts import rule_text, short_place

RULES = '# of mine\nrule first {\n  """Twice."""\n  match\n    %a = Relu(%x)\n    %y = Relu(%a)\n  rewrite\n    %y = Relu(%x)\n}\n\nrule second {\n  """Neg of Neg."""\n  match\n    %a = Neg(%x)\n    %y = Neg(%a)\n  rewrite\n    %y = Identity(%x)\n}\n'


def test_a_rule_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "mine.rules"
    path.write_text(RULES)
    for rule, text in zip(load_rules(str(path)), RULES.removeprefix("# of mine\n").strip().split("\n\n")):
        assert rule_text(rule.location) == text


def test_a_function(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import os\n\n\n@rule(\n    'x'\n)\ndef swap(m):\n    if m:\n        return 1\n\n    return 2\n\n\nlast = 3\n")
    assert rule_text(f"{path}:4") == "@rule(\n    'x'\n)\ndef swap(m):\n    if m:\n        return 1\n\n    return 2"


def test_what_is_not_there_has_no_text(tmp_path: Path) -> None:
    (tmp_path / "short.rules").write_text("x\n")
    assert rule_text(f"{tmp_path}/gone.rules:3") == rule_text(f"{tmp_path}/short.rules:9") == rule_text("") == ""


def test_places_are_short() -> None:
    assert short_place("/opt/lib/geoc/passes/fuse/attention.rules:24") == "geoc/passes/fuse/attention.rules:24"
    assert short_place("/home/me/mine.rules:2") == "mine.rules:2"

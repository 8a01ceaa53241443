"""Which rules are tried at a node at all: what its operands come from rules most of them out."""

from __future__ import annotations

import pytest

from geoc.ir.rewrite import parse_rules
from geoc.ir.text import parse_model

RULES = """
rule either {
  \"\"\"One of two operators, or a constant in one of two ways.\"\"\"
  match   %y = Sub((Neg(%x) | Exp(%x)), (1.0 | $c))
  rewrite %y = Abs(%x)
}

rule open {
  \"\"\"Anything may stand in the second place.\"\"\"
  match   %y = Sub(Neg(%x), (Exp(%x) | %z))
  rewrite %y = Abs(%x)
}

rule mixed : benefit 1 {
  \"\"\"An operator or a constant.\"\"\"
  match   %y = Sub(Neg(%x), (Exp(%x) | 1.0))
  rewrite %y = Abs(%x)
}
"""


@pytest.mark.parametrize(
    ("operands", "wanted"),
    [
        ("%neg, %c", ["mixed", "either", "open"]),
        ("%exp, %c", ["either"]),
        ("%abs, %c", []),
        ("%neg, %x", ["mixed", "open"]),
        ("%c, %neg", []),
    ],
)
def test_alternatives_of_an_operand(operands: str, wanted: list[str]) -> None:
    rules = parse_rules(RULES)
    model = parse_model(
        'geoc 1\nopset "" 21\n\ngraph @main(%x: f32[B]) -> (%y) {\n  weight %c: f32[] = 1.0\n'
        f"  %neg = Neg(%x)\n  %exp = Exp(%x)\n  %abs = Abs(%x)\n  %y = Sub({operands})\n}}\n"
    )
    node = model.graph.outputs[0].producer
    assert node is not None
    assert [entry.rule.name for entry in rules.candidates(node)] == wanted

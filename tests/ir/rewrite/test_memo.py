"""Memories of natives: kept while rules run, empty afterwards."""

from __future__ import annotations

import pytest

from geoc.ir.core import Value
from geoc.ir.rewrite import RewriteDriver, memo, native, parse_rules
from geoc.ir.text import parse_model

known = memo()
asked: list[Value] = []
TEXT = 'geoc 1\nopset "" 21\n\ngraph @main(%x: f32[2]) -> (%y, %z) {\n  %y = Neg(%x)\n  %z = Abs(%x)\n}\n'
RULES = '''
rule first {
  """Unused."""
  match %y = Neg(%x)
  where memo_probe(%x)
  rewrite %y = Relu(%x)
}
rule second {
  """Unused."""
  match %y = Abs(%x)
  where memo_probe(%x)
  rewrite %y = Relu(%x)
}
'''


@native
def memo_probe(x: Value) -> bool:
    """False, asked once for each value."""
    if x in known:
        return bool(known[x])
    asked.append(x)
    if len(asked) > 10:
        raise ValueError
    return bool(known.keep(x, False))


def test_kept_for_one_run() -> None:
    asked.clear()
    model = parse_model(TEXT)
    for runs in (1, 2):
        assert RewriteDriver(parse_rules(RULES)).run(model) == 0
        assert len(asked) == runs
        assert not known


def test_emptied_after_an_error() -> None:
    asked.clear()
    asked.extend(parse_model(TEXT).graph.inputs * 10)
    known.keep(asked[0], True)
    assert not known, "nothing is kept outside of a run"
    with pytest.raises(ValueError):
        RewriteDriver(parse_rules(RULES)).run(parse_model(TEXT))
    known.keep(asked[0], True)
    assert not known

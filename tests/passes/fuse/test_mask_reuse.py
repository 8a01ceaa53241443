"""A mask is looked at once, though each layer has it again with unknown dimensions of its own."""

from __future__ import annotations

import pytest

from geoc.ir.core import Model, Value
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.passes.fuse import mask_forms

LAYER = """
  %r# = NonZero(%flags)
  %s# = Shape(%r#) {start = 1}
  %i# = Squeeze(%s#)
  %j# = Range(%zero, %i#, %one)
  %column# = Unsqueeze(%j#, %one1)
  %shift# = Add(%column#, OFFSET)
  %all# = Add(%i#, %i#)
  %keys# = Range(%zero, %all#, %one)
  %m# = GreaterOrEqual(%shift#, %keys#)
"""


def masks(*offsets: str) -> list[Value]:
    """One mask j <= i + offset for twice as many keys as queries, for each offset."""
    layers = "".join(LAYER.replace("#", str(n)).replace("OFFSET", name) for n, name in enumerate(offsets))
    outputs = ", ".join(f"%m{n}" for n in range(len(offsets)))
    weights = "weight %zero: i64[] = 0\n  weight %one: i64[] = 1\n  weight %one1: i64[1] = [1]\n"
    text = f'geoc 1\nopset "" 24\n\ngraph @main(%flags: bool[N]) -> ({outputs}) {{\n  {weights}{layers}}}\n'
    model: Model = parse_model(text)
    infer_graph(model.graph)
    return list(model.graph.outputs)


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[Value]:
    """The masks that were looked at in a test, none kept from before it."""
    seen: list[Value] = []
    look = mask_forms._analysed

    def told(root: Value, cone: mask_forms.Cone) -> mask_forms.Form | None:
        seen.append(root)
        return look(root, cone)

    monkeypatch.setattr(mask_forms, "_analysed", told)
    monkeypatch.setattr(mask_forms, "_forms", {})
    return seen


def test_unknown_dimensions_do_not_count(analysed: list[Value]) -> None:
    first, second, third = masks("%zero", "%zero", "%one")
    forms = [mask_forms.form_of(mask) for mask in (first, second, third)]
    assert analysed == [first, third]
    assert [form[0].offset for form in forms if form] == [0, 0, 1]


def test_an_offset_is_told_in_the_dimensions_of_the_mask(analysed: list[Value]) -> None:
    first, second = masks("%i0", "%i1")
    found = [mask_forms.form_of(mask) for mask in (first, second)]
    assert analysed == [first]
    for mask, item in zip((first, second), found):
        assert item is not None and mask.shape is not None
        assert item[0].offset_in(item[1]) is mask.shape[0]

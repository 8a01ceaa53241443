"""The golden cases themselves: what they accept, and that a wrong one is not among it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .golden import Case, read_cases, update

GOOD = """Notes before the first case stay.

# RUN: --passes=identity
# WHAT
graph @main(%x: f32[B,2]) -> (%y) {
  %i = Identity(%x)
  %y = Neg(%i)
}
"""
SWAPPED = "graph @main(%x: f32[B,2]) -> (%y) {\n  weight %one: f32[] = 1.0\n  %y = Div(%one, %x)\n}"


def case(text: str, folder: Path) -> Case:
    path = folder / "case.gir"
    path.write_text(text, encoding="utf-8")
    found = read_cases(path)
    assert len(found) == 1
    return found[0]


def test_update_writes_what_is_accepted_then(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no lower half"):
        case(GOOD, tmp_path).check()
    path = tmp_path / "case.gir"
    update(path)
    text = path.read_text()
    assert text.startswith(GOOD)
    assert text.endswith("# ----\ngraph @main(%x: f32[B,2]) -> (%y: f32[B,2]) {\n  %y: f32[B,2] = Neg(%x)\n}\n")
    case(text, tmp_path).check()
    update(path)
    assert path.read_text() == text
    with pytest.raises(AssertionError, match="expected"):
        case(text.replace("Neg(%x)\n", "Abs(%x)\n"), tmp_path).check()


def test_numbers_that_differ(tmp_path: Path) -> None:
    wanted = case(GOOD, tmp_path)
    with pytest.raises(AssertionError, match="y at"):
        wanted.check_numbers(wanted.load(), case(f"# RUN: --passes=identity\n{SWAPPED}", tmp_path).load())


def test_types_that_are_wrong(tmp_path: Path) -> None:
    text = "# RUN: --passes=identity\ngraph @main(%x: f32[B,C]) -> (%y) {\n  %y = Transpose(%x)\n}"
    before = case(text, tmp_path)
    after = before.load()
    after.graph.outputs[0].type = after.graph.inputs[0].type
    with pytest.raises(AssertionError, match=r"is \(3, 2\)"):
        before.check_numbers(before.load(), after)


def test_a_wrong_rewrite_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "case.gir"
    path.write_text(GOOD, encoding="utf-8")
    transform = Case.transform

    def wrong(self: Case) -> object:
        model = transform(self)
        model.graph.set_outputs([model.graph.inputs[0]], ["y"])
        return model

    monkeypatch.setattr(Case, "transform", wrong)
    with pytest.raises(ValueError, match=r"(?s)case\.gir:3: .*y at"):
        update(path)
    assert path.read_text() == GOOD


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("# RUN: -O1\ngraph @main() -> () {\n}", "expected # RUN: --passes="),
        ("# RUN: --passes=identity\n# SIZE: B=2\ngraph @main() -> () {\n}", "there is no header SIZE"),
    ],
)
def test_a_header_that_is_wrong(text: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=error):
        case(text, tmp_path).check()


def test_inputs_follow_the_header(tmp_path: Path) -> None:
    head = "# RUN: --passes=identity\n# SIZES: B=5 | B=0\n# FEED: k=3 flag=true\n"
    found = case(head + "graph @main(%x: f32[2*B,3], %k: i64[B], %flag: bool[]) -> (%x) {\n}", tmp_path)
    model = found.load()
    rows = list(found.sizes(model))
    assert rows == [{"B": 5}, {"B": 0}]
    feeds = found.feeds(model, rows[0], np.random.default_rng(0), special=True)
    assert feeds["x"].shape == (10, 3) and feeds["x"].dtype == np.float32 and not np.isfinite(feeds["x"]).all()
    assert feeds["k"].tolist() == [3] * 5 and feeds["flag"].tolist() is True
    with pytest.raises(AssertionError, match="FEED names no input"):
        other = case(head + "graph @main(%k: i64[B]) -> (%k) {\n}", tmp_path)
        other.feeds(other.load(), rows[0], np.random.default_rng(0), False)

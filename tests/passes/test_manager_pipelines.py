"""Pipelines as text: parsing, printing, levels, edits, errors with their column."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoc.ir.errors import UsageError
from geoc.lowering.targets import get_target
from geoc.passes.pipelines import (
    LEVELS,
    Group,
    Item,
    Option,
    Step,
    apply_edits,
    before_forms,
    level_items,
    names,
    parse,
    render,
    with_rules,
)

_names = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True).filter(lambda n: n != "repeat")
_scalars: st.SearchStrategy[Option] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=12),
    st.sampled_from(["true", "none", "inf", "-inf", "1e5", "a/b.c", "nan", "inf-x", 'a"b\\c']),
)
_options = st.dictionaries(
    _names, st.one_of(_scalars, st.lists(_scalars, max_size=3).map(tuple)), max_size=3
)
_steps = st.builds(lambda name, options: Step(name, tuple(options.items())), _names, _options)
_items = st.recursive(
    _steps,
    lambda inner: st.builds(
        Group, st.integers(1, 99), st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


@given(st.lists(_items, max_size=5))
def test_parse_is_the_inverse_of_render(items: list[Item]) -> None:
    text = render(items)
    again = parse(text)
    assert again == tuple(items)
    assert render(again) == text
    assert _types(again) == _types(items)


def _types(items: Iterable[Item]) -> list[object]:
    """The types of all options: 1 is equal to True and to 1.0, but not the same option."""

    def of(value: Option) -> object:
        return [of(v) for v in value] if isinstance(value, tuple) else type(value)

    return [of(value) for step in names(items) for _, value in step.options]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-2", -2), ("1.5", 1.5), ("1e-3", 1e-3), ("true", True), ("none", None), ("word", "word"),
     ('"a b"', "a b"), ("[1,[2,x]]", (1, (2, "x"))), ("[]", ())],
)  # fmt: skip
def test_values(text: str, value: Option) -> None:
    (step,) = parse(f" p {{ k = {text} }} ")
    assert isinstance(step, Step)
    assert step.options == (("k", value),)
    assert type(step.options[0][1]) is type(value)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("a,,b", 3, "expected the name of a pass"),
        ("a b", 3, "expected ','"),
        ("a{k}", 4, "expected '='"),
        ("a{k=}", 5, "expected a value"),
        ("a{k=1,k=2}", 7, "given twice"),
        ("a{k=1", 6, "expected ','"),
        ("repeat{a}", 7, r"expected '\('"),
        ("repeat(0){a}", 9, "1 or more"),
        ("repeat(2){}", 12, "empty group"),
        ("repeat(2){a", 12, "expected ','"),
        ("a}", 2, "expected ','"),
        ("@X", 1, "expected a level"),
    ],
)
def test_errors_name_the_column(text: str, column: int, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(text)
    assert caught.value.place == f"column {column}"
    assert caught.value.source == "--passes"


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    with pytest.raises(UsageError, match="too deeply"):
        parse("repeat(1){" * 5000)
    with pytest.raises(UsageError, match="too deeply"):
        parse("a{k=" + "[" * 5000)


def test_levels_expand() -> None:
    assert parse("@O2,dce") == (*level_items(2), Step("dce"))
    assert level_items(0) == ()
    for level in LEVELS:
        assert parse(render(level_items(level))) == level_items(level)
    with pytest.raises(UsageError, match="-O7"):
        level_items(7)


def test_level_3_is_level_2_while_the_summary_says_so() -> None:
    assert level_items(3) == level_items(2) != level_items(0)


def test_edits_by_name() -> None:
    items = parse("a,repeat(3){b,c{k=1}},d")
    edits = {
        "drop": ["d", "missing"],
        "options": {"c": {"k": 2, "l": "x"}, "missing": {"k": 1}},
        "insert": [{"pass": "n{m=1}", "after": "b"}, {"pass": "first", "before": "a"}, {"pass": "last"}],
    }
    assert render(apply_edits(items, edits)) == "first,a,repeat(3){b,n{m=1},c{k=2,l=x}},last"
    assert render(apply_edits(parse("a,repeat(2){b}"), {"drop": ["b"]})) == "a"


def test_user_rules_come_with_the_clean_up_unless_named() -> None:
    items = parse("a")
    assert with_rules(items, ["mine"], at_end=True) == parse("a,mine")
    grouped = with_rules(items, ["mine"], at_end=False)
    assert isinstance(grouped[-1], Group)
    assert [step.name for step in names(grouped)][:2] == ["a", "mine"]
    assert with_rules(parse("mine,a"), ["mine"], at_end=False) == parse("mine,a")


def test_quantization_stands_before_the_forms_of_a_target() -> None:
    new = parse("quantize-weights{bits=4}")
    for name in ("cpu", "a100", "openvino-cpu"):
        items = level_items(2, get_target(name).pipeline)
        text = render(before_forms(items, new))
        assert text.replace(",quantize-weights{bits=4}", "") == render(items)
        behind = text.partition("quantize-weights")[2]
        assert "rotary" not in behind
        assert "ort-forms" not in text or "ort-forms" in behind
        assert "trt-legal" not in text or "trt-legal" in behind

"""Patterns by themselves, as `geoc match` takes them."""

from __future__ import annotations

from typing import Any

import pytest

from geoc.ir.errors import TextError
from geoc.ir.rewrite import find_matches
from geoc.ir.rewrite.pattern import pattern_rule

BODY = "%a = Neg(%x)\n%b = Exp(%a)\n%c = Abs(%a)\n%y = Add(%b, %c)"


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("Exp(Neg(%x))", ["b"]),
        ("Exp|Abs(Neg(%x))", ["b", "c"]),
        ("Neg(%v) |> Exp(_)", ["b"]),
        ("(Exp(%v) | Abs(%v))", ["b", "c"]),
        ("%r = Exp(%v)", ["b"]),
        ("%r = Add(%s, %q)\n%s = Exp(%v)", ["y"]),
        ("Exp(%v) where dim(%v, 0) == 2", ["b"]),
        ("Exp(%v)\nwhere dim(%v, 0) == 3", []),
        ("%p = Exp(%n) %q = Abs(%n)", ["b"]),  # two roots, found once
        ("Relu(%v)", []),
    ],
)
def test_matches(lab: Any, text: str, roots: list[str]) -> None:
    found = find_matches(pattern_rule(text), lab.model(BODY))
    assert [match.values[name].hint for match in found for name in ("match", "r", "p") if name in match.values] == roots


def test_what_is_bound(lab: Any) -> None:
    rule = pattern_rule("Softmax(Mul(%q, $s)) {axis = $a} where shape(%q) = [R, 8]")
    (match,) = find_matches(rule, lab.model("weight %k: f32[] = 0.5\n%m = Mul(%x, %k)\n%y = Softmax(%m)"))
    assert {name: value.hint for name, value in match.values.items()} == {"match": "y", "q": "x"}
    assert match.captures == {"s": 0.5, "a": -1} and match.dims == {"R": 2}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("Softmax(Ad(%x, %m))", "1:9", "unknown operator Ad; did you mean"),
        ("%y = Softmax(Ad(%x, %m))", "1:14", "unknown operator Ad; did you mean"),
        ("Softmax(Add(%x %m))", "1:16", "unexpected '%m'"),
        ("Exp(%x)\nwhere dmi(%x, 0) == 1", "2:7", "unknown function 'dmi'"),
        ("Exp(%x", "1:7", "unexpected"),
    ],
)
def test_faults_name_the_place_in_the_text(text: str, place: str, message: str) -> None:
    with pytest.raises(TextError) as caught:
        pattern_rule(text, "RULE")
    assert caught.value.source == "RULE" and message in caught.value.message
    line, column = caught.value.place.split(":")
    if message != "unexpected":
        assert f"{line}:{column}" == place

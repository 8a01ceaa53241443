"""Rules as Python classes give the same objects as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Value
from geoc.ir.errors import TextError, UsageError
from geoc.ir.rewrite import RewriteDriver, RuleSet, native
from geoc.ir.rewrite.python_rule import (
    any_of,
    attr,
    broadcasts,
    const,
    dim,
    dtype,
    has,
    many,
    maybe,
    number,
    optional,
    rank,
    rule,
    shape,
)
from geoc.ir.types import F16, F32


@native
def inverse_for_test(s: float) -> float | None:
    """1 / s."""
    return 1.0 / s if s else None


def same_as_text(lab: Any, made: Any, text: str) -> None:
    """Both forms must agree, the names that expansion or tracing made left aside."""
    (written,) = lab.load(text)
    assert made.name == written.name and made.doc == written.doc and made.benefit == written.benefit

    def plain(side: Any) -> str:
        return repr(side).replace("~y0", "y").replace("~y1", "z").replace("~o0_0", "a").replace("~o0_1", "b")

    assert plain(made.match) == plain(written.match)
    assert plain(made.where) == plain(written.where)
    assert plain(made.rewrite) == plain(written.rewrite)


def test_same_tree_as_text(lab: Any) -> None:
    @rule(benefit=40)
    class AddScale:
        """(x + b) * s."""

        def match(p, x: F32, b: const, s: number):  # type: ignore[no-untyped-def]
            return p.Mul(p.Add(x, b), s)

        def where(x, b, s):  # type: ignore[no-untyped-def]
            wide = dim(x, -1) * 2 >= 4
            return (rank(b) == 1) & ~(s == 0), wide, dtype(x).isin(F16, F32), broadcasts(b, shape(x))

        def rewrite(g, x, b, s):  # type: ignore[no-untyped-def]
            return g.Div(g.op("Add", x, b), inverse_for_test(s))

    same_as_text(
        lab,
        AddScale,
        'rule add_scale : benefit 40 { """(x + b) * s."""\n match %y = Mul(Add(%x: f32, %b: const), $s)\n'
        "where rank(%b) == 1 and not $s == 0, dim(%x, -1) * 2 >= 4, dtype(%x) in {f16, f32},\n"
        "broadcasts(%b, shape(%x))\n"
        "rewrite %y = Div(Add(%x, %b), inverse_for_test($s)) }",
    )
    assert AddScale.source == __file__ and AddScale.location.startswith(__file__ + ":")
    body = "weight %b: f32[8] = [1, 2, 3, 4, 5, 6, 7, 8]\nweight %s: f32[] = 4\n%a = Add(%b, %x)\n%y = Mul(%s, %a)"
    target = lab.model(body)
    assert lab.apply(RuleSet([AddScale]), target) == 1
    assert lab.ops(target) == ["Add", "Div"]
    assert target.graph.last.inputs[1].const.item() == 0.25
    zero = lab.model(body.replace("= 4", "= 0"))
    assert lab.apply(RuleSet([AddScale]), zero) == 0


def test_alternatives_optionals_and_attributes(lab: Any) -> None:
    @rule(name="r")
    class Whatever:
        """D."""

        def match(p, x, m: optional):  # type: ignore[no-untyped-def]
            inner = any_of(p.Neg(x), p.Exp(p.Clip(x, None, m)))
            return p.op("Softmax|LogSoftmax", maybe(p.Cast(inner, to=F32)), axis=attr("ax"))

        def where(m, ax):  # type: ignore[no-untyped-def]
            return ~has(m) | (ax == 0)

        def rewrite(g, x, m, ax):  # type: ignore[no-untyped-def]
            return any_of(g.Softmax(g.Min(x, m), axis=ax), g.Softmax(g.Relu(x), axis=ax))

    body = "{0}\n%y = Softmax(%a) {{axis={1}}}"
    clip = "weight %c: f32[] = 6\n%k = Clip(%x, none, %c)\n%a = Exp(%k)"
    for lines, axis, ops in (
        ("%a = Neg(%x)", 1, ["Relu", "Softmax"]),
        ("%n = Neg(%x)\n%a = Cast(%n) {to=1}", 0, ["Relu", "Softmax"]),
        (clip, 0, ["Min", "Softmax"]),
        (clip, 1, None),
    ):
        target = lab.model(body.format(lines, axis))
        assert lab.apply(RuleSet([Whatever]), target) in (0, 1)
        assert lab.ops(target) == (ops or ["Clip", "Exp", "Softmax"])


def test_several_outputs_and_roots(lab: Any) -> None:
    @rule()
    class Both:
        """D."""

        def match(p, x, u, v):  # type: ignore[no-untyped-def]
            return p.Add(x, u), p.Mul(x, v)

        def rewrite(g, x, u, v):  # type: ignore[no-untyped-def]
            a, b = g.op("my.domain::Pair", x, u, v, outputs=2)
            return a, b

    inputs = "%x: f32[2,8], %u: f32[2,8], %v: f32[2,8]"
    target = lab.model("%a = Add(%x, %u)\n%b = Mul(%x, %v)\n%y = Sub(%a, %b)", inputs)
    assert lab.apply(RuleSet([Both]), target) == 1
    assert lab.statements(target) == ["%a, b = my.domain::Pair(%x, %u, %v)", "%y = Sub(%a, %b)"]

    @rule()
    class Join:
        """D."""

        def match(p, x):  # type: ignore[no-untyped-def]
            a, b = p.Split(x, axis=1, num_outputs=2, outputs=2)
            return p.Concat(a, b, axis=1)

        def rewrite(g, x):  # type: ignore[no-untyped-def]
            return x

    target = lab.model("%a, %b = Split(%x) {axis=1, num_outputs=2}\n%c = Concat(%a, %b) {axis=1}\n%y = Neg(%c)")
    assert lab.apply(RuleSet([Join]), target) == 1
    assert lab.ops(target) == ["Neg"]


def test_variadics_and_shared(lab: Any) -> None:
    @rule(shared=True)
    class Flat:
        """D."""

        def match(p, a: many, b: many, c: many):  # type: ignore[no-untyped-def]
            return p.Concat(a, p.Concat(b, axis=0), c, axis=0)

        def rewrite(g, a, b, c):  # type: ignore[no-untyped-def]
            return g.Concat(a, b, c, axis=0)

    target = lab.model("%a = Concat(%x, %x) {axis=0}\n%b = Concat(%x, %a) {axis=0}", outputs="%a, %b")
    assert lab.apply(RuleSet([Flat]), target) == 1
    assert lab.statements(target)[1] == "%b = Concat(%x, %x, %x) {axis=0}"


def test_a_native_is_still_a_function() -> None:
    assert inverse_for_test(4.0) == 0.25


def test_faults_name_the_class(lab: Any) -> None:
    with pytest.raises(TextError, match=r"Reluu.*did you mean Relu") as caught:

        @rule()
        class Bad:
            """D."""

            def match(p, x):  # type: ignore[no-untyped-def]
                return p.Reluu(x)

            def rewrite(g, x):  # type: ignore[no-untyped-def]
                return x

    line = int(str(caught.value.place).partition(":")[0])
    with open(__file__, encoding="utf-8") as file:
        assert "def match" in file.read().splitlines()[line - 1]
    assert caught.value.source == __file__
    with pytest.raises(UsageError, match="called once with symbolic values"):

        @rule()
        class Branches:
            """D."""

            def match(p, x):  # type: ignore[no-untyped-def]
                return p.Relu(x)

            def where(x):  # type: ignore[no-untyped-def]
                return [True] if rank(x) == 1 else [False]

            def rewrite(g, x):  # type: ignore[no-untyped-def]
                return x

    with pytest.raises(UsageError, match="needs the functions match and rewrite"):
        rule()(type("Empty", (), {}))
    with pytest.raises(TextError, match="docstring"):

        @rule()
        class Silent:
            def match(p, x):  # type: ignore[no-untyped-def]
                return p.Relu(x)

            def rewrite(g, x):  # type: ignore[no-untyped-def]
                return x


def test_a_native_builds_weights(lab: Any) -> None:
    @native
    def stacked_for_test(a: Value, b: Value) -> Any:
        if a.const is None or b.const is None:
            return None
        return np.concatenate([a.const.array(), b.const.array()], axis=1)

    @rule()
    class Stack:
        """Two products of one value become one."""

        def match(p, x, u: const, v: const):  # type: ignore[no-untyped-def]
            return p.Concat(p.MatMul(x, u), p.MatMul(x, v), axis=-1)

        def rewrite(g, x, u, v):  # type: ignore[no-untyped-def]
            return g.MatMul(x, stacked_for_test(u, v))

    body = """
    weight %u: f32[2,1] = [1, 2]
    weight %v: f32[2,2] = [3, 4, 5, 6]
    %a = MatMul(%x, %u)
    %b = MatMul(%x, %v)
    %y = Concat(%a, %b) {axis=-1}
    """
    target = lab.model(body, "%x: f32[8,2]")
    assert RewriteDriver([Stack]).run(target) == 1
    weight = target.graph.last.inputs[1].const
    assert weight.array().tolist() == [[1, 3, 4], [2, 5, 6]]

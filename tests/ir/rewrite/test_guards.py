"""Guards: what is proven lets a rule pass, what is false or not known stops it, what is absent does not count."""

from __future__ import annotations

from typing import Any

import pytest

T, F = True, False
SHAPES = "%x: f32[B,12,S,64], %k: f32[B,4,T,64], %u: f32[*], %q: f32[?1,8]"

GUARDS: list[tuple[str, bool]] = [
    # shapes and solving
    ("shape(%x) = [B, H, S, D]", T),
    ("shape(%x) = [B, H, S]", F),
    ("shape(%x) = [B, B, S, D]", F),
    ("shape(%x) = [B, 12, _, 64]", T),
    ("shape(%x) = [_, 13, _, _]", F),
    ("shape(%x) = [B, _, _, _], shape(%k) = [B, _, _, _]", T),
    ("shape(%x) = [_, _, S, _], shape(%k) = [_, _, S, _]", F),
    ("shape(%x) = [..., D], D == 64", T),
    ("shape(%x) = [L..., D], len(L) == 3, item(L, 1) == 12", T),
    ("shape(%x) = [B, ..., D], shape(%k) = [B, ..., D]", T),
    ("shape(%x) = [B, R..., D], shape(%k) = [B, R..., D]", F),
    ("shape(%x) = [A, B, C, D, ...]", T),
    ("shape(%x) = [A, B, C, D, E, ...]", F),
    ("shape(%u) = [...]", F),
    ("shape(%x) = [_, Hq, ...], shape(%k) = [_, Hk, ...], R*Hk == Hq, R == 3", T),
    ("shape(%x) = [_, Hq, ...], shape(%k) = [_, Hk, ...], R*Hq == Hk", F),
    ("dim(%x, 1) == N + 2, N == 10", T),
    ("2 - N == dim(%x, 1), N == -10", T),
    ("dim(%x, 0) * 6 == N * 2, N == 3 * dim(%x, 0)", T),
    ("N = dim(%x, 1) * 2, N == 24", T),
    ("N = dim(%x, 1) / 5", F),
    ("shape(%x) = [B, H, S, D], shape(%x) = [B, H, S, H*5+4]", T),
    # proven, refuted, unknown
    ("dim(%x, 0) == dim(%k, 0)", T),
    ("dim(%x, 2) == dim(%k, 2)", F),
    ("dim(%x, 2) != dim(%k, 2)", F),
    ("not dim(%x, 2) == dim(%k, 2)", F),
    ("dim(%x, 1) != dim(%k, 1)", T),
    ("dim(%x, 2) + 1 > dim(%x, 2)", T),
    ("dim(%x, 2) >= 0", T),
    ("dim(%x, 2) > 0", F),
    ("dim(%x, 2) <= dim(%x, 2)", T),
    ("dim(%x, 2) < dim(%x, 2)", F),
    ("dim(%x, -1) == 64 and dim(%x, -3) == 12", T),
    ("dim(%x, 4) == 64", F),
    ("not dim(%x, 4) == 64", F),
    ("rank(%u) == 4", F),
    ("not rank(%u) == 4", F),
    ("rank(%u) == 4 or rank(%x) == 4", T),
    ("rank(%u) == 4 and rank(%x) == 4", F),
    ("rank(%x) in {3, 4}", T),
    ("rank(%x) in {2, 3}", F),
    ("not rank(%x) in {2, 3}", T),
    ("dtype(%x) in {f16, f32}", T),
    ("dtype(%x) == f16", F),
    ("dtype(%x) == dtype(%k)", T),
    ("is_float(%x), not is_int(%x)", T),
    ("dim(%q, 0) == dim(%q, 0)", T),
    ("dim(%q, 0) == dim(%x, 0)", F),
    # functions
    ("numel(%x) == 768 * dim(%x, 0) * dim(%x, 2)", T),
    ("prod([2, dim(%x, 0)]) == dim(%x, 0) + dim(%x, 0)", T),
    ("floor(dim(%x, 1), 5) == 2, mod(dim(%x, 1), 5) == 2", T),
    ("floor(dim(%x, 1), 0) == 2", F),
    ("min(3, rank(%x)) == 3, max(dim(%x, 0), 0) == dim(%x, 0)", T),
    ("sqrt(dim(%x, -1)) == 8.0, abs(-2) == 2", T),
    ("sqrt(dim(%x, 0)) == 8.0", F),
    ("1.0 / sqrt(dim(%x, -1)) == 0.125", T),
    ("1 / 2 == 0.5", F),
    ("is_static(%x)", F),
    ("len(shape(%x)) == 4", T),
    ("shape(%x) == [dim(%x, 0), 12, dim(%x, 2), 64]", T),
    ("const(%x)", F),
    ("not const(%x)", T),
    ("scalar(%x) == 1", F),
    ("same(%x, %x)", T),
    ("same(%x, %k)", F),
    ("is_output(%x)", F),
    ("uses(%x) == 1", T),
    ("broadcasts(%x, [dim(%x, 0), 12, dim(%x, 2), 64])", T),
    ("broadcasts(%x, [7, dim(%x, 0), 12, dim(%x, 2), 64])", T),
    ("broadcasts(%x, [dim(%x, 0), 13, dim(%x, 2), 64])", F),
    ("broadcasts(%x, [12, dim(%x, 2), 64])", F),
    ("broadcasts(%x, %k)", F),
    ("broadcasts(%u, %k)", F),
    ("1 < 2, 2 <= 2, 3 > 2, 2 >= 2, 1 != 2, 1.5 < 2", T),
    ("1 + 2 * 3 - 4 / 2 == 5", T),
    ("(1 + 2) * 3 == 9", T),
    ("-dim(%x, 1) == -12", T),
    ("true", T),
    ("false", F),
    ("not false and true", T),
    ('"a" == "a", "a" != "b"', T),
    ("[1, 2] + [3] == [1, 2, 3]", T),
]  # fmt: skip


@pytest.mark.parametrize(("where", "fires"), GUARDS, ids=[g[0] for g in GUARDS])
def test_guard(lab: Any, where: str, fires: bool) -> None:
    body = "%a = Neg(%x)\n%b = geoc::Probe(%a, %k, %u, %q)\n%y = Relu(%b)"
    target = lab.model(body, SHAPES, "%y")
    match = "%t = Neg(%x)\n%y = geoc::Probe(%t, %k, %u, %q)"
    text = lab.rule(match, "%y = geoc::Done(%x, %k)", where)
    assert lab.apply(text, target) == int(fires)


ABSENT: list[tuple[str, bool, bool]] = [
    # where, fires without the stage, fires with it (a mask of rank 2)
    ("rank(%m) == 4", T, F),
    ("rank(%m) == 2", T, T),
    ("not rank(%m) == 2", T, F),
    ("has(%m)", F, T),
    ("not has(%m)", T, F),
    ("has(%m) and rank(%m) == 2", F, T),
    ("not has(%m) or rank(%m) == 4", T, F),
    ("rank(%m) == 4 or rank(%x) == 2", T, T),
    ("rank(%m) == 4 or rank(%x) == 3", T, F),
    ("rank(%m) == 4 and rank(%x) == 3", F, F),
    ("shape(%m) = [A, B], A == 2", T, T),
    ("shape(%m) = [A, B], A == 3", T, F),
    ("dim(%m, 0) in {5, 6}", T, F),
    ('has($f), $f == "Add"', F, T),
    ('$f == "Sub"', T, F),
]


@pytest.mark.parametrize(("where", "without", "with_stage"), ABSENT, ids=[a[0] for a in ABSENT])
def test_guards_on_what_is_absent(lab: Any, where: str, without: bool, with_stage: bool) -> None:
    text = lab.rule("%y = Neg(%x) |> Add|Sub:$f(_, %m)? |> Exp(_)", "%y = Relu(%x)", where)
    inputs = "%x: f32[2,8], %m: f32[2,8]"
    assert lab.apply(text, lab.model("%a = Neg(%x)\n%y = Exp(%a)", inputs)) == int(without)
    target = lab.model("%a = Neg(%x)\n%b = Add(%a, %m)\n%y = Exp(%b)", inputs)
    assert lab.apply(text, target) == int(with_stage)


def test_content_of_a_computed_shape(lab: Any) -> None:
    """The target of a Reshape that the graph computes is known without running it."""
    body = """
    weight %one: i64[1] = [1]
    weight %w: i64[1] = [32]
    weight %zero: i64[] = 0
    %s = Shape(%x)
    %b = Gather(%s, %zero)
    %b1 = Reshape(%b, %one)
    %t = Concat(%b1, %one, %w) {axis=0}
    %y = Reshape(%x, %t)
    """
    inputs = "%x: f32[B,4,8]"
    match = "%y = Reshape(%x, %t)"
    fires = lab.rule(match, "%y = Flatten(%x)", "shape(%x) = [B, ...], content(%t) = [B, 2, _]")
    assert lab.apply(fires, lab.model(body, inputs)) == 0
    where = "shape(%x) = [B, ...], content(%t) = [B, 1, N], N == 32"
    fires = lab.rule(match, "%y = Unsqueeze(Flatten(%x), [1])", where)
    target = lab.model(body, inputs)
    assert lab.apply(fires, target) == 1
    assert lab.ops(target) == ["Flatten", "Unsqueeze"]


def test_a_failed_guard_tries_the_other_order(lab: Any) -> None:
    """Guards are part of the match: the operands of Add are swapped when the first order does not hold."""
    text = lab.rule("%y = Add(%a, %b)", "%y = Sub(%a, Neg(%b))", "rank(%b) == 1")
    for line in ("%y = Add(%x, %v)", "%y = Add(%v, %x)"):
        target = lab.model(line, "%x: f32[2,8], %v: f32[8]")
        assert lab.apply(text, target) == 1
        assert target.graph.first.inputs[0].hint == "v"
        assert target.graph.last.inputs[0].hint == "x"

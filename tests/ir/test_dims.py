"""Symbolic dimensions against exact integer arithmetic."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from geoc.ir.dim_parser import parse
from geoc.ir.dims import (
    Dim,
    DimLike,
    broadcast,
    ceildiv,
    exact_div,
    floordiv,
    fresh,
    known_ge,
    lower_bound,
    maximum,
    minimum,
    mod,
    product,
    spell,
    substitute,
    symbol,
)

NAMES = ["A", "B", "C", "B*S", "floor(A,2)", 'q"\\', "n\n", "max"]
Sizes = dict[str, int]
Exact = Callable[[Sizes], int]


class DivisionByZero(Exception):
    """The exact value of a division by a symbol that is 0."""


def _floor(a: int, b: int) -> int:
    if b == 0:
        raise DivisionByZero
    return a // b


def _mod(a: int, b: int) -> int:
    if b == 0:
        raise DivisionByZero
    return a % b


def expression(rng: random.Random, depth: int) -> tuple[DimLike, Exact]:
    """A random dimension, and a function that computes it from sizes by plain integer arithmetic."""
    if depth == 0 or rng.random() < 0.15:
        if rng.random() < 0.3:
            number = rng.choice([0, 1, 2, 3, 7, 64])
            return number, lambda sizes: number
        name = rng.choice(NAMES)
        return symbol(name), lambda sizes: sizes[name]
    (a, x), (b, y) = expression(rng, depth - 1), expression(rng, depth - 1)
    kind = rng.randrange(8)
    if kind < 2:
        return a + b, lambda s: x(s) + y(s)
    if kind == 2:
        return a - b, lambda s: x(s) - y(s)
    if kind < 5:
        return a * b, lambda s: x(s) * y(s)
    if kind == 5:
        return maximum(a, b), lambda s: max(x(s), y(s))
    if kind == 6:
        return minimum(a, b), lambda s: min(x(s), y(s))
    if isinstance(b, int) and b == 0:
        b, y = 3, lambda s: 3
    if rng.random() < 0.5:
        return floordiv(a, b), lambda s: _floor(x(s), y(s))
    return mod(a, b), lambda s: _mod(x(s), y(s))


def value(dim: DimLike, sizes: Sizes) -> int:
    found = substitute(dim, sizes.get)
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("seed", range(300))
def test_arithmetic_is_exact(seed: int) -> None:
    rng = random.Random(seed)
    dim, exact = expression(rng, rng.randrange(1, 4))
    low = lower_bound(dim)
    for _ in range(12):
        sizes = {name: rng.choice([1, 2, 3, 5, 8, 12, 100]) for name in NAMES}
        try:
            wanted = exact(sizes)
        except DivisionByZero:
            continue
        try:
            assert value(dim, sizes) == wanted
        except ZeroDivisionError:
            continue  # a divisor that cancels out in one of the two only
        assert low is None or low <= wanted


@pytest.mark.parametrize("seed", range(300))
def test_text_comes_back_as_the_same_object(seed: int) -> None:
    dim, _ = expression(random.Random(seed), 3)
    assert parse(str(dim)) is dim or parse(str(dim)) == dim
    assert substitute(dim, lambda name: None) is dim
    assert dim * -1 * -1 is dim or isinstance(dim, int)
    doubled = substitute(dim, lambda name: symbol(name + "2"))
    assert substitute(doubled, lambda name: symbol(name[:-1])) == dim


@pytest.mark.parametrize("seed", range(200))
def test_proofs_hold(seed: int) -> None:
    rng = random.Random(seed)
    (a, x), (b, y) = expression(rng, 2), expression(rng, 2)
    quotient = exact_div(a, b)
    joined = broadcast(a, b)
    for _ in range(12):
        sizes = {name: rng.choice([1, 2, 3, 4, 6, 100]) for name in NAMES}
        try:
            left, right = x(sizes), y(sizes)
        except DivisionByZero:
            continue
        if known_ge(a, b):
            assert left >= right
        if a is b:
            assert left == right
        if quotient is not None and right != 0:
            assert left == value(quotient, sizes) * right
        if joined is None:
            assert left != right and 1 not in (left, right)
        elif not (isinstance(joined, Dim) and joined.is_unknown) and (left == right or 1 in (left, right)):
            assert value(joined, sizes) == (right if left == 1 else left)


def test_equal_expressions_are_one_object() -> None:
    a, b = symbol("A"), symbol("B")
    assert (a + b) * (a - b) is a * a - b * b
    assert (a + b) - a is b
    assert a - a == 0 and isinstance(a - a, int)
    assert floordiv(a * b * 64, a) is b * 64
    assert floordiv(a * 4 + 6, 4) is a + 1
    assert ceildiv(a * 4 + 1, 4) is a + 1
    assert exact_div(a * b + 2 * a, b + 2) is a
    assert exact_div(a * 3, 2) is None
    assert mod(a * 6, 3) == 0
    assert product((2, a, 3)) is a * 6
    assert product(()) == 1
    assert minimum(64, minimum(64, a)) is minimum(a, 64)
    assert minimum(7, minimum(a, 4)) is minimum(4, minimum(7, a))
    assert maximum(a, maximum(b, a)) is maximum(a, b)
    assert maximum(2, maximum(1, a)) is maximum(a, 2)


def test_symbols_that_look_like_arithmetic_stay_symbols() -> None:
    a, b = symbol("A"), symbol("B")
    odd = symbol("A*B")
    assert odd is not a * b
    assert floordiv(odd, 2) is not floordiv(a * b, 2)
    assert symbol("floor(A,2)") is not floordiv(a, 2)
    assert maximum(symbol("A+B"), 3) is not maximum(a + b, 3)
    assert str(odd + a * b) == 'A*B+"A*B"'
    assert spell("A_1.x") == "A_1.x" and spell("floor") == '"floor"' and spell("a\n") == '"a\\n"'


def test_unknowns_equal_only_themselves() -> None:
    a, b = fresh(), fresh()
    assert a is not b and a - b != 0 and a.is_unknown and not (a * 2).is_unknown
    assert not known_ge(a, b) and exact_div(a, b) is None and exact_div(a, a) == 1
    # Older unknowns come first in sums, however many there are.
    many = [fresh() for _ in range(120)]
    total = sum(many)
    assert isinstance(total, Dim)
    assert [m[0].name for m, _ in total.terms] == [d.atom.name for d in many if d.atom]


@pytest.mark.parametrize(
    "text",
    ["", "+", "A+", "A B", "(A", "floor(A,0)", "mod(A,0)", "floor(A)", "A/2", "A//0", "A%0", "?", '"', '"\\q"', "1" * 5000,
     "*".join(f"(a{i}+b{i})" for i in range(40)), "(" * 3000, "+".join(["A"] * 5000)],
)  # fmt: skip
def test_what_is_no_dimension(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_unknowns_in_text_need_a_reader() -> None:
    known = {"?": fresh(), "?a": fresh()}
    assert parse("2*?a+?", known.__getitem__) is known["?a"] * 2 + known["?"]

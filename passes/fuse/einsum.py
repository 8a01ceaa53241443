"""Einsum equations as transposes, products and sums of axes.

bqhd,bkhd->bhqk     Transpose, Transpose, MatMul
abc,cde->abde       Reshape of the weight, MatMul, Reshape
bhd,bhd->bh         Mul, ReduceSum
"""

from __future__ import annotations

import math
from functools import lru_cache

from ...ir.core import Value
from ...ir.dims import Dim
from ...ir.rewrite import native
from ...ir.rewrite.functions import ABSENT, Outcome

Shape = tuple[Dim | int, ...]
Axes = tuple[int, ...]
Found = Axes | Outcome | None  # no match: None; nothing to do: ABSENT

_PLANS = 512
_DIGITS = "01234567"


class Plan:
    """What happens to both operands, and then to their product; `ABSENT` where a step changes nothing.

    `kind`: "matmul" or "mul". Each side: axes to sum, a permutation, a shape, axes to insert. The product: axes to
    drop or to sum, a shape, a permutation.
    """

    __slots__ = ("kind", "left", "right", "axes", "shape", "perm")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.left: dict[str, Axes] = {}
        self.right: dict[str, Axes] = {}
        self.axes: Axes = ()
        self.shape: Axes = ()
        self.perm: Axes = ()


@native
def einsum_kind(equation: str, a: Value, b: Value) -> str | None:
    """ "matmul" or "mul": what the product of two operands is."""
    plan = _plan_for(equation, a, b)
    return None if plan is None else plan.kind


@native
def einsum_operand(equation: str, a: Value, b: Value, side: str, step: str) -> Found:
    """One step for the "left" or "right" operand: axes to "sum", "perm", "shape", or "axes" to insert."""
    plan = _plan_for(equation, a, b)
    if plan is None:
        return None
    return (plan.left if side == "left" else plan.right).get(step) or ABSENT


@native
def einsum_result(equation: str, a: Value, b: Value, step: str) -> Found:
    """One step for the product: "axes" to drop or sum, "shape" or "perm"."""
    plan = _plan_for(equation, a, b)
    if plan is None:
        return None
    return (plan.axes if step == "axes" else plan.shape if step == "shape" else plan.perm) or ABSENT


@native
def einsum_sum(equation: str, x: Value) -> Found:
    """The axes that an equation of one operand sums."""
    terms = None if x.shape is None else _terms(equation, (x.shape,))
    if terms is None:
        return None
    (own,), out = terms
    return _missing(own, out) or ABSENT


@native
def einsum_order(equation: str, x: Value) -> Found:
    """The permutation, after summing, of an equation of one operand."""
    terms = None if x.shape is None else _terms(equation, (x.shape,))
    if terms is None:
        return None
    (own,), out = terms
    return _perm([letter for letter in own if letter in out], list(out)) or ABSENT


def _terms(equation: str, shapes: tuple[Shape, ...]) -> tuple[list[str], str] | None:
    """The letters of each operand and of the result, digits for what an ellipsis stands for, counted from the end.

    None where one term repeats a letter, or the equation does not fit the shapes.
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        out = "..." * ("..." in left) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    if len(operands) != len(shapes):
        return None
    hidden = [len(shape) - len(term.replace("...", "")) for term, shape in zip(operands, shapes)]
    ellipses = {n for n, term in zip(hidden, operands) if "..." in term}
    if len(ellipses) > 1 or min(hidden) < 0 or max(hidden) > len(_DIGITS):
        return None
    if any(n and "..." not in term for n, term in zip(hidden, operands)):
        return None
    operands = [t.replace("...", _DIGITS[len(_DIGITS) - n :]) for n, t in zip(hidden, operands)]
    out = out.replace("...", _DIGITS[len(_DIGITS) - max(hidden) :])
    for term in (*operands, out):
        if len(set(term)) < len(term) or not (term.isalnum() or not term):
            return None
    return (operands, out) if set(out) <= set("".join(operands)) else None


def _missing(own: str, others: str) -> Axes:
    return tuple(i for i, letter in enumerate(own) if letter not in others)


def _plan_for(equation: str, a: Value, b: Value) -> Plan | None:
    if a.shape is None or b.shape is None:
        return None
    return _plan(equation, a.shape, b.shape)


@lru_cache(maxsize=_PLANS)
def _plan(equation: str, a: Shape, b: Shape) -> Plan | None:
    terms = _terms(equation, (a, b))
    if terms is None:
        return None
    (left, right), out = terms
    sizes: dict[str, Dim | int] = {}
    unequal: set[str] = set()  # one of both sizes may be 1, which is repeated then
    for letter, size in (*zip(left, a), *zip(right, b)):
        known = sizes.setdefault(letter, size)
        if known is size or known == size:
            continue
        if letter in _DIGITS or (isinstance(known, int) and isinstance(size, int)):
            return None
        unequal.add(letter)
        sizes[letter] = known if isinstance(known, int) else size
    sums = _missing(left, right + out), _missing(right, left + out)
    left, right = ("".join(c for c in t if c in other + out) for t, other in ((left, right), (right, left)))
    both = [letter for letter in left if letter in right]
    summed = [letter for letter in both if letter not in out]
    m = [letter for letter in out if letter not in right]
    n = [letter for letter in out if letter not in left]
    if m and n and not summed:
        return None
    if summed and (m or n):
        if not unequal.isdisjoint(summed):
            return None
        batch = [letter for letter in out if letter in both]
        plan = _matmul((left, right, out), (batch, m, n, summed), sizes)
    else:
        plan = _elementwise(left, right, out, summed)
    if plan is not None:
        plan.left["sum"], plan.right["sum"] = sums
    return plan


def _elementwise(left: str, right: str, out: str, summed: list[str]) -> Plan:
    """Mul of both operands with their axes in the order of the result, and a sum over the others."""
    plan = Plan("mul")
    order = [*out, *summed]
    for term, side in ((left, plan.left), (right, plan.right)):
        side["perm"] = _perm(list(term), [letter for letter in order if letter in term])
        side["axes"] = _missing("".join(order), term)
    plan.axes = tuple(range(len(out), len(order)))
    return plan


def _matmul(
    terms: tuple[str, str, str], groups: tuple[list[str], list[str], list[str], list[str]], sizes: dict[str, Dim | int]
) -> Plan | None:
    """MatMul of [outer, batch, m, k] and [outer, batch, k, n], where `outer` are further axes of one operand only.

    Several axes k, and several axes n that stand in a row, become one by a Reshape, if their lengths are known.
    """
    left, right, out = terms
    batch, m, n, k = groups
    plan = Plan("matmul")
    outer, rows, columns = m[:-1], m[-1:], n
    joined = len(n) > 1 and not batch and all(_positive(sizes[letter]) for letter in n)
    if not joined and n[:-1]:
        if outer:
            return None
        outer, columns = n[:-1], n[-1:]
    of_left = [letter for letter in outer if letter in left]
    of_right = [letter for letter in outer if letter in right]
    lefts = [*of_left, *batch, *rows, *k]
    rights = [*of_right, *batch, *k, *columns]
    plan.left["perm"] = _perm(list(left), lefts)
    plan.right["perm"] = _perm(list(right), rights)
    if len(k) > 1:
        if not all(_positive(sizes[letter]) for letter in (*k, *columns)):
            return None
        inner = _product(k, sizes)
        plan.left["shape"] = (*(0,) * (len(lefts) - len(k)), inner)
        plan.right["shape"] = (
            *(0,) * (len(of_right) + len(batch)),
            inner,
            *([_product(columns, sizes)] if columns else ()),
        )
    elif joined:
        plan.right["shape"] = (0, _product(columns, sizes))
    if batch and not rows:
        plan.left["axes"] = (len(of_left) + len(batch),)
        plan.axes = (len(outer) + len(batch),)
    if batch and not columns:
        plan.right["axes"] = (len(of_right) + len(batch) + 1,)
        plan.axes = (len(outer) + len(batch) + 1,)
    if joined:
        plan.shape = (*(0,) * (len(outer) + len(rows)), *(_known(letter, sizes) for letter in columns))
    plan.perm = _perm([*outer, *batch, *rows, *columns], list(out))
    return plan


def _known(letter: str, sizes: dict[str, Dim | int]) -> int:
    size = sizes[letter]
    assert isinstance(size, int)
    return size


def _product(letters: list[str], sizes: dict[str, Dim | int]) -> int:
    return math.prod(_known(letter, sizes) for letter in letters)


def _positive(size: Dim | int) -> bool:
    return isinstance(size, int) and size > 0


def _perm(own: list[str], wanted: list[str]) -> Axes:
    """The permutation from one order of letters to another; () for none."""
    perm = tuple(own.index(letter) for letter in wanted)
    return perm if perm != tuple(range(len(perm))) else ()

"""What is worth trying beside what is known, and what cannot be: the search's own steps, besides those of Optuna.

Less left of layers, or fewer layers kept in floats, is faster and less exact. So between what fits and what does not,
with all else equal, lies what is better than both, and beyond either there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from .front import Outcome
from .space import INTEGERS, LEAST_LEFT, LEFT_STEP, MOST_LEFT, WEIGHTS, Point, Space

_FIRST_STEP, _LARGE_STEP = 0.05, 0.15  # of what is left, where nothing is known to be too little; far from the bound
_LITTLE = 0.35  # of what may be lost, up to which that is far
_FIRST_LEFT = 0.9  # where layers were whole
_LOSSLESS = ("without", "threads")  # choices that lose nothing
_FULL = 0.7  # of what may be lost, beyond which smaller layers are likely to lose too much


def is_hopeless(point: Point, outcomes: Sequence[Outcome], fitting: Sequence[Outcome]) -> bool:
    """True for what is known to lose too much, because something milder does, or to gain less than what fits.

    As recipes take it: smaller layers in a precision that is over the bound by itself are over it as well.
    """
    fits = {outcome.number for outcome in fitting}
    for outcome in outcomes:
        if outcome.failed or outcome.lost is None or not _is_alike(point, outcome.point, _LOSSLESS):
            continue
        if outcome.number not in fits and _is_milder(outcome.point, point):
            return True
        if outcome.number in fits and _is_milder(point, outcome.point) and _is_alike(point, outcome.point):
            return True
    return False


def steps_beside(
    space: Space, best: Outcome, outcomes: Sequence[Outcome], fitting: Sequence[Outcome], bound: float | None
) -> list[dict[str, Any]]:
    """Points next to the best one that may be better, the likeliest first."""
    if "form" in best.point:
        return []
    fits = {outcome.number for outcome in fitting}
    over = [o.point for o in outcomes if o.number not in fits and not o.failed and o.lost is not None]
    point = best.point
    used = 1.0 if not bound or best.lost is None else best.lost / bound
    step = _FIRST_STEP if used > _LITTLE else _LARGE_STEP
    amounts, smaller, codes = list(_amounts(space, point, over, step)), list(_smaller(point)), list(_codes(point))
    is_full = used > _FULL
    found = [*amounts, *codes, *smaller] if is_full else [*amounts, *smaller, *codes]
    if not point.get("without"):
        found += [{**point, "without": name} for name in space.offer.fired.get(point["target"], ())]
    return [space.normal(each) for each in found]


def _amounts(space: Space, best: Point, over: Sequence[Point], step: float) -> Iterator[dict[str, Any]]:
    """Between the best and what is over the bound, with all else equal; `step` is how much less of layers is left where
    nothing of that kind is over it."""
    keep, left = best.get("keep", 0), best.get("left")
    if keep:
        lower = [p.get("keep", 0) for p in over if _same_but(p, best, "keep") and p.get("keep", 0) < keep]
        yield {**best, "keep": (keep + max(lower)) // 2 if lower else keep // 2}
    if left is not None:
        less = [p["left"] for p in over if "left" in p and _same_but(p, best, "left") and p["left"] < left]
        yield {**best, "left": on_grid((left + max(less)) / 2 if less else left - step)}
        rungs = len(space.offer.ladder.get(best["target"], ()))
        if less and best["precision"] == INTEGERS and keep + 1 < rungs:
            yield {**best, "keep": keep + 1, "left": on_grid(left - _FIRST_STEP)}


def _smaller(best: Point) -> Iterator[dict[str, Any]]:
    """With smaller layers where they were whole: what that gains may pay for what is kept in floats."""
    if not best.get("structure"):
        for structure in ("prune", "low-rank-time"):
            yield {**best, "structure": structure, "left": _FIRST_LEFT}


def _codes(best: Point) -> Iterator[dict[str, Any]]:
    """With scales found in another way."""
    if best["precision"] == INTEGERS and best.get("static", True):
        for method in ("percentile", "mse", "average"):
            if best["method"] != method:
                yield {**best, "method": method}
    elif best["precision"] in WEIGHTS:
        for block in (64, 128):
            if best["block"] < block:
                yield {**best, "block": block}


def on_grid(left: float) -> float:
    """A share that is left, as the space has them."""
    return round(min(max(round(left / LEFT_STEP) * LEFT_STEP, LEAST_LEFT), MOST_LEFT), 4)


def _same_but(a: Point, b: Point, name: str) -> bool:
    return {k: v for k, v in a.items() if k != name} == {k: v for k, v in b.items() if k != name}


def _is_alike(a: Point, b: Point, ignored: Collection[str] = ()) -> bool:
    """True if two points differ in amounts alone, and in what is `ignored`; whole layers are like any smaller ones."""
    left_out = {"left", "keep", "structure", *ignored}
    kinds = {point["structure"] for point in (a, b) if point.get("structure")}
    return len(kinds) < 2 and {k: v for k, v in a.items() if k not in left_out} == {
        k: v for k, v in b.items() if k not in left_out
    }


def _is_milder(a: Point, b: Point) -> bool:
    """True if as much or more of `a` stays as it was than of `b`, in each respect."""
    return bool(a.get("left", 1.0) >= b.get("left", 1.0) and a.get("keep", 0) >= b.get("keep", 0))

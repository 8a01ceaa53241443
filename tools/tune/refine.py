"""What is worth trying beside what is known, and what cannot be: the search's own steps, besides those of Optuna.

Less left of layers, or fewer layers kept in floats, is faster and less exact. So between what fits and what does not,
with all else equal, lies what is better than both, and beyond either there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .front import Outcome
from .space import INTEGERS, LEAST_LEFT, LEFT_STEP, MOST_LEFT, Point, Space

_FIRST_STEP = 0.05  # of what is left, where nothing is known to be too little
_FIRST_LEFT = 0.9  # where layers were whole


def is_hopeless(point: Point, outcomes: Sequence[Outcome], fitting: Sequence[Outcome]) -> bool:
    """True for what is known to lose too much, because something milder does, or to gain less than what fits."""
    fits = {outcome.number for outcome in fitting}
    for outcome in outcomes:
        if outcome.failed or outcome.lost is None or not _same_but_amounts(point, outcome.point):
            continue
        if outcome.number in fits and _is_milder(point, outcome.point):
            return True
        if outcome.number not in fits and _is_milder(outcome.point, point):
            return True
    return False


def steps_beside(space: Space, best: Point, outcomes: Sequence[Outcome], fitting: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Points next to the best one that may be better, the likeliest first."""
    if "form" in best:
        return []
    fits = {outcome.number for outcome in fitting}
    over = [o.point for o in outcomes if o.number not in fits and not o.failed and o.lost is not None]
    return [space.normal(point) for point in _steps(space, best, over)]


def _steps(space: Space, best: Point, over: Sequence[Point]) -> Iterator[dict[str, Any]]:
    rungs = space.offer.ladder.get(best["target"], ())
    keep, left = best.get("keep", 0), best.get("left")
    if keep:
        lower = [p.get("keep", 0) for p in over if _same_but(p, best, "keep") and p.get("keep", 0) < keep]
        yield {**best, "keep": (keep + max(lower, default=-2)) // 2 if lower else keep // 2}
    if left is not None:
        less = [p["left"] for p in over if "left" in p and _same_but(p, best, "left") and p["left"] < left]
        wanted = (left + max(less)) / 2 if less else left - _FIRST_STEP
        yield {**best, "left": on_grid(wanted)}
    else:
        # What it gains pays for a few more layers in floats, where those were too many to spare.
        for structure in ("prune", "low-rank-time"):
            yield {**best, "structure": structure, "left": _FIRST_LEFT}
    if best["precision"] == INTEGERS:
        if keep + 1 < len(rungs) and left is not None:
            yield {**best, "keep": keep + 1, "left": on_grid(left - _FIRST_STEP)}
        for method in ("percentile", "mse", "entropy"):
            if best.get("static", True) and best.get("method") != method:
                yield {**best, "method": method}
    for name in space.offer.fired.get(best["target"], ()):
        if not best.get("without"):
            yield {**best, "without": name}


def on_grid(left: float) -> float:
    """A share that is left, as the space has them."""
    return round(min(max(round(left / LEFT_STEP) * LEFT_STEP, LEAST_LEFT), MOST_LEFT), 4)


def _same_but(a: Point, b: Point, name: str) -> bool:
    return {k: v for k, v in a.items() if k != name} == {k: v for k, v in b.items() if k != name}


def _same_but_amounts(a: Point, b: Point) -> bool:
    amounts = ("left", "keep")
    return {k: v for k, v in a.items() if k not in amounts} == {k: v for k, v in b.items() if k not in amounts}


def _is_milder(a: Point, b: Point) -> bool:
    """True if as much or more of `a` stays as it was than of `b`, in each respect."""
    return a.get("left", 1.0) >= b.get("left", 1.0) and a.get("keep", 0) >= b.get("keep", 0)

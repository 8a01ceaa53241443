"""What is worth trying beside what is known, and what cannot be: the search's own steps, besides those of Optuna.

Less left of layers, or fewer layers kept in floats, is faster and less exact. So between what fits and what does not,
with all else equal, lies what is better than both, and beyond either there is nothing to find.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from .front import Outcome
from .mixture import Known, Mixture
from .order import Order
from .space import INTEGERS, LEAST_LEFT, LEFT_STEP, MOST_LEFT, WEIGHTS, Point, Space

_FIRST_STEP, _LARGE_STEP = 0.05, 0.15  # of what is left, where nothing is known to be too little; far from the bound
_LITTLE = 0.35  # of what may be lost, up to which that is far
_FIRST_LEFT = 0.9  # where layers were whole
_CODES = ("method", "smooth", "correct", "rounding", "weights")  # choices of codes of 8 bits
_LOSSLESS = ("without", "threads")  # choices that lose nothing
_MOST = 1e3  # of an error where nothing is right
_NEAR = (1.0, 0.9, 1.1, 0.8, 1.25)  # times the bound, squared, for which another mixture is looked for
_FURTHER = (1.5, 1.25, 2.0, 1.0)  # times the squared error of what fits the bound of a metric, where nothing is over it
_WIDE = 1.05  # times the error of what fits the bound of a metric, beyond which what is over it is far from that
_ACROSS = 3  # mixtures that come before all else
CLOSE = 1.15  # times what the best takes, up to which something else may be better yet
_MISSED = 2.0  # times the bound, up to which another way to find codes may help
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
    space: Space, outcomes: Sequence[Outcome], fitting: Sequence[Outcome], bound: float | None,
    is_wanted: Callable[[Point], bool],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Points next to the best ones that may be better, the likeliest first; the same again may be among them.

    By turns another mixture of integers and floats, more or less of what is smaller, and other codes. What is not
    wanted, as it is known or hopeless, takes nobody's turn.
    """
    fits = {outcome.number for outcome in fitting}
    over = [o for o in outcomes if o.number not in fits and not o.failed and o.lost is not None]
    best = fitting[0]

    def wanted(points: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        return filter(is_wanted, map(space.normal, points))

    mixed = wanted(_mixtures(space, outcomes, fitting, bound))
    yield from islice(mixed, _ACROSS)
    if "form" in best.point:
        yield from mixed
        return
    used = 1.0 if not bound or best.lost is None else best.lost / bound
    amounts = [point for each in _leaders(fitting, space.order) for point in _amounts(each, over, bound)]
    # Other codes take no less time: they are for what is faster than the best, and was only just too inexact.
    faster = [o for o in over if o.value(space.order) < best.value(space.order)]
    missed = [o for o in faster if _lost(o) <= _MISSED * (bound or 0.0)]
    codes = chain.from_iterable(_codes(outcome.point) for outcome in sorted(missed, key=_lost))
    smaller = _smaller(best.point)
    others = chain(codes, smaller) if used > _FULL else chain(smaller, codes)
    fired = space.offer.fired.get(best.point["target"], ()) if not best.point.get("without") else ()
    without = ({**best.point, "without": name} for name in fired)
    yield from by_turns(mixed, wanted(amounts), mixed, wanted(chain(others, without)))


def by_turns(*sources: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One of each, over and over; one that is there twice has two turns. What has no more is passed over."""
    left = list(sources)
    while left:
        for source in list(left):
            point = next(source, None)
            if point is None:
                left = [each for each in left if each is not source]
            else:
                yield point


def _lost(outcome: Outcome) -> float:
    return math.inf if outcome.lost is None else outcome.lost


def _leaders(fitting: Sequence[Outcome], order: Order) -> list[Outcome]:
    """The best of each way to make layers smaller, where that is close to the best of all."""
    found: dict[str, Outcome] = {}
    most = CLOSE * fitting[0].value(order)
    for outcome in fitting:
        if outcome.point.get("structure") and outcome.value(order) <= most:
            found.setdefault(outcome.point["structure"], outcome)
    return list(found.values())


def _mixtures(
    space: Space, outcomes: Sequence[Outcome], fitting: Sequence[Outcome], bound: float | None
) -> Iterator[dict[str, Any]]:
    """Other layers in floats than those of the best in integers; where none of those fits, than those of the first."""
    fits = {outcome.number for outcome in fitting}
    integers = [o for o in [*fitting, *outcomes] if o.point.get("precision") == INTEGERS and o.lost is not None]
    if not integers or not bound:
        return
    first, order = integers[0], space.order
    stretches = space.offer.stretches.get(first.point["target"], ())
    # Other codes take the same time, and make about the same error.
    alike = [o for o in outcomes if _same_but(o.point, first.point, "keep", *_CODES) and math.isfinite(o.value(order))]
    is_over = any(o.number not in fits and o.lost is not None for o in alike)
    if len(stretches) < 2 or not (is_over or first.point.get("keep")):
        return
    known = {o.number: Known(o.point.get("keep", ()), o.value(order), _squared(o)) for o in alike}
    mixture, best = Mixture(stretches, list(known.values())), known.get(fitting[0].number)
    is_wide = True  # an error is what the law is about
    if order.metric is None:
        allowed = [share * bound**2 for share in _NEAR]
    else:
        allowed, is_wide = _allowed_by_metric(alike, bound)
    far, near = mixture.proposals(best, allowed), mixture.steps(best, max(allowed)) if best is not None else ()
    for keep in chain(far, near) if is_wide else chain(near, far):
        yield {**first.point, "keep": keep}


def _allowed_by_metric(outcomes: Sequence[Outcome], bound: float) -> tuple[list[float], bool]:
    """Squared errors at which a metric is likely to be at its bound, and whether there is room between what fits and
    what does not. A metric may well jump where the error does not: where there is none, it is found out step by step.
    """
    scored = sorted((math.sqrt(_squared(o)), o.lost) for o in outcomes if o.lost is not None)
    error, lost = max((each for each in scored if each[1] <= bound), default=scored[0])
    over = next((each for each in scored if each[1] > bound and each[0] > error), None)
    if over is None or lost > bound or not error:
        return [share * error**2 for share in _FURTHER], False
    ratio = over[0] / error
    # On a straight line of what is lost over the logarithm of the error; then between that and both ends.
    share = (bound - lost) / (over[1] - lost)
    return [(error * ratio**part) ** 2 for part in (share, share / 2, (1 + share) / 2)], ratio > _WIDE


def _squared(outcome: Outcome) -> float:
    return min(float(outcome.result["error"]), _MOST) ** 2


def _amounts(best: Outcome, over: Sequence[Outcome], bound: float | None) -> Iterator[dict[str, Any]]:
    """Between what fits and what is over the bound, with all else equal; far from the bound, further steps."""
    point, left = best.point, best.point["left"]
    less = [o.point["left"] for o in over if "left" in o.point and _same_but(o.point, point, "left")]
    less = [share for share in less if share < left]
    used = 1.0 if not bound or best.lost is None else best.lost / bound
    step = _FIRST_STEP if used > _LITTLE else _LARGE_STEP
    yield {**point, "left": on_grid((left + max(less)) / 2 if less else left - step)}


def _smaller(best: Point) -> Iterator[dict[str, Any]]:
    """With smaller layers where they were whole: what that gains may pay for what is kept in floats."""
    if not best.get("structure"):
        for structure in ("prune", "low-rank-time"):
            yield {**best, "structure": structure, "left": _FIRST_LEFT}


def _codes(point: Point) -> Iterator[dict[str, Any]]:
    """With scales and codes found in another way."""
    if point.get("precision") == INTEGERS and point.get("static", True):
        others = (method for method in ("percentile", "mse", "average") if method != point["method"])
        yield from ({**point, "method": method} for method in others)
        yield {**point, "correct": not point["correct"]}
    elif point.get("precision") in WEIGHTS:
        yield from ({**point, "block": block} for block in (128, 64, 32) if block < point["block"])


def on_grid(left: float) -> float:
    """A share that is left, as the space has them."""
    return round(min(max(round(left / LEFT_STEP) * LEFT_STEP, LEAST_LEFT), MOST_LEFT), 4)


def _same_but(a: Point, b: Point, *names: str) -> bool:
    return {k: v for k, v in a.items() if k not in names} == {k: v for k, v in b.items() if k not in names}


def _is_alike(a: Point, b: Point, ignored: Collection[str] = ()) -> bool:
    """True if two points differ in amounts alone, and in what is `ignored`; whole layers are like any smaller ones."""
    left_out = {"left", "keep", "structure", *ignored}
    kinds = {point["structure"] for point in (a, b) if point.get("structure")}
    return len(kinds) < 2 and {k: v for k, v in a.items() if k not in left_out} == {
        k: v for k, v in b.items() if k not in left_out
    }


def _is_milder(a: Point, b: Point) -> bool:
    """True if as much or more of `a` stays as it was than of `b`, in each respect."""
    return bool(a.get("left", 1.0) >= b.get("left", 1.0) and set(a.get("keep", ())) >= set(b.get("keep", ())))

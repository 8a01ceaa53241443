"""What is tried beside the best: mixtures of integers and floats, amounts, and other codes for what only just missed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from geoc.tools.metric import Drop
from geoc.tools.recipes.gains import Cost
from geoc.tools.tune.front import Outcome, ranked
from geoc.tools.tune.offer import Offer, Stretch
from geoc.tools.tune.order import Order
from geoc.tools.tune.refine import by_turns, is_hopeless, steps_beside
from geoc.tools.tune.space import Space
from geoc.tools.tune.starts import settings_of

pytest.importorskip("optuna")

BOUND = 0.03
STRETCHES = tuple(Stretch((f"/{name}",), 5e-4, 1e-4, 0.0) for name in "abcdefgh")
COSTS = tuple(Cost("layer", f"/{name}", 1e-3, 5e-4, 1000.0) for name in "abcdefgh")
OFFER = Offer({"cpu": ()}, {"cpu": ((), (0,), (0, 1))}, {"cpu": COSTS}, stretches={"cpu": STRETCHES})
CODES = {"static": True, "weights": "mse", "method": "percentile", "rounding": "gptq", "correct": True}


@pytest.fixture
def space() -> Space:
    return Space(Order("m.onnx", max_error=BOUND, calib="s.npz", threads=1), OFFER)


def outcome(space: Space, number: int, ratio: float, error: float, **point: Any) -> Outcome:
    found = space.normal({"target": "cpu", "precision": "w8a8", **CODES, **point})
    result = {"ratio": ratio, "source": 1.0, "error": error, "size": 1, "content": str(number)}
    return Outcome(number, found, "", settings_of(space, found), result, ratio, error)


def steps(space: Space, outcomes: list[Outcome]) -> list[dict[str, Any]]:
    return list(steps_beside(space, outcomes, ranked(outcomes, space.order, None), BOUND, lambda point: True))


def test_between_what_fits_and_what_does_not_lies_the_next_step(space: Space) -> None:
    fits = outcome(space, 0, 0.35, 0.02, structure="prune", left=0.9)
    over = outcome(space, 1, 0.30, 0.04, structure="prune", left=0.8)
    assert {**fits.point, "left": 0.85} in steps(space, [fits, over])


def test_each_way_to_make_layers_smaller_goes_on_where_it_is_close(space: Space) -> None:
    best = outcome(space, 0, 0.35, 0.02, structure="prune", left=0.9)
    close = outcome(space, 1, 0.37, 0.02, structure="low-rank-time", left=0.9)
    far = outcome(space, 2, 0.60, 0.02, structure="low-rank", left=0.95)
    found = {point.get("structure") for point in steps(space, [best, close, far]) if point.get("left", 1.0) < 0.9}
    assert found == {"prune", "low-rank-time"}


def test_other_codes_are_for_what_is_faster_and_only_just_missed(space: Space) -> None:
    best = outcome(space, 0, 0.6, 0.02, keep=(0, 1, 2))
    missed = outcome(space, 1, 0.5, 0.04, keep=(0, 1))
    far = outcome(space, 2, 0.4, 0.5, keep=(0,))
    found = [point.get("keep") for point in steps(space, [best, missed, far]) if point["method"] != "percentile"]
    assert found.count((0, 1)) == 2 and (0,) not in found and (0, 1, 2) not in found


def test_mixtures_learn_from_trials_with_other_codes(space: Space) -> None:
    """With the same trials but for the method of one, the same mixtures are proposed."""
    alike, other = (
        [
            outcome(space, 0, 0.4, 0.06), outcome(space, 1, 0.6, 0.015, keep=(0, 1, 2, 3)),
            outcome(space, 2, 0.5, 0.05, keep=(6, 7), method=method),
        ]
        for method in ("percentile", "mse")
    )  # fmt: skip
    mixed = [
        [point["keep"] for point in steps(space, outcomes) if point["method"] == "percentile" and "keep" in point]
        for outcomes in (alike, other)
    ]
    assert mixed[0] == mixed[1] and set(mixed[0]) - {(6, 7), (0, 1, 2, 3)}


def test_mixtures_begin_where_a_metric_is_likely_to_be_at_its_bound() -> None:
    """What lies half way between what fits and what does not, in what they lost, comes first."""
    space = Space(Order("m.onnx", metric="f.py:f", max_drop=Drop(0.02), calib="s.npz", threads=1), OFFER)
    trials = []
    for number, keep in enumerate([(0, 1, 2, 3, 4, 5, 6), (0,)]):
        trials.append(outcome(space, number, 0.4 + 0.05 * len(keep), 0.01 * math.sqrt(8 - len(keep)), keep=keep))
        trials[-1].lost = (0.01, 0.03)[number]
        trials[-1].result["score"] = 1 - trials[-1].lost
    found = list(steps_beside(space, trials, ranked(trials, space.order, 1.0), 0.02, lambda point: True))
    # Errors of 0.01 and 0.01 * sqrt(7): between them in logarithms 0.01 * 7 ** 0.25, which two stretches in integers make.
    # Towards what fits is nothing faster than that; towards what does not 0.01 * 7 ** (3 / 8), which four make.
    assert [len(point["keep"]) for point in found[:2]] == [6, 4]
    assert all("structure" not in point for point in found[:3])


def test_a_mixture_that_keeps_less_than_what_lost_too_much_is_hopeless(space: Space) -> None:
    over = outcome(space, 0, 0.5, 0.05, keep=(0, 1))
    fewer, other = ({**over.point, "keep": keep} for keep in ((1,), (1, 2)))
    assert is_hopeless(fewer, [over], []) and not is_hopeless(other, [over], [])
    assert is_hopeless({**over.point, "structure": "prune", "left": 0.9}, [over], [])


def test_turns_go_on_when_one_has_no_more() -> None:
    a, b = (iter([{name: n} for n in range(count)]) for name, count in (("a", 5), ("b", 1)))
    assert [next(iter(point)) for point in by_turns(a, b, a)] == ["a", "b", "a", "a", "a", "a"]

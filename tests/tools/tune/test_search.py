"""The search itself, with made-up results: what is asked for, what wins, and that nothing but results decides."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from geoc.ir.errors import UsageError
from geoc.lowering.targets import get_target
from geoc.passes.pipelines import parse
from geoc.tools.compiler import Compilation
from geoc.tools.metric import Drop
from geoc.tools.recipes.gains import Cost
from geoc.tools.recipes.recipe import shipped
from geoc.tools.settings import Settings
from geoc.tools.tune.ending import Ending
from geoc.tools.tune.front import front
from geoc.tools.tune.journal import Journal
from geoc.tools.tune.offer import Offer, Stretch
from geoc.tools.tune.order import Order, bounds_of, targets_of
from geoc.tools.tune.page import page
from geoc.tools.tune.picture import write_png
from geoc.tools.tune.result import result_of
from geoc.tools.tune.search import Search
from geoc.tools.tune.space import Space
from geoc.tools.tune.starts import settings_of, starting_points
from geoc.tools.tune.text import summary

from ..recipes.models import network, samples

pytest.importorskip("optuna")

LADDER: tuple[tuple[int, ...], ...] = ((), (0,), (0, 1), (0, 1, 2))
STRETCHES = tuple(Stretch((f"/{name}",), 5e-4, 1e-4, 0.0) for name in "abcdefgh")
COSTS = tuple(Cost("layer", f"/{name}", 1e-3, 5e-4, 1000.0) for name in "abcdefgh")
OFFER = Offer({"cpu": ("attention",)}, {"cpu": LADDER}, {"cpu": COSTS}, cores=2, stretches={"cpu": STRETCHES})
SOURCE_SCORE = 0.9


def law(passes: str) -> dict[str, Any]:
    """What a made-up machine gives: integers are fast and inexact, as is what has little left; kept layers cost time."""
    left = min(map(float, re.findall(r"left=([\d.]+)", passes)), default=1.0)
    kept = len(set(re.findall(r"/[a-h]", passes)))
    is_small = "quantize{" in passes
    ratio = (0.4 + 0.05 * kept if is_small else 1.0) * left * (0.97 if "method=mse" in passes else 1.0)
    error = (0.05 - 0.012 * kept if is_small else 0.0) + 0.2 * (1 - left)
    return {
        "ratio": ratio, "source": 0.01, "seconds": ratio * 0.01, "how": "MEASURED", "error": error, "took": 0.0,
        "size": round(1e6 * left * (0.25 if is_small else 1.0)), "content": passes,
    }  # fmt: skip


class MadeUp:
    """An executor whose results follow `law`; `order` says in which order they come, `jobs` are those that were run."""

    machines, note = "made up", ""

    def __init__(self, order: int = 1, turns: Any = None) -> None:
        self.order = order
        self.turns = turns
        self.jobs: list[dict[str, Any]] = []

    def submit(self, job: Any, limit: float) -> Any:
        return job

    def completed(self, futures: Sequence[Any], seconds: float | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        assert seconds is None or seconds >= 0  # Dask takes no other
        for place in range(len(futures))[:: self.order]:
            job = futures[place]
            self.jobs.append(job)
            if job["kind"] == "probe":
                yield place, {"offer": OFFER.to_json(), "score": SOURCE_SCORE}
            elif job["kind"] == "turns":
                found = [law(form["passes"])["ratio"] for form in job["forms"]]
                yield place, {"ratios": found if self.turns is None else self.turns(found), "source": 0.01, "runs": 9}
            else:
                found = law(job["settings"]["passes"])
                limit = job["no_worse_than"]
                if job["metric"] is not None and not (limit is not None and found["ratio"] > limit):
                    found["score"] = SOURCE_SCORE - found["error"]
                yield place, found

    def close(self) -> None:
        pass


def order(**given: Any) -> Order:
    return Order(**{"source": "m.onnx", "calib": "s.npz", "threads": 1, "max_error": 0.03, "trials": 24, **given})


def searched(given: Order, folder: Path, executor: Any = None) -> Search:
    journal = Journal(str(folder / "journal.jsonl"), {"of": 1})
    try:
        search = Search(given, executor or MadeUp(), journal, str(folder), lambda _: None)
        search.run()
        return search
    finally:
        journal.close()


def facts(search: Search) -> list[tuple[Any, ...]]:
    return [(o.number, o.settings.command(), o.seconds, o.lost, o.size) for o in search.outcomes]


def test_nothing_over_the_bound_wins_though_it_is_faster(tmp_path: Path) -> None:
    search = searched(order(), tmp_path)
    best = search.fitting[0]
    faster = [o for o in search.outcomes if o.seconds is not None and best.seconds is not None and o.seconds < best.seconds]
    assert best.lost is not None and best.lost <= 0.03
    assert faster and all(o.lost is not None and o.lost > 0.03 for o in faster)
    winner = Ending(search).winner()
    assert winner is not None and winner.outcome is best and winner.settings.max_error == 0.03


def test_what_the_journal_knows_is_gone_through_when_the_time_is_over(tmp_path: Path) -> None:
    whole = searched(order(trials=9), tmp_path)
    again = searched(order(trials=9, seconds=0.0), tmp_path, executor := MadeUp())
    assert facts(again) == facts(whole) and not executor.jobs


def test_it_finds_better_than_what_it_begins_with(tmp_path: Path) -> None:
    """By the law the best in integers that fits keeps two layers, or has a little less left with three."""
    search = searched(order(), tmp_path)
    starts = [settings_of(search.space, point).passes or "" for point in starting_points(search.space)]
    fitting = [law(passes)["ratio"] for passes in starts if law(passes)["error"] <= 0.03]
    assert search.fitting[0].result["ratio"] < 0.97 * min(fitting)


def test_every_command_is_tried_once(tmp_path: Path) -> None:
    search = searched(order(trials=40), tmp_path)
    commands = [o.settings.command() for o in search.outcomes]
    assert len(commands) == len(set(commands)) > 20


@pytest.mark.parametrize("given", [{}, {"max_error": None, "metric": "f.py:g", "max_drop": Drop(0.03)}, {"goal": "size"}])
def test_the_order_in_which_results_come_decides_nothing(tmp_path: Path, given: dict[str, Any]) -> None:
    there, back = (searched(order(**given), tmp_path / name, MadeUp(step)) for name, step in (("a", 1), ("b", -1)))
    assert facts(there) == facts(back)
    assert [o.number for o in front(there.outcomes, there.order)] == [o.number for o in front(back.outcomes, back.order)]


@pytest.mark.parametrize("lines", [1, 2, 3, 9, 17])
def test_a_journal_that_ends_anywhere_is_gone_on_with(tmp_path: Path, lines: int) -> None:
    whole = searched(order(), tmp_path / "a")
    text = (tmp_path / "a" / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "journal.jsonl").write_text("".join(text[:lines]) + text[lines][:25])
    executor = MadeUp()
    again = searched(order(), tmp_path / "b", executor)
    assert facts(again) == facts(whole)
    known = sum('"trial"' in line for line in text[:lines])
    assert again.repeated == known and len(executor.jobs) == len(whole.outcomes) - known + (lines < 2)
    assert [json.loads(line)["command"] for line in (tmp_path / "b" / "journal.jsonl").read_text().splitlines()[1:]] == [
        json.loads(line)["command"] for line in text[1:]
    ]


def test_more_time_goes_on_after_the_same_trials(tmp_path: Path) -> None:
    few = searched(order(trials=9), tmp_path)
    more = searched(order(trials=24), tmp_path)
    assert facts(more)[:9] == facts(few) and more.repeated == 9
    assert facts(more) == facts(searched(order(trials=24), tmp_path / "other"))


def test_the_best_are_timed_in_turn_before_one_is_named(tmp_path: Path) -> None:
    """What came out first by single measurements loses where it is slower beside the others."""
    search = searched(order(), tmp_path, MadeUp(turns=lambda found: [2.0, *found[1:]]))
    winner = Ending(search).winner()
    assert winner is not None and winner.outcome.number == search.fitting[1].number
    assert len(winner.again) > 1 and winner.again[search.fitting[0].number] == 2.0


def test_within_a_latency_the_most_exact_wins(tmp_path: Path) -> None:
    given = order(max_error=None, latency_target=0.0072)
    search = searched(given, tmp_path)
    winner = Ending(search).winner()
    assert winner is not None and winner.outcome.seconds is not None and winner.outcome.seconds <= 0.0072
    within = [o.lost for o in search.outcomes if o.seconds is not None and o.seconds <= 0.0072 and o.lost is not None]
    assert winner.outcome.lost == min(within) > 0


def test_where_nothing_fits_there_is_no_winner(tmp_path: Path) -> None:
    search = searched(order(max_error=None, latency_target=1e-4), tmp_path)
    assert search.outcomes and Ending(search).winner() is None


def test_what_is_slower_than_what_fits_is_not_scored(tmp_path: Path) -> None:
    search = searched(order(max_error=None, metric="f.py:g", max_drop=Drop(0.03)), tmp_path)
    unscored = [o for o in search.outcomes if o.lost is None]
    assert unscored and all(o.seconds is not None and o.seconds > (search.fitting[0].seconds or math.inf) for o in unscored)
    assert not any(o.fits(search.order, SOURCE_SCORE) for o in unscored)


def test_the_front_is_what_nothing_beats_in_both(tmp_path: Path) -> None:
    search = searched(order(), tmp_path)
    found = front(search.outcomes, search.order)
    for outcome in search.outcomes:
        beaten = any(
            (other.seconds or 0) <= (outcome.seconds or 0) and (other.lost or 0) <= (outcome.lost or 0)
            and ((other.seconds or 0) < (outcome.seconds or 0) or (other.lost or 0) < (outcome.lost or 0))
            for other in search.outcomes
        )  # fmt: skip
        twin = any(o.seconds == outcome.seconds and o.lost == outcome.lost for o in found)
        assert (outcome in found) or beaten or twin
        assert not (outcome in found and beaten)


def test_it_begins_with_every_form_of_every_recipe(tmp_path: Path) -> None:
    """By what compilations with the recipes plan to run for this goal, form by form, and by -O2 and -O3 themselves."""
    source, data = network(tmp_path / "m.onnx"), samples(tmp_path / "s.npz")
    for goal in ("latency", "size"):
        given = Order(str(source), goal=goal, calib=data, threads=1)
        space = Space(given, OFFER)
        begun = {parse(settings_of(space, point).passes or "") for point in starting_points(space)}
        wanted = set()
        for name in shipped():
            run = planned(Settings(str(source), recipe=name, calib=data, goal=goal).with_recipe())
            for form in run.plan.forms:
                if not form.attempt.precision.endswith("kv8"):
                    run.choose(form.attempt)
                    wanted.add(parse(run.report.pipeline))
        for level in (2, 3):
            run = planned(Settings(str(source), level=level, calib=data, goal=goal if level == 3 else None))
            wanted |= {(run.choose(attempt), parse(run.report.pipeline))[1] for attempt in run.attempts}
        assert len(wanted) > 6 and wanted <= begun


def planned(settings: Settings) -> Any:
    run: Any = Compilation(settings)
    with run.opened():
        return run


def test_points_and_what_optuna_chooses_are_inverses() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = Space(order(), OFFER)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(60):
        point = space.suggest(study.ask())
        study.enqueue_trial(space.params(point))
        assert space.suggest(study.ask()) == point == space.normal(point)
        assert space.settings(point).command().startswith("geoc m.onnx --passes ")


def test_targets_and_bounds_that_do_not_go_together() -> None:
    assert targets_of("cpu+openvino-cpu") == ("cpu", "openvino-cpu")
    with pytest.raises(UsageError, match="a100 is not this machine"):
        targets_of("cpu+a100")
    assert bounds_of(None, None, None, None)["max_error"] == 0.01
    assert bounds_of(None, None, None, 0.01)["max_error"] is None
    assert get_target("cpu").is_here
    for wrong in ((0.1, "f.py:g", None, None), (None, None, Drop(0.1), None), (None, "f.py:g", None, None)):
        with pytest.raises(UsageError):
            bounds_of(*wrong)


def test_a_trial_that_there_was_no_time_for_is_missing_and_nothing_else(tmp_path: Path) -> None:
    """Of trials side by side, a later one may end before the time is over, and an earlier one not."""
    pytest.importorskip("matplotlib")
    search = searched(order(), tmp_path)
    best = search.fitting[0].number
    search.outcomes = [o for o in search.outcomes if o.number not in (1, 2)]
    winner = Ending(search).winner()
    assert winner is not None and winner.outcome.number == best > 2
    result = result_of(search, winner, {"output": "o.onnx", "size": 1})
    write_png(result, str(tmp_path / "o.png"))
    assert (tmp_path / "o.png").stat().st_size > 1000
    assert search.space.title(winner.outcome.point) in page(result) and f"trial {best}" in summary(result, False, [])

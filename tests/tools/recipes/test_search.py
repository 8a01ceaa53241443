"""Forms beside each other: the best for the goal within the budget is written, and each says what came of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

import geoc
from geoc.ir.core import Model
from geoc.lowering.targets import get_target
from geoc.tools.recipes import clock, search
from geoc.tools.recipes.gains import costs_of, guess_of
from geoc.tools.recipes.planning import Planner
from geoc.tools.recipes.said import BEATEN, NOT_TRIED, OVER, TAKEN, Tried
from geoc.tools.report import Report, Speed
from geoc.tools.settings import Settings

from ...machine import COARSER
from ..search import test_mixed_integers as integers
from .models import held_back_error, network, ops, samples, weights


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, str, Path]:
    return network(tmp_path / "m.onnx"), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"


def compiled(given: tuple[Path, str, Path], **options: Any) -> Report:
    source, data, made = given
    return geoc.compile(source, made, **{"calib": data, "level": 3, **options})


def by_status(report: Report, status: str) -> list[Tried]:
    return [tried for tried in report.tried if tried.status == status]


def test_edge_takes_the_smallest_that_fits(given: tuple[Path, str, Path]) -> None:
    source, data, made = given
    report = compiled(given, recipe="edge")
    (taken,) = by_status(report, TAKEN)
    assert report.ok and report.precision == "w8a8" and "MatMulIntegerToFloat" in ops(made)
    assert taken.size is not None and abs(made.stat().st_size - taken.size) < 500  # metadata aside
    fitting = [tried for tried in report.tried if tried.status in (TAKEN, BEATEN)]
    assert len(fitting) == 3 and taken.size == min(tried.size for tried in fitting if tried.size)
    assert made.stat().st_size < 0.25 * source.stat().st_size
    error = held_back_error(source, made, data)
    assert error <= 0.1 and taken.error == pytest.approx(error, rel=0.2) and report.accuracy.held_back
    assert all(tried.why for tried in by_status(report, BEATEN))
    assert "recipe    edge: " in report.summary() and "max_error 10%" in report.summary()
    data_ = json.loads(json.dumps(report.to_json()))
    assert data_["recipe"]["name"] == "edge" and [t["status"] for t in data_["tried"]].count(TAKEN) == 1


@pytest.mark.parametrize("limit", [1e-4, 0.003, 0.01])
def test_nothing_is_over_the_budget(limit: float, given: tuple[Path, str, Path]) -> None:
    source, data, made = given
    report = compiled(given, recipe="edge", max_error=limit)
    assert report.ok and held_back_error(source, made, data) <= limit
    for tried in by_status(report, OVER):
        assert tried.error is not None and tried.error > limit and tried.unlock.startswith("--max-error")
    if limit == 1e-4:  # nothing fits: it is what it is without the recipe
        assert not by_status(report, TAKEN) and report.precision == "" and weights(made)["up"] == 64 * 256


def test_what_does_not_fit_is_tried_with_more_left(tmp_path: Path) -> None:
    source, data, made = network(tmp_path / "m.onnx"), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    path = tmp_path / "mine.toml"
    path.write_text('description = "x"\nmax-error = "4%"\n[[form]]\nname = "few"\npasses = ["prune{left=0.3}"]\n')
    report = geoc.compile(source, made, recipe=path, calib=data)
    first, second = report.tried
    assert (first.form, first.status) == ("few", OVER) and (second.form, second.status) == ("few at 0.65", TAKEN)
    assert weights(made)["up"] < 0.7 * 64 * 256 and held_back_error(source, made, data) <= 0.04
    report = geoc.compile(source, made, recipe=path, calib=data, max_error=0.01)  # what is far off is not tried again
    assert [tried.status for tried in report.tried] == [OVER] and weights(made)["up"] == 64 * 256


def test_where_nothing_fits_it_is_as_much_of_the_precision_as_does(tmp_path: Path) -> None:
    source, data, made = integers.network(tmp_path / "m.onnx", 0, wild=2), integers.samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    report = geoc.compile(source, made, recipe="edge", calib=data, max_error=0.01 * COARSER)
    (taken,) = by_status(report, TAKEN)
    assert taken.form == "w8a8 in part" and 0 < integers.products(made)["MatMulIntegerToFloat"] < 6
    assert held_back_error(source, made, data) <= 0.01 * COARSER and report.stays is not None
    assert [t.why for t in by_status(report, NOT_TRIED)] == ["w8a8 alone is over the budget"] * 2


def faster(monkeypatch: pytest.MonkeyPatch, seconds: Any) -> None:
    """Let forms take so long, by the sizes of their weights, instead of timing them."""

    def times(self: clock.Clock, form: Model, best: Model | None) -> dict[str, float]:
        models = {clock.FORM: form, search.FLOATS: self.floats, **({} if best is None else {clock.BEST: best})}
        return {name: seconds(model) for name, model in models.items()}

    monkeypatch.setattr(clock.Clock, "times", times)


@pytest.mark.parametrize("goal", ["latency", "throughput", "cost"])
def test_a_goal_takes_the_fastest(goal: str, given: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, data, made = given
    # The pruned one is the fastest, then what has fewest bytes.
    faster(monkeypatch, lambda model: model.weight_bytes * (0.1 if _neurons(model) < 256 else 1.0))
    report = compiled(given, goal=goal, max_error=0.02)
    (taken,) = by_status(report, TAKEN)
    assert taken.form == "prune, w8a8" and held_back_error(source, made, data) <= 0.02
    assert report.tried[0].form == "w8a8, as -O3 alone" and report.tried[0].status == BEATEN
    assert all("is better: x" in tried.why or "of the time of" in tried.why for tried in by_status(report, BEATEN))
    forms = {tried.form for tried in report.tried}
    assert {"low-rank, w8a8", "prune, w8a8", "w4a16"} <= forms
    assert "prune" not in forms  # it fits in integers, which are faster


def _neurons(model: Model) -> int:
    return max((v.const.shape[-1] for n in model.graph for v in n.inputs if v is not None and v.const is not None and len(v.const.shape) == 2), default=0)


@pytest.mark.parametrize(("goal", "rows"), [("latency", None), ("throughput", 24 * clock.BATCH), ("cost", 24 * clock.BATCH)])
def test_many_rows_are_timed_where_they_are_what_counts(
    goal: str, rows: int | None, given: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []

    def timed(run: Any, models: dict[str, Model], runs: int, patience: float, given: dict[str, Any] | None) -> Speed:
        seen.append(None if given is None else given["x"].shape[0])
        first, *others = models
        return Speed(first, dict.fromkeys(models, 1.0), dict.fromkeys(others, (2.0, 2.0, 2.0)), 1, 1, "")

    monkeypatch.setattr(clock, "timed", timed)
    report = compiled(given, recipe="edge", goal=goal)
    assert seen and set(seen) == {rows}
    assert by_status(report, TAKEN)[0].faster == 2.0


def test_a_goal_keeps_what_it_is_without_forms_where_nothing_is_faster(
    given: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    faster(monkeypatch, lambda model: 1.0)
    monkeypatch.setattr(search, "fastest_within", lambda run, judge, model: None)
    report = compiled(given, goal="latency", max_error=0.02)
    assert report.ok and report.precision == "" and not by_status(report, TAKEN)
    assert any(tried.why == "it is no faster than without" for tried in report.tried)
    assert weights(given[2])["up"] == 64 * 256


def test_the_goal_size_is_measured_by_files(given: tuple[Path, str, Path]) -> None:
    report = compiled(given, goal="size", max_error=0.02)
    (taken,) = by_status(report, TAKEN)
    sizes = [tried.size for tried in report.tried if tried.status in (TAKEN, BEATEN) and tried.size]
    assert taken.size == min(sizes) and abs(given[2].stat().st_size - min(sizes)) < 500


def test_without_a_goal_or_samples_nothing_is_tried(given: tuple[Path, str, Path]) -> None:
    source, data, made = given
    assert not geoc.compile(source, made, level=3, calib=data).tried
    assert not geoc.compile(source, made, level=3, goal="size").tried
    assert not geoc.compile(source, made, level=2, goal="size", calib=data).tried


def test_time_is_bounded(given: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PATIENCE", -1.0)
    report = compiled(given, goal="size", max_error=0.02)
    late = by_status(report, NOT_TRIED)
    assert len(late) >= 4 and all("minutes were over" in tried.why for tried in late)
    assert by_status(report, TAKEN)[0].form == "w8a8, as -O3 alone"


def test_forms_of_a_precision_that_is_over_the_budget_alone_are_not_made(given: tuple[Path, str, Path]) -> None:
    report = compiled(given, goal="size", max_error=0.004)  # w8a8 makes 0.007
    assert [t.why for t in report.tried if t.form in ("low-rank, w8a8", "prune, w8a8")] == ["w8a8 alone is over the budget"] * 3


def test_a_metric_decides_instead(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    """How close outputs are to the source's in sign: what low ranks and integers change least of."""
    source, _, made = given
    path = tmp_path / "score.py"
    path.write_text(
        "import numpy as np, onnxruntime\n"
        f"S = onnxruntime.InferenceSession({str(source)!r})\n"
        "X = np.random.default_rng(5).standard_normal((64, 64)).astype(np.float32)\n"
        "def signs(run):\n    return np.mean(np.sign(run({'x': X})[0]) == np.sign(S.run(None, {'x': X})[0]))\n"
    )
    report = compiled(given, recipe="edge", metric=f"{path}:signs", max_drop=0.02)
    assert report.ok and report.metric is not None and report.metric.result >= 0.98
    session = onnxruntime.InferenceSession(str(made))
    (taken,) = by_status(report, TAKEN)
    assert taken.score == report.metric.result and [i.name for i in session.get_inputs()] == ["x"]
    strict = compiled(given, recipe="edge", metric=f"{path}:signs", max_drop=0.0)
    assert strict.ok and strict.metric is not None and strict.metric.result == 1.0


def test_guesses_are_near_what_files_weigh(given: tuple[Path, str, Path]) -> None:
    """They say in which order forms are tried."""
    source, data, _ = given
    floats = geoc.load(str(source))
    target = get_target("cpu")
    report = compiled(given, recipe="edge")
    plan = Planner(Settings(source, recipe="edge", calib=data).with_recipe(), target).made()
    sizes = {tried.form: tried.size for tried in report.tried}
    costs = costs_of(floats, target, {})
    for form in plan.forms:
        guess = guess_of(form.attempt.precision, form.left, costs)
        size = sizes[form.title]
        assert size is not None and 0.5 * size < guess.bytes < 1.5 * size, form.title
        assert 0 < guess.seconds <= guess_of("w8a8", 1.0, costs).seconds
    assert [form.title for form in plan.forms] == ["w8a8", "prune, w8a8", "low-rank, w8a8"]


def test_caches_in_8_bits_only_where_there_are_any(given: tuple[Path, str, Path]) -> None:
    report = compiled(given, recipe="llm")
    (kv8,) = [tried for tried in report.tried if tried.form.endswith("kv8")]
    assert kv8.status == NOT_TRIED and kv8.why == "the model is called with no caches of keys and values"
    assert report.precision == "w4a16" and "MatMulNBits" in ops(given[2])


def test_other_machines_are_estimated(given: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    report = compiled(given, recipe="throughput", target="cpu-avx512,cores=8", max_error=0.03)
    timed = [tried for tried in report.tried if tried.timed]
    assert timed and all(tried.timed == "ESTIMATED" for tried in timed)


def test_half_precision_is_weighed_against_8_bits(given: tuple[Path, str, Path]) -> None:
    report = compiled(given, recipe="latency", target="a100", shape="N=24", max_error=0.02)
    names = [tried.form for tried in report.tried if tried.status != NOT_TRIED]
    assert names[:2] == ["w8a8", "fp16"] and not any("bf16" in name for name in names)
    assert {tried.timed for tried in report.tried if tried.status != NOT_TRIED} == {"ESTIMATED"}
    idle = [tried for tried in by_status(report, NOT_TRIED) if tried.form.startswith("low-rank")]
    assert len(idle) == 1 and idle[0].why == "low-rank and low-rank-conv found nothing that pays"


def test_plain_levels_take_no_longer(given: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """They never come to the search."""

    def never(*args: Any) -> None:
        raise AssertionError("forms are searched")

    monkeypatch.setattr(search.FormSearch, "__init__", never)
    begun = time.perf_counter()
    assert compiled(given).ok and compiled(given, level=2).ok and compiled(given, precision="int8", goal="latency").ok
    assert time.perf_counter() - begun < 60

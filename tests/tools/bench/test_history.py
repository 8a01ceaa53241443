"""Runs are compared with the last one of the same models on the same machine."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from geoc.ir.errors import UsageError
from geoc.tools.bench.history import add_run, read_history, since_last


def run(first: float = 0.010, second: float = 0.005, spread: float = 0.02, **more: Any) -> dict[str, Any]:
    """A record as `data.record_of` makes it, as far as a history reads it."""

    def result(name: str, seconds: float, verdict: str) -> dict[str, Any]:
        middle = seconds / first
        ratio = {"middle": middle, "low": middle * 0.995, "high": middle * 1.005, "verdict": verdict}
        return {"model": name, "latency": {"median": seconds, "spread": spread}, "ratios": {"latency": ratio}}

    models = [{"name": name, "runtime": "onnxruntime", "digest": name} for name in ("a", "b")]
    configuration = {
        "threads": 1, "batch": 1, "shape": "1x8", "noise": {"latency": 0.005},
        "results": [result("a", first, "first"), result("b", second, "faster")],
    }  # fmt: skip
    machine = {"id": "m", "versions": {"onnxruntime": "1", "geoc": "1"}}
    return {"schema": 1, "when": "then", "machine": machine, "models": models, "configurations": [configuration], **more}


def verdicts(now: dict[str, Any], *before: dict[str, Any]) -> dict[str, str]:
    return {change["model"]: change["verdict"] for change in since_last("h", list(before), now)["changes"]}


def test_the_machine_cancels_out_where_the_first_model_is_what_it_was() -> None:
    # everything takes 1.3 times as long, and b a tenth more than that
    assert verdicts(run(0.013, 0.005 * 1.3 * 1.1), run()) == {"a": "slower", "b": "slower"}
    found = since_last("h", [run()], run(0.013, 0.005 * 1.3))["changes"]
    assert found[1]["verdict"] == "same" and found[1]["ratio"] == pytest.approx(1.0)
    assert found[0]["ratio"] == pytest.approx(1.3)


def test_nothing_is_claimed_inside_the_spread() -> None:
    assert verdicts(run(0.0125), run(spread=0.5))["a"] == "same"
    assert verdicts(run(0.0125), run(spread=0.05))["a"] == "slower"


def test_without_its_yardstick_a_time_stands_alone() -> None:
    now = run(0.013, 0.0065)
    now["models"][0]["digest"] = "another"
    found = since_last("h", [run()], now)
    assert found["changed"] == ["a is another file"]
    assert [change["by"] for change in found["changes"]] == ["by its time alone"] * 2
    assert [change["verdict"] for change in found["changes"]] == ["slower", "slower"]


def test_other_machines_models_and_sizes_are_not_compared() -> None:
    other = copy.deepcopy(run())
    other["machine"]["id"] = "another"
    assert since_last("h", [other], run())["when"] is None
    renamed = copy.deepcopy(run())
    renamed["models"][1]["name"] = "c"
    assert since_last("h", [renamed], run())["when"] is None
    larger = copy.deepcopy(run())
    larger["configurations"][0]["batch"] = 8
    assert verdicts(run(), larger) == {}
    assert since_last("h", [run(when="first"), run(when="last"), other], run())["when"] == "last"


def test_versions_that_changed_are_named() -> None:
    now = run()
    now["machine"]["versions"]["onnxruntime"] = "2"
    assert since_last("h", [run()], now)["changed"] == ["onnxruntime 1 is 2"]


def test_a_history_is_kept_line_by_line(tmp_path: Path) -> None:
    path = str(tmp_path / "h.jsonl")
    assert read_history(path) == []
    add_run(path, [], run(when="1"))
    add_run(path, read_history(path), run(when="2"))
    assert [each["when"] for each in read_history(path)] == ["1", "2"]
    Path(path).write_text('{"schema": 1}\nnothing\n')
    with pytest.raises(UsageError, match="line 2 of .* is no run of geoc bench"):
        read_history(path)

"""`geoc tune` as a command: what it writes, that it goes on where it was killed, and that Dask gives the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnx
import pytest

import geoc
from geoc.tools.cli import main
from geoc.tools.tune.executors import Local
from geoc.tools.tune.locks import HostLock
from geoc.tools.tune.process import _waited, run_job
from geoc.tools.tune.worker import TRIAL

from ..recipes.models import held_back_error, network, samples

pytest.importorskip("optuna")

SOURCE = Path(geoc.__file__).parents[1]
TRIALS = 5
BOUND = 0.02


class Case:
    """A model, samples, and the command that tunes it by size, which nothing but the files decides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = network(folder / "m.onnx")
        self.data = samples(folder / "s.npz")
        # The lock of the machine lies in the folder for temporary files: here nobody else has it.
        self.environment = {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}

    def words(self, output: str, *more: str) -> list[str]:
        return [
            "tune", "m.onnx", "--calib", "s.npz", "--max-error", f"{BOUND}", "--goal", "size", "--trials", f"{TRIALS}",
            "--cache", "statistics", "-o", output, *more,
        ]  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "geoc", *words], cwd=self.folder, env={**os.environ, **self.environment}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs the tests may have it ignored
        )  # fmt: skip

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def trials(self, output: str) -> list[dict[str, Any]]:
        """What its journal holds of trials, in the order of their numbers."""
        path = self.folder / f"{Path(output).stem}.tune" / "journal.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return sorted((line for line in lines if "trial" in line), key=lambda line: int(line["trial"]))

    def wait_for_trials(self, output: str, count: int) -> None:
        until = time.monotonic() + 60
        while len(self.trials(output)) < count:
            assert time.monotonic() < until
            time.sleep(0.05)


def facts(trials: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(t["trial"], t["command"], t["result"]["size"], t["result"]["error"], t["result"]["content"]) for t in trials]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("tune"))


@pytest.fixture(scope="module")
def whole(case: Case) -> dict[str, Any]:
    """What a search that nobody interrupts says."""
    code, out, err = case.run(*case.words("w.onnx", "--json"))
    assert code == 0, err
    # Of trials side by side either may end first.
    assert sorted(line.split(":")[0] for line in err.splitlines()) == [f"trial {n}" for n in range(TRIALS)]
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_winner_is_within_the_bound_and_smaller(case: Case, whole: dict[str, Any]) -> None:
    made = case.folder / "w.onnx"
    assert held_back_error(case.source, made, case.data) <= BOUND
    assert made.stat().st_size == whole["winner"]["size"] < 0.5 * case.source.stat().st_size
    fitting = [t["size"] for t in whole["trials"] if t["status"] == "fits"]
    won = whole["trials"][whole["winner"]["trial"]]
    assert won["size"] == min(fitting) and len(whole["trials"]) == TRIALS == len({t["command"] for t in whole["trials"]})
    assert not (case.folder / "w.tune" / "trials" / str(won["trial"])).exists()


def test_its_command_makes_the_same_file(case: Case, whole: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    """Up to the metadata, which hold the command with its names of files."""
    import shlex

    words = shlex.split(whole["winner"]["command"])
    again = tmp_path / "again.onnx"
    words[words.index("-o") + 1] = str(again)
    monkeypatch.chdir(case.folder)
    assert main([*words[1:], "-q"]) == 0
    models = [onnx.load(case.folder / "w.onnx"), onnx.load(again)]
    commands = [next(e.value for e in model.metadata_props if e.key == "geoc.command") for model in models]
    assert commands[0].replace("w.onnx", "again.onnx") == commands[1]
    for model in models:
        del model.metadata_props[:]
    assert models[0].SerializeToString(deterministic=True) == models[1].SerializeToString(deterministic=True)


def test_the_page_and_the_picture_show_every_trial(case: Case, whole: dict[str, Any]) -> None:
    page = (case.folder / "w.tune.html").read_text(encoding="utf-8")
    embedded = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    assert json.loads(embedded) == whole
    assert page.count("<circle") == TRIALS and page.count('<circle class="winner"') == 1 and "<polyline" in page
    pytest.importorskip("matplotlib")
    assert (case.folder / "w.tune.png").read_bytes().startswith(b"\x89PNG")


def test_killed_at_any_moment_it_goes_on_without_repeating(case: Case, whole: dict[str, Any]) -> None:
    words = case.words("k.onnx", "--json")
    for count in (1, 3):
        process = case.start(*words)
        case.wait_for_trials("k.onnx", count)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    before = case.trials("k.onnx")
    assert 3 <= len(before) <= TRIALS
    code, out, err = case.run(*words)
    assert code == 0, err
    assert json.loads(out)["repeated"] == len(before)
    after = case.trials("k.onnx")
    assert facts(after) == facts(case.trials("w.onnx")) and after[: len(before)] == before
    assert (case.folder / "k.onnx").stat().st_size == whole["winner"]["size"]


def test_ctrl_c_writes_the_best_so_far(case: Case, whole: dict[str, Any]) -> None:
    process = case.start(*case.words("c.onnx", "--trials", "40"))
    case.wait_for_trials("c.onnx", 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in out and "Traceback" not in err
    assert held_back_error(case.source, case.folder / "c.onnx", case.data) <= BOUND


def test_two_workers_of_dask_give_the_same_front(case: Case, whole: dict[str, Any]) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50,
        env=case.environment,
    ) as cluster:  # fmt: skip
        code, out, err = case.run(*case.words("d.onnx", "--json", "--scheduler", cluster.scheduler_address))
    assert code == 0, err
    found = json.loads(out)
    assert facts(case.trials("d.onnx")) == facts(case.trials("w.onnx"))
    fronts = [[(t["trial"], t["size"], t["lost"]) for t in each["trials"] if t["front"]] for each in (found, whole)]
    assert fronts[0] == fronts[1] and len(fronts[0]) > 1
    assert found["winner"]["trial"] == whole["winner"]["trial"]
    assert not Path("statistics").exists()  # where workers are, whose folder is not the command's


def test_times_are_measured_and_the_best_take_turns(case: Case) -> None:
    words = [word for word in case.words("t.onnx", "--json") if word not in ("--goal", "size")]
    words[words.index("--trials") + 1] = "3"
    code, out, err = case.run(*words, "--threads", "1")
    assert code == 0, err
    found = json.loads(out)
    assert all(t["how"] == "MEASURED" and t["seconds"] > 0 for t in found["trials"])
    assert "--threads 1" in found["winner"]["command"]
    turns = found["winner"]["in_turn"]
    assert turns and min(turns, key=turns.__getitem__) == str(found["winner"]["trial"])


def test_where_nothing_fits_nothing_is_written(case: Case, capsys: Any, monkeypatch: Any) -> None:
    """Not even the source runs in a nanosecond."""
    monkeypatch.chdir(case.folder)
    monkeypatch.setenv("TMPDIR", str(case.folder))
    words = ["tune", "m.onnx", "--calib", "s.npz", "--latency-target", "0.001us", "--trials", "1", "-o", "n.onnx", "-q"]
    assert main(words) == 1
    assert "nothing fits within 1 ns; nothing was written" in capsys.readouterr().out
    assert not (case.folder / "n.onnx").exists()


def test_the_journal_of_something_else_is_refused(
    case: Case, whole: dict[str, Any], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    other = network(tmp_path / "m.onnx", seed=3)
    data = samples(tmp_path / "s.npz", seed=5)
    monkeypatch.chdir(case.folder)
    for change, said in (
        (["tune", str(other)], "another model"), (["--calib", data], "other samples, or another metric"),
        (["--max-error", "0.5"], "max-error=0.02, not 0.5"), (["--seed", "1"], "seed=0, not 1"),
    ):  # fmt: skip
        words = case.words("w.onnx")
        if change[0] == "tune":
            words[:2] = change
        else:
            words += change
        assert main(words) == 2
        error = capsys.readouterr().err
        assert f"the journal is of {said}" in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    "words, said",
    [
        (["--goal", "fun"], "--goal is one of"),
        (["--max-drop", "1%"], "--max-drop: is how much of a metric may be lost"),
        (["--max-error", "much"], "--max-error: takes an error"),
        (["--metric", "f.py:g", "--max-drop", "1%"], "--metric: no file f.py"),
        (["--latency-target", "soon"], "--latency-target: takes a time"),
        (["--latency-target", "5ms", "--goal", "size"], "--latency-target: is a limit of latency"),
        (["--time", "0s"], "--time: takes a time"),
        (["--trials", "0"], "--trials takes a number from 1 on"),
        (["--threads", "0"], "--threads takes numbers from 1 on"),
        (["--target", "cpu+a100"], "--target: several are compared by the clock"),
        (["--target", "cup"], "cup"),
        (["--target", "cpu+openvino-cpu", "-o", "a.xml"], "what wins decides between .onnx and .xml"),
        (["--calib", "none.npz"], "--calib: no file or folder none.npz"),
        (["--scheduler", "tcp://127.0.0.1:9"], "--scheduler: no scheduler with workers at tcp://127.0.0.1:9"),
        (["-o", "m.onnx"], "m.onnx"),
    ],
)
def test_bad_use_is_one_line(case: Case, words: list[str], said: str, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("geoc.tools.tune.executors._PATIENCE", 0.5)
    monkeypatch.chdir(case.folder)
    assert main(["tune", "m.onnx", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error


def job(case: Case, metric: str, folder: Path) -> dict[str, Any]:
    path = folder / "metric.py"
    path.write_text(f"import os, time\ndef metric(run):\n    {metric}\n    return 1.0\n")
    return {
        "kind": TRIAL, "suffix": ".onnx", "goal": "size", "timed": False, "many": False, "metric": f"{path}:metric",
        "no_worse_than": None, "settings": {"source": str(case.source), "passes": "", "check": "end"},
    }  # fmt: skip


def test_a_trial_that_crashes_or_takes_too_long_is_one_trial(case: Case, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert run_job(job(case, "pass", tmp_path), 60)["score"] == 1.0
    assert run_job(job(case, "os.kill(os.getpid(), 9)", tmp_path), 60)["failed"] == "its process was ended by SIGKILL"
    assert run_job(job(case, "raise ValueError('no')", tmp_path), 60)["failed"].endswith("metric.py:3 in metric: ValueError: no")
    begun = time.monotonic()
    assert run_job(job(case, "time.sleep(60)", tmp_path), 4)["failed"] == "it took more than 4 s"
    assert time.monotonic() - begun < 20


def test_jobs_side_by_side_are_all_ended_when_nobody_asks_for_more(case: Case, tmp_path: Path, monkeypatch: Any) -> None:
    """Two that wait for each other both end, so they ran at once; of two more, one that sleeps is let go."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "fifo").mkdir()
    jobs = []
    for number, other in ((0, 1), (1, 0)):
        folder = tmp_path / str(number)
        folder.mkdir()
        mine, theirs = tmp_path / "fifo" / str(number), str(tmp_path / "fifo" / str(other))
        wait = f"while not os.path.exists({theirs!r}): time.sleep(0.05)"
        jobs.append(job(case, f"open({str(mine)!r}, 'w').close()\n    {wait}", folder))
    both = Local(2)
    found = dict(both.completed([both.submit(each, 60) for each in jobs]))
    assert [found[place]["score"] for place in (0, 1)] == [1.0, 1.0]
    sleeping = tmp_path / "sleeping"
    sleeping.mkdir()
    begun = time.monotonic()
    futures = [both.submit(job(case, "time.sleep(60)", sleeping), 60), both.submit(jobs[0], 60)]
    place, _ = next(both.completed(futures))
    assert place == 1 and time.monotonic() - begun < 30


def test_what_is_not_done_in_time_is_let_go(case: Case, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    one = Local(1)
    begun = time.monotonic()
    assert not list(one.completed([one.submit(job(case, "time.sleep(60)", tmp_path), 60)], 1.0))
    assert time.monotonic() - begun < 20


def test_what_is_timed_has_the_machine_alone(tmp_path: Path, monkeypatch: Any) -> None:
    import tempfile
    import threading

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[str] = []

    def other() -> None:
        with HostLock():
            seen.append("other")

    with HostLock() as lock:
        beside = threading.Thread(target=other)
        beside.start()
        beside.join(10)
        assert seen == ["other"]
        with lock.alone():
            waiting = threading.Thread(target=other)
            waiting.start()
            waiting.join(0.3)
            assert seen == ["other"] and waiting.is_alive()
        waiting.join(10)
        assert seen == ["other", "other"]


def test_waiting_for_the_machine_takes_none_of_a_trials_time(tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    waiting.touch()
    work = f"import os, time; time.sleep(1.5); os.unlink({str(waiting)!r}); time.sleep(9)"
    process = subprocess.Popen([sys.executable, "-c", work])
    begun = time.monotonic()
    try:
        assert _waited(process, 0.6, str(waiting), None) is None
        assert 1.9 < time.monotonic() - begun < 8
    finally:
        process.kill()
        process.wait()

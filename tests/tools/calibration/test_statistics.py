"""What observers have seen is kept: what finds it again, what does not, and what becomes of runs that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import geoc
from geoc.ir.core import Model
from geoc.passes.prune.measures import Measures
from geoc.passes.quantize.gptq import Gram
from geoc.passes.quantize.observers import Channels, Histogram, Mean, MinMax, MovingAverage, Several, Statistics
from geoc.tools.calibration import kept as kept_module
from geoc.tools.calibration import observing, statistics
from geoc.tools.calibration.kept import Kept
from geoc.tools.calibration.ranges import Watcher
from geoc.tools.calibration.statistics import StatisticsCache, cache_folder, key_of
from geoc.tools.cli import main

SIZE = 96
MAKERS: dict[str, Callable[[], Statistics]] = {
    "minmax": MinMax, "channels": lambda: MinMax(-1), "average": MovingAverage, "mean": lambda: Mean(-1),
    "squares": lambda: Channels(-1), "histogram": Histogram, "gram": lambda: Gram(7),
    "several": lambda: Several([MinMax(), Gram(7)]),
}  # fmt: skip


def arrays(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((5, 7)).astype(np.float32) * 3**i for i in range(count)]


def bits(found: Statistics) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in found.state().items()}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("at", [0, 1, 3, 6])
def test_an_observer_goes_on_where_it_stopped(kind: str, at: int, tmp_path: Path) -> None:
    make, cache = MAKERS[kind], StatisticsCache(tmp_path)
    whole, before, after = make(), make(), make()
    for array in arrays(6):
        whole.add(array)
    for array in arrays(6)[:at]:
        before.add(array)
    cache.save("key", [before], at, False)
    assert cache.load("key", [after]) == (at, False)
    for array in arrays(6)[at:]:
        after.add(array)
    assert bits(after) == bits(whole)
    assert after.settings == whole.settings


def test_settings_tell_observers_apart() -> None:
    found = [make().settings for make in MAKERS.values()]
    assert len({*found, MinMax(0).settings, MovingAverage(weight=0.5).settings, Histogram(64).settings}) == len(found) + 3
    seen = Histogram()
    seen.add(arrays(1)[0])
    assert seen.settings == Histogram().settings


def model_file(path: Path, change: str = "") -> str:
    """Two products; one weight differs with `change`."""
    rng = np.random.default_rng(0)
    v, w = (rng.normal(size=SIZE * SIZE) / np.sqrt(SIZE) for _ in range(2))
    if change == "weight":
        w[17] += 0.1
    numbers = [", ".join(f"{x:.6f}" for x in array) for array in (v, w)]
    relu = "Abs" if change == "operator" else "Relu"
    path.write_text(f"""geoc 1
opset "" 17

graph @main(%x: f32[B,{SIZE}]) -> (%y) {{
  weight %v: f32[{SIZE},{SIZE}] = [{numbers[0]}]
  weight %w: f32[{SIZE},{SIZE}] = [{numbers[1]}]
  %m = MatMul(%x, %v)
  %r = {relu}(%m)
  %n = MatMul(%r, %w)
  %y = Tanh(%n)
}}
""")
    return str(path)


def samples_file(path: Path, change: bool = False, count: int = 10) -> str:
    rng = np.random.default_rng(1)
    found = {f"x/{i}": rng.normal(size=(4, SIZE)).astype(np.float32) for i in range(count)}
    if change:
        found["x/2"][0, 0] += 1e-3
    np.savez(path, **found)
    return str(path)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each time that a model is run on a sample to observe it."""
    found: list[int] = []
    run = observing._Observed.run

    def counted(self: observing._Observed, *arguments: object) -> object:
        found.append(1)
        return run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(observing._Observed, "run", counted)
    return found


PASSES = "@O2,smooth{least=1.0},quantize{method=percentile,correct=4},ort-quantized,fold,cse,dce"


def compiled(folder: Path, cache: str, change: str = "", passes: str = PASSES) -> bytes:
    """The file that a run makes."""
    folder.mkdir(exist_ok=True)
    out = folder / "o.onnx"
    model = model_file(folder / "m.gir", change)
    data = samples_file(folder / "s.npz", change == "sample")
    geoc.compile(model, out, passes=passes, check="off", calib=data, cache=cache)
    return out.read_bytes()


def plain(data: bytes) -> bytes:
    """Without what names the command."""
    return data[: data.index(b"geoc.command")] if b"geoc.command" in data else data


def test_a_second_run_measures_nothing_and_gives_the_same_file(tmp_path: Path, runs: list[int]) -> None:
    cache = str(tmp_path / "cache")
    first = compiled(tmp_path / "a", cache)
    assert len(runs) == 20
    runs.clear()
    assert compiled(tmp_path / "a", cache) == first
    assert runs == []
    assert plain(compiled(tmp_path / "b", "off")) == plain(first)  # what is measured anew is the same
    assert runs != []


@pytest.mark.parametrize("change", ["weight", "operator", "sample"])
def test_whatever_changes_is_measured_again(change: str, tmp_path: Path, runs: list[int]) -> None:
    cache = str(tmp_path / "cache")
    compiled(tmp_path / "a", cache)
    count = len(runs)
    runs.clear()
    made = compiled(tmp_path / "b", cache, change)
    # What is observed in front of the change is what it was. Behind the operator is all but the first layer alone, behind
    # the weight of the second layer only what that gives, before and after it was quantized.
    assert len(runs) == {"sample": count, "operator": count - 4, "weight": 8}[change]
    assert plain(made) == plain(compiled(tmp_path / "c", "off", change))


@pytest.mark.parametrize("passes", [PASSES.replace("percentile", "minmax"), PASSES.replace("correct=4", "correct=3")])
def test_other_settings_are_measured_again(passes: str, tmp_path: Path, runs: list[int]) -> None:
    cache = str(tmp_path / "cache")
    compiled(tmp_path / "a", cache)
    runs.clear()
    compiled(tmp_path / "b", cache, passes=passes)
    assert runs != []


def test_a_range_chosen_in_another_way_from_the_same_counts_is_not_measured(tmp_path: Path, runs: list[int]) -> None:
    cache = str(tmp_path / "cache")
    passes = PASSES.replace(",correct=4", "")
    compiled(tmp_path / "a", cache, passes=passes)
    runs.clear()
    compiled(tmp_path / "b", cache, passes=passes.replace("percentile", "entropy"))
    assert runs == []


PRUNED = "@O2,prune{{left={left},repair=4,slower=true}},ort-quantized,fold,cse,dce"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each time that what cuts harm is measured."""
    found: list[int] = []
    measure = Measures._by_harm

    def counted(self: Measures, *arguments: object) -> object:
        found.append(1)
        return measure(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Measures, "_by_harm", counted)
    return found


def test_what_cuts_harm_is_measured_once_however_much_goes(tmp_path: Path, measured: list[int]) -> None:
    cache = str(tmp_path / "cache")
    made = [compiled(tmp_path / "a", cache, passes=PRUNED.format(left=left)) for left in (0.8, 0.6)]
    assert len(measured) == 1 and len(made[0]) > len(made[1]) + 100
    assert plain(compiled(tmp_path / "b", "off", passes=PRUNED.format(left=0.6))) == plain(made[1])
    assert len(measured) == 2


@pytest.mark.parametrize("change", ["weight", "operator", "sample", "option"])
def test_what_cuts_harm_is_measured_again_of_anything_else(change: str, tmp_path: Path, measured: list[int]) -> None:
    cache = str(tmp_path / "cache")
    compiled(tmp_path / "a", cache, passes=PRUNED.format(left=0.6))
    passes = PRUNED.format(left=0.6).replace("repair=4", "repair=5" if change == "option" else "repair=4")
    made = compiled(tmp_path / "b", cache, change, passes)
    assert len(measured) == 2
    assert plain(made) == plain(compiled(tmp_path / "c", "off", change, passes))


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "other"])
def test_a_broken_file_is_measured_again_with_a_note(harm: str, tmp_path: Path, runs: list[int]) -> None:
    folder = tmp_path / "cache"
    first = compiled(tmp_path / "a", str(folder))
    for path in folder.iterdir():
        data = path.read_bytes()
        middle = len(data) // 2
        path.write_bytes({
            "cut": data[:middle], "empty": b"", "other": b"something else",
            "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        }[harm])  # fmt: skip
    runs.clear()
    out = tmp_path / "a" / "o.onnx"
    report = geoc.compile(
        str(tmp_path / "a" / "m.gir"), out, passes=PASSES, check="off", calib=str(tmp_path / "a" / "s.npz"), cache=str(folder)
    )
    assert out.read_bytes() == first and len(runs) == 20
    assert [n for n in report.notes if "does not hold what was written into it; measured again" in n] == report.notes[:1]


def test_a_folder_that_cannot_be_written_costs_a_note_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    report = geoc.compile(
        model_file(tmp_path / "m.gir"), passes=PASSES, check="off", calib=samples_file(tmp_path / "s.npz"),
        cache=str(tmp_path / "file" / "below"),
    )  # fmt: skip
    assert any("statistics" in note for note in report.notes)


def test_the_folder_keeps_to_its_size(tmp_path: Path) -> None:
    cache = StatisticsCache(tmp_path, limit=220_000)
    seen = Histogram()  # 64 KiB
    for number in range(6):
        cache.save(f"key{number}", [seen], 1, True)
        os.utime(tmp_path / f"key{number}.stat", (1e9 + number, 1e9 + number))
    assert cache.load("key4", [Histogram()]) == (1, True)  # used: as new as can be
    cache.save("key6", [seen], 1, True)
    assert {path.name for path in tmp_path.iterdir()} == {"key4.stat", "key5.stat", "key6.stat"}
    cache.save("large", [Histogram(1 << 16)], 1, True)
    assert not (tmp_path / "large.stat").exists()


def test_what_writers_left_that_are_gone_goes_as_well(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.1.tmp", tmp_path / ".b.2.tmp"
    for path in (old, new):
        path.write_bytes(b"part")
    os.utime(old, (1e9, 1e9))
    StatisticsCache(tmp_path).save("key", [MinMax()], 1, True)
    assert not old.exists() and new.exists()


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("GEOC_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "geoc" / "statistics"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "geoc" / "statistics"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "geoc" / "statistics"
    monkeypatch.setenv("GEOC_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("GEOC_CACHE_DIR", "off")
    assert cache_folder() is None


def test_names_of_values_do_not_matter(tmp_path: Path) -> None:
    text = 'geoc 1\nopset "" 17\n\ngraph @main(%x: f32[B,3]) -> (%y) {\n  %z = Neg(%x)\n  %y = Exp(%z)\n}\n'

    def key(text: str) -> str:
        model: Model = geoc.ir.text.parse_model(text)  # type: ignore[attr-defined]
        return key_of(model, [MinMax()], "samples", None)

    assert key(text) == key(text.replace("%z", "%other"))
    assert key(text) != key(text.replace("Neg", "Abs"))


SCRIPT = """
import sys, time
from geoc.tools.calibration import kept, observing, statistics
from geoc.tools.cli import main
statistics.EVERY, kept._SHARE = 0.0, 0
run = observing._Observed.run
def slow(self, *arguments):
    time.sleep(0.05)
    print("run", flush=True)
    return run(self, *arguments)
observing._Observed.run = slow
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_where_it_was(how: signal.Signals, tmp_path: Path) -> None:
    """In the middle of a walk over the samples: the next run takes what is left of it, and makes the same file."""
    model, data, out = model_file(tmp_path / "m.gir"), samples_file(tmp_path / "s.npz", count=30), tmp_path / "o.onnx"
    passes = "@O2,quantize{method=mse},ort-quantized,fold,cse,dce"
    words = [model, "--passes", passes, "--check=off", "--calib", data, "--cache", str(tmp_path / "cache"), "-o", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(geoc.__file__).parents[1])}
    command = [sys.executable, "-c", SCRIPT, *words]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs the tests may have it ignored
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for _ in range(9):
            assert process.stdout.readline() == "run\n"
        process.send_signal(how)
        killed = 9 + process.stdout.read().count("run\n")
        assert process.wait() != 0
    assert not out.exists()
    again = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=120)
    assert again.returncode == 0
    assert 24 - killed <= again.stdout.count("run\n") <= 24 - killed + 2  # 24 of 30 are measured on; the last may be lost
    made = out.read_bytes()
    assert main([*words[:6], "--cache", "off", "-o", str(out)]) == 0
    assert plain(out.read_bytes()) == plain(made)


def test_two_runs_at_a_time(tmp_path: Path) -> None:
    """Both make what one makes alone, whoever writes first."""
    model, data = model_file(tmp_path / "m.gir"), samples_file(tmp_path / "s.npz")
    environment = {**os.environ, "PYTHONPATH": str(Path(geoc.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    outs = [tmp_path / str(number) / "o.onnx" for number in range(2)]
    processes = []
    for out in outs:
        out.parent.mkdir()
        words = [model, "--passes", PASSES, "--check=off", "--calib", data, "--cache", str(tmp_path / "cache"), "-o", str(out)]
        processes.append(subprocess.Popen([sys.executable, "-m", "geoc", *words], env=environment, stdout=subprocess.DEVNULL))
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_it_is_saved_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[int, bool]] = []
    monkeypatch.setattr(statistics.StatisticsCache, "save", lambda self, key, found, count, complete: saved.append((count, complete)))
    now = [100.0]
    monkeypatch.setattr(kept_module, "perf_counter", lambda: now[0])
    kept = kept_module.Saved(Kept(StatisticsCache(tmp_path), "samples"), geoc.load(model_file(tmp_path / "m.gir")), [MinMax()])
    for count in range(1, 7):
        now[0] += statistics.EVERY / 2.5
        kept.after(count)
    kept.end(6)
    assert saved == [(3, False), (6, False), (6, True)]


def test_what_takes_long_to_save_is_saved_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of the time at most."""
    now, saved = [100.0], []

    def save(self: object, key: str, found: object, count: int, complete: bool) -> None:
        now[0] += 2.0
        saved.append(count)

    monkeypatch.setattr(statistics.StatisticsCache, "save", save)
    monkeypatch.setattr(kept_module, "perf_counter", lambda: now[0])
    kept = kept_module.Saved(Kept(StatisticsCache(tmp_path), "samples"), geoc.load(model_file(tmp_path / "m.gir")), [MinMax()])
    for count in range(1, 101):
        now[0] += 1.0
        kept.after(count)
    assert saved == [5, 45, 85]


def test_ranges_for_half_precision_are_kept_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested graphs included; what never ran has no range then either."""
    calls: list[int] = []
    run = Watcher.run
    monkeypatch.setattr(Watcher, "run", lambda self, feeds: calls.append(1) or run(self, feeds))
    text = f"""geoc 1
opset "" 17

graph @main(%x: f32[B,{SIZE}], %flag: bool[]) -> (%y) {{
  weight %w: f32[{SIZE},{SIZE}] = splat(0.01)
  %m = MatMul(%x, %w)
  %i: f32[B,{SIZE}] = If(%flag)
    with then_branch = () -> (%t) {{
      %t: f32[B,{SIZE}] = Mul(%m, %m)
    }}
    with else_branch = () -> (%e) {{
      %e: f32[B,{SIZE}] = Exp(%m)
    }}
  %y = MatMul(%i, %w)
}}
"""
    (tmp_path / "m.gir").write_text(text)
    rng = np.random.default_rng(0)
    samples = {f"x/{i}": rng.normal(size=(2, SIZE)).astype(np.float32) for i in range(10)}
    np.savez(tmp_path / "s.npz", **samples, **{f"flag/{i}": np.array(True) for i in range(10)})
    found = []
    for number in range(2):
        out = tmp_path / f"{number}" / "o.onnx"
        out.parent.mkdir()
        geoc.compile(
            tmp_path / "m.gir", out, target="a100", precision="fp16", calib=tmp_path / "s.npz", cache=tmp_path / "cache",
            check="off",
        )  # fmt: skip
        found.append((len(calls), out.read_bytes()))
        calls.clear()
    assert (found[0][0], found[1][0]) == (8, 0)
    assert found[0][1] == found[1][1]

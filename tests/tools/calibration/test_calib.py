"""--calib: numbers are measured on the user's samples, and results compared on those that were held back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import geoc
from geoc.tools.cli import main
from geoc.tools.progress import Progress

TEXT = """geoc 1
opset "" 17

graph @main(%x: f32[B,64]) -> (%y) {
  weight %w: f32[64,64] = splat(0.01)
  %m = MatMul(%x, %w)
  %r = Relu(%m)
  %n = MatMul(%r, %w)
  %y = Tanh(%n)
}
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.gir"
    path.write_text(TEXT)
    return str(path)


def samples(path: Path, size: float, count: int = 10, special: dict[int, float] | None = None) -> str:
    rng = np.random.default_rng(0)
    arrays = {f"x/{i}": rng.normal(size=(2, 64)).astype(np.float32) * size for i in range(count)}
    for index, value in (special or {}).items():
        arrays[f"x/{index}"][0, 0] = value
    np.savez(path, **arrays)
    return str(path)


def test_the_result_is_compared_on_samples_that_were_held_back(model: str, tmp_path: Path) -> None:
    report = geoc.compile(model, target="a100", precision="fp16", calib=samples(tmp_path / "s.npz", 1.0))
    assert report.accuracy.status == "CHECKED"
    assert (report.accuracy.samples, report.accuracy.held_back) == (2, True)
    assert "2 held-back samples" in report.summary()


def test_few_samples_serve_twice_and_the_summary_says_so(model: str, tmp_path: Path) -> None:
    report = geoc.compile(model, target="a100", precision="fp16", calib=samples(tmp_path / "s.npz", 1.0, 3))
    assert (report.accuracy.samples, report.accuracy.held_back) == (3, False)
    assert "3 samples, the ones it was measured on" in report.summary()


def test_ranges_are_those_of_the_samples(model: str, tmp_path: Path) -> None:
    """Products stay in single precision where the samples make them large; on made-up inputs nothing is."""

    def products(calib: str | None) -> int:
        report = geoc.compile(model, target="a100", precision="fp16", calib=calib)
        return report.after.low

    assert products(None) == products("random") == products(samples(tmp_path / "small.npz", 1.0)) == 2
    assert products(samples(tmp_path / "large.npz", 3e5)) < 2


def test_what_was_held_back_is_not_measured(model: str, tmp_path: Path) -> None:
    """A number that would keep a node in single precision, in a sample that only the comparison sees."""
    held = geoc.compile(model, target="a100", precision="fp16", calib=samples(tmp_path / "a.npz", 1.0, special={4: 3e6}))
    seen = geoc.compile(model, target="a100", precision="fp16", calib=samples(tmp_path / "b.npz", 1.0, special={3: 3e6}))
    assert held.after.low == 2
    assert seen.after.low < 2


def test_progress_says_how_many_samples_are_done(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of how many where that is known: of a file, and not of a function without a limit."""
    said: list[tuple[str, float]] = []
    monkeypatch.setattr(Progress, "detail", lambda self, text, part=0.0: said.append((text, part)))
    data = samples(tmp_path / "s.npz", 1.0)
    options = {"passes": "@O1,quantize{method=minmax,correct=3}", "check": "off", "cache": "off"}
    geoc.compile(model, calib=data, **options)
    assert said[:8] == [(f"calibrating, {i} of 8 samples", i / 8) for i in range(1, 9)]
    assert said[8:11] == [(f"calibrating, {i} of 3 samples", i / 3) for i in range(1, 4)]
    said.clear()
    (tmp_path / "data.py").write_text(f"import numpy as np\n\ndef feeds():\n    return np.load({data!r}).values()\n")
    geoc.compile(model, calib=f"{tmp_path / 'data.py'}:feeds", **options)
    assert said[:8] == [(f"calibrating, {i} samples", 0.0) for i in range(1, 9)]
    assert said[8:11] == [(f"calibrating, {i} of 3 samples", i / 3) for i in range(1, 4)]


def test_the_command_takes_it_and_gives_it_back(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = samples(tmp_path / "s.npz", 1.0), str(tmp_path / "out.onnx")
    report = str(tmp_path / "report.json")
    arguments = [model, "-O3", "--target=a100", "--calib", data, "-o", out, "--report", report]
    assert main(arguments) == 0
    assert f"--calib {data}" in capsys.readouterr().out
    found = json.loads(Path(report).read_text())["accuracy"]
    assert (found["samples"], found["held_back"]) == (2, True)


def test_a_sample_that_does_not_run_ends_it(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "s.npz", **{"x/0": np.zeros((2, 63), np.float32)})
    assert main([model, "--target=a100", "--precision=fp16", "--calib", str(tmp_path / "s.npz"), "-o", str(tmp_path / "o.onnx")]) == 2
    assert "sample 0 has shape 2x63 for x, which is Bx64" in capsys.readouterr().err

"""--metric and --max-drop: the user's own measure of the source and of the result, and what may be lost of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.ir.errors import UsageError
from geoc.tools.cli import main
from geoc.tools.metric import Drop, read_drop
from geoc.tools.search import partly

from .search.test_mixed_integers import WIDTH, network, products, samples

METRIC = f"""
import numpy as np

RNG = np.random.default_rng(7)
DATA = [RNG.standard_normal((64, {WIDTH})).astype(np.float32) for _ in range(4)]


def closeness(run):
    with open(__file__ + ".calls", "a") as file:
        file.write("call\\n")
    outputs = [run({{"x": x}})[0] for x in DATA]
    return -np.mean([np.linalg.norm(y - e) / np.linalg.norm(e) for y, e in zip(outputs, expected())])


def expected():
    import onnxruntime
    session = onnxruntime.InferenceSession("SOURCE")
    return [session.run(None, {{"x": x}})[0] for x in DATA]


def broken(run):
    return run({{"x": DATA[0]}})[0].mean() / undefined


def wrong_input(run):
    return run({{"z": DATA[0]}})[0].mean()


def text(run):
    return "good"


def nan(run):
    return float("nan")
"""


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, str, Path]:
    """A model, samples for it, and a file with metrics."""
    source = network(tmp_path / "m.onnx", 3)
    path = tmp_path / "metric.py"
    path.write_text(METRIC.replace("SOURCE", str(source)))
    return source, samples(tmp_path / "s.npz"), path


def closeness(source: Path, made: Path) -> float:
    """What the metric says, computed here."""
    rng = np.random.default_rng(7)
    a, b = (onnxruntime.InferenceSession(str(p)) for p in (source, made))
    found = []
    for _ in range(4):
        x = {"x": rng.standard_normal((64, WIDTH)).astype(np.float32)}
        expected, got = a.run(None, x)[0], b.run(None, x)[0]
        found.append(np.linalg.norm(got - expected) / np.linalg.norm(expected))
    return -float(np.mean(found))


def test_both_are_measured_and_reported(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    source, data, path = given
    made = tmp_path / "o.onnx"
    report = geoc.compile(source, made, precision="int8", calib=data, metric=f"{path}:closeness")
    assert report.precision == "w8a8" and report.metric is not None and report.metric.max_drop is None
    assert report.metric.source == 0 and report.metric.result == pytest.approx(closeness(source, made), rel=1e-3)
    assert f"metric    {report.metric.result:.4f}, the source 0.0000 (" in report.summary().replace("-0.0000", "0.0000")
    plain = geoc.compile(source, made, metric=f"{path}:closeness")
    assert plain.metric is not None and plain.metric.result == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("drop", [0.02, 0.008])
def test_a_drop_limits_and_few_calls_are_made(given: tuple[Path, str, Path], tmp_path: Path, drop: float) -> None:
    source, data, path = given
    made = tmp_path / "o.onnx"
    words = [str(source), "--precision=int8", "--calib", data, "--metric", f"{path}:closeness", "-o", str(made)]
    assert main([*words, "--max-drop", str(drop)]) == 0
    assert closeness(source, made) >= -drop * 1.001
    assert 0 < products(made)["MatMulIntegerToFloat"] < 6  # as a whole it loses 0.03
    assert len(Path(f"{path}.calls").read_text().split()) <= partly.ROUNDS + 2


def test_a_drop_that_nothing_keeps(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    source, data, path = given
    report = geoc.compile(source, tmp_path / "o.onnx", precision="int8", calib=data, metric=f"{path}:closeness", max_drop=1e-6)
    assert report.ok and report.precision == "" and report.metric is not None and report.metric.result == pytest.approx(0, abs=1e-6)
    assert "closeness -0.0" in report.refused[0].why and "below the source's" in report.refused[0].why
    assert report.refused[0].unlock.startswith("--max-drop 0.0")


def test_a_drop_stands_for_the_budget_of_auto_unless_both_are_given(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    source, data, path = given
    options = {"calib": data, "metric": f"{path}:closeness", "max_drop": 0.1}
    alone = geoc.compile(source, None, target="cpu-vnni", level=3, **options)
    assert alone.precision == "w8a8" and alone.stays is None and alone.accuracy.error > 0.01
    both = geoc.compile(source, None, target="cpu-vnni", level=3, max_error=0.01, **options)
    assert both.accuracy.error <= 0.01 and both.metric is not None and both.metric.result >= -0.1


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("broken", "metric.py:22 in broken: NameError: name 'undefined' is not defined"),
        ("wrong_input", "metric.py:26 in wrong_input: "),
        ("text", "metric.py:text gives str, and a metric is one number"),
        ("nan", "metric.py:nan gives nan for the source"),
        ("none", "has no function 'none'; it has closeness, expected, broken, wrong_input, text, nan"),
    ],
)
def test_what_goes_wrong_in_it(given: tuple[Path, str, Path], capsys: pytest.CaptureFixture[str], function: str, said: str) -> None:
    source, data, path = given
    assert main([str(source), "--precision=int8", "--calib", data, "--metric", f"{path}:{function}", "-q"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--metric: " in error and said in error
    assert not source.with_name("m.geoc.onnx").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_drop": 0.1}, "how much of a metric may be lost: --metric"),
        ({"metric": "missing.py:f"}, "no file missing.py"),
        ({"metric": "score"}, "takes FILE.py:FUNCTION, not score"),
        ({"metric": "FILE:closeness", "check": "off"}, "--check=off"),
        ({"metric": "FILE:closeness", "max_drop": "most"}, "takes a drop such as 0.01 or 1%"),
    ],
)
def test_bad_use(given: tuple[Path, str, Path], options: dict[str, str], said: str) -> None:
    source, _, path = given
    options = {key: value.replace("FILE", str(path)) if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(UsageError, match=said):
        geoc.compile(source, None, **options)  # type: ignore[arg-type]


def test_a_file_that_does_not_load(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    source, _, _ = given
    for text, said in (("def f(:\n", r"bad.py:1: SyntaxError"), ("\nimport nowhere_at_all\n", r"bad.py:2: ModuleNotFoundError")):
        (tmp_path / "bad.py").write_text(text)
        with pytest.raises(UsageError, match=said):
            geoc.compile(source, None, metric=f"{tmp_path / 'bad.py'}:f")
        with pytest.raises(UsageError, match=said):
            geoc.compile(source, None, precision="int8", calib=f"{tmp_path / 'bad.py'}:f")


def test_drops_are_read_and_written() -> None:
    assert read_drop("0.01") == Drop(0.01) and read_drop("1%") == Drop(0.01, True)
    assert [read_drop(text).allowed(-200.0) for text in ("0.5%", "0.5")] == pytest.approx([1.0, 0.5])
    for text in ("0.01", "1%", "0", "0.25%"):
        assert str(read_drop(text)) == text
    for text in ("", "x", "-1", "-1%", "inf", "nan"):
        with pytest.raises(UsageError, match="takes a drop"):
            read_drop(text)


@pytest.mark.parametrize(("text", "source", "score"), [("2%", 1.0, 0.98), ("0.02", 1.0, 0.98), ("0.1", 0.4, 0.3), ("0", 0.7, 0.7)])
def test_a_drop_may_be_used_up_whole(text: str, source: float, score: float) -> None:
    """In binary some of these differences are a little more than the drop."""
    drop = read_drop(text)
    assert source - score <= drop.allowed(source) < source - score + 1e-6
    assert not source - (score - 1e-6) <= drop.allowed(source)

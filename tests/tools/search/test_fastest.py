"""--target=fastest-cpu: what is measured, taken and refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.ir.errors import UsageError
from geoc.tools.cli import main
from geoc.tools.running import timing
from geoc.tools.search import fastest

from ..toys import embedding, finish, relu_chain

openvino = pytest.importorskip("openvino")


@pytest.fixture
def perceptron(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array((rng.standard_normal((64, 64)) / 8).astype(np.float32), f"w{i}") for i in (0, 1)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["y"]),
    ]
    onnx.save(finish(nodes, [("x", TensorProto.FLOAT, ["N", 64])], [("y", TensorProto.FLOAT, ["N", 64])], weights),
              tmp_path / "m.onnx")  # fmt: skip
    return tmp_path / "m.onnx"


def run_file(path: Path, feeds: dict[str, Any]) -> Any:
    """The first output of a file in its own runtime."""
    if path.suffix == ".onnx":
        return onnxruntime.InferenceSession(str(path)).run(None, feeds)[0]
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(feeds)[compiled.outputs[0]]


@pytest.mark.parametrize("forced", ["cpu", "openvino-cpu"])
def test_the_faster_one_is_written_and_said(
    forced: str, perceptron: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "RUNS", 6)
    slow = "openvino" if forced == "cpu" else "onnxruntime"
    real = timing.RUNNERS[slow]

    def slowed(*args: Any) -> Any:
        call = real(*args)
        return lambda feeds: (time.sleep(0.003), call(feeds))[1]

    monkeypatch.setitem(timing.RUNNERS, slow, slowed)
    assert main([str(perceptron), "--target=fastest-cpu"]) == 0
    out = capsys.readouterr().out
    assert f"speed     MEASURED  took {forced}, " in out and " 6 interleaved runs, 1 thread, shape 2x64" in out
    assert "against the source in onnxruntime" in out and "--target=fastest-cpu" in out
    suffix = ".onnx" if forced == "cpu" else ".xml"
    written = {p.suffix for p in perceptron.parent.iterdir() if p.name.startswith("m.geoc")}
    assert written == ({".onnx"} if forced == "cpu" else {".xml", ".bin"})
    x = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
    found, expected = run_file(perceptron.with_name(f"m.geoc{suffix}"), {"x": x}), run_file(perceptron, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "RUNS", 5)
    onnx.save(embedding(), tmp_path / "m.onnx")
    report = geoc.compile(tmp_path / "m.onnx", target="fastest-cpu", threads=2)
    assert report.ok and not report.files and report.speed is not None
    assert report.speed.runs == 5 and report.speed.threads == 2 and report.speed.shape == "2x16"
    speed = report.to_json()["speed"]
    assert speed["status"] == "MEASURED" and set(speed["seconds"]) == {"cpu", "openvino-cpu", timing.SOURCE}
    for name, (middle, low, high) in report.speed.ratios.items():
        assert low <= middle <= high and name != report.speed.taken


def test_text_without_a_comparison(perceptron: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "RUNS", 5)
    text = perceptron.with_suffix(".gir")
    geoc.save(geoc.load(perceptron), text, weights="inline")
    report = geoc.compile(text, perceptron.with_name("out"), target="fastest-cpu", check="off")
    assert report.ok and report.accuracy.status == "NOT CHECKED" and report.speed.runs == 5
    assert Path(report.output).exists()


def test_speed_is_judged_by_interleaved_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "RUNS", 8)
    order: list[str] = []

    def sleeping(name: str, seconds: float) -> Any:
        return lambda: (order.append(name), time.sleep(seconds))

    calls = {"cpu": sleeping("cpu", 0.004), "openvino-cpu": sleeping("openvino-cpu", 0.012),
             timing.SOURCE: sleeping("source", 0.002)}  # fmt: skip
    found = timing.measure(calls, ("cpu", "openvino-cpu"), 1, "2")
    assert found.taken == "cpu"  # the source is no choice, however fast
    assert 2 < found.ratios["openvino-cpu"][0] < 4 and found.ratios[timing.SOURCE][0] < 1
    names = ["cpu", "openvino-cpu", "source"]
    assert order[-18:] == [name for name in names + names[::-1] for _ in range(timing.TRIES)]


def test_wrong_results_are_not_taken(perceptron: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "RUNS", 5)
    monkeypatch.setitem(timing.RUNNERS, "openvino", lambda path, threads, model: lambda feeds: [feeds["x"] * 2])
    report = geoc.compile(perceptron, perceptron.with_name("out"), target="fastest-cpu")
    assert report.speed.taken == "cpu" and [r.what for r in report.refused] == ["openvino-cpu"]
    assert "its results are wrong: output 'y'" in report.refused[0].why
    assert report.files == [str(perceptron.with_name("out.onnx"))]


def test_a_model_that_openvino_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "RUNS", 5)
    model = finish([helper.make_node("Det", ["x"], ["y"])], [("x", TensorProto.FLOAT, [3, 3])],
                   [("y", TensorProto.FLOAT, [])])  # fmt: skip
    onnx.save(model, tmp_path / "m.onnx")
    report = geoc.compile(tmp_path / "m.onnx", tmp_path / "out", target="fastest-cpu")
    assert report.speed.taken == "cpu" and "openvino" in report.refused[0].why


def test_half_precision_at_the_interface(perceptron: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "RUNS", 5)
    report = geoc.compile(perceptron, perceptron.with_name("out"), target="fastest-cpu", io_precision="fp16")
    assert report.ok and set(report.speed.seconds) == {"cpu", "openvino-cpu", timing.SOURCE}


def test_openvino_is_needed(
    perceptron: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fastest, "runtime_version", lambda name: None)
    assert main([str(perceptron), "--target=fastest-cpu"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install 'geoc[openvino]'" in said
    assert [p.name for p in perceptron.parent.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "out.onnx"}, "leave the suffix out"),
        ({"output": "out.xml"}, "leave the suffix out"),
        ({"emit": "onnx"}, "chooses the form"),
        ({"io_precision": "bf16"}, "takes no bf16"),
    ],
)
def test_what_leaves_no_choice(options: dict[str, str], message: str, perceptron: Path) -> None:
    with pytest.raises(UsageError, match=message):
        geoc.compile(perceptron, target="fastest-cpu", **options)


def test_a_model_in_memory_is_refused_and_the_source_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes a file"):
        geoc.optimize(geoc.load(relu_chain()), target="fastest-cpu")
    onnx.save(relu_chain(), tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    with pytest.raises(UsageError, match="would overwrite the input"):
        geoc.compile(tmp_path / "m.onnx", tmp_path / "m", target="fastest-cpu")
    assert (tmp_path / "m.onnx").read_bytes() == before

"""The verb on models of known work: what it says, writes, and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.tools.bench import machine, measuring
from geoc.tools.bench.data import times_of
from geoc.tools.cli import main
from geoc.tools.running.peak import Fresh, measured_fresh


def chain(path: Path, products: int, width: int = 256, name: str = "x", rows: Any = "batch") -> Path:
    """So many products of [batch, width] with [width, width] one behind the other."""
    weight = numpy_helper.from_array(np.eye(width, dtype=np.float32) * 0.5, "w")
    nodes, at = [], name
    for number in range(products):
        nodes.append(helper.make_node("MatMul", [at, "w"], [f"v{number}"], name=f"/layer.{number}/MatMul"))
        at = f"v{number}"
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, width])]
    outputs = [helper.make_tensor_value_info(at, TensorProto.FLOAT, [rows, width])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes of their own: one test is about them."""
    monkeypatch.setattr(measuring, "measured_fresh", lambda *args: Fresh(1_000_000, 0.25, 0.125))


def bench(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["bench", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_more_work_is_slower_and_all_is_written(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    small, large = chain(tmp_path / "small.onnx", 4), chain(tmp_path / "large.onnx", 16)
    made, history = tmp_path / "b.json", tmp_path / "h.jsonl"
    words = (small, large, "--time", "400ms", "--batch", "8,64", "--target", "cpu,price=0.36", "-o", made, "--history", history)
    code, out, _ = bench(capsys, *words)
    assert code == 0 and "large.onnx" in out and "slower" in out and "the first run of these models" in out
    record = json.loads(made.read_text())
    assert [(c["batch"], c["threads"], c["shape"]) for c in record["configurations"]] == [(8, 1, "8x256"), (64, 1, "64x256")]
    for found in record["configurations"]:
        first, second = found["results"]
        ratio = second["ratios"]["latency"]
        assert 2.0 < ratio["low"] <= ratio["middle"] <= ratio["high"] and ratio["verdict"] == "slower"
        assert first["ratios"]["latency"]["verdict"] == "first"
        assert second["per_second"] == pytest.approx(found["batch"] / second["latency"]["mean"])
        assert second["cost_per_million"] == pytest.approx(0.36 / 3600 * 1e6 / second["per_second"])
        assert second["latency"]["min"] <= second["latency"]["median"] <= second["latency"]["max"]
    model = record["models"][0]
    assert model["bytes"] == small.stat().st_size and (model["load"], model["first_inference"]) == (0.25, 0.125)
    assert record["models"][0]["digest"] != record["models"][1]["digest"]
    code, out, _ = bench(capsys, *words)
    assert code == 0 and "history   against " in out and "by its ratio to small.onnx" in out
    assert len(history.read_text().splitlines()) == 2


def test_a_model_beside_itself_is_the_same(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = chain(tmp_path / "m.onnx", 8)
    code, out, _ = bench(capsys, path, path, "--time", "600ms", "--json")
    record = json.loads(out)
    assert code == 0 and [model["name"] for model in record["models"]] == [f"{path} #1", f"{path} #2"]
    result = record["configurations"][0]["results"][1]["ratios"]["latency"]
    assert result["verdict"] == "same" or not 0.97 < result["middle"] < 1.03


def test_runtimes_and_forms(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    path = chain(tmp_path / "m.onnx", 4)
    assert main([str(path), "-q", "--target=openvino-cpu", "-o", str(tmp_path / "m.xml")]) == 0
    assert main([str(path), "-q", "-O0", "-o", str(tmp_path / "m.gir")]) == 0
    picture = tmp_path / "b.png"
    words = (path, tmp_path / "m.xml", tmp_path / "m.gir", "--time", "200ms", "--threads", "1,2", "-o", picture)
    code, out, _ = bench(capsys, *words)
    assert code == 0 and "2 threads, batch 1" in out and "m.xml" in out
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000
    code, out, _ = bench(capsys, path, "--runtime", "openvino", "--time", "100ms", "--json")
    assert code == 0 and json.loads(out)["models"][0]["runtime"] == "openvino"


def test_inputs_of_the_user(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = chain(tmp_path / "m.onnx", 2)
    np.savez(tmp_path / "d.npz", **{f"x/{i}": np.zeros((3, 256), np.float32) for i in range(2)})
    code, out, _ = bench(capsys, path, "--inputs", tmp_path / "d.npz", "--time", "100ms")
    assert code == 0 and "3x256" in out and f"from {tmp_path / 'd.npz'}" in out


def test_what_it_refuses(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    path, other = chain(tmp_path / "m.onnx", 2), chain(tmp_path / "o.onnx", 2, name="y")
    fixed = chain(tmp_path / "f.onnx", 2, rows=1)
    for words, said in (
        ((), "give models to time"),
        ((path, other), "o.onnx: takes y, which the first model does not"),
        ((fixed, "--batch", "8"), "--batch: has no open dimension"),
        ((path, "--runtime", "tensorrt"), "--runtime: tensorrt needs a GPU"),
        ((path, "--runtime", "reference"), "--runtime: the reference evaluator is not timed"),
        ((path, "-o", "b.html"), "-o: is written as .json or .png"),
        ((path, "--time", "soon"), "--time: takes a time such as 10s"),
        ((path, "--batch", "1,x"), "--batch takes whole numbers"),
        ((tmp_path / "none.onnx",), "no such file"),
        ((path, "-o", path), "is written as"),
    ):
        code, out, err = bench(capsys, *words)
        assert code == 2 and not out and said in err and err.count("\n") == 1, (words, err)


def test_a_process_of_its_own_says_what_it_takes(tmp_path: Path) -> None:
    width = 2048  # weights of 16 MB
    path = chain(tmp_path / "m.onnx", 2, width)
    found = measured_fresh("onnxruntime", 1, str(path), {"x": np.zeros((1, width), np.float32)})
    assert 16e6 < found.peak < 300e6 and 0 < found.load < 60 and 0 < found.first < 60


def test_energy_is_read_where_the_machine_has_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "POWERCAP", tmp_path)
    assert "reports none" in machine.Energy().why
    for name, energy in (("intel-rapl:0", 999_000), ("intel-rapl:1", 5), ("intel-rapl:0:0", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("999999\n")
    energy = machine.Energy()
    before = energy.read()
    assert not energy.why and before == [999_000, 5]  # packages, not what is inside them
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("1000\n")  # began anew
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("2000005\n")
    assert energy.since(before) == pytest.approx((2000 + 2_000_000 % 1_000_000) / 1e6)


def test_percentiles_need_runs() -> None:
    few, many = times_of([0.01] * 19), times_of([i / 1000 for i in range(1, 201)])
    assert few["p95"] is None and few["p99"] is None
    assert many["p95"] == pytest.approx(0.190, rel=0.01) and many["p99"] == pytest.approx(0.198, rel=0.01)

"""--max-size and --max-memory: what is written keeps them, and what cannot keep them is not written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import geoc
from geoc.ir.errors import UsageError
from geoc.lowering.estimate import estimate_model
from geoc.lowering.targets import get_target
from geoc.tools.cli import main
from geoc.tools.recipes import limits
from geoc.tools.recipes.said import OVER, TAKEN
from geoc.tools.report import Report

from .models import held_back_error, network, ops, samples


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, str, Path]:
    return network(tmp_path / "m.onnx"), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"


def on_disk(*paths: Path) -> int:
    return sum(path.stat().st_size for path in paths)


def taken(report: Report) -> list[str]:
    return [tried.form for tried in report.tried if tried.status == TAKEN]


@pytest.mark.parametrize(
    ("size", "error", "form"),
    [
        (10**6, None, []),  # 131 kB as it is
        (45_000, None, ["w8a16"]),
        (25_000, 0.05, ["w4a16"]),
        (16_000, 0.03, ["low-rank at 0.5"]),  # the share that is left is found from the limit
    ],
)
def test_the_file_keeps_it(size: int, error: float | None, form: list[str], given: tuple[Path, str, Path]) -> None:
    source, data, made = given
    report = geoc.compile(source, made, max_size=size, calib=data, max_error=error)
    assert report.ok and on_disk(made) <= size and held_back_error(source, made, data) <= (error or 0.01)
    (limit,) = report.limits
    assert limit.ok and limit.how == "WRITTEN" and abs(limit.found - on_disk(made)) < 500 and limit.limit == size
    assert len(form) == len(taken(report)) and all(a.startswith(b[:-3]) for a, b in zip(taken(report), form))
    assert f"--max-size={size // 1000}kB" in report.again or size == 10**6
    if not form:
        assert not report.tried and ops(made) == {"MatMul", "Relu", "Add"}


def test_without_samples_weights_alone_become_smaller(given: tuple[Path, str, Path]) -> None:
    source, _, made = given
    report = geoc.compile(source, made, max_size="45kB")
    assert report.ok and taken(report) == ["w8a16"] and on_disk(made) <= 45_000


def test_data_beside_it_counts(tmp_path: Path) -> None:
    source, made = tmp_path / "m.onnx", tmp_path / "o.onnx"
    model = onnx.load(network(source))
    onnx.save(model, source, save_as_external_data=True, location="m.data", size_threshold=0)
    assert on_disk(source) < 2000
    report = geoc.compile(source, made, max_size="45kB", max_error=1e-6)
    assert not report.ok and not made.exists()  # though what would be written is small: it needs m.data
    assert report.limits[0].found > 130_000
    report = geoc.compile(source, made, max_size="140kB", max_error=1e-6)
    assert report.ok and on_disk(made) < 5000 and report.reused
    report = geoc.compile(source, made, max_size="140kB", weights="copy")
    assert report.ok and 130_000 < on_disk(made, tmp_path / "o.onnx.data") <= 140_000


def test_what_nothing_keeps_is_one_line(given: tuple[Path, str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, data, made = given
    words = [str(source), "--max-size=20kB", "--calib", data, "-o", str(made)]
    assert main([*words, "-q"]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"geoc: {source}: WRITTEN 0.02") and "MB over --max-size=0.0200MB" in said and "\n" not in said
    assert "the smallest within the budget; " in said and " would meet it and is off by " in said and not made.exists()
    error = said.split("--max-error ")[1].split("%")[0]
    assert main([*words, f"--max-error={error}%"]) == 0  # what it said would do does
    assert on_disk(made) <= 20_000 and held_back_error(source, made, data) <= float(error) / 100
    assert "limit     MET  WRITTEN 0.01" in capsys.readouterr().out


def test_a_size_that_there_is_not(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    source, data, made = given
    report = geoc.compile(source, made, max_size=3000, calib=data)
    assert not report.ok and not made.exists() and "the smallest that was made, w4a16, has 0.0192 MB" in report.failure
    data_ = report.to_json()
    assert data_["ok"] is False and data_["limits"][0]["limit"] == 3000 and json.dumps(data_)
    assert "MISSED" in report.summary() and "nothing was written" in report.summary()


@pytest.mark.parametrize("options", [{"passes": "@O2"}, {"level": 1}, {"check": "off"}, {"precision": "fp32", "passes": "@O1"}])
def test_nothing_above_it_passes_where_there_is_nothing_to_try(options: dict[str, Any], given: tuple[Path, str, Path]) -> None:
    source, _, made = given
    report = geoc.compile(source, made, max_size="100kB", **options)
    assert not report.ok and not made.exists() and report.limits[0].found > 100_000 and not report.tried
    assert geoc.compile(source, made, max_size="140kB", **options).ok and made.exists()


def test_an_order_is_carried_out_and_more_where_it_is_too_large(given: tuple[Path, str, Path]) -> None:
    source, data, made = given
    report = geoc.compile(source, made, precision="int8", calib=data, max_size="45kB")
    assert report.ok and taken(report) == ["w8a8"] and "MatMulIntegerToFloat" in ops(made)
    report = geoc.compile(source, made, precision="int8", calib=data, max_size="25kB", max_error=0.03)
    assert report.ok and taken(report)[0].endswith(", w8a8") and on_disk(made) <= 25_000
    assert {t.form.rpartition(", ")[2] for t in report.tried} == {"w8a8"}


def test_a_recipe_keeps_it(given: tuple[Path, str, Path]) -> None:
    source, data, made = given
    report = geoc.compile(source, made, recipe="edge", calib=data, max_size="15kB")
    assert report.ok and on_disk(made) <= 15_000 and held_back_error(source, made, data) <= 0.05
    assert any(tried.status == OVER and "over --max-size" in tried.why for tried in report.tried)


def test_several_forms_each_keep_it(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    source, _, _ = given
    folder = tmp_path / "out"
    report = geoc.compile(source, folder, emit=["onnx", "ort"], max_size="60kB")
    assert report.ok and all(on_disk(path) <= 60_000 for path in folder.iterdir()) and len(list(folder.iterdir())) >= 2


def test_what_turns_out_larger_when_it_is_written_goes_again(given: tuple[Path, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As an engine may, which is not made before."""
    source, _, made = given
    monkeypatch.setattr(limits, "_BUILT", ("onnx",))
    monkeypatch.setattr(limits.Limits, "size", lambda self, model: limits.Amount(10, limits.WRITTEN))
    report = geoc.compile(source, made, max_size="100kB")
    assert not report.ok and not made.exists() and report.limits[0].found > 100_000 and not report.files


def test_a_model_in_memory_is_made_smaller_in_place(given: tuple[Path, str, Path]) -> None:
    source, data, made = given
    model = geoc.load(str(source))
    report = geoc.optimize(model, max_size="45kB", calib=data)
    assert report.ok and report.limits[0].ok and taken(report) == ["w8a16"]
    geoc.save(model, str(made))
    assert on_disk(made) <= 45_000 and held_back_error(source, made, data) <= 0.01


def test_a_metric_is_not_asked_of_what_is_too_large(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    source, data, made = given
    path = tmp_path / "score.py"
    path.write_text("CALLS = []\ndef score(run):\n    open(__file__ + '.calls', 'a').write('x')\n    return 1.0\n")
    report = geoc.compile(source, made, max_size=3000, calib=data, metric=f"{path}:score", max_drop=0.1)
    assert not report.ok and "the smallest that may be within the budget" in report.failure and not made.exists()
    assert len(Path(f"{path}.calls").read_text()) == 2  # the source, and the result that is not written


# Memory


def test_memory_is_measured_here(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    source, data, made = given
    report = geoc.compile(source, made, max_memory="500MB", calib=data)
    (limit,) = report.limits
    assert report.ok and limit.how == "MEASURED" and 10**5 < limit.found < 10**8 and limit.option == "--max-memory"
    assert "--max-memory=500MB" in report.again and "limit     MET  MEASURED" in report.summary()


def wide(path: Path, width: int) -> Path:
    w = onnx.numpy_helper.from_array(np.zeros((64, width), np.float32) + np.arange(width, dtype=np.float32), "w")
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", [1, 64]), ("y", [1, width]))]
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [w])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_memory_grows_with_the_weights(tmp_path: Path) -> None:
    found = []
    for width in (1 << 10, 1 << 18):  # 0.26 and 67 MB
        source = wide(tmp_path / "m.onnx", width)
        report = geoc.compile(source, None, max_memory="4GB")
        found.append(report.limits[0].found)
    assert 67e6 < found[1] - found[0] < 4 * 67e6, found
    report = geoc.compile(source, tmp_path / "o.onnx", max_memory="30MB")
    assert not report.ok and not (tmp_path / "o.onnx").exists() and "over --max-memory=30.0MB" in report.failure


def test_memory_is_estimated_elsewhere(given: tuple[Path, str, Path]) -> None:
    source, _, made = given
    report = geoc.compile(source, made, max_memory="300kB", target="cpu-avx512", shape="N=24")
    (limit,) = report.limits
    peak = estimate_model(geoc.load(str(made)), get_target("cpu-avx512")).peak_bytes
    by_hand = 131072 + 4 * 24 * (64 + 256 + 256)  # weights, the input, and both sides of the Relu
    assert limit.how == "ESTIMATED" and limit.found == pytest.approx(peak, abs=4 * 24 * 64) and limit.found <= by_hand + 4 * 24 * 64
    report = geoc.compile(source, made, max_memory="100kB", target="cpu-avx512", shape="N=24")
    assert report.ok and taken(report) == ["w8a16"] and report.limits[0].found <= 100_000


def test_a_process_that_fails_says_why(given: tuple[Path, str, Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geoc.tools.running.peak", "onnxruntime", "1", str(tmp_path / "none.onnx"), str(given[1])],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(Path(geoc.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode and "none.onnx" in done.stderr
    with pytest.raises(UsageError, match="takes an amount of bytes"):
        geoc.compile(given[0], None, max_size="ten")

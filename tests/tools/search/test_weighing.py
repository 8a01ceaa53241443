"""-O3 with samples where a target has half precision too: 8 bits inside the budget, if the estimate says that they pay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

import geoc
from geoc.lowering.targets import get_target
from geoc.tools.precision import attempts

from .test_mixed_integers import held_back_error, network, samples

# So slow a memory that weights are all that counts: of 8 bits they take half the time of those in half precision.
SLOW, SLOW_L4 = "a100,bandwidth=1e8", "l4,bandwidth=1e8"


def compiled(tmp_path: Path, target: str, **options: Any) -> tuple[Any, Path, str, Path]:
    """The report, the source, the samples, and what was written."""
    source, made = network(tmp_path / "m.onnx", 3), tmp_path / "o.onnx"
    data = samples(tmp_path / "s.npz")
    report = geoc.compile(source, made, **{"target": target, "level": 3, "calib": data, **options})
    assert report.ok
    return report, source, data, made


def integers(path: Path) -> int:
    """How many products read what comes back of 8 bits."""
    graph = onnx.load(path).graph
    back = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return sum(node.op_type in ("MatMul", "Gemm") and back.issuperset(node.input[:2]) for node in graph.node)


def test_a_part_of_it_inside_one_percent(tmp_path: Path) -> None:
    report, source, data, made = compiled(tmp_path, SLOW)
    assert report.precision == "w8a8" and report.accuracy.limit == 0.01 and report.accuracy.held_back
    assert report.stays is not None and 0 < integers(made) == 6 - len(report.stays.reasons) == report.after.coded
    assert held_back_error(source, made, data, "ORT_DISABLE_ALL") <= 0.01
    (note,) = [note for note in report.notes if "instead of fp16" in note]
    assert note.startswith("w8a8 instead of fp16: ESTIMATED ") and "at N=1" in note
    refused = [r for r in report.refused if r.what.startswith("w8a8")]
    assert len(refused) == 1 and "these stay" in refused[0].why and refused[0].unlock.startswith("--max-error")
    assert f"w8a8 in {integers(made)} of 6 products, {len(report.stays.reasons)} in half precision" in report.summary()


def test_all_of_it_inside_a_larger_budget(tmp_path: Path) -> None:
    report, source, data, made = compiled(tmp_path, SLOW, max_error=0.1)
    assert report.precision == "w8a8" and report.stays is None and integers(made) == 6
    assert 0.01 < held_back_error(source, made, data, "ORT_DISABLE_ALL") < 0.1
    assert not report.refused


def test_its_engine_multiplies_as_many_in_int8(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    source, data = network(tmp_path / "m.onnx", 3), samples(tmp_path / "s.npz")
    made = tmp_path / "o.rtx.engine"
    options = {"target": SLOW, "level": 3, "calib": data, "max_error": 0.02, "shape": "N=1:8:8", "fallback": "none"}
    report = geoc.compile(source, made, emit="rtx-engine", **options)
    assert report.precision == "w8a8" and any("at N=8" in note for note in report.notes)
    assert 0 < report.engine["int8_products"] == report.after.coded < 6


def test_what_saves_no_time_stays_in_half_precision(tmp_path: Path) -> None:
    """Launches are all that counts for so small a model."""
    report, *_, made = compiled(tmp_path, "a100", max_error=0.1)
    assert report.precision == "fp16" and integers(made) == 0 and report.stays is None
    (refusal,) = report.refused
    assert refusal.what == "w8a8" and refusal.unlock == "--precision w8a8"
    assert "it saves no time to speak of: ESTIMATED" in refusal.why and "in fp16" in refusal.why


def test_a_budget_that_nothing_fits(tmp_path: Path) -> None:
    report, *_, made = compiled(tmp_path, SLOW, max_error=1e-7)
    assert report.precision == "" and integers(made) == 0
    assert report.refused[0].what == "w8a8" and "over the limit" in report.refused[0].why


def test_fp8_is_weighed_as_well(tmp_path: Path) -> None:
    """It is no faster here and less exact."""
    report, *_, made = compiled(tmp_path, SLOW_L4, max_error=0.2)
    assert report.precision == "w8a8" and integers(made) == 6
    (refusal,) = report.refused
    assert refusal.what == "fp8" and "w8a8 is no slower: ESTIMATED" in refusal.why


def test_without_samples_it_says_what_they_would_allow(tmp_path: Path) -> None:
    report, *_, made = compiled(tmp_path, SLOW, calib=None)
    assert report.precision == "fp16" and integers(made) == 0
    assert "w8a8 would be tried with samples: --calib FILE.npz" in report.notes
    ada = geoc.compile(network(tmp_path / "n.onnx", 3), None, target="l4", level=3)
    assert "w8a8 and fp8 would be tried with samples: --calib FILE.npz" in ada.notes


def test_without_a_comparison_there_is_no_budget(tmp_path: Path) -> None:
    report, *_, made = compiled(tmp_path, SLOW, check="off")
    assert report.precision == "fp16" and integers(made) == 0
    (refusal,) = [r for r in report.refused if r.what == "w8a8"]
    assert "nothing is compared" in refusal.why


def test_without_rates_nothing_can_be_estimated(tmp_path: Path) -> None:
    report, *_, made = compiled(tmp_path, "tensorrt", max_error=0.1)
    assert report.precision == "fp16" and integers(made) == 0
    assert any(note.startswith("w8a8 was not tried: target tensorrt has no peak rates") for note in report.notes)


@pytest.mark.parametrize(
    ("target", "tried"),
    [
        ("a100", ["w8a8", "fp16", "fp16", "bf16", "bf16", ""]),
        ("h100", ["w8a8", "fp8", "fp16", "fp16", "bf16", "bf16", ""]),
        ("t4", ["w8a8", "fp16", "fp16", ""]),
        ("orin,dla=1", ["fp16", "fp16", ""]),
        ("tensorrt", ["fp16", "fp16", "bf16", "bf16", ""]),
        ("cpu", ["w8a8", ""]),
        ("openvino-cpu", ["w8a8", ""]),
    ],
)
def test_what_is_tried_with_samples(target: str, tried: list[str]) -> None:
    assert [a.precision for a in attempts(get_target(target), None, 3, calib="samples.npz")] == tried
    without = [a.precision for a in attempts(get_target(target), None, 3)]
    assert without == [p for p in tried if p not in ("w8a8", "fp8")]


def test_a_name_of_any_attempt_may_be_skipped(tmp_path: Path) -> None:
    report, *_ = compiled(tmp_path, SLOW, skip=["trt-unrounded", "smooth"], max_error=0.1)
    assert report.precision == "w8a8"

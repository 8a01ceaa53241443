"""--goal: what it chooses, and what it says where there is nothing to choose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import geoc
from geoc.ir.errors import UsageError
from geoc.tools.cli import main
from geoc.tools.goal import GOALS

TEXT = """geoc 1
opset "" 21

graph @main(%x: f32[B,64]) -> (%y) {
  weight %w: f32[64,128] = @
  weight %v: f32[128,64] = @
  %a = MatMul(%x, %w)
  %r = Relu(%a)
  %y = MatMul(%r, %v)
}
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.gir"
    numbers = ", ".join(f"{x:.4f}" for x in np.random.default_rng(0).normal(size=64 * 128) / 8)
    path.write_text(TEXT.replace("= @", f"= [{numbers}]"))
    return str(path)


@pytest.mark.parametrize(("goal", "bits"), [(None, 4), ("latency", 4), ("size", 4), ("throughput", 8), ("cost", 8)])
def test_weights_of_4_bits_are_stored_for_few_rows_or_many(
    goal: str | None, bits: int, model: str, tmp_path: Path
) -> None:
    report = geoc.compile(model, tmp_path / "o.onnx", precision="int4", goal=goal, target="cpu-vnni")
    nodes = [node for node in geoc.load(str(tmp_path / "o.onnx")).walk() if node.op.name == "MatMulNBits"]
    assert min(node.attr("bits") for node in nodes) == bits
    assert report.ok and not any("decides nothing" in note for note in report.notes)
    assert ("--goal" in report.again) == (goal is not None)


def test_one_form_is_the_fastest_for_all_numbers_of_rows_without_vnni(model: str, tmp_path: Path) -> None:
    made = [tmp_path / "latency.onnx", tmp_path / "throughput.onnx"]
    for path in made:
        geoc.compile(model, path, precision="int4", goal=path.stem, target="cpu-avx2")
    assert [node.attr("bits") for path in made for node in geoc.load(str(path)).walk() if node.op.name == "MatMulNBits"] == [4, 8] * 2


def test_it_says_so_where_it_decides_nothing(model: str, tmp_path: Path) -> None:
    report = geoc.compile(model, tmp_path / "o.onnx", goal="throughput")
    assert "--goal=throughput decides nothing here: all goals have the same form" in report.notes


def test_unknown_goals_name_those_that_there_are(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([model, "--goal=speed"]) == 2
    assert "--goal is one of latency, throughput, size, cost; not 'speed'" in capsys.readouterr().err
    with pytest.raises(UsageError, match=f"one of {', '.join(GOALS)}; not 'speed'"):
        geoc.compile(model, goal="speed", precision="int4")

"""docs/distill.md: its first command runs and prints what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="distillation is not tested: it needs torch (pip install 'geoc[distill]')")
pytest.importorskip("sklearn", reason="distillation of digits is not tested: they come with scikit-learn")

from geoc.tools.cli import main

from ...tutorial import COMMAND, blocks, pattern
from . import digits as d

TEXT = (Path(__file__).parents[3] / "docs" / "distill.md").read_text(encoding="utf-8")


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    x, y, _, _ = d.digits(0)
    d.save(d.train(d.layers(48, 0), x, y, 200), tmp_path / "teacher.onnx")
    d.save(d.layers(12, 1), tmp_path / "student.onnx")
    d.samples(tmp_path / "digits.npz", x)
    shown = [block for _, block in blocks(TEXT) if block.startswith("$ ")]
    assert len(shown) == 1
    first, _, expected = shown[0].partition("\n")
    command = COMMAND.match(first)
    assert command is not None
    geoc, *words = shlex.split(command["words"])
    assert geoc == "geoc" and main([*words, "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert re.match(pattern(expected), printed, re.DOTALL), f"shown:\n{expected}\nprinted:\n{printed}"

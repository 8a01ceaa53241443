"""docs/recipes.md: its recipe is written, its commands run, and what it shows is what they print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from geoc.tools.cli import main
from geoc.tools.recipes.recipe import find_recipe, shipped

from .tools.recipes.models import network, samples
from .tutorial import COMMAND, blocks, pattern

TEXT = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
FILE = re.compile(r"`([\w.]+\.toml)`[^`]*:\s*\Z")


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "mlp.onnx")
    samples(tmp_path / "samples.npz")
    (tmp_path / "slip.toml").write_text('description = "x"\nprecison = "int8"\n')
    commands = 0
    for before, block in blocks(TEXT):
        name = FILE.search(before)
        if not block.startswith("$ "):
            if name is not None:
                (tmp_path / name[1]).write_text(block + "\n")
            continue
        first, _, shown = block.partition("\n")
        command = COMMAND.match(first)
        assert command is not None, block
        written = tmp_path / "small.onnx"
        written.unlink(missing_ok=True)
        code = main([*shlex.split(command["words"])[1:], "--cache=off"])
        said = capsys.readouterr()
        text = (said.err if code == 2 else said.out).replace(" --cache off", "")
        assert code == int(command["code"] or 0), said.err
        assert re.match(pattern(shown), text, re.DOTALL), f"{first}\nprinted:\n{text}"
        assert written.exists() == (code == 0)
        commands += 1
    assert commands == 4


def test_it_names_every_recipe() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == ["edge", "latency", "throughput", "llm"]
    assert set(shipped()) == {"edge", "latency", "throughput", "llm"}
    assert all(len(find_recipe(name).description) <= 120 for name in shipped())

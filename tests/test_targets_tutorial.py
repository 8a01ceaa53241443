"""docs/targets.md: its files are written, its commands run, and what it shows is what they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import geoc

from .tutorial import COMMAND, blocks, pattern

TEXT = (Path(__file__).parents[1] / "docs" / "targets.md").read_text(encoding="utf-8")
FILE = re.compile(r"`([\w.]+\.(?:py|rules|toml))`[^`]*:\s*\Z")
SOURCE = Path(geoc.__file__).parents[1]


def model(path: Path, op: str, opset: int) -> None:
    value = helper.make_tensor_value_info
    node = helper.make_node(op, ["x"], ["y"], name=f"/act/{op}")
    ends = [value(name, TensorProto.FLOAT, ["N", 8]) for name in ("x", "y")]
    graph = helper.make_graph([node], "main", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package `tiny` is installed as pip would: a folder on the path, and metadata with its entry points."""
    monkeypatch.chdir(tmp_path)
    model(tmp_path / "gelu.onnx", "Gelu", 20)
    model(tmp_path / "sinh.onnx", "Sinh", 17)
    package, info = tmp_path / "tiny", tmp_path / "tiny-1.dist-info"
    package.mkdir()
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
    environment = {"PYTHONPATH": f"{SOURCE}:{tmp_path}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    commands = 0
    for before, block in blocks(TEXT):
        name = FILE.search(before)
        if not block.startswith("$ ") and name is not None:
            folder = package if name[1] in ("backend.py", "forms.rules", "limits.rules") else tmp_path
            if name[1] == "pyproject.toml":
                points = block.replace('[project.entry-points."geoc.backends"]', "[geoc.backends]").replace('"', "")
                (info / "entry_points.txt").write_text(points + "\n")
            else:
                (folder / name[1]).write_text(block + "\n")
            continue
        first, _, shown = block.partition("\n")
        command = COMMAND.match(first)
        assert command is not None, block
        words = shlex.split(command["words"])
        done = subprocess.run(
            [sys.executable, "-m", *words], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == int(command["code"] or 0), done.stderr
        text = done.stderr if done.returncode == 2 else done.stdout
        assert re.match(pattern(shown), text, re.DOTALL), f"{first}\nshown:\n{shown}\nprinted:\n{text}"
        commands += 1
    assert commands == 5
    assert (tmp_path / "out.onnx.ops").read_text().split() == ["Add", "Div", "Erf", "Mul"]
    assert onnx.load(tmp_path / "out.onnx").opset_import[0].version <= 17


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runtime = 3\n", "says no description, and inherits none"),
        ('description = "x"\nruntime = "openvno"\n', "no backend for the runtime 'openvno'; did you mean openvino?"),
        ('inherits = "a10O"\n', "inherits 'a10O', which is no target; did you mean a10"),
        ("= 3\n", "is no TOML: Invalid statement"),
    ],
)
def test_slips_are_one_line(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from geoc.tools.cli import main

    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert main(["targets", str(path)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and str(path) in said
    assert main(["targets", str(tmp_path / "none.toml")]) == 2
    assert "No such file" in capsys.readouterr().err

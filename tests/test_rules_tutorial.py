"""The tutorial in docs/rules.md: its files are written, its commands run, and what it shows is what they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from geoc.passes.registry import Registry
from geoc.tools.cli import main

from . import golden
from .tutorial import COMMAND, blocks, pattern

TEXT = (Path(__file__).parents[1] / "docs" / "rules.md").read_text(encoding="utf-8")
TUTORIAL = TEXT[: TEXT.index("\n# Reference\n")]
FILE = re.compile(r"`([\w.]+\.(?:py|rules|gir))`[^`]*:\s*\Z")


def test_it_has_all_its_steps() -> None:
    commands = [COMMAND.match(block.split("\n")[0]) for _, block in blocks(TUTORIAL) if block.startswith("$ ")]
    verbs = [found["words"].split()[1] for found in commands if found is not None]
    assert None not in commands
    assert {"make_model.py", "dump", "match", "explain", "rulecheck", "points.onnx"} == set(verbs)
    files = [FILE.search(before) for before, block in blocks(TUTORIAL) if not block.startswith("$ ")]
    assert [f and f[1] for f in files] == [
        "make_model.py", "my.rules", "my.rules", "my.rules", "wrong.rules", "dear.rules", "distance.gir",
    ]  # fmt: skip


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for before, block in blocks(TUTORIAL):
        if not block.startswith("$ "):
            name = FILE.search(before)
            assert name is not None, f"no file is named before:\n{block}"
            Path(name[1]).write_text(block + "\n")
            continue
        first, _, shown = block.partition("\n")
        command = COMMAND.match(first)
        assert command is not None
        words = shlex.split(command["words"])
        if words[0] == "python":
            subprocess.run([sys.executable, *words[1:]], check=True, timeout=60)
            continue
        code = main(words[1:])
        said = capsys.readouterr()
        text = said.out if code < 2 else said.err
        assert code == int(command["code"] or 0), said.err
        assert re.match(pattern(shown), text, re.DOTALL), f"{first}\nshown:\n{shown}\nprinted:\n{text}"


def test_its_golden_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (rules, *_) = [b for before, b in reversed(blocks(TUTORIAL)) if (f := FILE.search(before)) and f[1] == "my.rules"]
    (cases,) = [b for before, b in blocks(TUTORIAL) if (f := FILE.search(before)) and f[1] == "distance.gir"]
    (tmp_path / "my.rules").write_text(rules)
    (tmp_path / "my").mkdir()
    path = tmp_path / "my" / "distance.gir"
    path.write_text(cases + "\n")

    def library() -> Registry:
        found = Registry()
        found.add_rules(str(tmp_path / "my.rules"))
        return found

    monkeypatch.setattr(golden, "library", library)
    found = golden.read_cases(path)
    assert [bool(case.head.get("WHY")) for case in found] == [False, True]
    for case in found:
        case.check()

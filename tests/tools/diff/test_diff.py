"""The command: what it prints and writes, its exit codes, folders of dumps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from geoc.tools.cli import main

from ..pages.test_document import HOSTILE, tags_of
from ..toys import relu_chain
from .edits import respelled


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model = relu_chain()
    onnx.save(model, "a.onnx")
    onnx.save(respelled(model, 3), "same.onnx")
    changed = relu_chain()
    changed.graph.node[2].op_type = "Tanh"
    weight = next(w for w in changed.graph.initializer if w.name == "c3")
    weight.CopyFrom(numpy_helper.from_array(np.float32([0.5, 0.5, 0.5, 7.5]), "c3"))
    onnx.save(changed, "b.onnx")
    return tmp_path


def test_what_is_the_same_says_so(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a.onnx", "same.onnx"]) == 0
    assert "SAME structurally equal, 9 nodes" in capsys.readouterr().out
    assert main(["dump", "same.onnx", "--weights=inline", "-o", "same.gir"]) == 0
    assert main(["diff", "a.onnx", "same.gir", "-q"]) == 0
    assert capsys.readouterr().out == ""


def test_a_difference_is_a_unified_view(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a.onnx", "b.onnx"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "DIFFERENT 2 changes: 1 replaced, 1 weight" in lines[0]
    assert "- %r1: f32[N,4] = Relu(%a0)" in lines
    assert "+ %r1: f32[N,4] = Tanh(%a0)" in lines
    assert "  %a1: f32[N,4] = Add(%r1, %c1)" in lines
    assert "- weight %c3: f32[4] = [0.5, 0.5, 0.5, 0.5]" in lines
    assert any("1 of 4 elements differ, by 7 at most" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_json_has_a_line_for_each_change(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a.onnx", "b.onnx", "--json", "-o", "d.json"]) == 1
    head, *changes = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert head["same"] is False and head["nodes"] == [9, 9] and head["matched"] == 8
    assert [(c["kind"], c["where"]) for c in changes] == [("replaced", "/relu_1"), ("weight", "c3")]
    whole = json.loads((files / "d.json").read_text())
    assert whole["changes"] == changes and whole["operators"] == {"Relu": [4, 3], "Tanh": [0, 1]}


def test_the_page_shows_every_change_and_escapes_names(files: Path) -> None:
    model = relu_chain()
    model.graph.node[2].op_type, model.graph.node[2].name = "Tanh", HOSTILE
    onnx.save(model, "b.onnx")
    assert main(["diff", "a.onnx", "b.onnx", "-o", "d.html", "-q"]) == 1
    page = (files / "d.html").read_text()
    assert tags_of(page).count("script") == 1 and tags_of(page).count("section") == 1
    assert main(["diff", "a.onnx", "same.onnx", "-o", "d.html", "-q"]) == 0
    assert "SAME" in (files / "d.html").read_text()


def test_folders_are_compared_step_by_step(files: Path, wrong_plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, extra in (("one", ""), ("two", ""), ("three", "wrong,")):
        words = ["a.onnx", "-o", "out.onnx", "--passes", f"identity,{extra}fold,dce", "--dump-dir", folder, "--check", "off", "-q"]
        assert main([*words, "--plugin", str(wrong_plugin)]) == 0
    assert main(["diff", "one", "two"]) == 0
    assert "steps are the same" in capsys.readouterr().out
    assert main(["diff", "one", "three", "--json"]) == 1
    head = json.loads(capsys.readouterr().out.splitlines()[0])
    assert head["same_steps"] == 2 and "wrong" in head["notes"][0]
    assert main(["diff", "three", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["step"] for row in rows] == ["001_identity", "002_wrong"]
    relus = rows[0]["nodes"][1] - rows[0]["nodes"][0] + 4  # identity takes nodes away before
    assert rows[1]["operators"].keys() == {"Relu", "Max"} and rows[1]["operators"]["Max"][1] == rows[1]["operators"]["Relu"][0]
    assert 1 <= relus <= 4
    assert main(["diff", "three", "-o", "steps.html"]) == 0
    assert "002_wrong" in capsys.readouterr().out and "002_wrong" in (files / "steps.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.onnx"], "give two models"),
        (["a.onnx", "b.onnx", "a.onnx"], "give two models"),
        (["a.onnx", "."], "a folder with a folder"),
        ([".", "."], "no dumps in it"),
        (["a.onnx", "missing.onnx"], "missing.onnx: No such file"),
        (["a.onnx", "b.onnx", "-o", "d.png"], ".html, .json, not d.png"),
        (["a.onnx", "b.json", "-o", "b.json"], "would overwrite the input"),
    ],
)
def test_wrong_use_is_one_line(files: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "b.json").write_text("{}")
    assert main(["diff", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1

"""`geoc view` as a command."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from geoc.tools.cli import main
from geoc.tools.view.verb import default_output

from .conftest import Make


def data_of(path: Path) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    assert found is not None
    data: dict[str, object] = json.loads(found[1])
    return data


def test_one_line_says_what_was_written(model_file: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["view", str(model_file("bert-ts"))]) == 0
    assert re.fullmatch(r"bert-ts\.html: \d+ nodes, 0\.\d MB\n", capsys.readouterr().out)
    page = (tmp_path / "bert-ts.html").read_text()
    assert page.startswith("<!doctype html>") and len(page) < 400_000
    assert not re.search(r"(src|href)=|url\(|@import|https?:(?!//www\.w3\.org/2000/svg)", page), "nothing comes from elsewhere"


def test_options(model_file: Make, tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    assert main(["view", str(model_file("bert-ts")), "-o", str(path), "--target", "a100", "--shape", "batch=2,seq=8", "-q"]) == 0
    data = data_of(path)
    assert data["target"] == "a100" and "i64[2,8]" in data["types"]  # type: ignore[operator]


def test_dumps_and_pairs(dump_folder: Make, model_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.html"
    assert main(["view", str(dump_folder("bert-ts")), "-o", str(path)]) == 0
    assert re.search(r": \d+ steps, \d+ -> \d+ nodes, \d+ rewrites, ", capsys.readouterr().out)
    first = next(dump_folder("bert-ts").glob("000_*.gir"))
    local = tmp_path / first.name  # a text of its own may read the data in its folder alone
    shutil.copy(first, local)
    local.write_text(re.sub(r'file @0 ".*"', 'file @0 "bert-ts.onnx"', local.read_text()))
    shutil.copy(model_file("bert-ts"), tmp_path)
    assert main(["view", str(model_file("bert-ts")), str(local), "-o", str(path)]) == 0
    assert " beside " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a model, two models"),
        (["a.onnx", "b.onnx", "c.onnx"], "give a model, two models"),
        (["MODEL", "-o", "page.svg"], "written as .html"),
        (["MODEL", "FOLDER"], "shown alone"),
        (["EMPTY"], "no dumps"),
        (["missing.onnx"], "No such file"),
        (["MODEL", "--target", "nothing"], "nothing"),
        (["MODEL", "--shape", "other=3"], "other"),
        (["BROKEN"], "trace.jsonl: line 2: no rewrite of a trace"),
    ],
)
def test_errors_are_one_line(words: list[str], said: str, model_file: Make, dump_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    if "BROKEN" in words:
        shutil.copytree(dump_folder("bert-ts"), tmp_path / "broken")
        trace = tmp_path / "broken" / "trace.jsonl"
        trace.write_text(trace.read_text().split("\n")[0] + "\n{}\n")
    places = {"MODEL": model_file("bert-ts"), "FOLDER": dump_folder("bert-ts"), "EMPTY": tmp_path / "empty", "BROKEN": tmp_path / "broken"}
    assert main(["view", *(str(places.get(word, word)) for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.glob("*.html"))


def test_the_input_is_not_overwritten(tmp_path: Path, model_file: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.html"
    shutil.copy(model_file("bert-ts"), path)
    assert main(["view", str(path), "-o", str(path)]) == 2
    assert "overwrite" in capsys.readouterr().err
    assert path.read_bytes() == Path(model_file("bert-ts")).read_bytes()


def test_names_of_pages(tmp_path: Path) -> None:
    (tmp_path / "steps.v2").mkdir()
    assert default_output("models/bert.v1.onnx") == "bert.v1.html"
    assert default_output(str(tmp_path / "steps.v2") + "/") == "steps.v2.html"

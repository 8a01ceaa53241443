"""`--report`: the JSON and the page say what happened, and where the result comes from."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import onnx
import pytest

import geoc
from geoc.ir.errors import UsageError
from geoc.tools.report import Accuracy, GraphSize, Refusal, Report
from geoc.tools.report.page import page
from geoc.tools.report.provenance import Hashes

from ..conftest import Run
from ..toys import relu_chain


class Text(HTMLParser):
    """What a reader sees: headings, and the cells of each row of the tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self._into: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._into = self.rows[-1]
        elif tag in ("h1", "h2"):
            self.headings.append("")
            self._into = self.headings

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "h1", "h2"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def sha256sum(path: Path) -> str:
    return subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]


def data_of(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    data: dict[str, object] = json.loads(found[1])
    return data


def test_the_page_of_a_compilation(chain_file: Path, run_geoc: Run) -> None:
    done = run_geoc("chain.onnx", "-o", "out.onnx", "--report", "out.html")
    assert done.returncode == 0, done.stderr
    text = (chain_file.parent / "out.html").read_text(encoding="utf-8")
    seen, data = Text(text), data_of(text)
    assert seen.headings[0] == "chain.onnx → out.onnx" and {"Operators", "What fired", "Passes"} <= set(seen.headings)
    before = {node.op_type for node in onnx.load(chain_file).graph.node}
    after = [node.op_type for node in onnx.load(chain_file.parent / "out.onnx").graph.node]
    for op in before:
        row = next(row for row in seen.rows if row[0] == op)
        was = sum(node.op_type == op for node in onnx.load(chain_file).graph.node)
        assert row[1:3] == [str(was), str(after.count(op) or "")]
    assert data["ok"] is True and data["pipeline"] and data["again"]
    fired = data["rules"]
    assert isinstance(fired, list) and sum(rule["count"] for rule in fired) == sum(data["rewrites"].values())  # type: ignore[attr-defined]


def test_provenance_is_that_of_the_files(chain_file: Path, run_geoc: Run) -> None:
    folder = chain_file.parent
    run_geoc("chain.onnx", "-o", "out.onnx", "--report", "out.json")
    found = json.loads((folder / "out.json").read_text())["provenance"]
    assert [(e["file"], e["sha256"]) for e in found["sources"]] == [("chain.onnx", sha256sum(chain_file))]
    assert [(Path(e["file"]).name, e["sha256"]) for e in found["written"]] == [("out.onnx", sha256sum(folder / "out.onnx"))]
    assert found["versions"]["geoc"] == geoc.__version__ and found["versions"]["onnx"] == onnx.__version__
    metadata = {p.key: p.value for p in onnx.load(folder / "out.onnx").metadata_props}
    assert metadata["geoc.source"] == f"chain.onnx sha256:{sha256sum(chain_file)}"
    copied = run_geoc("chain.onnx", "-O0", "-o", "copy.onnx")
    assert copied.returncode == 0 and not onnx.load(folder / "copy.onnx").metadata_props


def test_the_pipeline_in_it_makes_the_same(chain_file: Path, run_geoc: Run) -> None:
    folder = chain_file.parent
    run_geoc("chain.onnx", "-o", "first.onnx", "--report", "first.json")
    pipeline = json.loads((folder / "first.json").read_text())["pipeline"]
    assert run_geoc("chain.onnx", "--passes", pipeline, "-o", "second.onnx").returncode == 0
    first, second = (onnx.load(folder / name).graph for name in ("first.onnx", "second.onnx"))
    assert first == second


def test_a_wrong_result_is_reported_and_not_written(chain_file: Path, wrong_plugin: Path, run_geoc: Run) -> None:
    done = run_geoc("chain.onnx", "--plugin", wrong_plugin, "--passes", "wrong", "-o", "out.onnx", "--report", "out.html")
    text = (chain_file.parent / "out.html").read_text(encoding="utf-8")
    data = data_of(text)
    if done.returncode == 1:
        assert not (chain_file.parent / "out.onnx").exists() and "nothing was written" in text
    else:
        assert data["repairs"] and "repaired" in text
    given = data["provenance"]["given"]  # type: ignore[index]
    assert [entry["sha256"] for entry in given] == [sha256sum(wrong_plugin)]


def test_names_cannot_break_out() -> None:
    hostile = "</script><script>alert(1)</script><b>"
    report = Report(
        source=hostile, target="cpu", before=GraphSize(2, 8, operators={hostile: 2}), after=GraphSize(1, 4),
        accuracy=Accuracy("NOT CHECKED", hostile), refused=[Refusal(hostile, hostile, 1, hostile)], notes=[hostile],
        pipeline=hostile, again=hostile,
    )  # fmt: skip
    seen = Text(page(report))
    assert seen.tags.count("script") == 1 and [hostile, "2", "", "-2", ""] in seen.rows


def test_only_what_is_known_is_written(chain_file: Path) -> None:
    for name in ("report.txt", "report"):
        with pytest.raises(UsageError, match=r"written as \.json or \.html"):
            geoc.compile(chain_file, report=name)


def test_a_model_in_memory_has_no_source(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    geoc.compile(relu_chain(), report=path)
    found = json.loads(path.read_text())["provenance"]
    assert found["sources"] == [] and found["written"] == []


def test_hashing_says_what_went_wrong(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    path.write_bytes(b"x")
    assert Hashes([str(path)]).found() == {str(path): sha256sum(path)}
    assert Hashes([str(tmp_path)]).found() == {}  # no file

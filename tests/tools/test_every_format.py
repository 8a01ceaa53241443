"""Every verb takes every format: a table of verbs over a small model of each, all of them the same two layers."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.frontends import formats
from geoc.frontends.formats import format_of
from geoc.ir.builder import Builder
from geoc.ir.equal import equal
from geoc.tools.cli import main

from .sources import ROWS, SOURCES, expected

WRONG = """
from dataclasses import dataclass
from typing import ClassVar

from geoc.ir.builder import Builder
from geoc.passes.base import Pass


@dataclass(frozen=True)
class Wrong(Pass):
    "The first output is half of what it was."

    name: ClassVar[str] = "wrong"

    def run(self, model, ctx):
        node = model.graph.outputs[0].producer
        if not ctx.allow(self.name, "", node):
            return False
        builder = Builder(model.graph, None, node.loc)
        with ctx.rewrite(self.name, "", [node], builder.created):
            half = builder.op("Mul", node.output, builder.const(0.5, like=node.output))
            model.graph.set_outputs([half, *model.graph.outputs[1:]], list(model.graph.output_names))
        return True
"""


@pytest.fixture(scope="module", params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model of each format; what a verb leaves beside it goes to the current folder, which is another one."""
    try:
        path = SOURCES[request.param](tmp_path_factory.mktemp(request.param))
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    before = digests(path)
    yield path
    assert digests(path) == before, "a verb wrote over what it read"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def digests(path: str) -> dict[str, str]:
    files = [file for file in sorted(Path(path).rglob("*")) if file.is_file()] if os.path.isdir(path) else Path(path).parent.glob("model.*")
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_result_is_what_the_layers_give(source: str) -> None:
    assert main([source, "-o", "a.onnx", "--report", "r.json", "--check=end"]) == 0
    report = json.loads(Path("r.json").read_text())
    assert report["accuracy"]["status"] == "CHECKED"
    hashes = digests(source)
    said = {entry["file"]: entry["sha256"] for entry in report["provenance"]["sources"]}
    assert said and said.items() <= hashes.items()
    assert main([source, "-O0", "-o", "b.onnx"]) == 0
    if (wanted := expected(source)) is not None:
        x = np.random.default_rng(1).standard_normal((4, ROWS)).astype(np.float32)
        for path in ("a.onnx", "b.onnx"):
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            (found,) = session.run(None, {session.get_inputs()[0].name: x})
            np.testing.assert_allclose(found, wanted(x), rtol=1e-5, atol=1e-5)


VERBS: dict[str, tuple[str, int]] = {
    "inspect": ("inspect SOURCE", 0),
    "dump": ("dump SOURCE", 0),
    "estimate": ("estimate SOURCE --target a100", 0),
    "explain": ("explain SOURCE", 0),
    "match": ("match 'Relu|MatMul(%x...) {*}' SOURCE", 0),
    "diff": ("diff SOURCE SOURCE", 0),
    "compare": ("compare SOURCE SOURCE", 0),
    "nodes": ("compare SOURCE SOURCE --nodes", 0),
    "runtimes": ("compare SOURCE SOURCE --runtime ort,openvino", 0),
    "view": ("view SOURCE", 0),
    "pair": ("view SOURCE SOURCE -o two.html", 0),
    "profile": ("profile SOURCE --time 50ms -o p.html", 0),
    "bench": ("bench SOURCE --time 50ms --rounds 2", 0),
    "gir": ("SOURCE -o a.gir", 0),
    "openvino": ("SOURCE -o a.xml --target openvino-cpu", 0),
    "tensorrt": ("SOURCE -o a.onnx --target a100", 0),
    "several": ("SOURCE --emit onnx,gir,run -o many", 0),
    "dumps": ("SOURCE --dump-dir dumps -o d.onnx; view dumps; diff dumps", 0),
    "int8": ("SOURCE --precision int8 --calib random -o i8.onnx; quant-report i8.onnx SOURCE --calib random", 0),
    "int4": ("SOURCE --precision int4 -o i4.onnx", 0),
    "O3": ("SOURCE -O3 --calib random -o o3.onnx --check=each", 0),
    "page": ("SOURCE -O1 -o o1.onnx --report r.html", 0),
    "smaller": ("SOURCE --passes @O2,prune{left=0.5},low-rank --calib random -o p.onnx", 0),
    "recipe": ("SOURCE --recipe edge --calib random -o r.onnx", 0),
    "limit": ("SOURCE --max-size 1MB --calib random -o m.onnx", 0),
    "bisect": ("bisect SOURCE --plugin wrong.py --passes wrong -o b.gir", 1),
    "reduce": ("reduce SOURCE --plugin wrong.py --passes wrong -o s.gir", 1),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs(verb: str, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.py").write_text(WRONG)
    commands, code = VERBS[verb]
    for command in commands.split("; "):
        done = main([source if word == "SOURCE" else word for word in shlex.split(command)])
        out, err = capsys.readouterr()
        assert done == code, f"{command}\n{out}\n{err}"


def test_the_source_is_never_written_over(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    suffix = os.path.splitext(source)[1]
    if suffix not in (".onnx", ".gir", ".xml", ".gguf"):
        pytest.skip("geoc does not write this format")
    target = ["--target", "openvino-cpu"] if suffix == ".xml" else []
    assert main([source, "-o", source, *target]) == 2
    assert "would overwrite the input" in capsys.readouterr().err


def test_what_another_library_converts_is_converted_once(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if source.endswith(".gir") or not format_of(source).is_slow:
        pytest.skip("quick to read")
    read: list[str] = []
    original = formats.Format._read
    monkeypatch.setattr(formats.Format, "_read", lambda self, path: read.append(path) or original(self, path))
    monkeypatch.setattr(formats, "_kept", {})
    first, second = geoc.load(source), geoc.load(source)
    assert read == [source]
    assert equal(first, second)
    first.graph.set_outputs([Builder(first.graph).op("Neg", first.graph.outputs[0])], ["y"])
    first.metadata["changed"] = "yes"
    assert not equal(first, second) and equal(geoc.load(source), second)
    files = format_of(source).files(source)
    os.utime(files[0])
    geoc.load(source)
    assert read == [source, source], "the file is another one"


def test_blocks_become_floats_where_their_rows_are_over_the_budget(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    path = SOURCES["gguf"](tmp_path)
    found = geoc.compile(path, tmp_path / "free.onnx")
    assert found.ok and found.accuracy.error > 0.005 and not found.refused
    bound = geoc.compile(path, tmp_path / "bound.onnx", max_error=0.005)
    assert bound.ok and bound.accuracy.error < 1e-5
    assert [refusal.what for refusal in bound.refused] == ["rows of 8 bits"]
    loose = geoc.compile(path, tmp_path / "loose.onnx", max_error=0.05)
    assert loose.ok and loose.accuracy.error == found.accuracy.error and not loose.refused

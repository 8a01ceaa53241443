"""--logits last: the row of the last token, whatever makes the logits; what has none is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import geoc
from geoc.ir.errors import UnsupportedModel, UsageError
from geoc.passes.last_logits import keep_last_logits
from geoc.tools.bench.decoding import plan_of
from tests.frontends.gguf.running import Running
from tests.frontends.gguf.tiny import CASES, IDS, write

ARCHIVE = Path(__file__).parents[1] / "models" / "exports.zip"


@pytest.mark.parametrize("name", ["llama", "gemma2", "phi2", "gpt2"])
def test_the_last_row_is_that_of_all_rows(name: str, tmp_path: Path) -> None:
    """Heads that are the table, limited logits, a bias; with a prompt and token by token."""
    pytest.importorskip("gguf")
    write(tmp_path / "a.gguf", CASES[name])
    whole = Running(geoc.load(tmp_path / "a.gguf"))
    report = geoc.compile(tmp_path / "a.gguf", tmp_path / "out.onnx", logits="last")
    assert report.ok and report.accuracy.status == "CHECKED"
    last = Running(tmp_path / "out.onnx")
    for ids in ([IDS[0][:4]], [[IDS[0][4]]], [IDS[0][5:]]):
        expected, found = whole(ids), last(ids)
        assert found.shape == (1, 1, expected.shape[2])
        np.testing.assert_allclose(found[:, 0], expected[:, -1], rtol=1e-4, atol=1e-4)
    assert plan_of(geoc.load(tmp_path / "out.onnx")) is not None


@pytest.mark.parametrize("name", ["llama-past-ts", "qwen2-dynamo"])
def test_an_onnx_file_is_compared_with_itself_cut_off(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        source = archive.extract(f"{name}.onnx", tmp_path)
    report = geoc.compile(source, tmp_path / "out.onnx", logits="last")
    assert report.ok and report.accuracy.status == "CHECKED" and "--logits=last" in report.again
    assert report.model is not None and report.model.graph.outputs[0].shape[1] == 1  # type: ignore[index]
    assert not keep_last_logits(report.model)


@pytest.mark.parametrize(("name", "said"), [("vit-ts", "no output is"), ("bert-ts", "no product with a matrix makes")])
def test_what_has_no_logits_is_refused(name: str, said: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        source = archive.extract(f"{name}.onnx", tmp_path)
    with pytest.raises(UnsupportedModel, match=said):
        geoc.compile(source, tmp_path / "out.onnx", logits="last")


def test_gguf_has_no_such_thing(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    write(tmp_path / "a.gguf", CASES["llama"])
    with pytest.raises(UsageError, match="--logits: llama.cpp makes those that it is asked for"):
        geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", logits="last")

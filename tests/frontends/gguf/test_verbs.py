"""A GGUF file as the source of every verb that shows something, and the package that some of its types need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import geoc
from geoc.ir.errors import UsageError
from geoc.tools.cli import main
from geoc.tools.verbs import looking

from .test_blocks import file_of
from .tiny import CASES, write

pytest.importorskip("gguf")


def test_inspect_says_what_is_in_it(tmp_path: Path, capsys: Any) -> None:
    write(tmp_path / "tiny.gguf", CASES["qwen3"], {"weight": "Q4_1"})
    assert main(["inspect", str(tmp_path / "tiny.gguf")]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert "GGUF version 3" in said.splitlines()[0] and "past.0.key" in said and "gguf.architecture: qwen3" in said
    assert "Q4_1" in lines["stored"] and "past.0.key -> present.0.key and 3 more" in lines["decoder"]
    assert all("takes every node" in lines[target] for target in ("cpu", "openvino-cpu"))


def test_dump_is_short_and_a_file_is_whole(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "tiny.gguf", CASES["llama"], {"weight": "Q4_1"})
    monkeypatch.setattr(looking, "_READABLE", 1000)
    assert main(["dump", str(tmp_path / "tiny.gguf")]) == 0
    said = capsys.readouterr()
    assert "weight %blk.0.attn_q.weight.codes: u4[32,32] = #blake2b:" in said.out and "base64" not in said.out
    assert "weight %blk.0.attn_norm.weight: f32[32] = @0[" in said.out  # it is in the file as it is
    assert said.err == "geoc: weights that no file has as they are stand as digests; -o FILE.gir writes them\n"
    assert main(["dump", str(tmp_path / "tiny.gguf"), "-o", str(tmp_path / "tiny.gir")]) == 0
    again, first = geoc.load(tmp_path / "tiny.gir"), geoc.load(tmp_path / "tiny.gguf")
    digests = [
        [v.const.digest() for node in model.graph for v in node.inputs if v is not None and v.const is not None]
        for model in (again, first)
    ]
    assert digests[0] == digests[1] and len(digests[0]) > 50


def test_bench_makes_tokens_with_it(tmp_path: Path, capsys: Any) -> None:
    write(tmp_path / "tiny.gguf", CASES["llama"], {"weight": "Q8_0"})
    options = ["--prompt", "4", "--tokens", "3", "--rounds", "1", "--time", "10ms"]
    assert main(["bench", str(tmp_path / "tiny.gguf"), *options]) == 0
    said = capsys.readouterr().out
    assert "tiny.gguf" in said and "token" in said


def test_types_of_grids_need_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are read without it."""
    file_of(tmp_path / "grid.gguf", "IQ4_XS", monkeypatch)
    file_of(tmp_path / "plain.gguf", "Q4_K", monkeypatch)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UsageError) as error:
        geoc.load(tmp_path / "grid.gguf")
    assert "pip install 'geoc[gguf]'" in str(error.value) and "grid.gguf" in str(error.value)
    model = geoc.load(tmp_path / "plain.gguf")
    geoc.optimize(model, passes="dequantize-weights")
    assert model.weight_bytes > 1 << 20

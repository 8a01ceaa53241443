"""Damaged files are refused in one line or are valid models."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from geoc.frontends.gguf import load_gguf
from geoc.ir.core import Model
from geoc.ir.errors import FormatError, InvalidModel, UnsupportedModel
from geoc.tools.cli import main

from ...fuzz.mutations import COUNT, check_mutations
from .tiny import CASES, write
from .vocabulary import byte_level, pieces

pytest.importorskip("gguf")


def _read(path: str) -> Model:
    """The model, and what belongs beside it."""
    model = load_gguf(path)
    for content in model.beside.values():
        content("out.onnx")
    return model


@pytest.mark.parametrize(
    ("seed", "case", "kinds", "words"),
    [
        (0, "llama", {"weight": "Q4_1"}, {}),
        (1, "phi3-long", {"ffn_up.weight": "Q8_0", "embd.weight": "Q5_0"}, pieces()),
        (2, "gemma3", {"weight": "F16"}, byte_level("llama-bpe")),
    ],
)
def test_damaged_files(seed: int, case: str, kinds: dict[str, str], words: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", CASES[case], kinds, words)
    found = check_mutations(_read, (tmp_path / "tiny.gguf").read_bytes(), COUNT, seed, tmp_path, ".gguf")
    assert found["refused"] > COUNT // 4


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _file(tensors: int = 0, values: int = 0, body: bytes = b"", magic: bytes = b"GGUF", version: int = 3) -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, values) + body


_TENSOR = _text(b"w") + struct.pack("<I", 2)
_HUGE = (1 << 64) - 1


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (b"", FormatError, "the file is empty"),
        (b"GGU", FormatError, "does not begin with GGUF"),
        (_file(magic=b"GGML"), FormatError, "does not begin with GGUF"),
        (_file(version=1), UnsupportedModel, "GGUF of version 1; read are versions 2 and 3"),
        (_file(version=3 << 24), UnsupportedModel, "big-endian"),
        (b"GGUF\x03\x00\x00\x00\x01", FormatError, "a number needs 8 bytes, 1 are left"),
        (_file(values=_HUGE), FormatError, "0 are left"),
        (_file(tensors=_HUGE), FormatError, f"{_HUGE} tensors do not fit into the file"),
        (_file(values=1, body=struct.pack("<Q", _HUGE) + b"key"), FormatError, f"key needs {_HUGE} bytes, 3 are left"),
        (_file(values=1, body=_text(b"\xff\xff") + bytes(8)), FormatError, "key is not UTF-8"),
        (_file(values=1, body=_text(b"key") + struct.pack("<I", 13)), FormatError, "'key' is of type 13"),
        (_file(values=1, body=_text(b"key") + struct.pack("<IIQ", 9, 9, 1)), FormatError, "'key' is of type 9"),
        (_file(values=1, body=_text(b"key") + struct.pack("<IIQ", 9, 10, 1 << 61)), FormatError, "bytes, 0 are left"),
        (_file(values=1, body=_text(b"key") + struct.pack("<IIQ", 9, 8, _HUGE)), FormatError, "more than fit into the file"),
        (_file(values=2, body=2 * (_text(b"key") + struct.pack("<II", 4, 1))), FormatError, "'key' is there twice"),
        (_file(1, body=_text(b"w") + struct.pack("<I", 9) + bytes(24)), FormatError, "tensor 'w' has 9 dimensions"),
        (_file(1, body=_TENSOR + struct.pack("<QQIQ", 0, 3, 0, 0)), FormatError, "tensor 'w' of F32 has the shape [3, 0]"),
        (_file(1, body=_TENSOR + struct.pack("<QQIQ", 33, 3, 2, 0)), FormatError, "tensor 'w' of Q4_0 has the shape [3, 33]"),
        (_file(1, body=_TENSOR + struct.pack("<QQIQ", 32, 3, 99, 0)), UnsupportedModel, "tensor 'w' is of type 99"),
        (_file(1, body=_TENSOR + struct.pack("<QQIQ", 1 << 62, 1 << 62, 0, 0)), FormatError, "tensor 'w' is to lie in bytes"),
        (_file(1, body=_TENSOR + struct.pack("<QQIQ", 2, 2, 0, 1 << 63)), FormatError, "tensor 'w' is to lie in bytes"),
        (_file(), InvalidModel, "general.architecture is missing"),
    ],
)
def test_files_that_are_none(data: bytes, kind: type[Exception], said: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(kind) as error:
        load_gguf(path)
    assert said in str(error.value)
    if data:
        assert main([str(path), "-o", str(tmp_path / "out.onnx")]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and str(path) in lines[0] and said in lines[0]


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """Its last bytes are those of a tensor, so all of it is needed."""
    write(tmp_path / "tiny.gguf", CASES["qwen3"])
    data = (tmp_path / "tiny.gguf").read_bytes().rstrip(b"\0")
    for length in [*range(0, 2000, 37), len(data) // 2, len(data) - 64]:
        (tmp_path / "cut.gguf").write_bytes(data[:length])
        with pytest.raises(FormatError):
            load_gguf(tmp_path / "cut.gguf")

"""--emit and -o: what is written, where, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.ir.errors import UsageError
from geoc.lowering.targets import get_target
from geoc.tools.cli import main
from geoc.tools.emitting import default_output, outputs_of

CPU = get_target("cpu").backend


@pytest.mark.parametrize(
    ("emit", "output", "expected"),
    [
        ((), "a/out.onnx", [("onnx", "a/out.onnx")]),
        ((), "out.GIR", [("gir", "out.GIR")]),
        (("ort",), "out.ort", [("ort", "out.ort")]),
        (("onnx", "gir"), "folder", [("onnx", "folder/bert.onnx"), ("gir", "folder/bert.gir")]),
        (("onnx",), None, []),
    ],
)
def test_what_goes_where(emit: tuple[str, ...], output: str | None, expected: list[tuple[str, str]]) -> None:
    assert [(o.kind, o.path) for o in outputs_of(CPU, emit, output, "models/bert.onnx")] == expected


@pytest.mark.parametrize(
    ("emit", "output", "message"),
    [
        ((), "out.txt", r"the suffix '.txt' says nothing about what to write; there are \.gguf, \.gir, \.onnx, \.ort, \.run\.py"),
        ((), "out", "no suffix"),
        (("onnx",), "out.gir", r"--emit onnx writes a file that ends in \.onnx"),
        (("onx",), "out.onnx", "ONNX Runtime takes gguf, gir, onnx, ort, run, triton, not 'onx'; did you mean onnx"),
        (("openvino",), "out.xml", "ONNX Runtime takes gguf, gir, onnx, ort, run, triton, not 'openvino'"),
    ],
)
def test_what_is_refused(emit: tuple[str, ...], output: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        outputs_of(CPU, emit, output, None)


@pytest.mark.parametrize("source", ["mini-v1.5", "mini-v1.5/", "./mini-v1.5"])
def test_what_is_made_of_a_folder_is_called_like_it(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini-v1.5").mkdir()
    assert [each.path for each in outputs_of(CPU, ("onnx", "gir"), "out", source)] == ["out/mini-v1.5.onnx", "out/mini-v1.5.gir"]
    monkeypatch.chdir(tmp_path / "mini-v1.5")
    assert [each.path for each in outputs_of(CPU, ("onnx", "gir"), "out", ".")] == ["out/mini-v1.5.onnx", "out/mini-v1.5.gir"]


def test_names_by_default() -> None:
    assert default_output("m/a.onnx", "cpu", ()) == "m/a.geoc.onnx"
    assert default_output("m/a.onnx", "cpu", ("ort",)) == "m/a.geoc.ort"
    assert default_output("m/a.onnx", "cpu", ("onnx", "gir")) == "m/a.geoc"
    assert default_output("m/a.onnx", "openvino-cpu", ()) == "m/a.geoc.xml"
    assert default_output("m/a.onnx", "fastest-cpu", ()) == "m/a.geoc"


def test_several_forms_go_into_a_folder(chain_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = chain_file.parent / "made"
    assert main([str(chain_file), "--emit", "onnx,gir,ort", "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [f"{chain_file.stem}{s}" for s in (".gir", ".onnx", ".ort")]
    assert "--emit=onnx,gir,ort" in capsys.readouterr().out


def test_the_flatbuffer_gives_what_the_onnx_file_gives(chain_file: Path, tmp_path: Path) -> None:
    geoc.compile(chain_file, tmp_path / "a.onnx")
    report = geoc.compile(chain_file, tmp_path / "a.ort")
    assert report.files == [str(tmp_path / "a.ort")]
    sessions = [onnxruntime.InferenceSession(str(tmp_path / f"a.{kind}")) for kind in ("onnx", "ort")]
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    first, second = (s.run(None, {s.get_inputs()[0].name: x}) for s in sessions)
    assert all(np.array_equal(a, b) for a, b in zip(first, second))

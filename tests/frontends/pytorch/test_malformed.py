"""Damaged .pt2 files, those that would run code when they are read, and what is no such file."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

import geoc  # noqa: E402
from geoc.ir.core import Model  # noqa: E402
from geoc.ir.errors import FormatError, GeocError, UnsupportedModel  # noqa: E402
from geoc.tools.cli import main  # noqa: E402

from ...fuzz.mutations import COUNT, check_mutations  # noqa: E402
from .modules import classifier  # noqa: E402


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module, args, _ = classifier()
    path = tmp_path_factory.mktemp("pt2") / "m.pt2"
    torch.export.save(torch.export.export(module, args), path)
    return path


def changed(source: Path, to: Path, change: Callable[[str, bytes], bytes | None], more: dict[str, bytes] | None = None) -> Path:
    """A copy of an archive, with checksums that are right, whose members are what `change` says; None leaves one out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            data = change(name.partition("/")[2], old.read(name))
            if data is not None:
                new.writestr(name, data)
        for name, data in (more or {}).items():
            new.writestr(f"m/{name}", data)
    return to


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return (open, ("was_run", "w"))


def pickled() -> bytes:
    file = io.BytesIO()
    torch.save(Bomb(), file)
    return file.getvalue()


def test_damaged_files(tmp_path: Path) -> None:
    def read(path: str) -> Model:
        torch.set_num_threads(1)  # threads of the parent are not in a child
        return geoc.load(path)

    torch.export.save(torch.export.export(torch.nn.Linear(3, 4), (torch.ones(2, 3),)), tmp_path / "small.pt2")
    found = check_mutations(read, (tmp_path / "small.pt2").read_bytes(), COUNT, 0, tmp_path, ".pt2", seconds=20)
    assert found["refused"] > COUNT // 2


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "not an archive"), (b"PK\x03\x04" + bytes(100), "not an archive"), (b"\x80\x02}q\x00.", "not an archive")],
)
def test_what_is_no_archive(data: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=said):
        geoc.load(path)
    assert main([str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(path) in lines[0]


def test_an_archive_of_something_else(program: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "state.pt2")
    with pytest.raises(FormatError, match=r"not a file of torch\.export\.save"):
        geoc.load(tmp_path / "state.pt2")
    with zipfile.ZipFile(tmp_path / "small.pt2", "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("m/archive_format", b"pt2" + bytes(1 << 20))
    with pytest.raises(FormatError, match="compressed"):
        geoc.load(tmp_path / "small.pt2")


def test_sizes_beyond_what_is_stored(program: Path, tmp_path: Path) -> None:
    def larger(stride: int) -> Callable[[str, bytes], bytes]:
        def change(name: str, data: bytes) -> bytes:
            if not name.endswith("weights_config.json"):
                return data
            described = json.loads(data)
            meta = described["config"]["embed.weight"]["tensor_meta"]
            meta["sizes"] = [{"as_int": 1 << 40}, {"as_int": 32}]
            meta["strides"] = [{"as_int": stride}, {"as_int": 0 if not stride else 1}]
            return json.dumps(described).encode()

        return change

    for stride, said in ((32, "torch"), (0, "torch|fewer bytes")):
        with pytest.raises(FormatError, match=said):
            geoc.load(changed(program, tmp_path / "m.pt2", larger(stride)))


@pytest.mark.parametrize("kind", ["weight", "constant", "inputs", "library"])
def test_nothing_in_a_file_is_run(kind: str, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    more = {"weight": {}, "constant": {"data/constants/custom_obj_0": pickled()}, "inputs": {}, "library": {"data/aotinductor/model/a.so": b"x"}}

    def change(name: str, data: bytes) -> bytes:
        if kind == "weight" and name.endswith("weights_config.json"):
            described = json.loads(data)
            described["config"]["embed.weight"]["use_pickle"] = True
            return json.dumps(described).encode()
        if kind == "weight" and name.startswith("data/weights/weight_"):
            return pickled()
        if kind == "inputs" and name.startswith("data/sample_inputs"):
            return pickled()
        return data

    with pytest.raises(UnsupportedModel, match="code"):
        geoc.load(changed(program, tmp_path / "m.pt2", change, more[kind]))
    assert not (tmp_path / "was_run").exists()


def test_a_file_that_contradicts_itself(program: Path, tmp_path: Path) -> None:
    for text in (b"{}", b"[", b'{"graph_module": 1}', b"\xff"):
        path = changed(program, tmp_path / "m.pt2", lambda name, data, text=text: text if name == "models/model.json" else data)
        with pytest.raises(GeocError) as error:
            geoc.load(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)
    shutil.copy(program, tmp_path / "whole.pt2")
    assert geoc.load(tmp_path / "whole.pt2").node_count > 3

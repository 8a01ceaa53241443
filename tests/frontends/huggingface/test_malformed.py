"""Damaged configs and weights; reading a folder's own words needs neither torch nor transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import geoc
from geoc.frontends.huggingface.folder import read_folder
from geoc.ir.core import Graph, Model
from geoc.ir.errors import FormatError, GeocError
from geoc.tools.cli import main

from ...fuzz.mutations import COUNT, check_mutations

CONFIG: dict[str, Any] = {"architectures": ["BertModel"], "model_type": "bert"}


def written(folder: Path, config: Any = CONFIG, header: Any = None, data: bytes = bytes(8), length: int | None = None) -> Path:
    """A folder with a config and weights of one tensor."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    table = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}} if header is None else header).encode()
    size = len(table) if length is None else length
    (folder / "model.safetensors").write_bytes(size.to_bytes(8, "little") + table + data)
    return folder


def test_a_whole_one(tmp_path: Path) -> None:
    found = read_folder(str(written(tmp_path / "a")))
    assert found.architecture == "BertModel" and found.tensors == 1 and found.is_safe


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": {"model_type": "bert"}}, "config.json: names no architectures"),
        ({"config": {"architectures": []}}, "names no architectures"),
        ({"config": {"architectures": [1]}}, "names no architectures"),
        ({"config": {"architectures": "BertModel"}}, "names no architectures"),
        ({"config": "[1]"}, "not a JSON object"),
        ({"config": '{"a": '}, "no JSON"),
        ({"config": "[" * 100_000}, "no JSON"),
        ({"length": 1 << 63}, "header of 9223372036854775808 bytes does not fit"),
        ({"length": 1000}, "header of 1000 bytes does not fit"),
        ({"length": 5}, "no JSON"),
        ({"data": bytes(7)}, "ends at byte 8, the data has 7"),
        ({"header": {"a": {"data_offsets": [0, 1 << 62]}}}, "cut off or damaged"),
        ({"header": {"a": {"data_offsets": [8, 0]}}}, "cut off or damaged"),
        ({"header": {"a": {"data_offsets": [-8, 0]}}}, "cut off or damaged"),
        ({"header": {"a": {"data_offsets": "x"}}}, "has no offsets"),
        ({"header": {"a": 1}}, "has no offsets"),
        ({"header": [1]}, "not a JSON object"),
    ],
)
def test_what_contradicts_itself(change: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "a", **change)
    with pytest.raises(FormatError, match=said):
        geoc.load(folder)
    assert main([str(folder)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(folder) in lines[0] and len(lines[0]) < 400


def test_weights_that_are_nowhere(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    weights = folder / "model.safetensors"
    weights.rename(folder / "pytorch_model.bin")
    assert not read_folder(str(folder)).is_safe
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(FormatError, match="holds no weights"):
        geoc.load(folder)
    index = folder / "model.safetensors.index.json"
    (folder / "other.bin").write_bytes(b"")
    wrong = [({}, "no weight_map"), *(({"a": part}, r"no \.safetensors file of the folder") for part in ("../b", 1, "other.bin"))]
    for parts, said in wrong:
        index.write_text(json.dumps({"weight_map": parts}))
        with pytest.raises(FormatError, match=said):
            geoc.load(folder)


def test_a_folder_without_a_config_is_not_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damaged_words(name: str, tmp_path: Path) -> None:
    def read(path: str) -> Model:
        read_folder(str(Path(path).parent))
        return Model(Graph("nothing"))

    folder = written(tmp_path / "a")
    found = check_mutations(read, (folder / name).read_bytes(), COUNT, 0, folder, name)
    assert found["refused"] > COUNT // 4


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "pytorch_model.bin"])
def test_damaged_folders(name: str, tmp_path: Path) -> None:
    """All of it but the export, which takes a second and sees a module that is whole."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from geoc.frontends.huggingface.opening import open_model
    from geoc.frontends.huggingface.tasks import call_of

    from .folders import made

    def read(path: str) -> Model:
        torch.set_num_threads(1)  # threads of the parent are not in a child
        folder = read_folder(str(Path(path).parent))
        call_of(open_model(folder), folder)
        return Model(Graph("nothing"))

    made("BertModel", tmp_path / "a", pickled=name == "pytorch_model.bin")
    found = check_mutations(read, (tmp_path / "a" / name).read_bytes(), COUNT, 0, tmp_path / "a", name, seconds=20)
    assert found["refused"] > COUNT // 10


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return (open, ("was_run", "w"))


@pytest.mark.parametrize("old", [False, True])
def test_nothing_in_weights_is_run(old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from .folders import made

    made("BertModel", tmp_path / "a")
    (tmp_path / "a/model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": Bomb()}, tmp_path / "a/pytorch_model.bin", _use_new_zipfile_serialization=not old)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GeocError) as error:
        geoc.load(tmp_path / "a")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "was_run").exists()
    torch.load(tmp_path / "a/pytorch_model.bin", weights_only=False)
    assert (tmp_path / "was_run").exists(), "the test has no bomb"


def test_numbers_that_are_larger_than_the_weights(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from .folders import made

    made("GPT2LMHeadModel", tmp_path / "a")
    config = json.loads((tmp_path / "a/config.json").read_text())
    for changes, said in (
        ({"n_layer": 10**9}, "n_layer = 1000000000, more than"),
        ({"n_embd": 10**12}, "n_embd"),
        ({"n_embd": 100_000}, "parameters"),
        ({"n_positions": 90_000}, "parameters|tables"),
        ({"num_labels": 10**8}, "num_labels"),
        ({"vocab_size": 61}, "shape|size"),
    ):
        shutil.copytree(tmp_path / "a", tmp_path / "b", dirs_exist_ok=True)
        (tmp_path / "b/config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(GeocError, match=said) as error:
            geoc.load(tmp_path / "b")
        assert "\n" not in str(error.value)

"""Files by their content: found by path where they are the same, sent in pieces where they are not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from geoc.frontends import formats
from geoc.frontends.formats import Format
from geoc.frontends.onnx import load_onnx
from geoc.tools.tune import content
from geoc.tools.tune.content import Part, inputs_of, local_path, missing, placed, store
from geoc.tools.tune.order import Order

from ..recipes.models import network, samples


@pytest.fixture
def given(tmp_path: Path, monkeypatch: Any) -> Order:
    """A model with a data file, samples in a folder, a metric; and a folder for what is sent."""
    monkeypatch.setenv("GEOC_CACHE_DIR", str(tmp_path / "cache" / "statistics"))
    here = tmp_path / "here"
    (here / "samples").mkdir(parents=True)
    path = network(here / "m.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.data", size_threshold=64)
    with np.load(samples(tmp_path / "s.npz")) as archive:
        for name in archive.files[:3]:
            np.save(here / "samples" / f"{name.replace('/', '-')}.npy", archive[name])
    (here / "score.py").write_text("def f(run):\n    return 1.0\n")
    files = (str(here / "samples"), str(here / "score.py"))
    return Order(str(path), calib=files[0], metric=f"{files[1]}:f", given=files)


def test_what_is_there_is_used_where_it_is(given: Order) -> None:
    inputs = inputs_of(given)
    assert inputs[0].names == ("m.data", "m.onnx") and len(inputs[1].names) == 3
    assert not missing(inputs) and [local_path(each) for each in inputs] == [given.source, *given.given]


def test_paths_from_somewhere_else_are_found_from_anywhere(given: Order, tmp_path: Path, monkeypatch: Any) -> None:
    """As of a worker that was started in another folder."""
    monkeypatch.chdir(tmp_path / "here")
    near = Order("m.onnx", calib="samples", metric="score.py:f", given=("samples", "score.py"))
    inputs = inputs_of(near)
    monkeypatch.chdir(tmp_path)
    assert not missing(inputs) and [local_path(each) for each in inputs] == [given.source, *given.given]
    assert placed({"metric": near.metric}, inputs) == {"metric": given.metric}


def test_a_folder_as_a_source_is_sent_with_all_that_it_is_read_from(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("GEOC_CACHE_DIR", str(tmp_path / "cache" / "statistics"))
    folder = tmp_path / "folder"
    folder.mkdir()
    path = network(folder / "made.onnx")
    made = Format("made-up", "made up", "onnx:load_onnx", member="made.onnx")
    monkeypatch.setattr(formats, "FORMATS", (formats.ONNX, made))
    monkeypatch.setattr(Format, "load", lambda self, source: load_onnx(os.path.join(source, self.member)))
    (found,) = inputs_of(Order(str(folder)))
    assert found.names == ("made.onnx",) and local_path(found) == str(folder)
    for part in found.parts():
        store(part)
    os.rename(folder, tmp_path / "gone")
    sent = local_path(found)
    assert sent is not None and Path(sent, "made.onnx").read_bytes() == (tmp_path / "gone" / Path(path).name).read_bytes()


def test_what_is_not_there_is_sent_in_pieces(given: Order, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(content, "_PIECE", 1000)
    inputs = inputs_of(given)
    parts = [list(each.parts()) for each in inputs]
    bytes_here = (tmp_path / "here" / "m.data").read_bytes()
    os.rename(tmp_path / "here", tmp_path / "gone")
    assert missing(inputs) == [each.digest for each in inputs]
    with pytest.raises(FileNotFoundError):
        placed({"source": given.source}, inputs)
    for part in [part for found in parts for part in found]:
        store(part)
    assert not missing(inputs) and len(parts[0]) > 50
    job = placed({"settings": {"source": given.source, "calib": given.calib}, "metric": given.metric, "goal": "size"}, inputs)
    model = Path(job["settings"]["source"])
    assert (model.parent / "m.data").read_bytes() == bytes_here and tmp_path / "cache" in model.parents
    assert len(list(Path(job["settings"]["calib"]).iterdir())) == 3
    assert job["metric"].endswith("score.py:f") and Path(job["metric"].rpartition(":")[0]).is_file() and job["goal"] == "size"


def test_another_file_of_that_name_does_not_count(given: Order) -> None:
    inputs = inputs_of(given)
    with open(given.given[1], "a") as file:
        file.write("# another one\n")
    assert missing(inputs) == [inputs[2].digest]


def test_nothing_is_stored_outside_its_folder(given: Order) -> None:
    with pytest.raises(ValueError, match="leaves its folder"):
        store(Part("0" * 64, "../../evil.py", 0, 3, b"bad"))

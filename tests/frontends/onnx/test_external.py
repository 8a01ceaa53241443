"""Weights in other files: where they may be, and what is said when they are not there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.errors import FormatError, GeocError, InvalidModel
from geoc.ir.tensor import Tensor

from .building import FLOAT, graph, model, node, value, weight

A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = (np.arange(6, dtype=np.float32) - 10).reshape(2, 3)


def outside(name: str, location: str, shape: tuple[int, ...] = (2, 3), **entries: int | str) -> onnx.TensorProto:
    """A tensor whose data are in a file."""
    proto = TensorProto(name=name, data_type=FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, given in {"location": location, **entries}.items():
        proto.external_data.add(key=key, value=str(given))
    return proto


def save(folder: Path, *weights: onnx.TensorProto, name: str = "m.onnx") -> str:
    names = [w.name for w in weights]
    nodes = [
        node("Add", f"{left} {n}", out)
        for left, n, out in zip(["x", "t0"], names, ["t0", "t1"], strict=False)
    ]
    body = graph(nodes, [value("x")], [value(f"t{len(names) - 1}")], weights)
    path = folder / name
    path.write_bytes(model(body).SerializeToString())
    return str(path)


def weights_of(path: str) -> list[Tensor]:
    found = []
    for n in load_onnx(path).walk():
        second = n.inputs[1]
        assert second is not None and second.const is not None
        found.append(second.const)
    return found


def test_one_file_with_offsets(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\xff" * 4096 + A.tobytes() + B.tobytes())
    path = save(
        tmp_path,
        outside("a", "w.bin", offset=4096, length=24),
        outside("b", "w.bin", offset=4120, length=24),
    )
    a, b = weights_of(path)
    assert (a.array() == A).all() and (b.array() == B).all()
    assert a.file is b.file and (a.offset, b.offset) == (4096, 4120)


def test_many_files_in_folders_below(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.bin").write_bytes(A.tobytes())
    (tmp_path / "deep" / "er" / "b.bin").write_bytes(B.tobytes())
    a, b = weights_of(save(tmp_path, outside("a", "a.bin"), outside("b", "deep/er/b.bin")))
    assert (a.array() == A).all() and (b.array() == B).all()


def test_what_onnx_itself_writes(tmp_path: Path) -> None:
    body = graph(
        [node("Add", "x a", "t"), node("Add", "t b", "y")],
        [value("x")],
        [value("y")],
        [weight("a", A), weight("b", B)],
    )
    for all_in_one in (True, False):
        proto = model(body)
        path = tmp_path / f"{all_in_one}.onnx"
        onnx.save_model(
            proto, path, save_as_external_data=True, all_tensors_to_one_file=all_in_one,
            location="all.bin" if all_in_one else None, size_threshold=0,
        )  # fmt: skip
        a, b = weights_of(str(path))
        assert (a.array() == A).all() and (b.array() == B).all()


def test_spellings_of_one_path_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(A.tobytes() + B.tobytes())
    a, b = weights_of(save(tmp_path, outside("a", "w.bin"), outside("b", "./w.bin", offset=24)))
    assert a.file is b.file and (b.array() == B).all()


def test_a_model_named_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.bin").write_bytes(A.tobytes())
    save(tmp_path, outside("a", "w.bin"))
    monkeypatch.chdir(tmp_path)
    assert (weights_of("m.onnx")[0].array() == A).all()


def test_external_data_of_an_attribute(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(A.tobytes())
    body = graph(
        [node("Constant", "", "c", value=outside("", "w.bin")), node("Add", "x c", "y")],
        [value("x")],
        [value("y")],
    )
    (tmp_path / "m.onnx").write_bytes(model(body).SerializeToString())
    (found,) = weights_of(str(tmp_path / "m.onnx"))
    assert (found.array() == A).all()


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real.bin").write_bytes(A.tobytes())
    (tmp_path / "link.bin").symlink_to("real.bin")
    assert (weights_of(save(tmp_path, outside("a", "link.bin")))[0].array() == A).all()


def test_the_cache_of_a_model_hub(tmp_path: Path) -> None:
    """Files lie under hashes in one folder, links with their names in another."""
    store, snapshot = tmp_path / "store", tmp_path / "snapshot"
    store.mkdir()
    snapshot.mkdir()
    (store / "4567").write_bytes(A.tobytes())
    save(store, outside("a", "w.bin"), name="0123")
    (snapshot / "m.onnx").symlink_to("../store/0123")
    (snapshot / "w.bin").symlink_to("../store/4567")
    assert (weights_of(str(snapshot / "m.onnx"))[0].array() == A).all()
    (tmp_path / "secret").write_bytes(A.tobytes())
    (snapshot / "w.bin").unlink()
    (snapshot / "w.bin").symlink_to("../secret")
    refused(str(snapshot / "m.onnx"), InvalidModel, "leaves the model's folder")


def refused(path: str, error: type[GeocError], complaint: str, named: str = "'a'") -> None:
    with pytest.raises(error, match=complaint) as caught:
        load_onnx(path)
    text = str(caught.value)
    assert "\n" not in text and named in text and os.path.dirname(path) in text


OUTSIDE = {
    "a path upwards": "../w.bin",
    "down and up": "sub/../../w.bin",
    "an absolute path": "/etc/passwd",
    "the folder itself": ".",
    "nothing": "",
    "a zero byte": "w\0.bin",
}


@pytest.mark.parametrize("location", OUTSIDE.values(), ids=OUTSIDE)
def test_paths_that_leave_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(A.tobytes())
    inside = tmp_path / "models"
    inside.mkdir()
    (inside / "sub").mkdir()
    refused(save(inside, outside("a", location)), InvalidModel, "leaves the model's folder|not a relative path")


def test_a_link_that_leaves_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(A.tobytes())
    inside = tmp_path / "models"
    inside.mkdir()
    (inside / "w.bin").symlink_to(tmp_path / "secret")
    refused(save(inside, outside("a", "w.bin")), InvalidModel, "leaves the model's folder")


def test_a_folder_that_only_begins_like_the_models(tmp_path: Path) -> None:
    inside, other = tmp_path / "models", tmp_path / "models-secret"
    inside.mkdir()
    other.mkdir()
    (other / "w.bin").write_bytes(A.tobytes())
    refused(
        save(inside, outside("a", "../models-secret/w.bin")), InvalidModel, "leaves the model's folder"
    )


def test_a_missing_file(tmp_path: Path) -> None:
    refused(save(tmp_path, outside("a", "w.bin")), FormatError, "'w.bin' is missing")


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "w.bin").mkdir()
    refused(save(tmp_path, outside("a", "w.bin")), FormatError, "'w.bin' is missing")


@pytest.mark.parametrize("size, offset", [(23, 0), (0, 0), (24, 1), (24, 10**17)])
def test_a_short_file(tmp_path: Path, size: int, offset: int) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(size))
    path = save(tmp_path, outside("a", "w.bin", offset=offset))
    refused(path, FormatError, f"the file has {size}")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(A.tobytes())
    (tmp_path / "w.bin").chmod(0)
    refused(save(tmp_path, outside("a", "w.bin")), FormatError, "Permission denied")


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("text", ["-1", "1.5", "x", "9" * 30, "0x10", "٣"])
def test_numbers_that_are_none(tmp_path: Path, key: str, text: str) -> None:
    (tmp_path / "w.bin").write_bytes(A.tobytes())
    path = save(tmp_path, outside("a", "w.bin", **{key: text}))
    refused(path, InvalidModel, "not a number")


def test_a_length_that_is_not_the_tensors(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(A.tobytes())
    refused(save(tmp_path, outside("a", "w.bin", length=20)), InvalidModel, "length 20, its shape needs 24")


def test_a_model_from_memory_has_no_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.bin").write_bytes(A.tobytes())
    monkeypatch.chdir(tmp_path)
    data = Path(save(tmp_path, outside("a", "w.bin"))).read_bytes()
    with pytest.raises(InvalidModel, match="the model came from memory"):
        load_onnx(data)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory in use")
def test_reading_a_large_file_costs_nothing(tmp_path: Path) -> None:
    """3 GB of weights that are a hole on the disk: mapping and taking a span must not touch them."""
    size = 3 * 2**30
    with open(tmp_path / "w.bin", "wb") as file:
        os.truncate(file.fileno(), size)
    body = graph(
        [node("Keep", "x a", "y", domain="my.ops")],
        [value("x")],
        [value("y")],
        [outside("a", "w.bin", shape=(size // 4,))],
    )
    (tmp_path / "m.onnx").write_bytes(model(body, domains={"my.ops": 1}).SerializeToString())
    before = resident()
    (found,) = weights_of(str(tmp_path / "m.onnx"))
    assert found.length == size and resident() - before < 50 * 2**20


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_onnx_reads_what_the_tests_write(tmp_path: Path) -> None:
    """The tests' own way of writing external data is the one that onnx knows."""
    (tmp_path / "w.bin").write_bytes(bytes(8) + A.tobytes())
    proto = onnx.load(save(tmp_path, outside("a", "w.bin", offset=8)))
    external_data_helper.load_external_data_for_model(proto, str(tmp_path))
    assert (onnx.numpy_helper.to_array(proto.graph.initializer[0]) == A).all()

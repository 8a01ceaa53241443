"""Files: weights in every place they can be, all or nothing, and never over the input."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.equal import equal
from geoc.ir.errors import FormatError, UnsupportedModel, UsageError
from geoc.lowering.onnx import save_onnx

from ...frontends.onnx.building import FLOAT, graph, model, node, value, weight

RNG = np.random.default_rng(0)
BIG = RNG.standard_normal((1000, 3)).astype(np.float32)  # larger than what stays in the model file
SMALL = np.arange(3, dtype=np.float32)
X = RNG.standard_normal((2, 1000)).astype(np.float32)


def source(folder: Path, external: str = "") -> str:
    """x @ big + small, its weights inline or in a file."""
    body = graph(
        [node("MatMul", "x big", "t"), node("Add", "t small", "y")],
        [value("x", ("N", 1000))],
        [value("y", ("N", 3))],
        [weight("big", BIG), weight("small", SMALL)],
    )
    folder.mkdir(exist_ok=True)
    path = folder / "in.onnx"
    proto = model(body)
    if external:
        onnx.save_model(proto, path, save_as_external_data=True, location=external, size_threshold=0)
    else:
        onnx.save_model(proto, path)
    return str(path)


def gives_the_same(path: str | Path) -> bool:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return bool(np.allclose(session.run(None, {"x": X})[0], X @ BIG + SMALL, rtol=1e-4, atol=1e-4))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("weights", ["reuse", "copy", "inline"])
@pytest.mark.parametrize("external", ["", "w.bin"], ids=["inline", "external"])
def test_weights_in_every_place(tmp_path: Path, external: str, weights: str) -> None:
    path = source(tmp_path, external)
    before = contents(tmp_path)
    loaded = load_onnx(path)
    out = tmp_path / "out.onnx"
    result = save_onnx(loaded, out, weights=weights)
    assert gives_the_same(out)
    onnx.checker.check_model(str(out))
    assert equal(load_onnx(path), load_onnx(str(out)))
    expected = {"out.onnx", "out.onnx.data"} if weights == "copy" else {"out.onnx"}
    assert {os.path.basename(f) for f in result.files} == expected
    assert {f: os.path.getsize(f) for f in result.files} == result.files
    after = contents(tmp_path)
    assert set(after) == set(before) | expected and all(after[k] == before[k] for k in before)
    assert (len(after["out.onnx"]) > BIG.nbytes) == (weights == "inline" or not (external or weights == "copy"))


def test_data_files_are_used_again_only_below_the_output(tmp_path: Path) -> None:
    path = source(tmp_path / "models", "w.bin")
    loaded = load_onnx(path)
    above = tmp_path / "above.onnx"
    save_onnx(loaded, above)
    locations = {e.value for t in onnx.load(above, load_external_data=False).graph.initializer for e in t.external_data if e.key == "location"}
    assert locations == {"models/w.bin"} and gives_the_same(above)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = save_onnx(loaded, elsewhere / "out.onnx")
    assert set(contents(elsewhere)) == {"out.onnx"} and result.bytes > BIG.nbytes
    assert gives_the_same(elsewhere / "out.onnx")


def test_a_relative_output_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = source(tmp_path, "w.bin")
    monkeypatch.chdir(tmp_path)
    save_onnx(load_onnx(path), "out.onnx")
    assert gives_the_same("out.onnx")


def test_a_folder_reached_through_a_link(tmp_path: Path) -> None:
    path = source(tmp_path / "real", "w.bin")
    (tmp_path / "link").symlink_to("real")
    save_onnx(load_onnx(path), tmp_path / "link" / "out.onnx")
    assert gives_the_same(tmp_path / "real" / "out.onnx")


def test_payloads_are_aligned_and_shared(tmp_path: Path) -> None:
    """Two tensors over the same bytes are written once; large ones start on a page."""
    twin = weight("twin", BIG)
    body = graph(
        [node("MatMul", "x big", "t"), node("MatMul", "x twin", "u"), node("Add", "t u", "y")],
        [value("x", ("N", 1000))], [value("y", ("N", 3))], [weight("big", BIG), twin],
    )  # fmt: skip
    onnx.save_model(model(body), tmp_path / "in.onnx")
    loaded = load_onnx(str(tmp_path / "in.onnx"))
    first, second = (n.inputs[1] for n in loaded.walk() if n.op.key == "MatMul")
    assert first is not None and second is not None
    second.const = first.const
    result = save_onnx(loaded, tmp_path / "out.onnx", weights="copy")
    assert result.files[str(tmp_path / "out.onnx.data")] == BIG.nbytes
    found = onnx.load(tmp_path / "out.onnx", load_external_data=False).graph.initializer
    offsets = [int(e.value) for t in found for e in t.external_data if e.key == "offset"]
    assert offsets == [0, 0]


def test_strings_and_small_tensors_stay_in_the_model_file(tmp_path: Path) -> None:
    strings = helper.make_tensor("s", TensorProto.STRING, [200], ["word" * 10] * 200)
    body = graph(
        [node("Keep", "x s small big", "y", domain="my.ops")], [value("x")], [value("y")],
        [strings, weight("small", SMALL), weight("big", BIG)],
    )  # fmt: skip
    onnx.save_model(model(body, domains={"my.ops": 1}), tmp_path / "in.onnx")
    save_onnx(load_onnx(str(tmp_path / "in.onnx")), tmp_path / "out.onnx", weights="copy")
    found = onnx.load(tmp_path / "out.onnx", load_external_data=False).graph.initializer
    assert {t.name: t.data_location == TensorProto.EXTERNAL for t in found} == {"s": False, "small": False, "big": True}


# More than two gigabytes


def huge(folder: Path, inline: bool = False) -> str:
    """A model with 3 GB of zeros that take no room on the disk."""
    elements = 3 * 2**28
    big = TensorProto(name="big", data_type=FLOAT, dims=[elements], data_location=TensorProto.EXTERNAL)
    big.external_data.add(key="location", value="w.bin")
    with open(folder / "w.bin", "wb") as file:
        os.truncate(file.fileno(), 4 * elements)
    body = graph([node("Gather", "big x", "y")], [value("x", (2,), TensorProto.INT64)], [value("y", (2,))], [big])
    (folder / "in.onnx").write_bytes(model(body).SerializeToString())
    return str(folder / "in.onnx")


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory in use")
def test_more_than_2_gb_that_stay_where_they_are(tmp_path: Path) -> None:
    loaded = load_onnx(huge(tmp_path))
    before = resident()
    result = save_onnx(loaded, tmp_path / "out.onnx")
    assert result.bytes < 1000 and resident() - before < 20 * 2**20
    assert "big" in {t.name for t in onnx.load(tmp_path / "out.onnx", load_external_data=False).graph.initializer}


def test_more_than_2_gb_do_not_fit_into_one_file(tmp_path: Path) -> None:
    before = {"in.onnx", "w.bin"}
    with pytest.raises(UnsupportedModel, match="3.2 GB do not fit into one ONNX file; use --weights copy"):
        save_onnx(load_onnx(huge(tmp_path)), tmp_path / "out.onnx", weights="inline")
    assert {p.name for p in tmp_path.iterdir()} == before


def test_more_than_2_gb_elsewhere_get_a_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to reuse weights that lie elsewhere, it copies them block by block; the limit is lowered to keep this short."""
    monkeypatch.setattr("geoc.lowering.onnx.save.INLINE_LIMIT", 10_000)
    loaded = load_onnx(source(tmp_path / "models"))
    (tmp_path / "out").mkdir()
    result = save_onnx(loaded, tmp_path / "out" / "m.onnx")
    assert {os.path.basename(f) for f in result.files} == {"m.onnx", "m.onnx.data"}
    assert gives_the_same(tmp_path / "out" / "m.onnx")


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Nothing half written, nothing overwritten


def fail_after(monkeypatch: pytest.MonkeyPatch, name: str, calls: int) -> None:
    """Make a function of the module raise "no space left" from its given call on."""
    from geoc.lowering.onnx import save

    owner, attribute = (save.os, name[3:]) if name.startswith("os.") else (save, name)
    real: Callable[..., object] = getattr(owner, attribute)
    count = 0

    def failing(*args: object) -> object:
        nonlocal count
        count += 1
        if count >= calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")
        return real(*args)

    monkeypatch.setattr(owner, attribute, failing)


@pytest.mark.parametrize("exists", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("name, calls", [("_copy", 1), ("_copy", 2), ("_copy", 4), ("os.replace", 1)])
def test_a_failure_on_the_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, calls: int, exists: bool
) -> None:
    loaded = load_onnx(source(tmp_path))
    if exists:
        (tmp_path / "out.onnx").write_bytes(b"precious")
        (tmp_path / "out.onnx.data").write_bytes(b"precious too")
    before = contents(tmp_path)
    fail_after(monkeypatch, name, calls)
    with pytest.raises(OSError, match="No space left"):
        save_onnx(loaded, tmp_path / "out.onnx", weights="copy")
    assert contents(tmp_path) == before


LIMITED = """
import resource, signal, sys
from geoc.frontends.onnx import load_onnx
from geoc.lowering.onnx import save_onnx
model = load_onnx(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
try:
    save_onnx(model, sys.argv[2], weights=sys.argv[3])
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("weights", ["copy", "inline"])
def test_a_full_disk(tmp_path: Path, weights: str) -> None:
    """The system itself refuses to write on, in the middle of the weights."""
    path = source(tmp_path)
    before = contents(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path, str(tmp_path / "out.onnx"), weights],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(errno.EFBIG), done.stderr
    assert contents(tmp_path) == before


@pytest.mark.parametrize("spelling", ["in.onnx", "./in.onnx", "link.onnx", "hard.onnx"])
@pytest.mark.parametrize("weights", ["reuse", "copy", "inline"])
def test_the_input_is_never_overwritten(tmp_path: Path, spelling: str, weights: str) -> None:
    path = source(tmp_path)
    (tmp_path / "link.onnx").symlink_to("in.onnx")
    os.link(path, tmp_path / "hard.onnx")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="is being read: give another output name"):
        save_onnx(load_onnx(path), os.path.join(tmp_path, spelling), weights=weights)
    assert contents(tmp_path) == before


def test_the_input_is_not_overwritten_even_if_nothing_of_it_is_needed(tmp_path: Path) -> None:
    onnx.save_model(model(graph([node("Relu", "x", "y")], [value("x")], [value("y")])), tmp_path / "in.onnx")
    with pytest.raises(UsageError, match="is being read"):
        save_onnx(load_onnx(str(tmp_path / "in.onnx")), tmp_path / "in.onnx")


def test_the_inputs_data_file_is_not_overwritten(tmp_path: Path) -> None:
    path = source(tmp_path, "out.onnx.data")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="out.onnx.data is being read"):
        save_onnx(load_onnx(path), tmp_path / "out.onnx", weights="copy")
    assert contents(tmp_path) == before


def attributes_only(folder: Path) -> Model:
    """A model whose only weight is an attribute's."""
    body = graph([node("Keep", "x", "y", domain="my.ops", t=weight("", BIG))], [value("x")], [value("y")])
    onnx.save_model(model(body, domains={"my.ops": 1}), folder / "in.onnx")
    return load_onnx(str(folder / "in.onnx"))


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    for loaded in (load_onnx(source(tmp_path)), attributes_only(tmp_path)):
        with open(tmp_path / "in.onnx", "ab") as file:
            file.write(b"more")
        with pytest.raises(FormatError, match="changed while it was in use"):
            save_onnx(loaded, tmp_path / "out.onnx")
        assert not (tmp_path / "out.onnx").exists()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    loaded = load_onnx(source(tmp_path))
    (tmp_path / "folder.onnx").mkdir()
    before = contents(tmp_path)
    with pytest.raises(IsADirectoryError):
        save_onnx(loaded, tmp_path / "folder.onnx", weights="copy")
    with pytest.raises(FileNotFoundError):
        save_onnx(loaded, tmp_path / "no" / "such" / "out.onnx")
    with pytest.raises(NotADirectoryError):
        save_onnx(loaded, tmp_path / "in.onnx" / "out.onnx")
    assert contents(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    loaded = load_onnx(source(tmp_path))
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        save_onnx(loaded, tmp_path / "locked" / "out.onnx")


def test_an_unknown_way_of_placing_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reuse, copy or inline, not 'magic'"):
        save_onnx(load_onnx(source(tmp_path)), tmp_path / "out.onnx", weights="magic")


def test_a_model_that_no_opset_holds_is_not_begun(tmp_path: Path) -> None:
    loaded = load_onnx(source(tmp_path))
    before = contents(tmp_path)
    with pytest.raises(UnsupportedModel):
        save_onnx(loaded, tmp_path / "out.onnx", opset=99)
    assert contents(tmp_path) == before

"""Which frontend reads a file: by what it begins with, by its suffix, and ONNX else; packages that are missing."""

from __future__ import annotations

import zipfile
from pathlib import Path

import onnx
import pytest

import geoc
from geoc.frontends import formats
from geoc.frontends.formats import ONNX, Format, format_of
from geoc.frontends.needed import needed
from geoc.ir.errors import FormatError, UsageError
from geoc.tools.files import is_onnx

ROOT = Path(__file__).parents[2]
_FORMATS = formats.FORMATS
MADE_UP = Format("made-up", "made up", "onnx:load_onnx", (".made",), (2, b"MADE"), "made.txt")


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (ONNX, MADE_UP))


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [("a.bin", b"..MADE", MADE_UP), ("a.onnx", b"..MADE", MADE_UP), ("a.MADE", b"", MADE_UP), ("a.onnx", b"MADE", ONNX), ("a", b"..MAD", ONNX)],
)
def test_what_a_file_begins_with_comes_first(name: str, content: bytes, found: Format, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert format_of(str(tmp_path / name)) is found
    assert is_onnx(str(tmp_path / name)) == (found is ONNX)


def test_a_folder_has_the_format_of_its_member(tmp_path: Path) -> None:
    assert format_of(str(tmp_path)) is ONNX
    (tmp_path / "made.txt").touch()
    assert format_of(str(tmp_path)) is MADE_UP


def test_the_frontend_of_a_format_reads_it(tmp_path: Path) -> None:
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    model = onnx.helper.make_model(onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y]))
    onnx.save(model, tmp_path / "a.made", format="protobuf")
    assert [node.op.name for node in geoc.load(tmp_path / "a.made").walk()] == ["Neg"]
    (tmp_path / "b.made").write_bytes(b"..MADE")
    with pytest.raises(FormatError):
        geoc.load(tmp_path / "b.made")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("w.safetensors", "w.safetensors: weights without a graph: give the folder"), ("m.pth", "torch.export.save writes a .pt2"),
        ("m.unheard", "of no format that is read; as ONNX: byte 2: no field begins with the tag"), ("m.onnx", "m.onnx:byte 2: no field begins"),
        ("empty", "empty: of no format that is read; as ONNX: the file is empty"),
        ("folder", "folder: a folder that is no model: there is no made.txt (made up) in it"),
    ],
)  # fmt: skip
def test_what_is_not_read_has_a_hint(name: str, said: str, tmp_path: Path) -> None:
    if name == "folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"" if name == "empty" else b"hello")
    with pytest.raises(FormatError) as caught:
        geoc.load(tmp_path / name)
    assert said in str(caught.value) and str(tmp_path / name) in str(caught.value)


def test_help_names_every_format() -> None:
    help_text = (Path(geoc.tools.__file__).parent / "help" / "texts" / "compile.txt").read_text()
    readme, page = ((ROOT / name).read_text() for name in ("README.md", "docs/formats.md"))
    for each in _FORMATS:
        for text in (help_text, readme, page):
            assert each.title.split()[0] in text, each.title
        for suffix in (".xml", ".pt2", ".keras", ".gir"):
            assert suffix in help_text and suffix in readme


def test_a_text_of_the_ir_is_none_of_them(tmp_path: Path) -> None:
    assert not is_onnx(str(tmp_path / "a.gir"))


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(UsageError, match=r"m.bin: reading it needs no_such_package: pip install 'geoc\[extra\]'"):
        needed("no_such_package", "extra", "m.bin")
    assert needed("json", "extra", "m.bin").dumps(1) == "1"


def test_what_a_package_lacks_itself_is_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfpackage.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        needed("halfpackage", "extra", "m.bin")


def test_versions_that_files_name(tmp_path: Path) -> None:
    """Each by the layout that its format documents, written by hand."""
    by_name = {each.name: each for each in _FORMATS}
    xml = tmp_path / "m.xml"
    xml.write_text("<?xml version='1.0'?>\n<net name='n' version=\"11\">\n</net>")
    assert by_name["openvino"].about(str(xml)).version == "version 11"
    saved = tmp_path / "saved_model.pb"
    text = b"\x2a\x062.21.0"  # MetaInfoDef.tensorflow_version, field 5
    info = b"\x12\x02ab" + text  # behind another field
    meta = b"\x0a" + bytes([len(info)]) + info
    saved.write_bytes(b"\x08\x01\x12" + bytes([len(meta)]) + meta)
    assert by_name["saved-model"].about(str(tmp_path)).version == "written by TensorFlow 2.21.0"
    saved.write_bytes(b"\x08\x01")
    assert by_name["saved-model"].about(str(tmp_path)).version == ""
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
    assert by_name["keras"].about(str(tmp_path / "m.keras")).version == "version 3.15.1"
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/models/model.json", '{"schema_version": {"major": 8, "minor": 20}, "torch_version": "2.13.0"}')
    assert by_name["pytorch"].about(str(tmp_path / "m.pt2")).version == "schema 8.20, torch 2.13.0"
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "transformers_version": "4.8.2"}')
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    assert by_name["huggingface"].about(str(tmp_path)).version == "BertModel, transformers 4.8.2"

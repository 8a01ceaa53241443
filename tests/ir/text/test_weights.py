"""Where constants are: inline, in files beside the text, behind a digest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Graph, Model, Node, Value, constant
from geoc.ir.equal import difference, equal
from geoc.ir.errors import FormatError, TextError
from geoc.ir.ops import op
from geoc.ir.tensor import MappedFile, Tensor
from geoc.ir.text import load_model, parse_model, print_model
from geoc.ir.types import F32, I64, tensor_type


def model_of(*tensors: Tensor) -> Model:
    graph = Graph("main")
    values = []
    for index, tensor in enumerate(tensors):
        value = Value(tensor.type, f"v{index}")
        graph.append(Node(op("Identity"), [constant(tensor, f"w{index}")], [value]))
        values.append(value)
    graph.set_outputs(values)
    return Model(graph)


@pytest.fixture
def data(tmp_path: Path) -> MappedFile:
    path = tmp_path / "w.data"
    path.write_bytes(np.arange(1000, dtype=np.float32).tobytes())
    return MappedFile(path)


def test_spans_of_a_file_beside_the_text(tmp_path: Path, data: MappedFile) -> None:
    model = model_of(
        Tensor(F32, (100,), file=data, offset=400), Tensor(F32, (2,), file=data, offset=8),
        Tensor(I64, (16,), file=data, offset=0), Tensor(F32, (5,), file=data, offset=0),
    )  # fmt: skip
    text = print_model(model, folder=str(tmp_path))
    assert 'file @0 "w.data"\n' in text
    assert "weight %w0: f32[100] = @0[400+400]\n" in text
    assert "weight %w1: f32[2] = [2.0, 3.0]\n" in text
    assert "weight %w2: i64[16] = [4575657221408423936, " in text
    assert "weight %w3: f32[5] = @0[0+20]\n" in text
    (tmp_path / "m.gir").write_text(text)
    back = load_model(tmp_path / "m.gir")
    assert difference(model, back) is None
    first = next(iter(back.graph)).inputs[0]
    assert first is not None and first.const is not None
    assert first.const.array().tolist() == list(range(100, 200))
    files = {v.const.file for n in back.walk() for v in n.inputs if v and v.const and v.const.file}
    assert len(files) == 1


def test_a_file_elsewhere_needs_permission(tmp_path: Path, data: MappedFile) -> None:
    model = model_of(Tensor(F32, (100,), file=data))
    folder = tmp_path / "dump"
    folder.mkdir()
    text = print_model(model, folder=str(folder))
    assert f'file @0 "{os.path.realpath(data.path)}"' in text
    with pytest.raises(FormatError, match="outside the folder"):
        parse_model(text, str(folder / "m.gir"))
    assert equal(model, parse_model(text, str(folder / "m.gir"), roots=[str(tmp_path)]))
    assert equal(model, parse_model(text, files={os.path.realpath(data.path): data}))


def text_with(name: str, span: str = "@0[0+400]") -> str:
    return f'geoc 1\nfile @0 "{name}"\ngraph () -> (%w) {{\n  weight %w: f32[100] = {span}\n}}\n'


@pytest.mark.parametrize("name", ["../w.data", "sub/../../w.data", "link/w.data", "/etc/passwd", ""])
def test_names_that_leave_the_folder(tmp_path: Path, data: MappedFile, name: str) -> None:
    inner = tmp_path / "inner"
    (inner / "sub").mkdir(parents=True)
    (inner / "link").symlink_to(tmp_path)
    with pytest.raises(FormatError):
        parse_model(text_with(name), str(inner / "m.gir"))


def test_files_that_do_not_fit(tmp_path: Path, data: MappedFile) -> None:
    source = str(tmp_path / "m.gir")
    with pytest.raises(FormatError, match="missing"):
        parse_model(text_with("none.data"), source)
    with pytest.raises(FormatError, match="no folder"):
        parse_model(text_with("w.data"))
    with pytest.raises(FormatError, match="the file has 4000"):
        parse_model(text_with("w.data", "@0[3601+400]"), source)
    with pytest.raises(TextError, match="399 bytes") as caught:
        parse_model(text_with("w.data", "@0[0+399]"), source)
    assert caught.value.place == "4:25"
    with pytest.raises(TextError, match="which file"):
        parse_model(text_with("w.data", "@1[0+400]"), source)
    assert parse_model(text_with("w.data"), source).graph.outputs[0].const is not None


def test_inline_is_self_contained(data: MappedFile) -> None:
    model = model_of(Tensor(F32, (100,), file=data, offset=4), Tensor.of([1.5], F32))
    text = print_model(model, weights="inline")
    assert "file @" not in text and '#base64"' in text
    assert equal(model, parse_model(text))


def test_digests_stand_for_constants_that_are_given(data: MappedFile) -> None:
    tensor = Tensor(F32, (100,), file=data)
    model = model_of(tensor, Tensor.of([1, 2], I64))
    text = print_model(model, weights="digest")
    assert text == print_model(model_of(Tensor.from_array(np.arange(100, dtype=np.float32)),
                                        Tensor.of([1, 2], I64)), weights="digest")  # fmt: skip
    with pytest.raises(TextError, match="only a digest"):
        parse_model(text)
    assert equal(model, parse_model(text, tensors={tensor.digest().hex(): tensor}))
    wrong = Tensor.of([1.0], F32)
    with pytest.raises(TextError, match=r"is f32\[1\], not f32\[100\]"):
        parse_model(text, tensors={tensor.digest().hex(): wrong})


def test_bytes_in_memory_are_no_file() -> None:
    memory = MappedFile.in_memory(np.arange(100, dtype=np.float32).tobytes())
    model = model_of(Tensor(F32, (100,), file=memory))
    text = print_model(model)
    assert "file @" not in text
    assert equal(model, parse_model(text))


def test_one_element_for_all() -> None:
    splat = Tensor.of_splat(0.5, (1000, 1000), F32)
    model = model_of(splat, Tensor.of_splat(7, (2,), I64))
    text = print_model(model)
    assert "weight %w0: f32[1000,1000] = splat(0.5)\n" in text
    assert "weight %w1: i64[2] = splat(7)\n" in text
    for fast in (True, False):
        back = parse_model(text, fast=fast)
        assert equal(model, back)
        first = next(iter(back.graph)).inputs[0]
        assert first is not None and first.const is not None
        assert first.const.stored_bytes == 4
    spelled_out = model_of(Tensor.of([7, 7], I64), splat)
    assert equal(model_of(Tensor.of_splat(7, (2,), I64), splat), spelled_out)
    for wrong in ('str[2] = splat("a")', "u4[2] = splat(1)", "i8[2] = splat(300)", "i8[2] = splat([1])"):
        with pytest.raises(TextError):
            parse_model(f"geoc 1\ngraph () -> () {{\n  weight %w: {wrong}\n}}\n")


def test_constants_stand_in_the_innermost_graph_around_all_uses() -> None:
    scalar = tensor_type(F32, ())

    def branch(*used: Value) -> Graph:
        graph = Graph()
        result = Value(scalar, "r")
        graph.append(Node(op("Sum"), used, [result]))
        graph.set_outputs([result])
        return graph

    everywhere, branches, one = (constant(Tensor.of(v, F32), n) for v, n in [(1, "a"), (2, "b"), (3, "c")])
    outer = Graph("main")
    flag = outer.add_input("flag", None)
    inner_if = Node(op("If"), [flag], [Value(scalar, "i")], {},
                    {"then_branch": branch(everywhere, branches, one), "else_branch": branch(branches)})  # fmt: skip
    middle = Graph()
    middle.append(inner_if)
    middle.set_outputs([inner_if.output])
    outer_if = Node(op("If"), [flag], [Value(scalar, "o")], {},
                    {"then_branch": middle, "else_branch": branch(everywhere)})  # fmt: skip
    outer.append(outer_if)
    outer.set_outputs([outer_if.output])
    lines = print_model(Model(outer)).split("\n")
    indent = {line.split("%")[1][0]: line.index("weight") for line in lines if "weight" in line}
    assert indent == {"a": 2, "b": 6, "c": 10}

"""What is called how: inputs, outputs, locations, open sizes; and where weights stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from openvino import opset15 as o

import geoc
from geoc.frontends.formats import format_of

from .running import constant, floats, parameter, read, saved


def test_inputs_outputs_and_locations(tmp_path: Path) -> None:
    x, y = parameter(-1, 3, name="left"), parameter(-1, 3, name="right")
    made = o.add(x, y)
    made.friendly_name = "the sum"
    made.output(0).set_names({"sum", "total"})
    other = o.relu(made)
    other.friendly_name = "positive"
    other.output(0).set_names({"a, comma"})
    model = read(saved(tmp_path, [made, other], [x, y]))
    assert model.graph.input_names == ["left", "right"]
    assert model.graph.output_names[0] in ("sum", "total") and model.graph.output_names[1] == "a, comma"
    assert [node.loc for node in model.graph] == [("the sum",), ("positive",)]


def test_one_tensor_given_twice_has_two_names(tmp_path: Path) -> None:
    x = parameter(2, 3)
    made = o.relu(x)
    made.output(0).set_names({"only"})
    names = read(saved(tmp_path, [made, made], [x])).graph.output_names
    assert names[0] == "only" and len(set(names)) == 2


def test_open_sizes_are_unknown_each(tmp_path: Path) -> None:
    x = o.parameter(openvino.PartialShape("[?,1..8,3,2..]"), openvino.Type.f32)
    shape = read(saved(tmp_path, o.relu(x), [x])).graph.inputs[0].shape
    assert shape is not None and shape[2] == 3 and len({shape[0], shape[1], shape[3]}) == 3
    any_rank = o.parameter(openvino.PartialShape.dynamic(), openvino.Type.f32)
    assert str(read(saved(tmp_path, o.relu(any_rank), [any_rank])).graph.inputs[0].type) == "f32[*]"


def test_weights_are_mapped_and_small_ones_are_in_memory(tmp_path: Path) -> None:
    """Runtimes do not read shapes and axes from another file."""
    x = parameter(-1, 64)
    path = saved(tmp_path, o.reshape(o.matmul(x, constant(floats(64, 32)), False, False), constant([-1, 4, 8]), False), [x])
    by_size = {value.const.size: value.const for node in read(path).graph for value in node.inputs if value and value.const}
    weight, shape = by_size[2048], by_size[3]
    assert weight.file is not None and weight.file.path == path[:-4] + ".bin" and not weight.file.is_model
    assert shape.file is None and shape.ints() == (-1, 4, 8)


def test_what_geoc_writes_comes_back(tmp_path: Path) -> None:
    """Names of sizes as well, which the format itself has no place for."""
    text = """geoc 1
    graph @main(%ids: i64[B,S], %x: f32[B,S,8], %y: f32[?,2*S]) -> (%out: f32[B,S,4], %more: f32[?,2*S]) {
      weight %w: f32[8,4] = [%s]
      %out: f32[B,S,4] = MatMul(%x, %w)
      %more: f32[?,2*S] = Relu(%y)
    }""".replace("[%s]", str([i / 32 for i in range(32)]))
    (tmp_path / "model.gir").write_text(text)
    path = str(tmp_path / "model.xml")
    geoc.compile(tmp_path / "model.gir", target="openvino-cpu", output=path, check="off")
    assert format_of(path).name == "openvino"
    after = read(path)
    assert after.graph.input_names == ["ids", "x", "y"] and after.graph.output_names == ["out", "more"]
    assert [str(value.type) for value in after.graph.inputs[:2]] == ["i64[B,S]", "f32[B,S,8]"]
    last = after.graph.inputs[2].shape
    assert last is not None and str(last[1]) == "2*S" and not isinstance(last[0], int)
    assert str(after.graph.outputs[0].type) == "f32[B,S,4]"
    (weight,) = [value.const for node in after.graph for value in node.inputs if value and value.const]
    assert (weight.array() == np.arange(32, dtype=np.float32).reshape(8, 4) / 32).all()

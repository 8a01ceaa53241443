"""Parts of a model are models: what they compute is what the whole computes there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.ir.clone import extract, frontier
from geoc.ir.core import Model
from geoc.ir.errors import InvalidModel
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model, print_model
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes, save_onnx
from geoc.tools.comparing.kept_inputs import KEY, keep_inputs, kept_inputs
from geoc.tools.reduce.candidate import Candidate
from geoc.tools.reduce.plainer import bypassed, without_operands
from geoc.tools.reduce.sizes import resized
from geoc.tools.reduce.unnest import opened

HEAD = 'geoc 1\nir_version 8\nopset "" 17\n\n'
ATTENTION = HEAD + """graph @main(%q: f32[B,4,S,8], %k: f32[B,4,8,S]) -> (%y: f32[B,32,S]) {
  weight %c: f32[] = 2.0
  weight %w: f32[8,8] = splat(0.5)
  weight %shape: i64[3] = [0, 32, -1]
  %p: f32[B,4,S,8] = MatMul(%q, %w)
  %s: f32[B,4,S,S] = MatMul(%p, %k)
  %d: f32[B,4,S,S] = Div(%s, %c)
  %a: f32[B,4,S,S] = Softmax(%d)
  %b: f32[B,4,S,8] = MatMul(%a, %p)
  %t: f32[B,4,8,S] = Transpose(%b) {perm=[0, 1, 3, 2]}
  %y: f32[B,32,S] = Reshape(%t, %shape)
}
"""
LOOP = HEAD + """graph @main(%x: f32[2,3], %n: i64[]) -> (%y: f32[2,3], %all: f32[T,2,3]) {
  weight %go: bool[] = true
  weight %half: f32[] = 0.5
  %y: f32[2,3], %all: f32[T,2,3] = Loop(%n, %go, %x)
    with body = (%i: i64[], %c: bool[], %state: f32[2,3]) -> (%c2, %new, %seen) {
      %c2: bool[] = Identity(%c)
      %new: f32[2,3] = Mul(%state, %half)
      %seen: f32[2,3] = Sub(%new, %x)
    }
}
"""


def attention() -> Model:
    return parse_model(ATTENTION)


def reference(model: Model, feeds: dict[str, Any]) -> list[Any]:
    """What onnxruntime computes without optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model_bytes(model, max_opset=21, max_ir=10), options, ["CPUExecutionProvider"])
    return session.run(None, feeds)


def feeds() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {"q": (2, 4, 5, 8), "k": (2, 4, 8, 5)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write(model: Model, path: str) -> None:
    save_onnx(model, path, max_opset=21)


@pytest.mark.parametrize("fixed", [True, False])
def test_a_part_computes_what_the_whole_does(fixed: bool) -> None:
    model = attention()
    nodes = {node.output.hint: node for node in model.graph}
    whole = Candidate(model, feeds())
    part = whole.part(write, [nodes["d"], nodes["a"], nodes["b"]], fixed=fixed)
    verify(part.model)
    assert part.model.graph.input_names == ["s", "p"] and part.model.graph.output_names == ["b"]
    known = whole.values(write, [nodes["b"].output])[nodes["b"].output]
    np.testing.assert_allclose(reference(part.model, part.feeds or {})[0], known, rtol=1e-5)
    assert str(part.model.graph.inputs[0].type) == ("f32[2,4,5,5]" if fixed else "f32[B,4,S,S]")
    assert model.node_count == 7  # the source is as it was


def test_smaller_sizes_fit_everywhere() -> None:
    model = attention()
    whole = Candidate(model, feeds())
    fixed = whole.part(write, list(model.graph), fixed=True)
    small = resized(fixed, {8: 2, 32: 8})  # heads of 2, four of them
    verify(small.model)
    assert [str(value.type) for value in small.model.graph.inputs] == ["f32[2,4,5,2]", "f32[2,4,2,5]"]
    assert str(small.model.graph.outputs[0].type) == "f32[2,8,5]"
    assert reference(small.model, small.feeds or {})[0].shape == (2, 8, 5)
    assert str(fixed.model.graph.outputs[0].type) == "f32[2,32,5]"


def test_sizes_that_do_not_fit_are_no_model() -> None:
    fixed = Candidate(attention(), feeds())
    part = fixed.part(write, list(fixed.model.graph), fixed=True)
    with pytest.raises(InvalidModel):
        resized(part, {32: 7})  # 160 elements for each of the batch are no multiple of 7


AXES = HEAD + """graph @main(%x: f32[2,2,4], %i: i64[2]) -> (%y: f32[2,4,2]) {
  weight %axes: i64[1] = [2]
  weight %shape: i64[3] = [2, 4, 2]
  %rows: f32[2,2,4] = Gather(%x, %i) {axis=1}
  %r: f32[2,2,1] = ReduceMean(%rows, %axes)
  %d: f32[2,2,4] = Sub(%rows, %r)
  %y: f32[2,4,2] = Reshape(%d, %shape)
}
"""


def test_numbers_that_are_no_sizes_stay() -> None:
    """A two that is an axis is no size; those of the shape are."""
    model = parse_model(AXES.replace('opset "" 17', 'opset "" 18'))
    given = {"x": np.arange(16, dtype=np.float32).reshape(2, 2, 4), "i": np.array([0, 1])}
    small = resized(Candidate(model, given), {2: 1})
    verify(small.model)
    constants = {v.hint: v.const.array().tolist() for n in small.model.graph for v in n.inputs if v is not None and v.const}
    assert constants == {"axes": [2], "shape": [1, 4, 1]}
    np.testing.assert_allclose(reference(small.model, small.feeds or {})[0].reshape(-1), np.arange(4) - 1.5)


SHAPES = HEAD + """graph @main(%x: f32[B,8], %v: f32[8]) -> (%y: f32[B,4,2]) {
  weight %zero: i64[1] = [0]
  weight %one: i64[1] = [1]
  weight %rest: i64[2] = [4, -1]
  %s: i64[2] = Shape(%x)
  %b: i64[1] = Slice(%s, %zero, %one)
  %to: i64[3] = Concat(%b, %rest) {axis=0}
  %z: f32[B,8] = Add(%x, %v)
  %y: f32[B,4,2] = Reshape(%z, %to)
}
"""


def test_what_is_known_of_values_is_what_they_are() -> None:
    """What inference knew of the values of shapes in the whole model does not stay behind at another size."""
    rng = np.random.default_rng(0)
    given = {"x": rng.standard_normal((2, 8)).astype(np.float32), "v": rng.standard_normal(8).astype(np.float32)}
    whole = Candidate(parse_model(SHAPES), given)
    infer_graph(whole.model.graph)
    outside = whole.part(write, list(whole.model.graph)[2:], fixed=False)
    fixed = whole.part(write, list(whole.model.graph), fixed=True)
    for each in (whole, outside, fixed, resized(whole, {8: 4}), resized(whole, {4: 2})):
        verify(each.model)
        read = {v for node in each.model.graph for v in (*node.inputs, *node.outputs) if v is not None}
        for value, array in each.values(write, read).items():
            said = [*zip(value.type.shape, array.shape, strict=True)]
            said += zip(value.content or (), array.reshape(-1))
            assert all(one == other for one, other in said if isinstance(one, int)), value.hint


def test_a_loop_is_opened_as_one_trip() -> None:
    model = parse_model(LOOP)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    given = {"x": x, "n": np.array(1)}
    (make,) = opened(Candidate(model, given))
    flat = make()
    verify(flat.model)
    assert not any(node.regions for node in flat.model.graph)
    for found, wanted in zip(reference(flat.model, flat.feeds or {}), reference(model, given)):
        np.testing.assert_array_equal(found, wanted)


def test_regions_come_along_with_what_they_capture() -> None:
    model = parse_model(LOOP)
    (loop,) = model.graph
    assert [value.hint for value in frontier([loop])] == ["n", "x"]
    part, of = extract(model, [loop], [loop.outputs[1]])
    verify(part)
    assert part.graph.input_names == ["n", "x"] and of[loop.outputs[1]] is part.graph.outputs[0]


def test_bypassing_and_operands_keep_models_whole() -> None:
    whole = Candidate(attention(), feeds())
    made = [make() for make in bypassed(whole)]
    assert len(made) == 4  # p by q, d by s, a by d, b by p
    for each in made:
        verify(each.model)
        assert each.size < whole.size
    (make,) = without_operands(Candidate(parse_model(LOOP), None))
    with pytest.raises(InvalidModel):  # a loop needs what it starts with
        make()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool", "bfloat16"])
@pytest.mark.parametrize("count", [3, 100])
def test_inputs_travel_in_a_model(dtype: str, count: int) -> None:
    import ml_dtypes  # noqa: F401

    array = (np.arange(count) % 5 - 1).astype(np.dtype(dtype)).reshape(1, count)
    special = np.array([np.inf, -np.inf, np.nan], np.float32)
    model = attention()
    keep_inputs(model, [{"x": array, "special": special}])
    back = kept_inputs(parse_model(print_model(model)))
    assert back is not None
    assert back[0]["x"].dtype == array.dtype
    np.testing.assert_array_equal(back[0]["x"].astype(np.float64), array.astype(np.float64))
    np.testing.assert_array_equal(back[0]["special"], special)
    keep_inputs(model, [])
    assert KEY not in model.metadata and kept_inputs(model) is None


def test_bad_inputs_in_a_model_are_said() -> None:
    model = attention()
    for text in ("[", '[{"x": {}}]', '[{"x": {"dtype": "float32", "shape": [2], "values": [1]}}]', "[1]"):
        model.metadata = {KEY: text}
        with pytest.raises(InvalidModel, match=KEY):
            kept_inputs(model)


def test_the_best_so_far_is_kept_on_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the search: a model is written all the same."""
    import onnx

    from geoc.tools.cli import main
    from geoc.tools.reduce import reducer

    from ..toys import WRONG_PASS, relu_chain

    onnx.save(relu_chain(), tmp_path / "chain.onnx")
    (tmp_path / "wrong.py").write_text(WRONG_PASS)
    monkeypatch.chdir(tmp_path)

    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reducer.Reducer, "_fewer_nodes", interrupted)
    assert main(["reduce", "chain.onnx", "--plugin", "wrong.py", "--passes", "wrong", "-o", "small.gir", "-q"]) == 1
    assert 0 < geoc.load(tmp_path / "small.gir").node_count < 9

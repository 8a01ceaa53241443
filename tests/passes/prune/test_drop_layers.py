"""drop-layers: what is left out is what adds the least; what has other readers, or changes the size, stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.tensor import Tensor
from geoc.ir.verify import verify
from geoc.passes.prune.drop_layers import influences
from geoc.passes.prune.residual import layers_of

from ..quantize.running import Remarks, context, distance, feeds_of, model_of, outputs, run


def block(name: str, x: str) -> str:
    """Attention and a feed-forward block, without normalizations: %NAME is x + f(x)."""
    return f"""
  %{name}.q = MatMul({x}, %{name}q)
  %{name}.k = Transpose({x}) {{perm=[0, 2, 1]}}
  %{name}.s = MatMul(%{name}.q, %{name}.k)
  %{name}.p = Softmax(%{name}.s) {{axis=2}}
  %{name}.v = MatMul({x}, %{name}v)
  %{name}.o = MatMul(%{name}.p, %{name}.v)
  %{name}.a = Add(%{name}.o, {x})
  %{name}.u = MatMul(%{name}.a, %{name}u)
  %{name}.r = Relu(%{name}.u)
  %{name}.d = MatMul(%{name}.r, %{name}d)
  %{name} = Add(%{name}.a, %{name}.d)"""


def weights(name: str) -> str:
    return f"""
  weight %{name}q: f32[16,16] = random
  weight %{name}v: f32[16,16] = random
  weight %{name}u: f32[16,32] = random
  weight %{name}d: f32[32,16] = random"""


THREE = f"""
graph @main(%x: f32[B,8,16]) -> (%y) {{{weights("a")}{weights("b")}{weights("c")}
  weight %in: f32[16,16] = random
  weight %out: f32[16,4] = random
  %e = MatMul(%x, %in){block("a", "%e")}{block("b", "%a")}{block("c", "%b")}
  %y = MatMul(%c, %out)
}}"""
POST = """
graph @main(%x: f32[B,8,16]) -> (%y) {
  weight %w1: f32[16,16] = random
  weight %w2: f32[16,16] = random
  weight %g: f32[16] = splat(1.0)
  weight %in: f32[16,16] = random
  %e = MatMul(%x, %in)
  %n0 = LayerNormalization(%e, %g)
  %f1 = MatMul(%n0, %w1)
  %r1 = Relu(%f1)
  %a1 = Add(%r1, %n0)
  %n1 = LayerNormalization(%a1, %g)
  %f2 = MatMul(%n1, %w2)
  %r2 = Relu(%f2)
  %a2 = Add(%n1, %r2)
  %y = LayerNormalization(%a2, %g)
}"""
CONVOLUTIONAL = """
graph @main(%x: f32[B,8,8,8]) -> (%y) {
  weight %stem: f32[16,8,3,3] = random
  weight %a: f32[32,16,1,1] = random
  weight %b: f32[16,32,1,1] = random
  weight %wide: f32[16,16,1,1] = random
  weight %half: f32[16,16,3,3] = random
  weight %other: f32[16,16,1,1] = random
  %s = Conv(%x, %stem) {pads=[1, 1, 1, 1]}
  %c = Conv(%s, %a)
  %r = Relu(%c)
  %d = Conv(%r, %b)
  %t = Add(%d, %s)
  %u = Relu(%t)
  %v = Conv(%u, %half) {pads=[1, 1, 1, 1], strides=[2, 2]}
  %w = Conv(%u, %other) {strides=[2, 2]}
  %y = Add(%v, %w)
}"""


def quiet(model: Model, *names: str, factor: float = 1e-3) -> None:
    """Weights that hardly add anything."""
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.const is not None and value.hint in names:
                value.const = Tensor.from_array(value.const.array() * np.float32(factor))


@pytest.mark.parametrize("by", ["harm", "influence"])
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_the_layer_that_adds_nothing_goes(name: str, by: str, tmp_path: Path) -> None:
    model = model_of(THREE)
    quiet(model, f"{name}v", f"{name}d")
    feeds, unseen = feeds_of(model, 4), feeds_of(model, 2, seed=5)
    before, _ = outputs(model, tmp_path, unseen)
    assert run(model, f"drop-layers{{by={by}}}", context(feeds))
    verify(model)
    left = {node.inputs[1].hint for node in model.graph if node.op.key == "MatMul" and node.inputs[1].const is not None}  # type: ignore[union-attr]
    assert left == {n + k for n in "abc" if n != name for k in "qvud"} | {"in", "out"}
    assert distance(outputs(model, tmp_path, unseen)[0], before) < 1e-2


def test_two_go_one_after_the_other_and_neighbours_may_both(tmp_path: Path) -> None:
    model = model_of(THREE)
    quiet(model, "av", "ad", "bv", "bd")
    feeds = feeds_of(model, 4)
    before, _ = outputs(model, tmp_path, feeds)
    assert run(model, "drop-layers{count=2}", context(feeds))
    assert [node.op.key for node in model.graph if node.op.key == "Softmax"] == ["Softmax"]
    assert distance(outputs(model, tmp_path, feeds)[0], before) < 2e-2


def test_half_a_layer_goes_where_layers_need_not_go_whole(tmp_path: Path) -> None:
    model = model_of(THREE)
    quiet(model, "bd")
    assert len(layers_of(model.graph)) == 3 and len(layers_of(model.graph, whole=False)) == 6
    feeds = feeds_of(model, 4)
    before, _ = outputs(model, tmp_path, feeds)
    assert run(model, "drop-layers{whole=false}", context(feeds))
    assert distance(outputs(model, tmp_path, feeds)[0], before) < 1e-2
    assert sum(node.op.key == "Softmax" for node in model.graph) == 3 and sum(node.op.key == "Relu" for node in model.graph) == 2


def test_blocks_behind_which_normalizations_stand_go_with_them(tmp_path: Path) -> None:
    """The last one as well, behind which no other begins."""
    model = model_of(POST)
    assert [(layer.start.hint, layer.end.hint) for layer in layers_of(model.graph)] == [("n0", "n1"), ("n1", "y")]
    quiet(model, "w2")
    feeds = feeds_of(model, 4)
    before, _ = outputs(model, tmp_path, feeds)
    assert run(model, "drop-layers", context(feeds))
    assert [node.op.key for node in model.graph] == ["MatMul", "LayerNormalization", "MatMul", "Relu", "Add", "LayerNormalization"]
    assert distance(outputs(model, tmp_path, feeds)[0], before) < 1e-2


def test_a_block_that_changes_the_size_is_none() -> None:
    found = layers_of(model_of(CONVOLUTIONAL).graph)
    assert [(layer.start.hint, layer.end.hint) for layer in found] == [("s", "t")]
    assert [node.output.hint for layer in found for node in layer.weighted] == ["c", "d"]


def test_what_is_read_from_outside_keeps_its_layer() -> None:
    model = model_of(THREE.replace("-> (%y)", "-> (%y, %b.p)"))
    assert [layer.end.hint for layer in layers_of(model.graph, whole=False)] == ["a.a", "a", "b", "c.a", "c"]


def test_influence_is_what_numpy_says(tmp_path: Path) -> None:
    model = model_of(THREE)
    layers, feeds = layers_of(model.graph), feeds_of(model, 3)
    found = influences(model, layers, context(feeds), 3)
    model.graph.set_outputs([layers[0].start, *(layer.end for layer in layers)], ["o0", "o1", "o2", "o3"])
    streams = outputs(model, tmp_path, feeds)[0]
    for number in range(3):
        pairs = [(sample[number], sample[number + 1]) for sample in streams]
        cosines = [(a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1) for a, b in pairs]
        assert found[number] == pytest.approx(1 - np.mean(cosines), abs=1e-5)


def test_repair_stays_where_it_serves_and_is_taken_back_where_it_does_not(tmp_path: Path) -> None:
    """What the layer left out adds is a fixed matrix, which the next one can take in; or it is of kinds of samples."""
    said = {}
    for kind in ("alike", "another"):
        model = model_of(THREE)
        quiet(model, "bv", "bd", factor=0.5)
        feeds = feeds_of(model, 64)
        if kind == "another":  # what judges is nothing like what is fitted to
            for feed in feeds[8:]:
                feed["x"] = feed["x"] * np.float32(0.01) + np.float32(3.0)
        remarks = Remarks()
        before, _ = outputs(model, tmp_path, feeds[:8])
        assert run(model, 'drop-layers{layers=["/b.*"],probe=8,repair=56}', context(feeds, instruments=[remarks]))
        verify(model)
        (said[kind],) = [remark for remark in remarks.all if remark.message.startswith("repair of")]
        lost = distance(outputs(model, tmp_path, feeds[:8])[0], before)
        plain = model_of(THREE)
        quiet(plain, "bv", "bd", factor=0.5)
        run(plain, 'drop-layers{layers=["/b.*"],probe=8}', context(feeds))
        without = distance(outputs(plain, tmp_path, feeds[:8])[0], before)
        assert lost < without if kind == "alike" else lost == pytest.approx(without, rel=1e-6)
    assert (said["alike"].kind, said["another"].kind) == ("applied", "refused")


@pytest.mark.parametrize("options, message", [
    ("count=0", "count=0 of drop-layers is less than 1"),
    ("count=4", "count=4 of drop-layers: 3 layers can be left out"),
    ("by=luck", "by of drop-layers is harm or influence, not 'luck'"),
    ("repair=-1", "repair=-1 of drop-layers is less than 0"),
    ("layers=[nowhere]", "layers of drop-layers: 'nowhere' names no layer"),
])  # fmt: skip
def test_bad_settings_are_one_line(options: str, message: str) -> None:
    model = model_of(THREE)
    with pytest.raises(UsageError) as raised:
        run(model, f"drop-layers{{{options}}}", context(feeds_of(model, 1)))
    assert message in str(raised.value) and "\n" not in str(raised.value) and len(layers_of(model.graph)) == 3


def test_layers_are_not_chosen_without_samples() -> None:
    with pytest.raises(UsageError, match="chooses layers on samples"):
        run(model_of(THREE), "drop-layers", context(None))

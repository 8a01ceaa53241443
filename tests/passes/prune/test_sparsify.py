"""sparsify: patterns beside a checker that counts one by one, and what columns make up for."""

from __future__ import annotations

import importlib.util
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import geoc
from geoc.ir.core import Model, Node
from geoc.ir.errors import UsageError
from geoc.passes.prune.patterns import Pattern, follows

from ..quantize.running import Remarks, context, distance, feeds_of, model_of, outputs, run, write

MIXED = """
graph @main(%x: f32[B,16,8,8]) -> (%y) {
  weight %a: f32[32,16,3,3] = random
  weight %g: f32[32,8,3,3] = random
  weight %odd: f32[30,32,1,1] = random
  weight %next: f32[32,30,1,1] = random
  weight %w: f32[40,32] = random
  weight %v: f32[40,24] = random
  %c = Conv(%x, %a)
  %r = Relu(%c)
  %d = Conv(%r, %g) {group=4}
  %o = Conv(%d, %odd)
  %n = Conv(%o, %next)
  %q = GlobalAveragePool(%n)
  %f = Flatten(%q)
  %h = Gemm(%f, %w) {transB=1}
  %t = Tanh(%h)
  %y = MatMul(%t, %v)
}"""
# Inputs that go together, as trained models read: what one weight did, its neighbours can do.
CORRELATED = """
graph @main(%z: f32[B,4,8]) -> (%y) {
  weight %mix: f32[8,64] = random
  weight %w: f32[64,48] = random
  %x = MatMul(%z, %mix)
  %t = Tanh(%x)
  %y = MatMul(%t, %w)
}"""


def layers(model: Model) -> dict[str, tuple[Node, np.ndarray]]:
    found = {}
    for node in model.graph:
        value = node.inputs[1] if len(node.inputs) > 1 else None
        if value is not None and value.const is not None and value.hint:
            found[value.hint] = (node, value.const.array())
    return found


def holds(array: np.ndarray, axis: int, most: int, block: int) -> bool:
    """Every block of numbers along an axis, one after the other."""
    others = [range(size) for i, size in enumerate(array.shape) if i != axis]
    for place in product(*others):
        line = [array[(*place[:axis], i, *place[axis:])] for i in range(array.shape[axis])]
        if any(sum(number != 0 for number in line[i : i + block]) > most for i in range(0, len(line), block)):
            return False
    return True


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("pattern", ["2:4", "1:4", "2:8"])
def test_every_weight_has_the_pattern_along_what_is_summed_over(method: str, pattern: str) -> None:
    most, block = map(int, pattern.split(":"))
    model = model_of(MIXED)
    said = Remarks()
    samples = None if method == "magnitude" else feeds_of(model, 4)
    assert run(model, f'sparsify{{pattern="{pattern}",method={method},least=1}}', context(samples, instruments=[said]))
    found = layers(model)
    for name, axis in {"a": 1, "g": 1, "odd": 1, "w": 1, "v": 0}.items():
        node, array = found[name]
        assert holds(array, axis, most, block) and follows(node, Pattern(most, block))
        assert np.count_nonzero(array) >= 0.95 * array.size * most / block  # no more went than had to
    assert np.count_nonzero(found["next"][1]) == found["next"][1].size  # 30 channels are no multiple
    assert any("30 channels are no multiple" in remark.message for remark in said.all)


def test_the_largest_of_each_block_stay() -> None:
    model = model_of(MIXED)
    before = layers(model)["v"][1]
    assert run(model, 'sparsify{pattern="2:4",method=magnitude,layers=[v],least=1}', context(None))
    after = layers(model)["v"][1]
    for column, start in product(range(24), range(0, 40, 4)):
        block = before[start : start + 4, column]
        kept = sorted(range(4), key=lambda i: -abs(block[i]))[:2]
        assert after[start : start + 4, column].tolist() == [block[i] if i in kept else 0 for i in range(4)]
    assert all(np.count_nonzero(layers(model)[name][1]) for name in ("a", "w"))


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_a_share_of_each_layer_is_zero(method: str) -> None:
    model = model_of(MIXED)
    assert run(model, f"sparsify{{share=0.75,method={method},keep=[a],least=2000}}", context(feeds_of(model, 2)))
    found = layers(model)
    assert np.count_nonzero(found["a"][1]) == found["a"][1].size
    assert np.mean(found["g"][1] == 0) == pytest.approx(0.75, abs=0.01)
    assert np.count_nonzero(found["v"][1]) == found["v"][1].size  # fewer than `least`


def test_what_is_looked_at_loses_less(tmp_path: Path) -> None:
    lost = {}
    for method in ("magnitude", "wanda", "sparsegpt"):
        model = model_of(CORRELATED)
        unseen = feeds_of(model, 8, seed=5)
        before, _ = outputs(model, tmp_path, unseen)
        assert run(model, f'sparsify{{pattern="2:4",method={method},layers=[w],least=1}}', context(feeds_of(model, 32)))
        lost[method] = distance(outputs(model, tmp_path, unseen)[0], before)
    assert lost["sparsegpt"] < 0.7 * min(lost["wanda"], lost["magnitude"])


def test_wanda_by_the_paper() -> None:
    """|W| ||X||, output by output; Sun et al., section 3."""
    model = model_of(CORRELATED)
    feeds = feeds_of(model, 4)
    old = layers(model)["w"][1]
    x = np.tanh(np.concatenate([f["z"] for f in feeds]).reshape(-1, 8) @ layers(model)["mix"][1])
    scores = np.abs(old) * np.linalg.norm(x, axis=0)[:, None]
    assert run(model, "sparsify{method=wanda,layers=[w],least=1}", context(feeds))
    kept = np.argsort(scores, axis=0)[32:]
    expected = np.zeros_like(old)
    np.put_along_axis(expected, kept, np.take_along_axis(old, kept, 0), 0)
    assert np.array_equal(layers(model)["w"][1], expected)


@pytest.mark.parametrize("options, message", [
    ("share=0", "share=0 of sparsify"), ("share=1.0", "share=1 of sparsify"), ('pattern="4:4"', "'4:4' is no pattern"),
    ('pattern="two"', "'two' is no pattern"), ("method=luck", "method of sparsify is"), ("layers=[b]", "'b' names no layer"),
    ("method=wanda", "needs samples (--calib)"),
])  # fmt: skip
def test_bad_settings_are_one_line(options: str, message: str) -> None:
    model = model_of(MIXED)
    with pytest.raises(UsageError, match=".") as raised:
        run(model, f"sparsify{{{options}}}", context(None))
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed: pip install 'geoc[tensorrt-rtx]'")
def test_rtx_builds_the_pattern_for_sm80(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    model = model_of(MIXED)
    write(model, str(source))
    options = {"target": "a100", "precision": "fp16", "check": "off", "shape": ["B=2"]}
    passes = '@O1,sparsify{pattern="2:4",least=1},@O2'
    geoc.compile(source, tmp_path / "sparse.onnx", passes=passes, **options)
    report = geoc.compile(source, tmp_path / "o.rtx.engine", passes=passes, emit="rtx-engine", **options)
    assert report.engine["kernels"] and (tmp_path / "o.rtx.engine").stat().st_size > 1000
    made = json.loads((tmp_path / "sparse.onnx.build.json").read_text())
    assert "SPARSE_WEIGHTS" in made["builder_flags"] and "--sparsity=enable" in made["trtexec"]
    geoc.compile(source, tmp_path / "dense.onnx", passes="@O2", **options)
    assert "SPARSE_WEIGHTS" not in json.loads((tmp_path / "dense.onnx.build.json").read_text())["builder_flags"]

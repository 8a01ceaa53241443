"""The pass on small models, in onnxruntime: what it splits, what it must not, and what it costs in accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.tensor import Tensor
from geoc.passes.lowrank import layers

from ..quantize.running import Feeds, Remarks, context, distance, feeds_of, model_of, outputs, run

LAYERS = """
graph @main(%x: f32[B,6,64]) -> (%y) {
  weight %wq: f32[64,64] = random
  weight %wk: f32[64,64] = random
  weight %bq: f32[64] = random
  weight %wu: f32[64,192] = random
  weight %wd: f32[192,64] = random
  weight %bd: f32[64] = random
  weight %rows: i64[2] = [-1, 64]
  weight %wh: f32[96,64] = random
  weight %bh: f32[96] = random
  %mq = MatMul(%x, %wq)
  %q = Add(%mq, %bq)
  %k = MatMul(%x, %wk)
  %m = Mul(%q, %k)
  %u = MatMul(%m, %wu)
  %a = Gelu(%u)
  %d = MatMul(%a, %wd)
  %e = Add(%d, %bd)
  %f = Reshape(%e, %rows)
  %y = Gemm(%f, %wh, %bh) {transB=1}
}"""
POINTWISE = """
graph @main(%x: f32[B,64,9,9]) -> (%y) {
  weight %w1: f32[96,64,1,1] = random
  weight %b1: f32[96] = random
  weight %w2: f32[64,96,1,1] = random
  weight %w3: f32[64,64,3,3] = random
  %c1 = Conv(%x, %w1, %b1) {strides=[2, 2]}
  %r1 = Relu(%c1)
  %c2 = Conv(%r1, %w2)
  %y = Conv(%c2, %w3) {pads=[1, 1, 1, 1]}
}"""
OPTIONS = "multiple=4,least=256,slower=true"


def thinned(model: Model, rank: int) -> Model:
    """The matrices get a spectrum that falls, as trained ones have, with nothing beyond `rank` where that is given."""
    for node in model.graph:
        for index, value in enumerate(node.inputs):
            if value is None or value.const is None or index != 1 or value.const.size < 1024:
                continue
            array = value.const.array()
            matrix = array.reshape(array.shape[0], -1)
            u, s, v = np.linalg.svd(matrix, full_matrices=False)
            s = s * 0.8 ** np.arange(len(s)) if not rank else np.where(np.arange(len(s)) < rank, s, 0)
            value.const = Tensor.from_array(((u * s) @ v).reshape(array.shape).astype(np.float32))
    return model


def correlated(model: Model, count: int, seed: int = 1) -> list[Feeds]:
    """Inputs that vary in some directions more than in others."""
    feeds = feeds_of(model, count, seed)
    for each in feeds:
        x = each["x"]
        axis = 1 if x.ndim == 4 else -1
        mixing = np.random.default_rng(7).normal(size=(64, 64)) * 0.85 ** np.arange(64)[:, None]
        each["x"] = np.moveaxis(np.moveaxis(x, axis, -1) @ mixing, -1, axis).astype(np.float32)
    return feeds


def parameters(model: Model) -> int:
    found = {v: v.const.size for n in model.graph for v in n.inputs if v is not None and v.const is not None}
    return sum(size for value, size in found.items() if value.const is not None and len(value.const.shape) > 1)


@pytest.mark.parametrize("text", [LAYERS, POINTWISE], ids=["products", "convolutions"])
@pytest.mark.parametrize("samples", [False, True])
def test_matrices_of_a_low_rank_lose_nothing(tmp_path: Path, text: str, samples: bool) -> None:
    original, split = (thinned(model_of(text), 8) for _ in range(2))
    feeds = correlated(original, 6)
    expected, _ = outputs(original, tmp_path, feeds)
    rest = 64 * 64 * 9 if text is POINTWISE else 0  # of a convolution of patches
    assert run(split, f"low-rank{{rank=8,{OPTIONS}}}", context(feeds if samples else None))
    found, _ = outputs(split, tmp_path, feeds)
    assert distance(found, expected) < 2e-4
    assert parameters(split) - rest < 0.4 * (parameters(original) - rest)


@pytest.mark.parametrize("text", [LAYERS, POINTWISE], ids=["products", "convolutions"])
def test_what_the_data_uses_is_kept(tmp_path: Path, text: str) -> None:
    """Plain and aware at one size, on samples that neither saw."""
    original = thinned(model_of(text), 0)
    feeds, unseen = correlated(original, 40), correlated(original, 8, seed=2)
    expected, _ = outputs(original, tmp_path, unseen)
    errors, sizes = [], []
    for options in ("method=plain", "repair=0"):
        model = thinned(model_of(text), 0)
        assert run(model, f"low-rank{{left=0.3,{options},{OPTIONS}}}", context(feeds))
        errors.append(distance(outputs(model, tmp_path, unseen)[0], expected))
        sizes.append(parameters(model))
    assert errors[1] < 0.5 * errors[0], errors
    rest = 64 * 64 * 9 if text is POINTWISE else 0
    assert max(sizes) - rest <= 0.3 * (parameters(original) - rest)


def test_repair_wins_back_what_layers_make_of_the_errors_before_them(tmp_path: Path) -> None:
    """Against the same splits without it, on samples that were not seen; deep, so that errors add up."""
    layers = "".join(
        f"  %m{i} = MatMul(%a{i}, %w{i})\n  %s{i} = Add(%m{i}, %b{i})\n  %a{i + 1} = Relu(%s{i})\n" for i in range(6)
    )
    weights = "".join(f"  weight %w{i}: f32[64,64] = random\n  weight %b{i}: f32[64] = random\n" for i in range(6))
    text = f"graph @main(%x: f32[B,6,64]) -> (%a6) {{\n{weights}  %a0 = Identity(%x)\n{layers}}}"
    original = model_of(text)
    feeds, unseen = correlated(original, 40), correlated(original, 8, seed=2)
    expected, _ = outputs(original, tmp_path, unseen)
    errors = []
    for repair in (0, 40):
        model = model_of(text)
        assert run(model, f"low-rank{{left=0.4,repair={repair},{OPTIONS}}}", context(feeds))
        errors.append(distance(outputs(model, tmp_path, unseen)[0], expected))
    assert errors[1] < 0.995 * errors[0], errors


def test_the_share_that_is_left_holds_over_all_layers() -> None:
    for left in (0.3, 0.5, 0.8):
        model = thinned(model_of(LAYERS), 0)
        before = parameters(model)
        run(model, f"low-rank{{left={left},{OPTIONS}}}", context(None))
        assert 0.8 * left * before < parameters(model) <= left * before


def test_layers_that_read_one_value_may_share_a_factor() -> None:
    model = model_of(LAYERS)
    weights = {v.hint: v for n in model.graph for v in n.inputs if v is not None and v.const is not None}
    shared = np.random.default_rng(3).normal(size=(64, 8)).astype(np.float32)
    for hint in ("wq", "wk"):
        right = np.random.default_rng(len(hint)).normal(size=(8, 64)).astype(np.float32)
        weights[hint].const = Tensor.from_array(shared @ right / 8)
    assert run(model, f"low-rank{{left=0.15,layers=[wq,wk],{OPTIONS}}}", context(None))
    readers = {node.inputs[0] for node in model.graph if node.output.hint in ("mq", "k")}
    assert len(readers) == 1


def test_energy() -> None:
    model = thinned(model_of(LAYERS), 0)
    remarks = Remarks()
    assert run(model, f"low-rank{{energy=0.99,{OPTIONS}}}", context(None, instruments=[remarks]))
    for remark in remarks.all:
        if remark.kind == "applied":
            share = float(remark.message.split(", ")[-1].split("%")[0])
            assert share <= 1.0, remark.message


def refusals(model: Model, passes: str, samples: Any = None) -> list[str]:
    remarks = Remarks()
    assert not run(model, passes, context(samples, instruments=[remarks]))
    return [remark.message for remark in remarks.all if remark.kind in ("refused", "missed")]


def test_a_rank_that_makes_nothing_smaller_is_refused() -> None:
    found = refusals(model_of(LAYERS), f"low-rank{{rank=48,layers=[wq],{OPTIONS}}}")
    assert found == ["rank 48 makes it no smaller: below 32 does"]


def test_a_rank_that_makes_nothing_faster_is_refused() -> None:
    """Two launches for one: a product this small takes longer in two."""
    found = refusals(model_of(LAYERS), "low-rank{rank=28,layers=[wq],least=256}")
    assert len(found) == 1 and "of its time by the target's estimate" in found[0]


def test_what_is_no_product_of_its_own_stays() -> None:
    text = LAYERS.replace("%k = MatMul(%x, %wk)", "%k = MatMul(%x, %wq)")
    found = refusals(model_of(text), f"low-rank{{rank=4,layers=[\"w*\"],keep=[wu,wd,wh],{OPTIONS}}}")
    assert found == ["a weight stays whole: other nodes read it as well"] * 2
    found = refusals(model_of(POINTWISE), f"low-rank{{rank=4,keep=[w1,w2],{OPTIONS}}}")
    assert found == ["a weight stays whole: its kernel is larger than 1 x 1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("rank=-1", "rank=-1 of low-rank is neither a number of at least 1 nor a share below 1"),
        ("rank=2.5", "rank=2.5 of low-rank is neither"),
        ("rank=0", "rank=0 of low-rank is neither"),
        ("rank=half", "rank=half of low-rank is no number"),
        ("left=0", "left=0 of low-rank is no share above 0, up to 1"),
        ("left=1.5", "left=1.5 of low-rank is no share"),
        ("energy=2", "energy=2 of low-rank is no share"),
        ("left=0.5,rank=4", "left and rank of low-rank say the same in different ways: give one"),
        ("multiple=0", "multiple=0 of low-rank is less than 1"),
        ("method=best", "method of low-rank is auto or aware or plain, not 'best'"),
        ("of=bytes", "of of low-rank is parameters or time"),
        ("method=aware", r"needs samples \(--calib\)"),
        ("layers=[\"nothing*\"]", r"layers of low-rank: 'nothing\*' names no layer"),
        ("keep=[nothing]", "keep of low-rank: 'nothing' names no layer"),
    ],
)
def test_bad_settings_are_one_line(options: str, message: str) -> None:
    model = model_of(LAYERS)
    before = len(model.graph)
    with pytest.raises(UsageError, match=message):
        run(model, f"low-rank{{{options}}}", context(None))
    assert len(model.graph) == before


def test_large_factors_are_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without samples the same numbers as in memory."""
    monkeypatch.setattr(layers, "_SPILLED", 1)
    original = thinned(model_of(LAYERS), 0)
    feeds = correlated(original, 8)
    for samples in (None, feeds):
        results = []
        for least in (1, 1 << 30):
            monkeypatch.setattr(layers, "_SPILLED", least)
            model = thinned(model_of(LAYERS), 0)
            assert run(model, f"low-rank{{left=0.5,repair=0,{OPTIONS}}}", context(samples))
            files = {v.const.file for n in model.graph for v in n.inputs if v is not None and v.const is not None and v.hint.endswith(("left", "right"))}
            assert all(file is not None and file.on_disk for file in files) if least == 1 else files == {None}
            results.append(outputs(model, tmp_path, feeds)[0])
        assert distance(*results) == 0

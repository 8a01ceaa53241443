"""Convolutions as chains, in onnxruntime: exact where the kernel has the rank, and what must stay whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.tensor import Tensor
from geoc.passes.lowrank.cp import CP
from geoc.passes.lowrank.tensors import Spatial, Tucker

from ..quantize.running import Remarks, context, distance, feeds_of, model_of, outputs, run

TEXT = """
graph @main(%x: f32[B,24,13,11]) -> (%y) {
  weight %w1: f32[32,24,3,5] = random
  weight %b1: f32[32] = random
  weight %w2: f32[40,32,3,3] = random
  weight %w3: f32[40,1,3,3] = random
  %c1 = Conv(%x, %w1, %b1) {pads=[1, 2, 0, 1], strides=[2, 1]}
  %r1 = Relu(%c1)
  %c2 = Conv(%r1, %w2) {pads=[2, 1, 2, 1], dilations=[2, 1]}
  %y = Conv(%c2, %w3) {group=40}
}"""
OPTIONS = "multiple=4,slower=true"


def kernel_of(form: str, shape: tuple[int, ...], seed: int) -> Any:
    """A kernel of ranks (8, 8), or 8."""
    random = np.random.default_rng(seed)
    outputs, inputs, height, width = shape
    if form == "tucker":
        core = random.normal(size=(8, 8, height, width))
        return np.einsum("qphw,oq,ip->oihw", core, random.normal(size=(outputs, 8)), random.normal(size=(inputs, 8)))
    if form == "cp":
        return np.einsum("or,ir,hr,wr->oihw", *(random.normal(size=(side, 8)) for side in shape))
    columns, rows = random.normal(size=(8, inputs, height)), random.normal(size=(8, outputs, width))
    return np.einsum("rih,row->oihw", columns, rows)


def with_kernels(form: str) -> Model:
    model = model_of(TEXT)
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.const is not None and value.hint in ("w1", "w2"):
                shape = value.const.shape
                array = kernel_of(form, shape, len(shape) + shape[0])
                value.const = Tensor.from_array((array / np.linalg.norm(array) * 6).astype(np.float32))
    return model


@pytest.mark.parametrize("form", ["tucker", "spatial", "cp"])
@pytest.mark.parametrize("samples", [False, True])
def test_kernels_of_a_low_rank_lose_nothing(tmp_path: Path, form: str, samples: bool) -> None:
    original, split = with_kernels(form), with_kernels(form)
    feeds = feeds_of(original, 4)
    expected, _ = outputs(original, tmp_path, feeds)
    assert run(split, f"low-rank-conv{{form={form},left=0.4,{OPTIONS}}}", context(feeds if samples else None))
    found, _ = outputs(split, tmp_path, feeds)
    assert distance(found, expected) < 1e-4
    assert sum(node.op.key == "Conv" for node in split.graph) == {"tucker": 7, "spatial": 5, "cp": 9}[form]


@pytest.mark.parametrize("form", ["tucker", "spatial", "cp"])
def test_the_share_that_is_left_holds(form: str) -> None:
    for left in (0.2, 0.5, 0.8):
        model = model_of(TEXT)
        before = _parameters(model)
        assert run(model, f"low-rank-conv{{form={form},left={left},{OPTIONS}}}", context(None))
        assert 0.5 * left * before < _parameters(model) <= left * before


def _parameters(model: Model) -> int:
    found = {node.inputs[1]: 0 for node in model.graph if node.op.key == "Conv" and node.attr("group") == 1}
    return sum(value.const.size for value in found if value is not None and value.const is not None)


def test_the_chain_is_the_nearest_of_its_rank() -> None:
    """Spatial by the singular values of the matrix; tucker loses what its core does not hold."""
    weights = np.random.default_rng(0).normal(size=(20, 12, 3, 3)).astype(np.float32)
    spatial = Spatial(weights)
    first, second = spatial.kernels((8,))
    made = np.einsum("rihz,orzw->oihw", first, second)
    values = np.linalg.svd(weights.transpose(1, 2, 0, 3).reshape(36, 60), compute_uv=False)
    assert np.sum((made - weights) ** 2) == pytest.approx(np.sum(values[8:] ** 2), rel=1e-4)
    assert spatial.loss((8,)) == pytest.approx(np.sum(values[8:] ** 2) / np.sum(values**2))
    tucker = Tucker(weights)
    one, core, two = tucker.kernels((8, 12))
    made = np.einsum("piab,qphw,oqcd->oihw", one, core, two)
    assert np.sum((made - weights) ** 2) == pytest.approx(tucker.loss((8, 12)) * np.sum(weights**2), rel=1e-5)
    assert np.allclose(np.einsum("piab,qphw,oqcd->oihw", *tucker.kernels((12, 20))), weights, atol=1e-5)


def product_of(kernels: Any) -> Any:
    """The kernel that a chain of 1 x 1, 3 x 1, 1 x 3 (channel by channel) and 1 x 1 stands for."""
    return np.einsum("riab,rxhy,rzvw,orcd->oihw", *(k.astype(np.float64) for k in kernels))


@pytest.mark.parametrize(
    ("shape", "rank"),
    [((40, 32, 3, 3), 8), ((32, 24, 3, 5), 20), ((24, 32, 5, 1), 24), ((16, 3, 7, 7), 3), ((12, 20, 5, 5), 1)],
)
@pytest.mark.parametrize("weighed", [False, True])
def test_a_sum_of_products_is_found_again(shape: tuple[int, ...], rank: int, weighed: bool) -> None:
    """Kernels that are one, put together term by term: up to as many terms as there are inputs and outputs."""
    random = np.random.default_rng(rank)
    kernel = np.zeros(shape)
    for _ in range(rank):
        o, i, h, w = (random.normal(size=side) for side in shape)
        kernel += o[:, None, None, None] * i[:, None, None] * h[:, None] * w
    mixing = random.normal(size=(shape[1], shape[1]))
    form = CP(kernel.astype(np.float32), mixing @ mixing.T if weighed else None)
    assert form.loss((rank,)) < 1e-10
    assert np.linalg.norm(product_of(form.kernels((rank,))) - kernel) < 1e-5 * np.linalg.norm(kernel)
    again = CP(kernel.astype(np.float32), mixing @ mixing.T if weighed else None)
    assert all((a == b).all() for a, b in zip(again.kernels((rank,)), form.kernels((rank,))))


def test_terms_beyond_the_channels_lose_less_and_less() -> None:
    """Random kernels: what is said to be lost is lost, and never more than by a rank below."""
    weights = np.random.default_rng(0).normal(size=(12, 10, 3, 3)).astype(np.float32)
    form, before = CP(weights), 1.0
    for rank in (4, 10, 16, 30):
        judged = form.loss((rank,))
        found = np.sum((product_of(form.kernels((rank,))) - weights) ** 2) / np.sum(weights.astype(np.float64) ** 2)
        assert found <= judged + 1e-6 < before and form.loss((rank,)) == pytest.approx(found, abs=1e-5)
        before = judged
    assert before < 0.3

@pytest.mark.parametrize("form", ["tucker", "cp"])
def test_channels_that_vary_count_more(tmp_path: Path, form: str) -> None:
    original = model_of(TEXT)
    feeds, unseen = feeds_of(original, 24), feeds_of(original, 6, seed=5)
    for each in [*feeds, *unseen]:
        each["x"] *= (0.75 ** np.arange(24, dtype=np.float32))[::-1, None, None]
    expected, _ = outputs(original, tmp_path, unseen)
    errors = []
    for samples in (None, feeds):
        model = model_of(TEXT)
        assert run(model, f"low-rank-conv{{form={form},left=0.3,{OPTIONS}}}", context(samples))
        errors.append(distance(outputs(model, tmp_path, unseen)[0], expected))
    assert errors[1] < 0.8 * errors[0], errors


def test_the_remark_says_what_is_left() -> None:
    remarks = Remarks()
    assert run(model_of(TEXT), f"low-rank-conv{{left=0.4,layers=[w2],{OPTIONS}}}", context(None, instruments=[remarks]))
    (said,) = [remark.message for remark in remarks.all if remark.kind == "applied"]
    low, high = (int(rank) for rank in said.split("ranks ")[1].split(",")[0].split(" and "))
    assert f"{(32 * low + 9 * low * high + 40 * high) / (40 * 32 * 9):.0%} of its size" in said


def test_what_stays_whole() -> None:
    remarks = Remarks()
    assert not run(model_of(TEXT), "low-rank-conv{left=0.5,multiple=4}", context(None, instruments=[remarks]))
    said = [remark.message for remark in remarks.all]
    assert "a convolution stays whole: its channels are in groups" not in said  # too small to be asked about
    assert sum("of its time by the target's estimate" in message for message in said) == 2, said
    remarks = Remarks()
    text = TEXT.replace("pads=[2, 1, 2, 1], ", 'auto_pad="SAME_UPPER", ')
    assert run(model_of(text), f"low-rank-conv{{left=0.3,{OPTIONS}}}", context(None, instruments=[remarks]))
    assert [r.message for r in remarks.all if r.kind == "missed"] == [
        "a convolution stays whole: its padding depends on the size of its input"
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("form=best", "form of low-rank-conv is tucker or spatial or cp, not 'best'"),
        ("left=0", "left=0 of low-rank-conv is no share"),
        ("multiple=0", "multiple=0"),
        ("layers=[nothing]", "layers of low-rank-conv: 'nothing' names no convolution"),
    ],
)
def test_bad_settings_are_one_line(options: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(model_of(TEXT), f"low-rank-conv{{{options}}}", context(None))

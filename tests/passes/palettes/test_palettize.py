"""The pass on small models, in onnxruntime: numbers, sizes, what the runtime makes of it, and what must stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.tensor import Tensor
from geoc.lowering.targets import get_target

from ..quantize.running import (
    CONVOLUTIONS,
    PRODUCTS,
    Remarks,
    context,
    distance,
    feeds_of,
    model_of,
    outputs,
    run,
)

OPTIONS = "least=256"


def with_few_numbers(text: str, count: int) -> Model:
    """Each weight of so many different numbers."""
    model = model_of(text)
    for number, node in enumerate(model.graph):
        for value in node.inputs:
            if value is not None and value.const is not None and value.const.dtype.is_float and value.const.size >= 256:
                random = np.random.default_rng(number)
                table = random.normal(size=count).astype(np.float32) / 6
                value.const = Tensor.from_array(table[random.integers(0, count, value.const.shape)])
    return model


@pytest.mark.parametrize("text", [PRODUCTS, CONVOLUTIONS], ids=["products", "convolutions"])
@pytest.mark.parametrize(
    ("bits", "group", "samples"), [(1, 0, False), (2, 0, True), (3, 8, True), (4, 0, False), (6, 4, False), (8, 0, True)]
)
def test_weights_of_few_numbers_lose_nothing(tmp_path: Path, text: str, bits: int, group: int, samples: bool) -> None:
    """And a session with its optimizations on has no look-up left: what it runs is what it ran before."""
    count = min(1 << bits, 40)
    original, small = with_few_numbers(text, count), with_few_numbers(text, count)
    feeds = feeds_of(original, 4)
    expected, before = outputs(original, tmp_path, feeds)
    passes = f"palettize{{bits={bits},group={group},table_bits={bits},{OPTIONS}}},fold,cse,dce"
    assert run(small, passes, context(feeds if samples else None))
    found, after = outputs(small, tmp_path, feeds)
    assert distance(found, expected) < 1e-6
    assert after["Gather"] <= 1 and not after["GatherElements"] and not after["Cast"] and not after["Transpose"]
    assert sum(after[key] for key in ("MatMul", "Gemm", "Conv")) == sum(before[key] for key in ("MatMul", "Gemm", "Conv"))
    assert small.weight_bytes < 0.7 * original.weight_bytes


def test_the_size_is_that_of_codes_and_palettes() -> None:
    model = model_of("graph @main(%x: f32[B,64]) -> (%y) {\n weight %w: f32[64,96] = random\n %y = MatMul(%x, %w)\n}")
    for bits, each in ((1, 2), (2, 2), (3, 4), (4, 4), (5, 6), (6, 6), (8, 8)):
        small = model_of("graph @main(%x: f32[B,64]) -> (%y) {\n weight %w: f32[64,96] = random\n %y = MatMul(%x, %w)\n}")
        assert run(small, f"palettize{{bits={bits}}}", context(None))
        rest = 4 if bits in (5, 6) else 0  # a factor of 4
        assert small.weight_bytes == 64 * 96 * each // 8 + 4 * (1 << bits) + rest
        assert small.weight_bytes < model.weight_bytes


def test_more_bits_and_more_palettes_lose_less(tmp_path: Path) -> None:
    original = model_of(PRODUCTS)
    feeds = feeds_of(original, 8)
    expected, _ = outputs(original, tmp_path, feeds)

    def off(options: str) -> float:
        model = model_of(PRODUCTS)
        assert run(model, f"palettize{{{options},{OPTIONS}}}", context(None))
        return distance(outputs(model, tmp_path, feeds)[0], expected)

    errors = [off(f"bits={bits}") for bits in (2, 4, 6)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert off("bits=4,group=4") < errors[1]
    assert off("bits=4,table_bits=4") > errors[1]


@pytest.mark.parametrize("text", [PRODUCTS, CONVOLUTIONS], ids=["products", "convolutions"])
def test_codes_that_know_the_data_lose_less(tmp_path: Path, text: str) -> None:
    """On samples that were not seen, whose numbers are correlated as those in trained models are."""

    def correlated(count: int, seed: int) -> list[Any]:
        feeds = feeds_of(model_of(text), count, seed)
        for each in feeds:
            if "x" in each:
                mixing = np.random.default_rng(7).normal(size=(16, 16)) * 0.8 ** np.arange(16)[:, None] + 0.1
                each["x"] = np.moveaxis(np.moveaxis(each["x"], 1, -1) @ mixing, -1, 1).astype(np.float32)
        return feeds

    feeds, unseen = correlated(48, 1), correlated(8, 2)
    expected, _ = outputs(model_of(text), tmp_path, unseen)
    errors = []
    for method in ("kmeans", "gptq"):
        model = model_of(text)
        assert run(model, f"palettize{{bits=3,method={method},{OPTIONS}}}", context(feeds))
        errors.append(distance(outputs(model, tmp_path, unseen)[0], expected))
    most = 0.8 if text is PRODUCTS else 0.95  # two of the three convolutions share their weights, which take the nearest
    assert errors[1] < most * errors[0], errors


def refusals(text: str, options: str, target: str = "cpu-vnni") -> list[str]:
    remarks, model = Remarks(), model_of(text)
    before = len(model.graph)
    assert not run(model, f"palettize{{{options}}}", context(None, target, instruments=[remarks]))
    assert len(model.graph) == before
    return [remark.message for remark in remarks.all if remark.kind in ("refused", "missed")]


def test_what_stays() -> None:
    assert refusals(PRODUCTS, "") == []  # all of them are small
    text = PRODUCTS.replace("%m = Mul(%q, %k)", "%m0 = Mul(%q, %k)\n  %s = ReduceSum(%wu)\n  %m = Mul(%m0, %s)")
    found = refusals(text, "least=256,keep=[t,wq,wk,wd,wh]")
    assert found == ["a weight stays as it is: ReduceSum reads it as well"]
    found = refusals(PRODUCTS, "bits=8,group=1,layers=[wq],least=256")
    assert found == ["%wq stays as it is: its palettes take 33,792 bytes with the codes"]
    assert refusals(PRODUCTS, "table_bits=0,layers=[t],least=256") == ["%t stays as it is: it is a table"]


def test_codes_are_no_weights() -> None:
    """What is quantized, or has a palette already, is left alone."""
    model = model_of(PRODUCTS)
    assert run(model, f"palettize{{{OPTIONS}}}", context(None))
    size = model.weight_bytes
    assert not run(model, f"palettize{{bits=2,{OPTIONS}}}", context(None))
    assert model.weight_bytes == size
    model = model_of(PRODUCTS)
    assert run(model, "quantize-weights{least=256}", context(None))
    size = model.weight_bytes
    assert not run(model, f"palettize{{bits=2,{OPTIONS}}}", context(None))
    assert model.weight_bytes == size


def test_a_target_that_would_look_up_on_every_run_gets_none() -> None:
    assert not get_target("a100").lookups
    found = refusals(PRODUCTS, f"bits=6,layers=[wu],{OPTIONS}", "a100")
    assert found == ["the target makes no weights of codes of u4 and u2 when it loads a model"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("bits=0", "bits=0 of palettize is not between 1 and 8"),
        ("bits=9", "bits=9 of palettize"),
        ("table_bits=-1", "table_bits=-1 of palettize is not between 0 and 8"),
        ("group=-1", "group=-1 of palettize is less than 0"),
        ("method=best", "method of palettize is auto or kmeans or gptq, not 'best'"),
        ("method=gptq", r"needs samples \(--calib\)"),
        ("layers=[nothing]", "layers of palettize: 'nothing' names no weight"),
        ("keep=[nothing]", "keep of palettize: 'nothing' names no weight"),
    ],
)
def test_bad_settings_are_one_line(options: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(model_of(PRODUCTS), f"palettize{{{options}}}", context(None))

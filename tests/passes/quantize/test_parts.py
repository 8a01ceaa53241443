"""Parts of a model quantized by themselves, what is kept by its place, and what layers gain by estimate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from geoc.ir.core import Node
from geoc.ir.text import print_model
from geoc.ir.types import F16
from geoc.lowering.targets import get_target
from geoc.passes.base import place_of
from geoc.passes.quantize.kernels import FUSED
from geoc.passes.quantize.quantize import Quantize
from geoc.passes.quantize.sensitivity import Parts
from geoc.passes.quantize.speed import IntegerSpeed
from geoc.passes.quantize.weight_only import QuantizeWeights
from geoc.passes.quantize.weight_parts import WeightParts

from .running import CONVOLUTIONS, PRODUCTS, Remarks, context, distance, feeds_of, model_of, outputs, run

STEP = QuantizeWeights(bits=4, least=256, grid=False)


def by_output(nodes: list[Node], hint: str) -> Node:
    return next(node for node in nodes if node.output.hint == hint)


def test_weights_alone(tmp_path: Path) -> None:
    model = model_of(PRODUCTS)
    before = print_model(model)
    feeds = feeds_of(model, 4)
    parts = WeightParts(model, STEP, context(feeds))
    assert [node.output.hint for node in parts.nodes] == ["e", "mq", "k", "mu", "d", "y"]
    expected, _ = outputs(model, tmp_path, feeds, "ORT_DISABLE_ALL")
    names = {"e": "t", "mq": "wq", "k": "wk", "mu": "wu", "d": "wd", "y": "wh"}
    for chosen in (["mq"], ["k", "mu"], list(names)):
        errors = parts.errors({by_output(parts.nodes, hint) for hint in chosen}, None)
        trial = model_of(PRODUCTS)
        keep = ",".join(name for hint, name in names.items() if hint not in chosen)
        run(trial, f"quantize-weights{{bits=4,least=256,grid=false,keep=[{keep}]}}", context(None))
        got, _ = outputs(trial, tmp_path, feeds, "ORT_ENABLE_BASIC")
        assert errors == pytest.approx([distance(got, expected)], rel=1e-3) and errors[0] > 0
    assert print_model(model) == before
    assert parts.keep({by_output(parts.nodes, "mu"), by_output(parts.nodes, "e")}) == ("t", "wu")
    # 32 x 64 weights: of 4 bytes each, half a byte remains, and 2 bytes for the scale of each 32.
    assert parts.saved(by_output(parts.nodes, "mu")) == 32 * 64 * 4 - 32 * 64 // 2 - 32 * 64 // 32 * 2


def test_methods_that_look_at_samples_are_not_needed_for_it() -> None:
    model = model_of(PRODUCTS)
    ctx = context(feeds_of(model, 2))
    plain, calibrated = (WeightParts(model, QuantizeWeights(least=256, method=method), ctx) for method in ("rtn", "gptq"))
    assert plain.errors(plain.nodes, None) == calibrated.errors(calibrated.nodes, None)


@pytest.mark.parametrize(("text", "static"), [(CONVOLUTIONS, True), (PRODUCTS, True), (PRODUCTS, False)])
def test_what_is_kept_by_its_place_stays_and_nothing_else(text: str, static: bool, tmp_path: Path) -> None:
    model = model_of(text)
    feeds = feeds_of(model, 3)
    step = Quantize(static=static, method="minmax")
    parts = Parts(model, step, context(feeds))
    stays = parts.nodes[1]
    remarks = Remarks()
    kept = {place_of("quantize", "", stays): "error budget: for a test"}
    ctx = context(feeds, kept=kept, instruments=[remarks])
    assert stays not in Parts(model, step, ctx).nodes and len(Parts(model, step, ctx).nodes) == len(parts.nodes) - 1
    by_number = model_of(text)
    step_text = f"quantize{{static={str(static).lower()},method=minmax"
    run(by_number, f"{step_text},keep=[{','.join(map(str, parts.keep({stays})))}]}}", context(feeds))
    run(model, f"{step_text}}}", ctx)
    assert print_model(model) == print_model(by_number)
    assert [r.message for r in remarks.all if "for a test" in r.message] == [
        f"{stays.op.name} stays in floats: error budget: for a test"
    ]


def test_weights_that_are_kept_by_their_place() -> None:
    model, other = model_of(PRODUCTS), model_of(PRODUCTS)
    node = by_output(list(model.graph), "mu")
    run(model, "quantize-weights{least=256}", context(None, kept={place_of("quantize-weights", "", node): "for a test"}))
    run(other, "quantize-weights{least=256,keep=[wu]}", context(None))
    assert print_model(model) == print_model(other)


def test_gains_by_roofline() -> None:
    hardware = SimpleNamespace(rates={"fp32": 1e9, "int8": 4e9}, bandwidth=1e9, launch=1e-6)
    kernels = get_target("cpu-vnni").integers
    speed = IntegerSpeed(kernels, hardware)
    text = "graph @main(%x: f32[64,512]) -> (%y) {\n  weight %w: f32[512,512] = random\n  %y = MatMul(%x, %w)\n}"
    (product,) = model_of(text).graph
    arithmetic = 2 * 64 * 512 * 512
    assert speed.gain(product) == pytest.approx(arithmetic / 1e9 - arithmetic / 4e9)
    assert speed.switch(product) == 0  # it quantizes its operand anyway
    slow = IntegerSpeed(kernels, SimpleNamespace(rates={"fp32": 1e15, "int8": 4e15}, bandwidth=1e9, launch=1e-6))
    assert slow.gain(product) == pytest.approx(3 * (64 * 512 + 512 * 512) / 1e9)  # its result stays in floats
    rates = {"fp32": 1e9, "fp16": 2e9, "int8": 4e9}
    half = IntegerSpeed(kernels, SimpleNamespace(rates=rates, bandwidth=1e9, launch=1e-6), F16)
    assert half.gain(product) == pytest.approx(arithmetic / 2e9 - arithmetic / 4e9)
    half = IntegerSpeed(kernels, SimpleNamespace(rates={"fp32": 1e15, "int8": 4e15}, bandwidth=1e9, launch=1e-6), F16)
    assert half.gain(product) == pytest.approx((64 * 512 + 512 * 512) / 1e9)
    symbolic = text.replace("[64,512]", "[B,512]")
    (product,) = model_of(symbolic).graph
    hardware = SimpleNamespace(rates=rates, bandwidth=1e15, launch=1e-6)
    fused = get_target("a100").integers
    for counts in (False, True):
        gain = IntegerSpeed(fused, hardware, F16, {"B": 32}, counts).gain(product)
        assert gain == pytest.approx(arithmetic / 2 / 4e9 - counts * FUSED * 1e-6)
    convolution = by_output(list(model_of(CONVOLUTIONS).graph), "c3")
    elements = np.prod([1, 32, 8, 8])  # of a batch of one
    assert speed.switch(convolution) == pytest.approx(1e-6 + 5 * elements / 1e9)
    table = by_output(list(model_of(PRODUCTS).graph), "e")
    assert speed.gain(table) == pytest.approx(3 * 50 * 32 / 1e9)

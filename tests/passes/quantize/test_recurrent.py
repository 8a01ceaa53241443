"""LSTMs in integers: onnxruntime's kernel gives what floats give, but for rounding; what it does not take stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.types import I8
from geoc.passes.quantize.quantize import Quantize
from geoc.passes.quantize.sensitivity import Parts

from ...machine import INTEGER_CPU, needs_exact_sums
from .running import Feeds, context, distance, model_of, outputs, run

UNITS, INPUTS = 40, 48


def lstm(directions: int = 1, outs: str = "%y, %h, %c", attrs: str = "", states: bool = True, units: int = UNITS) -> str:
    names = [name for name in outs.replace(" ", "").split(",") if name]
    way = ', direction="bidirectional"' if directions == 2 else ""
    return f"""
graph @main(%x: f32[T,B,{INPUTS}], %s: f32[{directions},B,{units}], %k: f32[{directions},B,{units}]) -> ({", ".join(names)}) {{
  weight %w: f32[{directions},{4 * units},{INPUTS}] = random
  weight %r: f32[{directions},{4 * units},{units}] = random
  weight %b: f32[{directions},{8 * units}] = random
  {outs} = LSTM(%x, %w, %r, %b{", none, %s, %k" if states else ""}) {{hidden_size={units}{way}{attrs}}}
}}"""


def small_weights(model: Model) -> Model:
    """Weights as trained ones are: the gates are not all saturated."""
    from geoc.ir.tensor import Tensor

    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.const is not None and value.hint in ("w", "r", "b"):
                value.const = Tensor.from_array((value.const.array() / np.sqrt(value.const.shape[-1])).astype(np.float32))
    return model


def feeds(model: Model, seed: int = 1) -> list[Feeds]:
    rng = np.random.default_rng(seed)
    return [
        {n: rng.standard_normal([{"T": length, "B": 3}.get(str(d), d) for d in v.shape or ()]).astype(np.float32) for n, v in zip(model.graph.input_names, model.graph.inputs)}
        for length in (1, 9)
    ]


@pytest.mark.parametrize(
    ("directions", "outs", "attrs", "states"),
    [(1, "%y, %h, %c", "", True), (2, "%y, %h, %c", "", True), (1, "%y", "", True), (1, "%y, %h", ", clip=0.7", True), (2, "%y, %h", "", False)],
    ids=["all", "both ways", "one output", "clipped", "from zero"],
)  # fmt: skip
@pytest.mark.parametrize("target", [pytest.param("cpu-vnni", marks=needs_exact_sums), "cpu-avx2"])
def test_an_lstm_in_integers(tmp_path: Path, directions: int, outs: str, attrs: str, states: bool, target: str) -> None:
    text = lstm(directions, outs, attrs, states)
    model = small_weights(model_of(text))
    given = [{k: v for k, v in f.items() if states or k == "x"} for f in feeds(model)]
    if not states:
        for value in model.graph.inputs[1:]:
            assert not value.uses
        given = feeds(model)
    expected, _ = outputs(model, tmp_path, given)
    assert run(model, "quantize{static=false}", context(None, target))
    found, ops = outputs(model, tmp_path, given)
    assert ops["DynamicQuantizeLSTM"] == 1 and not ops["LSTM"]
    assert [a.shape for a in found[1]] == [a.shape for a in expected[1]]
    assert 0 < distance(found, expected) < 0.02


@pytest.mark.parametrize(("target", "most"), [("cpu-vnni", 127), ("cpu-avx2", 63)])
def test_codes_stand_for_the_weights(target: str, most: int) -> None:
    model = model_of(lstm(2))
    [node] = model.graph
    weights = [node.inputs[i].const.array() for i in (1, 2)]  # type: ignore[union-attr]
    run(model, "quantize{static=false}", context(None, target))
    [made] = model.graph
    for array, at in zip(weights, ((1, 8), (2, 10))):
        codes, scales = (made.inputs[i].const for i in at)  # type: ignore[union-attr]
        assert codes is not None and scales is not None and codes.dtype is I8
        assert np.abs(codes.array().astype(int)).max() == most
        back = codes.array().transpose(0, 2, 1) * scales.array()[..., None]
        assert (np.abs(back - array) <= scales.array()[..., None] * 0.5001).all()


def as_it_is(text: str) -> str:
    return text


@pytest.mark.parametrize(
    ("change", "target"),
    [
        (lambda t: lstm(units=8), "cpu-vnni"),
        (lambda t: t.replace("hidden_size", "layout=1, hidden_size").replace("[1,B,40]", "[B,1,40]").replace("[T,B,", "[B,T,"), "cpu-vnni"),
        (lambda t: t.replace("weight %r: f32[1,160,40] = random", "%r = Identity(%g)").replace("%s: f32", "%g: f32[1,160,40], %s: f32", 1), "cpu-vnni"),
        (as_it_is, "a100"),
    ],
    ids=["small", "batch first", "computed weights", "no kernel"],
)  # fmt: skip
def test_left_alone(change: Callable[[str], str], target: str) -> None:
    assert not run(model_of(change(lstm())), "quantize{static=false}", context(None, target))


def test_kept_on_request_and_inside_a_branch() -> None:
    text = lstm()
    head, body = text.split(") {\n", 1)
    inner = body.rsplit("}", 1)[0].replace("%y, %h, %c = LSTM", "%p, %h, %c = LSTM")
    nested = head.replace("graph @main(", "graph @main(%f: bool[], ").replace("-> (%y, %h, %c", "-> (%y") + (
        ") {\n  %y = If(%f)\n    with then_branch = () -> (%p) {\n" + inner + "    }\n    with else_branch = () -> (%q) {\n"
        + "      weight %two: f32[1] = [2.0]\n      %q = Identity(%two)\n    }\n}"
    )  # fmt: skip
    for text_ in (text, nested):
        assert not run(model_of(text_), "quantize{static=false,keep=[LSTM]}", context(None))
        model = model_of(text_)
        assert run(model, "quantize{static=false}", context(None))
        assert [n.op.name for g in model.graphs() for n in g].count("DynamicQuantizeLSTM") == 1


def test_it_is_a_part_that_a_budget_may_leave_alone() -> None:
    model = small_weights(model_of(lstm(outs="%y")))
    [node] = model.graph
    node.loc = ("/encoder/rnn",)
    parts = Parts(model, Quantize(static=False), context(feeds(model), INTEGER_CPU))
    assert parts.nodes == [node]
    assert parts.errors([], None) == [0.0] and 0 < parts.errors([node], None)[0] < 0.02
    assert parts.keep([node]) == ("/encoder/rnn",)
    assert not run(model, 'quantize{static=false,keep=["/encoder/rnn"]}', context(None))

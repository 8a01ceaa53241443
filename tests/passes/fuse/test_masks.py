"""Masks in many spellings: the same form, the same numbers, and fewer operators; forms of exported models; time."""

from __future__ import annotations

import random
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geoc
from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value
from geoc.ir.dims import symbol
from geoc.ir.tensor import Tensor
from geoc.ir.types import BOOL, F32, I64, tensor_type
from geoc.passes.base import Context
from geoc.passes.fuse.mask_forms import form_of
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import level_items, parse
from geoc.passes.registry import Registry

from ...golden import Runner

ARCHIVE = Path(__file__).parents[2] / "models" / "exports.zip"
LOWEST = float(np.finfo(np.float32).min)


class Spelling:
    """Attention [B,2,S,4] under a mask that is spelled in one of many ways."""

    def __init__(self, seed: int, layers: int = 1) -> None:
        self.random = random.Random(seed)
        b, s = symbol("B"), symbol("S")
        graph = Graph("main")
        self.q = graph.add_input("q", tensor_type(F32, (b, 2, s, 4)))
        self.mask = graph.add_input("mask", tensor_type(I64, (b, s)))
        self.builder = Builder(graph)
        self.batch = self.op("Shape", self.q, end=1)
        self.length = self.op("Shape", self.q, start=2, end=3)
        self.low = self.random.choice([LOWEST, LOWEST / 2, -float("inf"), -1e9])
        hidden = self.random.choice(["positions", "padding", "both", "both", "both"])
        self.expected = ""
        self.number = 0  # what a given number equals where its key is seen; or does not, for 0
        built = getattr(self, hidden)()
        if self.random.random() < 0.4:
            one = self.builder.ints([1])
            sides = [self.batch, one, self.length, self.length]
            built = self.op("Expand", built, self.op("Concat", *sides, axis=0))
        self.built = built
        y = self.q
        for _ in range(layers):
            y = self.op("Attention", y, self.q, self.q, built)
        graph.set_outputs([y], ["y"])
        self.model = Model(graph)

    def op(self, name: str, *operands: Value | None, **attrs: Any) -> Value:
        return self.builder.op(name, *operands, **attrs)

    def f32(self, number: float) -> Value:
        return self.builder.const(number, F32)

    def causal(self) -> tuple[Value, bool]:
        """A condition [S,S] or [1,1,S,S], and whether it holds where a key is seen."""
        zero, one = self.builder.const(0, I64), self.builder.const(1, I64)
        scalar = self.op("Squeeze", self.length)
        j = self.op("Range", zero, scalar, one)
        i = self.op("Unsqueeze", j, self.builder.ints([1]))
        square = self.op("Concat", self.length, self.length, axis=0)
        kind = self.random.randrange(7)
        if kind == 0:
            return self.op("LessOrEqual", j, i), True
        if kind == 1:
            return self.op("Greater", j, i), False
        if kind == 2:
            return self.op("Less", j, self.op("Add", i, one)), True
        if kind == 3:
            return self.op("Less", self.op("Sub", i, j), zero), False
        ones = self.op("ConstantOfShape", square, value=Tensor.of([1], I64))
        if kind == 4:
            return self.op("Cast", self.op("Trilu", ones, upper=0), to=BOOL.onnx), True
        if kind == 5:
            return self.op("Equal", self.op("Trilu", ones, one), one), False
        wide = self.op("Expand", i, square)
        grid = [self.op("Unsqueeze", x, self.builder.ints([2])) for x in (wide, self.op("Expand", j, square))]
        condition = self.op("LessOrEqual", j, i)
        places = self.op("Concat", *grid, axis=2)
        return self.op("ScatterND", self.op("Greater", j, i), places, condition), True

    def given(self) -> tuple[Value, bool]:
        """A condition [B,1,1,S] on the mask, and whether it holds where a key is seen."""
        wide = self.op("Unsqueeze", self.mask, self.builder.ints([1, 2]))
        as_float = self.op("Cast", wide, to=F32.onnx)
        kind = self.random.randrange(5)
        self.number = 1 if kind in (2, 4) else 0
        if kind == 0:
            return self.op("Cast", wide, to=BOOL.onnx), True
        if kind == 1:
            return self.op("Equal", wide, self.builder.const(0, I64)), False
        if kind == 2:
            return self.op("Cast", self.op("Sub", self.f32(1.0), as_float), to=BOOL.onnx), False
        if kind == 3:
            return self.op("Equal", as_float, self.f32(0.0)), False
        return self.op("Equal", wide, self.builder.const(1, I64)), True

    def additive(self, condition: Value, seen: bool) -> Value:
        ends = [self.f32(0.0), self.f32(self.low)]
        return self.op("Where", condition, *(ends if seen else reversed(ends)))

    def text(self, positions: bool, padding: bool) -> str:
        given = f"(Equal(mask[b,j],{self.number}):bool ? " + ("True : False)" if self.number else "False : True)")
        seen = given if padding else "True"
        return f"hidden {self.low} unless " + (f"(i-j>=0 ? {seen} : False)" if positions else seen)

    def positions(self) -> Value:
        built = self.additive(*self.causal())
        self.expected = self.text(True, False)
        return built

    def padding(self) -> Value:
        built = self.additive(*self.given())
        self.expected = self.text(False, True)
        return built

    def both(self) -> Value:
        (a, seen_a), (b, seen_b) = self.causal(), self.given()
        self.expected = self.text(True, True)
        kind = self.random.randrange(4)
        if kind == 0:
            a, b = (a if seen_a else self.op("Not", a)), (b if seen_b else self.op("Not", b))
            return self.additive(self.op("And", a, b), True)
        if kind == 1:
            ends = [self.additive(a, seen_a), self.f32(self.low)]
            return self.op("Where", b, *(ends if seen_b else reversed(ends)))
        if kind == 2:
            return self.op("Min", self.additive(a, seen_a), self.additive(b, seen_b))
        total = self.op("Add", self.additive(a, seen_a), self.additive(b, seen_b))
        return self.op("Max", total, self.f32(self.low))


def values_of(model: Model, value: Value, feeds: dict[str, Any]) -> Any:
    """What a tensor of the graph holds in onnxruntime."""
    model.graph.set_outputs([value], ["value"])
    # Attention itself is not asked for, and onnxruntime takes fewer masks than the standard.
    run_pipeline(model, Registry().resolve(parse("dce")), Context())
    return Runner(model).run(feeds)[0]


@pytest.mark.parametrize("seed", range(60))
def test_spellings(seed: int) -> None:
    spelling = Spelling(seed)
    found = form_of(spelling.built)
    assert found is not None and found[0].text == spelling.expected
    before = spelling.model.node_count
    run_pipeline(spelling.model, Registry().resolve(parse("masks,cse,dce")), Context())
    assert spelling.model.node_count <= before
    attention = spelling.model.graph.outputs[0].producer
    assert attention is not None and attention.op.name == "Attention"
    size = 4
    feeds = {
        "q": np.zeros((2, 2, size, 4), np.float32),
        "mask": np.array([[0, 1, 1, 2], [0, 0, 0, 0]]),
    }
    again = Spelling(seed)
    wanted = values_of(again.model, again.built, feeds)
    new = attention.input(3)
    if new is None:
        assert attention.attr("is_causal") == 1
        got = np.where(np.tri(size, dtype=bool), 0, spelling.low).astype(np.float32)
    else:
        got = values_of(spelling.model, new, feeds)
    # All numbers down there swallow every score; -inf, which does not, is no finite number of them.
    wanted, got = (np.where(np.isfinite(x), np.maximum(x, -3e38), x) for x in (wanted, got))
    shape = np.broadcast_shapes(wanted.shape, got.shape)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(np.broadcast_to(got, shape), np.broadcast_to(wanted, shape), rtol=1e-6)


EXPORTED = {
    "bert": "hidden {0} unless (Equal(attention_mask[b,j],1):bool ? True : False)",
    "gpt2": "hidden {0} unless (i-j>=0 ? (Equal(attention_mask[b,j],1):bool ? True : False) : False)",
    "llama": "hidden {0} unless (i-j>=0 ? (Equal(attention_mask[b,j],0):bool ? False : True) : False)",
    "llama-past": "hidden {0} unless (i-j+past>=0 ? (Equal(attention_mask[b,j],0):bool ? False : True) : False)",
    "gpt2-past": "hidden {0} unless (i-j+past>=0 ? (Equal(attention_mask[b,j],1):bool ? True : False) : False)",
    "mistral-window": (
        "hidden {0} unless (i-j-4>=0 ? False : (i-j>=0 ? (Equal(attention_mask[b,j],0):bool ? False : True) : False))"
    ),
}


@pytest.mark.parametrize("exporter", ["ts", "dynamo"])
@pytest.mark.parametrize("name", EXPORTED)
def test_exported_masks(name: str, exporter: str) -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        model = geoc.load(archive.read(f"{name}-{exporter}.onnx"))
    run_pipeline(model, Registry().resolve(level_items(1)), Context())
    forms = set()
    for node in model.walk():
        added = node.inputs[0].producer if node.op.name == "Softmax" and node.inputs[0] else None
        if added is None or added.op.name != "Add":
            continue
        found = [form_of(v) for v in added.inputs if v is not None]
        forms.update(f[0].text for f in found if f is not None)
    assert forms == {EXPORTED[name].format(LOWEST)}


def test_time_is_linear() -> None:
    def seconds(layers: int) -> float:
        best = float("inf")
        for _ in range(3):
            model = Spelling(4, layers).model
            start = time.perf_counter()
            run_pipeline(model, Registry().resolve(parse("masks")), Context())
            best = min(best, time.perf_counter() - start)
        return best

    seconds(10)
    assert seconds(800) < 25 * seconds(80)


def test_long_cones_are_left_alone() -> None:
    graph = Graph("main")
    s = symbol("S")
    q = graph.add_input("q", tensor_type(F32, (1, 1, s, 4)))
    mask = graph.add_input("mask", tensor_type(F32, (s, s)))
    builder = Builder(graph)
    value = mask
    for _ in range(3000):
        value = builder.op("Add", value, mask)
    assert form_of(value) is None
    graph.set_outputs([builder.op("Attention", q, q, q, value)], ["y"])
    run_pipeline(Model(graph), Registry().resolve(parse("masks")), Context())

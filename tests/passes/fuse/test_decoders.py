"""Random attention layers, written out as exporters do it: -O2 in onnxruntime gives what the layer gave without optimization.

Norm, heads and groups of heads, rotary embedding, cache, mask, precision, a branch around it all and returned inner values
are drawn independently. Batches of 1 and 3, single queries, empty caches; rows in which no key is seen, where the number
that hides is finite (docs/correctness.md has what is left out: -inf, and such rows in half precision).
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model

from ...golden import Runner
from .test_attention import LOWEST
from .test_attention_masks import operators, optimized, outputs

MASKS = ("none", "padding", "padding added", "given, bool", "given", "causal", "causal and padding", "window", "two")
SIZES = ({"B": 1, "S": 1, "P": 0}, {"B": 3, "S": 4, "P": 2}, {"B": 1, "S": 5, "P": 1}, {"B": 3, "S": 1, "P": 3})
KINDS = {"f32": 1, "f16": 10}


class Layer:
    """The text of one layer, by chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.outputs = ["%y"]
        self.heads = self.random.choice((1, 2, 4))
        self.groups = self.random.choice([g for g in (1, 2, 4) if self.heads % g == 0])
        self.size = self.random.choice((4, 8))
        self.dtype = self.random.choice(("f32", "f32", "f32", "f16"))
        self.past = self.chance(0.4)
        finite = (LOWEST, -1e9, -1e4, -1e30) if self.dtype == "f32" else (-65504.0, -1e4)
        self.low = self.random.choice((*finite, float("-inf")))
        self.mask = self.random.choice(MASKS)
        self.scale = self.random.choice(("query", "key", "scores", "none"))

    def chance(self, likely: float) -> bool:
        return self.random.random() < likely

    def say(self, text: str) -> None:
        self.lines += [line.strip() for line in text.strip().splitlines()]

    def weight(self, name: str, numbers: Any, dtype: str = "") -> str:
        shape = f"[{len(numbers)}]" if isinstance(numbers, list) else "[]"
        self.say(f"weight %{name}: {dtype or self.dtype}{shape} = {numbers}")
        return f"%{name}"

    def watched(self, name: str, likely: float = 0.05) -> str:
        if self.chance(likely):
            self.outputs.append(name)
        return name

    def normed(self) -> str:
        kind = self.random.choice(("none", "layer", "rms"))
        if kind == "none":
            return "%x"
        self.weight("two", 2.0)
        self.weight("eps", 1e-5 if self.dtype == "f32" else 1e-3)
        self.weight("gain", [round(self.random.uniform(0.5, 1.5), 2) for _ in range(self.heads * self.size)])
        middle = "%x"
        if kind == "layer":
            self.say("%mean = ReduceMean(%x, %last)\n%middle = Sub(%x, %mean)")
            middle = "%middle"
        self.say(f"""%square = Pow({middle}, %two)
            %var = ReduceMean(%square, %last)
            %safe = Add(%var, %eps)
            %std = Sqrt(%safe)
            %normal = Div({middle}, %std)
            %normed = Mul(%normal, %gain)""")
        self.watched("%var", 0.1)
        return "%normed"

    def split(self, source: str, name: str, heads: int) -> str:
        end, shape = self.weight(f"{name}_end", [heads * self.size], "i64"), self.weight(f"{name}_to", [0, 0, heads, self.size], "i64")
        self.say(f"""%{name}_part = Slice({source}, %at0, {end}, %at2)
            %{name}_rows = Reshape(%{name}_part, {shape})
            %{name} = Transpose(%{name}_rows) {{perm = [0, 2, 1, 3]}}""")
        return f"%{name}"

    def turned(self, *values: str) -> list[str]:
        self.weight("half", [self.size // 2], "i64")
        self.say("""%both = Concat(%angles, %angles) {axis = -1}
            %cos3 = Cos(%both)
            %sin3 = Sin(%both)
            %cos = Unsqueeze(%cos3, %at1)
            %sin = Unsqueeze(%sin3, %at1)""")
        for v in values:
            self.say(f"""{v}1 = Slice({v}, %at0, %half, %at3)
                {v}2 = Slice({v}, %half, %end, %at3)
                {v}n = Neg({v}2)
                {v}r = Concat({v}n, {v}1) {{axis = -1}}
                {v}c = Mul({v}, %cos)
                {v}s = Mul({v}r, %sin)
                {v}t = Add({v}c, {v}s)""")
        return [f"{v}t" for v in values]

    def repeated(self, value: str) -> str:
        many = self.weight(f"{value[1:]}_many", [1, 1, self.heads // self.groups, 1, 1], "i64")
        all_heads = self.weight(f"{value[1:]}_all", [0, self.heads, -1, self.size], "i64")
        self.say(f"""{value}u = Unsqueeze({value}, %at2)
            {value}e = Expand({value}u, {many})
            {value}h = Reshape({value}e, {all_heads})""")
        return f"{value}h"

    def condition(self) -> str:
        """A condition on positions or padding, or what is added, for the mask that was drawn."""
        self.say("""%q_length = Shape(%x) {start = 1, end = 2}
            %k_length = Shape(%mask) {start = 3, end = 4}
            %queries = Squeeze(%q_length, %at0)
            %keys = Squeeze(%k_length, %at0)
            %from0 = Range(%no, %queries, %one)
            %before = Sub(%keys, %queries)
            %row = Add(%from0, %before)
            %rows = Unsqueeze(%row, %at1)
            %columns = Range(%no, %keys, %one)
            %causal = LessOrEqual(%columns, %rows)
            %given = Cast(%pad) {to = 9}
            %padding = Unsqueeze(%given, %at12)""")
        if self.mask == "causal and padding":
            self.say("%seen = And(%causal, %padding)")
        elif self.mask == "window":
            self.weight("three", 3, "i64")
            self.say("%first = Sub(%rows, %three)\n%near = Greater(%columns, %first)\n%seen = And(%causal, %near)")
        plain = {"padding": "%padding", "given, bool": "%keep", "causal": "%causal"}
        return plain.get(self.mask, "%seen")

    def masked(self, scores: str) -> str:
        seen = self.condition()
        if self.mask == "none":
            return scores
        if self.mask == "given":
            added = "%mask"
        elif self.mask == "padding added" and np.isfinite(self.low):
            self.say(f"%float = Cast(%pad) {{to = {KINDS[self.dtype]}}}\n%wide = Unsqueeze(%float, %at12)")
            self.say("%not = Sub(%unit, %wide)\n%added = Mul(%not, %low)")
            added = "%added"
        elif self.mask in ("two", "padding added"):
            self.say("%a1 = Where(%causal, %zero, %low)\n%a2 = Where(%padding, %zero, %low)\n%added = Add(%a1, %a2)")
            added = "%added"
        elif self.chance(0.5):
            self.say(f"%replaced = Where({seen}, {scores}, %low)")
            return "%replaced"
        else:
            self.say(f"%added = Where({seen}, %zero, %low)")
            added = "%added"
        self.say(f"%biased = Add({scores}, {self.watched(added) if added != '%mask' else added})")
        return "%biased"

    def text(self) -> str:
        for name, numbers in (("at0", [0]), ("at1", [1]), ("at2", [2]), ("at3", [3]), ("at12", [1, 2]), ("last", [-1])):
            self.weight(name, numbers, "i64")
        self.weight("end", [2**63 - 1], "i64")
        self.weight("no", 0, "i64")
        self.weight("one", 1, "i64")
        for name, number in (("low", self.low), ("zero", 0.0), ("unit", 1.0), ("factor", self.size**-0.5)):
            self.weight(name, number)
        source = self.normed()
        q, k, v = (self.split(source, n, h) for n, h in (("q", self.heads), ("k", self.groups), ("v", self.groups)))
        if self.chance(0.5):
            q, k = self.turned(q, k)
        if self.past:
            self.say(f"%all_k = Concat(%pk, {k}) {{axis = 2}}\n%all_v = Concat(%pv, {v}) {{axis = 2}}")
            k, v = self.watched("%all_k", 0.8), self.watched("%all_v", 0.8)
        if self.heads > self.groups:
            k, v = self.repeated(k), self.repeated(v)
        self.say(f"%moved = Transpose({k}) {{perm = [0, 1, 3, 2]}}")
        if self.scale == "query":
            self.say(f"%qf = Mul({q}, %factor)")
        if self.scale == "key":
            self.say("%kf = Mul(%moved, %factor)")
        scores = "%scores"
        self.say(f"%scores = MatMul({'%qf' if self.scale == 'query' else q}, {'%kf' if self.scale == 'key' else '%moved'})")
        if self.scale == "scores":
            self.say("%sf = Mul(%scores, %factor)")
            scores = "%sf"
        scores = self.masked(self.watched(scores))
        if self.dtype == "f16" and self.chance(0.6):
            self.say(f"%s32 = Cast({scores}) {{to = 1}}\n%p32 = Softmax(%s32)\n%p = Cast(%p32) {{to = 10}}")
        else:
            self.say(f"%p = Softmax({scores})")
        self.weight("flat", [0, 0, self.heads * self.size], "i64")
        self.say(f"%o = MatMul({self.watched('%p')}, {v})\n%ot = Transpose(%o) {{perm = [0, 2, 1, 3]}}\n%y = Reshape(%ot, %flat)")
        return self.graph()

    def graph(self) -> str:
        t, keys, width = self.dtype, "P+S" if self.past else "S", self.heads * self.size
        batch, heads = self.random.choice("B1"), self.random.choice((1, self.heads))
        inputs = (
            f"%x: {t}[B,S,{width}], %pad: i64[B,{keys}], %keep: bool[B,1,S,{keys}], %mask: {t}[{batch},{heads},S,{keys}], "
            f"%angles: {t}[{batch},S,{self.size // 2}], %flag: bool[]"
        )
        if self.past:
            inputs += f", %pk: {t}[B,{self.groups},P,{self.size}], %pv: {t}[B,{self.groups},P,{self.size}]"
        body = "\n".join(self.lines)
        if self.outputs == ["%y"] and self.chance(0.3):
            body = (
                f"%z = If(%flag)\n with then_branch = () -> (%y) {{\n{body}\n }}\n"
                " with else_branch = () -> (%n) {\n %n = Neg(%x)\n }"
            )
            self.outputs = ["%z"]
        return f'geoc 1\nopset "" 21\n\ngraph @main({inputs}) -> ({", ".join(dict.fromkeys(self.outputs))}) {{\n{body}\n}}\n'

    def feeds(self, made: Model, sizes: dict[str, int]) -> dict[str, Any]:
        """Random operands. Rows of the last batch see no key, if that is a number."""
        rng = np.random.default_rng(sizes["B"])
        blind = bool(np.isfinite(self.low)) and self.dtype == "f32"
        found: dict[str, Any] = {}
        for name, value in zip(made.graph.input_names, made.graph.inputs):
            shape = [d if isinstance(d, int) else {**sizes, "P+S": sizes["P"] + sizes["S"]}[str(d)] for d in value.shape or ()]
            assert value.dtype is not None
            if name == "flag":
                found[name] = np.array(True)
            elif name in ("pad", "keep"):
                seen = rng.random(shape) < 0.7
                seen[..., 0] = True
                if blind:
                    seen[-1] = False
                found[name] = seen.astype(value.dtype.numpy)
            else:
                found[name] = rng.normal(size=shape).astype(value.dtype.numpy)
        lowest = float(np.finfo(found["mask"].dtype).min)
        found["mask"][..., 1:] = np.where(rng.random(found["mask"][..., 1:].shape) < 0.3, lowest, found["mask"][..., 1:])
        if blind:
            found["mask"][-1, :, -1] = lowest
        return found


@pytest.mark.parametrize("seed", range(60))
def test_a_layer(seed: int) -> None:
    layer = Layer(seed)
    text = layer.text()
    source, made = parse_model(text), parse_model(text)
    for model in (source, made):
        infer_graph(model.graph)
    before, session = Runner(source), optimized(made)
    tolerance = 1e-4 if layer.dtype == "f32" else 2e-2
    for sizes in SIZES:
        feeds = layer.feeds(source, sizes)
        for want, got in zip(before.run(feeds), outputs(session, feeds), strict=True):
            assert got.shape == want.shape and got.dtype == want.dtype
            assert not np.isnan(want).any()
            np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), tolerance, tolerance)


def test_most_of_them_are_fused() -> None:
    """Layers that return scores, probabilities or half-masked sums stay as they are."""
    fused = 0
    for seed in range(20):
        made = parse_model(Layer(seed).text())
        infer_graph(made.graph)
        optimized(made)
        fused += bool(operators(made)["Attention"])
    assert fused >= 14, fused

"""Every spelling of a scaled dot product becomes one Attention with the same values.

The results are run by the reference evaluator of ONNX, since onnxruntime's kernel refuses some masks and takes the lowest
number in one for -inf; the originals run in onnxruntime without its optimizations.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model, constant
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F32
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import parse
from geoc.passes.registry import Registry

from ...golden import Runner

CLEAN = "infer,identity,defaults,fold,shapes,views,transposes,affine,cse,dce"
PIPELINE = f"repeat(4){{{CLEAN}}},repeat(4){{attention,{CLEAN}}}"
SIZES = ({"B": 1, "S": 1, "T": 1}, {"B": 3, "S": 4, "T": 5}, {"B": 1, "S": 2, "T": 3})
LOWEST = -3.4028234663852886e38

SCALES = ("none", "scores*", "scores/", "query*", "query/", "key*", "key/", "transposed*", "both*", "both/", "masked/")
MASKS = {
    "none": "",
    "added": "%masked = Add(%{i}, %mask)",
    "added first": "%masked = Add(%mask, %{i})",
    "two": "%biased = Add(%{i}, %bias)\n%masked = Add(%biased, %mask)",
    "kept, -inf": "%masked = Where(%keep, %{i}, %inf)",
    "kept, -1e9": "%masked = Where(%keep, %{i}, %low)",
    "dropped, lowest": "%masked = Where(%drop, %lowest, %{i})",
    "kept and added": "%first = Where(%keep, %{i}, %lowest)\n%masked = Add(%mask, %first)",
    "added and kept": "%first = Add(%{i}, %mask)\n%masked = Where(%keep, %first, %lowest)",
}
NO_KEY = {"kept, -inf", "kept and added"}  # masks with which a row without keys is not a number
KEYS = ("last two", "from rows", "merged", "as given")
ENDS = ("returned", "rows", "branch")
GROUPS = ("one each", "expanded", "tiled", "gathered", "one for all", "one broadcast")


class Spelling:
    """The text of a graph, line by line."""

    def __init__(self, dtype: str = "f32") -> None:
        self.dtype = dtype
        self.lines: list[str] = []
        self.count = 0

    def line(self, text: str) -> None:
        self.lines.append(text)

    def constant(self, numbers: Any, dtype: str = "") -> str:
        self.count += 1
        name = f"%c{self.count}"
        shape = f"[{len(numbers)}]" if isinstance(numbers, list) else "[]"
        self.line(f"weight {name}: {dtype or self.dtype}{shape} = {numbers}")
        return name

    def op(self, op: str, *operands: str, attributes: str = "") -> str:
        self.count += 1
        name = f"%v{self.count}"
        self.line(f"{name} = {op}({', '.join(operands)})" + (f" {{{attributes}}}" if attributes else ""))
        return name

    def scaled(self, value: str, sign: str, factor: float) -> str:
        if sign == "*":
            return self.op("Mul", value, self.constant(factor))
        return self.op("Div", value, self.constant(1 / factor))

    def transposed_keys(self, key: str, way: str) -> str:
        """Keys [B,4,T,8] as [B,4,8,T]."""
        if way == "merged":
            shape = self.op("Shape", key)
            length = self.op("Gather", shape, self.constant([2], "i64"))
            many, eight = self.constant([-1], "i64"), self.constant([8], "i64")
            heads = self.constant([-1, 4, 8], "i64")
            merged = self.op("Reshape", key, self.op("Concat", many, length, eight, attributes="axis = 0"))
            moved = self.op("Transpose", merged, attributes="perm = [0, 2, 1]")
            return self.op("Reshape", moved, self.op("Concat", heads, length, attributes="axis = 0"))
        return self.op("Transpose", key, attributes="perm = [0, 1, 3, 2]")

    def repeated(self, value: str, way: str, size: int) -> str:
        """[B,2,T,size] or [B,1,T,size] with all four heads."""
        if way == "gathered":
            return self.op("Gather", value, self.constant([0, 0, 1, 1], "i64"), attributes="axis = 1")
        if way == "one for all":
            return self.op("Expand", value, self.constant([1, 4, 1, 1], "i64"))
        if way in ("one each", "one broadcast"):
            return value
        apart = self.op("Unsqueeze", value, self.constant([2], "i64"))
        op = "Expand" if way == "expanded" else "Tile"
        many = self.op(op, apart, self.constant([1, 1, 2, 1, 1], "i64"))
        return self.op("Reshape", many, self.constant([0, 4, -1, size], "i64"))

    def masked(self, scores: str, mask: str) -> str:
        if mask == "none":
            return scores
        lowest = LOWEST if self.dtype == "f32" else -65504.0
        fills = {"%inf": "-inf", "%low": "-1e9", "%lowest": lowest}
        for line in MASKS[mask].format(i=scores[1:]).splitlines():
            for name in fills.keys() & set(re.findall(r"%\w+", line)):
                self.line(f"weight {name}: {self.dtype}[] = {fills[name]}")
            self.line(line)
        return "%masked"


def attention(
    scale: str = "none", mask: str = "none", keys: str = "last two", end: str = "returned",
    groups: str = "one each", dtype: str = "f32",
) -> Model:  # fmt: skip
    """A graph that writes out softmax(q k^T * 0.3 + mask) v."""
    s = Spelling(dtype)
    heads = 4 if groups == "one each" else 1 if groups.startswith("one") else 2
    place, sign = (scale[:-1], scale[-1]) if scale != "none" else ("", "")
    query, key = "%q", "%k"
    if keys == "from rows":
        moved = s.op("Transpose", "%k", attributes="perm = [0, 2, 3, 1]")
    else:
        key = s.repeated(key, groups, 8)
        if place in ("key", "both"):
            key = s.scaled(key, sign, 0.3 if place == "key" else 0.3**0.5)
        moved = "%kt" if keys == "as given" else s.transposed_keys(key, keys)
    if place == "transposed" or (place in ("key", "both") and keys in ("from rows", "as given")):
        moved = s.scaled(moved, sign, 0.3**0.5 if place == "both" else 0.3)
    if place in ("query", "both"):
        query = s.scaled(query, sign, 0.3 if place == "query" else 0.3**0.5)
    scores = s.op("MatMul", query, moved)
    if place == "scores":
        scores = s.scaled(scores, sign, 0.3)
    scores = s.masked(scores, mask)
    if place == "masked":
        scores = s.scaled(scores, sign, 0.3)
    if dtype == "f16":
        scores = s.op("Cast", scores, attributes="to = 1")
    weights = s.op("Softmax", scores, attributes="axis = 3")
    if dtype == "f16":
        weights = s.op("Cast", weights, attributes="to = 10")
    result = s.op("MatMul", weights, s.repeated("%v", groups, 6))
    if end == "rows":
        rows = s.op("Transpose", result, attributes="perm = [0, 2, 1, 3]")
        result = s.op("Reshape", rows, s.constant([0, 0, 24], "i64"))
    return model(s, result, heads, keys, end)


def model(s: Spelling, result: str, heads: int, keys: str, end: str) -> Model:
    t = s.dtype
    key = f"%k: {t}[B,T,4,8]" if keys == "from rows" else f"%k: {t}[B,{heads},T,8]"
    inputs = (
        f"%q: {t}[B,4,S,8], {key}, %v: {t}[B,{heads},T,6], %kt: {t}[B,4,8,T], %mask: {t}[B,1,S,T], %bias: {t}[1,4,1,T], "
        "%keep: bool[B,1,S,T], %drop: bool[B,1,S,T], %flag: bool[], %other: " + t + "[B,4,S,6]"
    )
    body = "\n".join(s.lines)
    if end == "branch":
        body = (
            f"%y = If(%flag)\n with then_branch = () -> ({result}) {{\n{body}\n }}\n"
            " with else_branch = () -> (%n) {\n %n = Neg(%other)\n }"
        )
        result = "%y"
    made = parse_model(f'geoc 1\nopset "" 21\n\ngraph @main({inputs}) -> ({result}) {{\n{body}\n}}\n')
    infer_graph(made.graph)
    verify(made)
    return made


def feeds_of(made: Model, sizes: dict[str, int], infinite: bool) -> dict[str, Any]:
    """Random operands; the mask is padding, and the first query of the last batch sees no key unless that is -inf."""
    random = np.random.default_rng(sum(sizes.values()))
    found: dict[str, Any] = {}
    for name, value in zip(made.graph.input_names, made.graph.inputs):
        shape = [d if isinstance(d, int) else sizes[str(d)] for d in value.shape or ()]
        assert value.dtype is not None
        if name == "flag":
            found[name] = np.array(True)
        elif name in ("keep", "drop"):
            seen = random.random(shape) < 0.6
            seen[..., 0] = True
            if not infinite:
                seen[-1, :, 0] = False
            found[name] = seen if name == "keep" else ~seen
        else:
            found[name] = random.normal(size=shape).astype(value.dtype.numpy) * 2
    low = np.finfo(found["mask"].dtype).min
    found["mask"][:] = 0
    found["mask"][-1, :, :, 1:] = low
    if not infinite:
        found["mask"][-1, :, 0] = low
    return found


def count(made: Model) -> Counter[str]:
    return Counter(node.op.name for node in made.graph.walk())


def compare(made: Model, infinite: bool = False, tolerance: float = 1e-5) -> Model:
    """Run the pipeline; what comes out has one Attention and the same values at all sizes. Returns it."""
    from onnx.reference import ReferenceEvaluator

    before = Runner(made)
    feeds = [feeds_of(made, sizes, infinite) for sizes in SIZES]
    with np.errstate(all="ignore"):
        wanted = [before.run(feed)[0] for feed in feeds]
        run_pipeline(made, Registry().resolve(parse(PIPELINE)), Context())
        verify(made)
        counts = count(made)
        assert counts["Attention"] == 1, counts
        assert not counts["Softmax"] and not counts["MatMul"], counts
        result = ReferenceEvaluator(model_bytes(made))
        for feed, want in zip(feeds, wanted):
            used = {k: v for k, v in feed.items() if k in result.input_names}
            got = result.run(None, used)[0]
            assert got.shape == want.shape and got.dtype == want.dtype
            np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), tolerance, tolerance)
    return made


# A scale after a mask that replaces scores, or after two, is another thing.
SCALED_MASKS = ("none", "added", "added first")


@pytest.mark.parametrize(
    ("scale", "mask"), [(s, m) for s in SCALES for m in MASKS if not s.startswith("masked") or m in SCALED_MASKS]
)
def test_scales_and_masks(scale: str, mask: str) -> None:
    for keys in KEYS:
        made = compare(attention(scale, mask, keys), infinite=mask in NO_KEY)
        node = next(n for n in made.walk() if n.op.name == "Attention")
        assert node.attr("scale") == pytest.approx(1.0 if scale == "none" else 0.3, rel=1e-5)
        assert not {"Mul", "Div"} & set(count(made)) or scale.startswith("masked"), count(made)


SPLITS = ("never", "for the mask", "until the values", "for the values")
ADDED = ("none", "added", "two", "kept, -1e9", "added and kept")


@pytest.mark.parametrize(("split", "mask"), [(s, m) for s in SPLITS for m in ADDED if s != "never" or m == "none"])
@pytest.mark.parametrize("scale", ["none", "scores*", "query/"])
def test_batch_and_heads_as_one_axis(scale: str, mask: str, split: str) -> None:
    """[B,4,S,8] is [4*B,S,8] in the products, and apart again where masks are added, or only at the end."""
    s = Spelling()

    def joined(value: str) -> str:
        target = s.op(
            "Concat", s.constant([-1], "i64"), s.op("Shape", value, attributes="start = 2"), attributes="axis = 0"
        )
        return s.op("Reshape", value, target)

    def apart(value: str) -> str:
        rest = s.op("Shape", value, attributes="start = 1")
        return s.op("Reshape", value, s.op("Concat", s.constant([-1, 4], "i64"), rest, attributes="axis = 0"))

    query = s.scaled("%q", "/", 0.3) if scale == "query/" else "%q"
    moved = s.op("Transpose", joined("%k"), attributes="perm = [0, 2, 1]")
    scores = s.op("MatMul", joined(query), moved)
    if scale == "scores*":
        scores = s.scaled(scores, "*", 0.3)
    if split != "never":
        scores = s.masked(apart(scores), mask)
    if split == "for the mask":
        scores = joined(scores)
    weights = s.op("Softmax", scores)
    if split == "until the values":
        weights = joined(weights)
    if split == "for the values":
        result = s.op("MatMul", weights, "%v")
    else:
        result = apart(s.op("MatMul", weights, joined("%v")))
    made = compare(model(s, result, 4, "last two", "returned"))
    assert count(made)["Reshape"] == count(made)["Transpose"] == 0, count(made)


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("end", ENDS)
def test_groups_of_heads(groups: str, end: str) -> None:
    for scale, keys in itertools.product(("none", "scores/", "both*"), ("last two", "merged")):
        if groups == "one broadcast" and keys == "merged":
            continue
        made = compare(attention(scale, "added", keys, end, groups))
        assert not {"Expand", "Tile", "Gather"} & set(count(made)), count(made)


@pytest.mark.parametrize("mask", ["none", "added", "two", "kept, -inf"])
@pytest.mark.parametrize("scale", ["none", "scores/", "both*", "query*"])
def test_half_precision(scale: str, mask: str) -> None:
    made = compare(attention(scale, mask, dtype="f16"), infinite=True, tolerance=5e-3)
    node = next(n for n in made.walk() if n.op.name == "Attention")
    assert node.attr("softmax_precision") == 1
    assert "Cast" not in count(made)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("mask", MASKS)
def test_ends(mask: str, end: str) -> None:
    compare(attention("scores*", mask, end=end), infinite=mask in NO_KEY)


def test_a_row_without_keys_is_zero_where_the_softmax_is_not_a_number() -> None:
    """What exporters write around the softmax for this is what Attention does."""
    from onnx.reference import ReferenceEvaluator

    made = parse_model(
        'geoc 1\nopset "" 21\n\ngraph @main(%q: f32[1,2,3,4], %k: f32[1,2,4,5], %v: f32[1,2,5,6], %keep: bool[1,1,3,5]) -> (%y) {\n'
        "  weight %inf: f32[] = -inf\n  weight %zero: f32[] = 0.0\n  %s = MatMul(%q, %k)\n  %m = Where(%keep, %s, %inf)\n"
        "  %p = Softmax(%m)\n  %n = IsNaN(%p)\n  %w = Where(%n, %zero, %p)\n  %y = MatMul(%w, %v)\n}\n"
    )
    infer_graph(made.graph)
    random = np.random.default_rng(0)
    feeds = {n: random.normal(size=v.shape).astype(np.float32) for n, v in zip("qkv", made.graph.inputs)}
    feeds["keep"] = np.array([[[[True, False, True, True, False], [False] * 5, [False, False, False, False, True]]]])
    wanted = Runner(made).run(feeds)[0]
    assert not wanted[0, :, 1].any()
    run_pipeline(made, Registry().resolve(parse(PIPELINE)), Context())
    assert count(made) == {"Attention": 1, "Transpose": 1}
    got = ReferenceEvaluator(model_bytes(made)).run(None, feeds)[0]
    np.testing.assert_allclose(got, wanted, 1e-5, 1e-6)


@pytest.mark.parametrize("fill", [-1e9, -1e4, LOWEST])
def test_large_scores_beside_masked_ones(fill: float) -> None:
    """A row without keys keeps the mean of all values, however large the scores are that were replaced."""
    from onnx.reference import ReferenceEvaluator

    spelled = attention("none", "kept, -1e9")
    where = next(n for n in spelled.graph if n.op.name == "Where")
    where.set_input(2, constant(Tensor.of(fill, F32), "fill"))
    feeds = feeds_of(spelled, {"B": 2, "S": 3, "T": 5}, infinite=False)
    feeds["q"] *= 40
    wanted = Runner(spelled).run(feeds)[0]
    np.testing.assert_allclose(wanted[-1, :, 0], feeds["v"][-1].mean(1), 1e-5, 1e-5)
    run_pipeline(spelled, Registry().resolve(parse(PIPELINE)), Context())
    assert count(spelled)["Attention"] == 1
    result = ReferenceEvaluator(model_bytes(spelled))
    got = result.run(None, {k: v for k, v in feeds.items() if k in result.input_names})[0]
    np.testing.assert_allclose(got, wanted, 1e-4, 1e-4)

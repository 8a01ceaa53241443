"""Masks of Attention in onnxruntime say what the standard operator says they do.

Its kernel takes masks of exactly [queries, keys] in the last two dimensions, and the lowest float in one for -inf. What is
right comes from onnx's reference implementation of the operator.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.onnx import model_bytes

from .test_forms import counts, lowered, session

B, S, T = 2, 3, 4
ROWS = "graph @main(%q: DT[B,S,32], %k: DT[B,T,16], %v: DT[B,T,16], %m: MASK) -> (%y) {\n  BODY\n}"
HEADS = "graph @main(%q: DT[B,4,S,8], %k: DT[B,2,T,8], %v: DT[B,2,T,8], %m: MASK) -> (%y) {\n  BODY\n}"
CACHE = (
    "graph @main(%q: DT[B,4,S,8], %k: DT[B,2,U,8], %v: DT[B,2,U,8], %pk: DT[B,2,P,8], %pv: DT[B,2,P,8], %m: MASK) -> (%y, %ks, %vs) {\n"
    "  BODY\n}"
)
CALLS = {
    ROWS: "%y = Attention(%q, %k, %v, MASK) {q_num_heads=4, kv_num_heads=2}",
    HEADS: "%y = Attention(%q, %k, %v, MASK)",
    CACHE: "%y, %ks, %vs = Attention(%q, %k, %v, MASK, %pk, %pv)",
}
FORMS = {"rows": ROWS, "heads": HEADS, "cache": CACHE}


def compare(text: str, mask: Any, dtype: Any = np.float32, tolerance: float = 1e-5) -> None:
    """Run what ort-forms makes of a graph, at onnxruntime's default level, and the graph by the reference."""
    from onnx.reference import ReferenceEvaluator

    source = parse_model(f'geoc 1\nopset "" 24\n\n{text}')
    infer_graph(source.graph)
    reference = ReferenceEvaluator(model_bytes(source))
    random = np.random.default_rng(7)
    sizes = {"B": B, "S": S, "T": T, "U": T - 1, "P": 1, "P+U": T}
    feeds = {}
    for name, value in zip(source.graph.input_names, source.graph.inputs):
        shape = [d if isinstance(d, int) else sizes.get(str(d), 0) for d in value.shape or ()]
        feeds[name] = mask if name == "m" else random.normal(size=shape).astype(dtype)
    with np.errstate(all="ignore"):
        wanted = reference.run(None, feeds)
    found = session(lowered(text)).run(None, feeds)
    for got, want in zip(found, wanted):
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), tolerance, tolerance)


def graph(form: str, mask: str, dtype: str = "f32", body: str = "", name: str = "%m") -> str:
    call = CALLS[FORMS[form]].replace("MASK", name)
    return FORMS[form].replace("BODY", f"{body}\n  {call}").replace("MASK", mask).replace("DT", dtype)


SHAPES = ("[1]", "[T]", "[2]", "[S,1]", "[S,2]", "[1,T]", "[1,1]", "[B,1,S,1]", "[B,1,1,T]", "[1,4,S,3]", "[4,1,2]", "[S,W]", "[V,W]", "[S,T]")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["f32", "bool"])
def test_rows_are_repeated_and_columns_are_hidden(shape: str, dtype: str, form: str) -> None:
    """A mask shorter than the keys hides the rest of them, even one of a single column; other dimensions broadcast."""
    for w, v in itertools.product((1, 2, T), (1, S)):
        sizes = {"B": B, "S": S, "T": T, "W": w, "V": v}
        dims = [sizes[d] if d in sizes else int(d) for d in shape[1:-1].split(",")]
        random = np.random.default_rng(w)
        mask: Any = random.normal(size=dims).astype(np.float32) if dtype == "f32" else random.random(dims) < 0.6
        compare(graph(form, dtype + shape.replace("T", "P+U" if form == "cache" else "T")), mask)


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_with_all_rows_and_columns_is_left_alone(form: str) -> None:
    mask = f"bool[S,{'P+U' if form == 'cache' else 'T'}]"
    assert not {"Expand", "Pad"} & counts(lowered(graph(form, mask))).keys()


F32, F16 = (float(np.finfo(t).min) for t in (np.float32, np.float16))
PATTERNS = {
    "all": [1, 1, 1, 1], "some": [1, 1, 0, 0], "never": [np.inf] * 4, "one and never": [1, np.inf, np.inf, np.inf],
    "nearly": [1, 1, 1, 0.99], "biased": [1, 1e-38, 1, 0],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_the_lowest_float_is_a_number(dtype: str, pattern: str, form: str) -> None:
    """A row of it gives the mean of the values. -inf beside it stays -inf, and greater numbers stay greater."""
    kind = np.float32 if dtype == "f32" else np.float16
    low = F32 if dtype == "f32" else F16
    mask = np.zeros((S, T), kind)
    with np.errstate(invalid="ignore", over="ignore"):
        mask[0] = (np.array(PATTERNS[pattern]) * low).astype(kind)
    for shape in ("[S,T]", "[1,T]"):
        given = mask[: 1 if shape == "[1,T]" else S]
        shape = shape.replace("T", "P+U") if form == "cache" else shape
        compare(graph(form, dtype + shape, dtype), given, kind, 1e-5 if dtype == "f32" else 4e-3)


MADE = {
    "where": "%t = Greater(%m, %half)\n  %a = Where(%t, %low, %zero)",
    "where not": "%t = Less(%m, %half)\n  %a = Where(%t, %zero, %low)",
    "where shared": "%t = Greater(%m, %half)\n  %w = Where(%t, %low, %zero)\n  %a = Slice(%w, %none, %all, %none)",
    "product": "%a = Mul(%m, %low)",
    "difference": "%i = Sub(%one, %m)\n  %a = Mul(%i, %low)",
    "bounded": "%i = Mul(%m, %deep)\n  %a = Max(%i, %low)",
    "clipped": "%i = Mul(%m, %deep)\n  %a = Clip(%i, %low)",
    "twice": "%t = Greater(%m, %half)\n  %w = Where(%t, %low, %zero)\n  %a = Add(%w, %w)",
    "in two ways": "%t = Greater(%m, %half)\n  %u = Greater(%m, %one)\n  %w = Where(%t, %low, %zero)\n  %a = Where(%u, %low, %w)",
    "for good": "%t = Greater(%m, %half)\n  %u = Greater(%m, %one)\n  %w = Where(%t, %low, %zero)\n  %a = Where(%u, %deep, %w)",
}
NUMBERS = (
    "weight %half: f32[] = 0.5\n  weight %zero: f32[] = 0.0\n  weight %one: f32[] = 1.0\n  weight %deep: f32[] = -inf\n"
    f"  weight %low: f32[] = {F32!r}\n  weight %none: i64[1] = [0]\n  weight %all: i64[1] = [9]\n  "
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", MADE)
def test_ways_to_the_lowest_float(way: str, form: str) -> None:
    """However a mask comes to it: factors above 1 and sums of two make -inf of it, which hides for good."""
    body = f"{NUMBERS}{MADE[way]}"
    mask = f"f32[S,{'P+U' if form == 'cache' else 'T'}]"
    for row in ([1, 1, 1, 1], [0, 1, 1, 0], [2, 1, 1, 2], [1, 0.99, 1, 1], [2, 2, 2, 2]):
        if way in ("bounded", "clipped") and 0 in row:
            continue  # not a number
        given = np.zeros((S, T), np.float32) + (way in ("bounded", "clipped"))
        given[0] = row
        compare(graph(form, mask, body=body, name="%a"), given)


def test_a_mask_of_two_numbers_is_built_in_as_many_steps() -> None:
    """The number in the Where is another one, and nothing is added."""
    found = counts(lowered(graph("heads", "f32[S,T]", body=f"{NUMBERS}{MADE['where']}", name="%a")))
    assert found == {"Greater": 1, "Where": 1, "Attention": 1}

"""Einsum equations and blocks of neighbours in every form, compared with onnxruntime's own operators."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model
from geoc.ir.dims import symbol
from geoc.ir.types import F32, tensor_type
from geoc.ir.verify import verify
from geoc.passes.fuse.einsum import einsum_kind

from ...golden import Runner
from .spelling import operators

SIZES = {"b": 2, "h": 3, "i": 4, "j": 5, "k": 6, "d": 7, "w": 2, "c": 3}
KNOWN = "hdkcw"  # letters whose lengths are numbers in the graph
COMMON = [
    "bhid,bhjd->bhij", "bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd", "bhqk,bhkd->bhqd", "bik,bkj->bij", "ik,kj->ij", "ki,kj->ij",
    "bik,kj->bij", "ik,bkj->bij", "ik,bkj->bji", "bihd,hdc->bic", "bic,chd->bihd", "bhwc,hkc->bhwk", "bhwc,wkc->bhwk",
    "ik,k->i", "k,kj->j", "bik,bk->bi", "bk,bkj->bj", "bhd,bhd->bh", "bid,bid->bi", "bd,bd->b", "bhd,bd->bhd",
    "bd,bhd->bhd", "bij,ij->bij", "ij,ji->ij", "bid,bjd->bji", "nbhd,mbhd->bhnm", "bid , bjd -> bij", "ik,kj",
    "bhdi,bhdj->bhij", "bchw,bkhw->bck",
]  # fmt: skip


def einsum(equation: str, known: str = KNOWN) -> Model:
    """One Einsum; letters that are not `known` have symbolic lengths."""
    graph = Graph("main")
    build = Builder(graph)
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    inputs = [
        graph.add_input(f"x{n}", tensor_type(F32, tuple(SIZES.get(c, 2) if c in known else symbol(c) for c in term)))
        for n, term in enumerate(terms)
    ]
    graph.set_outputs([build.op("Einsum", *inputs, equation=equation)], ["y"])
    verify(model := Model(graph))
    return model


def same(before: Model, after: Model, sizes: dict[str, int]) -> None:
    random = np.random.default_rng(0)
    feeds = {}
    for name, value in zip(before.graph.input_names, before.graph.inputs):
        assert value.shape is not None
        shape = [d if isinstance(d, int) else sizes.get(str(d), 2) for d in value.shape]
        feeds[name] = random.normal(size=shape).astype(np.float32)
    old = Runner(before)
    a, b = Runner(after, like=old).run(feeds)[0], old.run(feeds)[0]
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, 1e-5, 1e-5)


@pytest.mark.parametrize("known", ["", KNOWN, KNOWN + "bijnm"])
@pytest.mark.parametrize("equation", COMMON)
def test_common_equations(equation: str, known: str) -> None:
    after = einsum(equation, known)
    left = operators(after, "arrangements,identity")
    unknown = ("bihd,hdc->bic", "bchw,bkhw->bck", "bic,chd->bihd") if not known else ()
    several = equation in unknown  # axes of unknown length do not become one
    assert left["Einsum"] == several
    for sizes in (SIZES, dict.fromkeys(SIZES, 1)):
        same(einsum(equation, known), after, sizes)


def test_random_equations() -> None:
    random = np.random.default_rng(3)
    raised = 0
    for _ in range(150):
        letters = list("bhijkd")
        a, b = ("".join(random.permutation(letters)[: random.integers(1, 5)]) for _ in range(2))
        out = "".join(random.permutation([c for c in letters if c in a + b and random.random() < 0.6]))
        equation = f"{a},{b}->{out}"
        after = einsum(equation)
        kinds = operators(after, "arrangements,identity")
        raised += not kinds["Einsum"]
        same(einsum(equation), after, SIZES)
    assert 60 < raised < 140


@pytest.mark.parametrize("equation", ["ij->ji", "ij->i", "ij->", "bij->jb", "bij->b", "ij"])
def test_equations_of_one_operand(equation: str) -> None:
    after = einsum(equation)
    assert "Einsum" not in operators(after, "arrangements,identity")
    same(einsum(equation), after, SIZES)


@pytest.mark.parametrize("equation", ["ii->i", "ii,ij->ij", "i,j->ij", "bij,bik,bkj->b", "bi,bj->bij"])
def test_equations_that_stay(equation: str) -> None:
    terms = equation.partition("->")[0].split(",")
    assert operators(shaped(equation, *[(3,) * len(t) for t in terms]), "arrangements") == Counter({"Einsum": 1})


def shaped(equation: str, *shapes: tuple[int, ...]) -> Model:
    """One Einsum of operands of these shapes."""
    graph = Graph("main")
    inputs = [graph.add_input(f"x{n}", tensor_type(F32, shape)) for n, shape in enumerate(shapes)]
    graph.set_outputs([Builder(graph).op("Einsum", *inputs, equation=equation)], ["y"])
    return Model(graph)


@pytest.mark.parametrize(
    ("equation", "shapes", "raised"),
    [
        ("...ij,...jk->...ik", ((2, 3, 4, 5), (2, 3, 5, 6)), True),
        ("...ij,jk->...ik", ((2, 3, 4, 5), (5, 6)), True),
        ("i...d,j...d->...ij", ((4, 2, 3, 5), (6, 2, 3, 5)), True),
        ("...ij,...jk", ((2, 4, 5), (2, 5, 6)), True),
        ("...i->...", ((2, 3, 4),), True),
        ("...ij,...jk->...ik", ((1, 4, 5), (2, 5, 6)), False),  # the 1 is repeated
    ],
)
def test_ellipses(equation: str, shapes: tuple[tuple[int, ...], ...], raised: bool) -> None:
    after = shaped(equation, *shapes)
    assert operators(after, "arrangements")["Einsum"] == (not raised)
    same(shaped(equation, *shapes), after, {})


def test_lengths_that_do_not_fit_stay() -> None:
    graph = Graph("main")
    a, b = graph.add_input("a", tensor_type(F32, (2, 1))), graph.add_input("b", tensor_type(F32, (3, 4)))
    assert einsum_kind("ij,jk->ik", a, b) is None


def blocks(kind: str, k: int) -> Model:
    """SpaceToDepth or DepthToSpace by a Transpose of six axes."""
    graph = Graph("main")
    build = Builder(graph)
    n, c, h, w = symbol("B"), 3, 4, 5
    if kind == "SpaceToDepth":
        x = graph.add_input("x", tensor_type(F32, (n, c, h * k, w * k)))
        y = build.op("Reshape", x, build.ints([0, c, h, k, w, k]))
        y = build.op("Transpose", y, perm=(0, 3, 5, 1, 2, 4))
        y = build.op("Reshape", y, build.ints([0, c * k * k, h, w]))
    else:
        x = graph.add_input("x", tensor_type(F32, (n, c * k * k, h, w)))
        rows = kind == "DCR"
        y = build.op("Reshape", x, build.ints([0, k, k, c, h, w] if rows else [0, c, k, k, h, w]))
        y = build.op("Transpose", y, perm=(0, 3, 4, 1, 5, 2) if rows else (0, 1, 4, 2, 5, 3))
        y = build.op("Reshape", y, build.ints([0, c, h * k, w * k]))
    graph.set_outputs([y], ["y"])
    return Model(graph)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("kind", ["SpaceToDepth", "DCR", "CRD"])
def test_blocks(kind: str, k: int) -> None:
    after = blocks(kind, k)
    wanted = "SpaceToDepth" if kind == "SpaceToDepth" else "DepthToSpace"
    assert operators(after, "arrangements") == Counter({wanted: 1})
    for batch in (1, 3):
        same(blocks(kind, k), after, {"B": batch})

"""Random models come back from their text exactly."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from geoc.ir.core import Model
from geoc.ir.equal import difference, equal, structural_hash
from geoc.ir.text import parse_model, print_model


@pytest.mark.parametrize("seed", range(60))
def test_full_text_comes_back_exactly(random_model: Callable[[int], Model], seed: int) -> None:
    model = random_model(seed)
    text = print_model(model, full=True)
    back = parse_model(text)
    assert difference(model, back) is None
    assert structural_hash(model) == structural_hash(back)
    again = print_model(back, full=True)
    assert again == text
    # After one trip every name is unique: nothing at all may change on the next.
    assert difference(back, parse_model(again), strict=True) is None
    assert difference(back, parse_model(again, fast=False), strict=True) is None


@pytest.mark.parametrize("seed", range(200, 220))
def test_short_text_keeps_the_meaning(random_model: Callable[[int], Model], seed: int) -> None:
    model = random_model(seed)
    for weights in ("auto", "inline"):
        assert equal(model, parse_model(print_model(model, weights=weights)))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(300, 310))
def test_metadata_survives_a_full_text(random_model: Callable[[int], Model], seed: int) -> None:
    model = random_model(seed)
    back = parse_model(print_model(model, full=True))
    for ours, theirs in zip(model.walk(), back.walk()):
        assert (ours.meta or {}) == (theirs.meta or {})
        assert ours.loc == theirs.loc
        assert [v.meta or {} for v in ours.outputs] == [v.meta or {} for v in theirs.outputs]
    for ours_graph, theirs_graph in zip(model.graphs(), back.graphs()):
        assert (ours_graph.meta or {}) == (theirs_graph.meta or {})
        assert ours_graph.input_names == theirs_graph.input_names
        assert ours_graph.output_names == theirs_graph.output_names
        assert ours_graph.name == theirs_graph.name


def test_different_seeds_differ(random_model: Callable[[int], Model]) -> None:
    models = [random_model(seed) for seed in range(20)]
    assert len({structural_hash(m) for m in models}) == 20
    assert all(not equal(a, b) for a, b in itertools.pairwise(models))

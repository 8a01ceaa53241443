"""Sets of labels beside plain Python, and parts of reshaped axes beside numpy."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from geoc.ir.dims import symbol
from geoc.passes.prune.labels import Forest
from geoc.passes.prune.reshaping import factors

B, S = symbol("B"), symbol("S")


@pytest.mark.parametrize("seed", range(5))
def test_sets_are_those_of_a_search_through_the_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    forest = Forest()
    forest.grow(60)
    pairs = rng.integers(0, 60, (2, 35))
    for part in np.array_split(np.arange(35), 4):
        forest.unite(pairs[0, part], pairs[1, part])
    sets = [{i} for i in range(60)]
    for a, b in pairs.T.tolist():
        joined = sets[a] | sets[b]
        for member in joined:
            sets[member] = joined
    assert forest.roots.tolist() == [min(s) for s in sets]


@pytest.mark.parametrize("before, after", [
    ((2, 6, 12), (2, 6, 3, 4)), ((2, 6, 3, 4), (2, 6, 12)), ((4, 30), (4, 2, 3, 5)), ((6, 4), (2, 3, 4)), ((6, 4), (2, 12)),
    ((5, 8, 1, 1), (5, 8)), ((2, 3, 4), (24,)), ((24,), (2, 3, 4)), ((3, 1, 7), (1, 3, 7)),
])  # fmt: skip
def test_parts_of_axes_are_where_numpy_puts_them(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    """A tensor that holds the position along one axis holds, once reshaped, what the axis' parts say."""
    parts = factors(before, after)
    for axis, size in enumerate(before):
        of = [part for part in parts if part.before == axis]
        assert prod(part.size for part in of) == size  # type: ignore[misc]
        index = np.arange(size).reshape([-1 if i == axis else 1 for i in range(len(before))])
        moved = np.broadcast_to(index, before).reshape(after)
        # The same by the parts: each varies along one axis of the result, among the parts of that.
        sizes = [part.size for part in parts]
        grid = np.indices(sizes).reshape(len(parts), -1)
        position = np.zeros(grid.shape[1], np.int64)
        for number, part in enumerate(parts):
            if part.before == axis:
                position = position * part.size + grid[number]
        assert np.array_equal(moved.reshape(-1), position)


def test_parts_of_symbols() -> None:
    found = factors((B, S, 384), (B * S, 12, 32))
    assert [tuple(part) for part in found] == [(B, 0, 0), (S, 1, 0), (12, 2, 1), (32, 2, 2)]
    assert [tuple(part) for part in factors((B, 12, S, 32), (B * 12, S, 32))] == [(B, 0, 0), (12, 1, 0), (S, 2, 1), (32, 3, 2)]


def test_axes_whose_parts_do_not_fit_have_none() -> None:
    assert factors((2, 6, 4, 5), (2, 4, 6, 5)) == [(2, 0, 0), (5, 3, 3)]

"""A slice of the random-graph campaign: models that onnxruntime runs mean the same after -O2."""

from __future__ import annotations

import pytest

from .workers import judge_seed

SLICES = 8
PER_SLICE = 25


@pytest.mark.parametrize("part", range(SLICES))
def test_random_graphs_mean_the_same_after_o2(part: int) -> None:
    judged = 0
    for seed in range(part * PER_SLICE, (part + 1) * PER_SLICE):
        verdict = judge_seed(seed)
        if verdict is None:
            judged += 1
        else:
            assert verdict.kind == "discard", f"seed {seed}: {verdict}; tests/fuzz/campaign.py --seeds {seed} --shrink"
    assert judged >= PER_SLICE // 2  # most models must have been judged, not thrown away

"""Random models mean the same after -O2, and stay what they are in every form; the first seeds of the campaign."""

from __future__ import annotations

import pytest

from .workers import survey

PARTS, SEEDS = 4, 100


@pytest.mark.parametrize("part", range(PARTS))
def test_random_models(part: int) -> None:
    faults, right = [], 0
    for seed, verdict in survey(range(part * SEEDS, (part + 1) * SEEDS)):
        if verdict is None:
            right += 1
        elif verdict.kind != "discard":
            faults.append(f"seed {seed}: {verdict}")
    assert not faults, "\n".join([*faults, "python tests/fuzz/campaign.py --shrink --seeds N makes them small"])
    assert right >= SEEDS * 0.9

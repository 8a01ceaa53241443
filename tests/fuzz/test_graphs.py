"""Random models mean the same after -O2, and stay what they are in every form; the first seeds of the campaign."""

from __future__ import annotations

import pytest

from .workers import survey

PARTS = [("all", range(first, first + 100)) for first in (0, 100, 200)]
PARTS += [("fusable", range(first, first + 100)) for first in (0, 100, 200)]


@pytest.mark.parametrize(("family", "seeds"), PARTS, ids=lambda part: str(part))
def test_random_models(family: str, seeds: range) -> None:
    faults, right = [], 0
    for seed, verdict in survey(seeds, family=family):
        if verdict is None:
            right += 1
        elif verdict.kind != "discard":
            faults.append(f"seed {seed}: {verdict}")
    again = f"python tests/fuzz/campaign.py --family {family} --shrink --seeds N makes them small"
    assert not faults, "\n".join([*faults, again])
    assert right >= len(seeds) * 0.9

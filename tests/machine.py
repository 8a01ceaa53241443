"""How fast this machine is beside the one that time budgets are set on, so that they are held as ratios."""

from __future__ import annotations

import tempfile
import time
from functools import cache

import onnx

from .bench.synthetic import build

REFERENCE = 0.019  # seconds of processor time for the load below, on the machine of the budgets


@cache
def slowness() -> float:
    """How many times longer onnx takes here to read 10,000 nodes; at least 1."""
    times = []
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(build(10_000), file.name)
        for _ in range(7):
            begun = time.process_time()
            onnx.load(file.name)
            times.append(time.process_time() - begun)
    return max(min(times) / REFERENCE, 1.0)

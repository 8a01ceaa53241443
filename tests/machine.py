"""What tests have to know of this machine: how fast it is beside the one that time budgets are set on, and how it adds."""

from __future__ import annotations

import tempfile
import time
from functools import cache

import onnx
import pytest

from geoc.lowering.targets import get_target
from geoc.lowering.targets.hardware import adds_exactly

from .bench.synthetic import build

REFERENCE = 0.019  # seconds of processor time for the load below, on the machine of the budgets

ADDS_EXACTLY = adds_exactly(get_target("cpu").hardware.features)
needs_exact_sums = pytest.mark.skipif(not ADDS_EXACTLY, reason="sums of products of u8 and i8 saturate on this processor")
# The target whose codes of 8 bits this processor multiplies without saturation, and how much coarser than 8 bits its weights are.
INTEGER_CPU, COARSER = ("cpu-vnni", 1) if ADDS_EXACTLY else ("cpu-avx2", 2)


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

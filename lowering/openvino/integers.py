"""What OpenVINO's CPU plugin computes in 8-bit integers: operators with FakeQuantize on all their operands."""

from __future__ import annotations

from ...ir.types import U8
from ...passes.quantize.kernels import Integers

INTEGERS = Integers(
    activations=U8,
    layers=frozenset({"Conv", "MatMul", "Gemm"}),
    tables=frozenset({"Gather"}),
    passing=frozenset({"MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat"}),
)
"""Operands alone make a layer an integer one; what reads its result quantizes that, and biases and activations fuse."""

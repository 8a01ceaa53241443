"""What TensorRT computes in 8-bit integers: symmetric, by QuantizeLinear and DequantizeLinear in front of operators."""

from __future__ import annotations

from ...ir.types import I8
from ...passes.quantize.kernels import Integers

INTEGERS = Integers(
    activations=I8,
    zero_points=False,
    layers=frozenset({"Conv", "MatMul", "Gemm"}),
    passing=frozenset({"MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat"}),
)
"""Results stay in floats, so that the quantization behind them fuses with the layer, its bias and its activation."""

"""What TensorRT computes in 8-bit integers: symmetric, by QuantizeLinear and DequantizeLinear in front of operators."""

from __future__ import annotations

from ...ir.types import I8
from ...passes.quantize.kernels import Integers

INTEGERS = Integers(
    activations=I8,
    zero_points=False,
    layers=frozenset({"Conv", "MatMul", "Gemm"}),
    passing=frozenset({"MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat"}),
    fused=True,
    alone_rows=2,
)
"""Results stay in floats, so that the quantization behind them fuses with the layer, its bias and its activation: what
TensorRT's developer guide says of Q and DQ layers (Explicit Quantization, "Q/DQ Layer-Placement Recommendations").

Of weights that alone are integers, TensorRT-RTX 1.7 reads those of a product with a scale for each output in the kernel
that multiplies, in half precision, for all compute capabilities from 7.5 on. With a single row (known when it is
built), with scales for blocks, and for convolutions it dequantizes them in a kernel of its own, on each run."""

"""What onnxruntime's CPU provider computes in 8-bit integers: kernels and selections of version 1.31."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.types import U8
from ...passes.quantize.kernels import Integers
from ..targets.hardware import adds_exactly


def integers(features: Iterable[str]) -> Integers:
    """The kernels on a processor with these features.

    u8 activations: a convolution with i8 ones takes 1.5 times as long on x86. Products give floats, because what
    follows them in a transformer is computed in floats; convolutions are selected only between codes.
    """
    return Integers(
        activations=U8,
        reduced=not adds_exactly(features),
        layers=frozenset({"Conv", "MatMul", "Gemm"}),
        closed=frozenset({"Conv"}),
        dynamic=frozenset({"MatMul", "Gemm"}),
        tables=frozenset({"Gather"}),
        carried=frozenset({"Add", "Mul", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid"}),
        passing=frozenset({"MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat"}),
        absorbed=frozenset({"Relu", "Clip"}),
        integer_bias=True,
        float_stem=True,
        lstm="com.microsoft::DynamicQuantizeLSTM",
    )

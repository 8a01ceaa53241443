"""What OpenVINO's CPU plugin computes in 8-bit integers: operators with FakeQuantize on all their operands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...ir.types import U8
from ...passes.quantize.kernels import Integers
from ..targets.hardware import adds_exactly

_INTEGERS = Integers(
    activations=U8,
    layers=frozenset({"Conv", "MatMul", "Gemm"}),
    tables=frozenset({"Gather"}),
    passing=frozenset({"MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat"}),
    added=frozenset({"Add"}),
    lifted=frozenset({"MaxPool"}),
    attended=frozenset({"Attention"}),
    float_stem=True,
)
"""Operands alone make a layer an integer one; what reads its result quantizes that, and biases and activations fuse.

Activations may be u8 or i8, at the same speed, and their zero point anywhere. There is no operator for scales that are
found at run time, and none is needed: a product with i8 weights behind a DequantizeLinear quantizes its rows by itself
(`groups` in `quantized`). The stem in floats costs EfficientNet-Lite0 nothing and halves its error.
"""
_SATURATES = frozenset(("avx2", "avx512"))  # unless something exact is there as well


def integers(features: Iterable[str]) -> Integers:
    """The kernels on a processor with these features; devices with none of those known here compute exactly.

    Where sums of products saturate, attention stays in floats: neither of its operands could lose a bit.
    """
    features = frozenset(features)
    if _SATURATES.isdisjoint(features) or adds_exactly(features):
        return _INTEGERS
    return replace(_INTEGERS, reduced=True, attended=frozenset())

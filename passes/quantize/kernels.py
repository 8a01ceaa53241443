"""What a runtime computes in 8-bit integers: the answer that passes ask ``ctx.capabilities.integers`` for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.types import I8, U8, DType

FUSED = 0.5
"""Of the launch of a kernel, what quantization takes where it is fused: some of it never is, nobody can tell which.

TensorRT-RTX 1.7 has 25 kernels more for the 49 quantized tensors of a BERT, 48 for the 50 of a ResNet; TensorRT's
developer guide has none.
"""


@dataclass(frozen=True)
class Integers:
    """The integer kernels of a runtime on one piece of hardware, as operators of the graph.

    `activations`: u8 or i8, what activations become; `zero_points`: may their zero point lie anywhere, or only in the
    middle. `reduced`: weights lose a bit, because sums of two products saturate.

    `layers` multiply by constant weights in integers. Of these, `closed` need their result quantized as well, the
    others give floats. `dynamic` may take scales that are found at run time. `tables`: row look-ups whose table may be
    integers. `carried` have kernels for operands and results that are all quantized, `passing` hand codes on as they
    are, so that operands and result share one scale, `absorbed` vanish in the quantization of their result.

    `added` are sums that a convolution in front of them takes in, if the other operand is codes. `lifted` give what is
    quantized behind them, as codes if they read codes. `attended` multiply queries, keys and values that are i8 codes.

    `integer_bias`: biases of closed layers are 32-bit integers. `float_stem`: a convolution of the few channels of a
    picture is faster in floats. `fused`: quantization is mostly a part of the kernels around it: what makes floats
    writes codes, what reads codes takes them back (`FUSED`). `alone_rows`: rows of floats from which on a layer reads
    weights that alone are integers. `lstm`: the operator that computes an LSTM with integer weights, with the operands
    of com.microsoft's DynamicQuantizeLSTM; "" for none.
    """

    activations: DType = U8
    zero_points: bool = True
    reduced: bool = False
    layers: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()
    dynamic: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    carried: frozenset[str] = frozenset()
    passing: frozenset[str] = frozenset()
    absorbed: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()
    lifted: frozenset[str] = frozenset()
    attended: frozenset[str] = frozenset()
    integer_bias: bool = False
    float_stem: bool = False
    fused: bool = False
    alone_rows: int = 1
    lstm: str = ""


PLAIN = Integers(
    activations=I8,
    zero_points=False,
    layers=frozenset({"Conv", "MatMul", "Gemm"}),
    tables=frozenset({"Gather"}),
    passing=frozenset({"MaxPool", "Reshape", "Flatten", "Transpose"}),
)
"""For a target of which nothing is known: what every runtime has, symmetric."""


def integers_of(capabilities: Any) -> Integers:
    """What a target says it computes in integers; `PLAIN` where it says nothing."""
    found = getattr(capabilities, "integers", None)
    return found if isinstance(found, Integers) else PLAIN

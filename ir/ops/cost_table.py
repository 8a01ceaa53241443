"""Arithmetic by operator, by hand: floating-point operations per element, and which operators are products.

An operation counts as many as its usual vectorized form takes: 1 for an addition, multiplication or comparison, 4 for
a division or square root, 10 for one that is a polynomial or a table (exp, log, erf, tanh, sin), the sum of its
parts for one that is made of others. What is not listed counts 1. Keys are operators without their revision.
"""

from __future__ import annotations

DIVIDE, TRANSCENDENTAL = 4.0, 10.0


def _each(amount: float, names: str, domain: str = "") -> dict[str, float]:
    return {(f"{domain}::" if domain else "") + name: amount for name in names.split()}


PER_OUTPUT: dict[str, float] = {
    **_each(0.0, "Identity Reshape Flatten Squeeze Unsqueeze Shape Size Transpose Concat Slice Split Gather GatherND "
            "GatherElements Expand Tile Pad DepthToSpace SpaceToDepth ConstantOfShape"),
    **_each(DIVIDE, "Div Reciprocal Sqrt Mod HardSigmoid HardSwish Softsign"),
    **_each(TRANSCENDENTAL, "Exp Log Erf Tanh Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh"),
    **_each(2 * TRANSCENDENTAL, "Pow"),
    **_each(TRANSCENDENTAL + DIVIDE + 1, "Sigmoid Elu Selu Celu Softplus"),
    **_each(TRANSCENDENTAL + DIVIDE + 3, "Gelu Swish SwiGLU"),
    **_each(2 * TRANSCENDENTAL + 2, "Mish"),
    **_each(TRANSCENDENTAL + DIVIDE + 4, "Gelu FastGelu BiasGelu QuickGelu ScaledSiLU", "com.microsoft"),
    **_each(6.0, "RotaryEmbedding"),
    **_each(6.0, "RotaryEmbedding", "com.microsoft"),
    **_each(8.0, "Resize Upsample GridSample AffineGrid RoiAlign"),
    **_each(3.0, "QuantizeLinear DequantizeLinear"),
    **_each(6.0, "DynamicQuantizeLinear"),
    **_each(2.0, "BatchNormalization"),
}  # fmt: skip
"""Operations per element of the first output."""

PER_INPUT: dict[str, float] = {
    **_each(1.0, "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ArgMax ArgMin CumSum GlobalAveragePool "
            "GlobalMaxPool MaxUnpool"),
    **_each(2.0, "ReduceSumSquare ReduceL2 GlobalLpPool"),
    **_each(TRANSCENDENTAL, "ReduceLogSum"),
    **_each(TRANSCENDENTAL + 2, "ReduceLogSumExp"),
    **_each(TRANSCENDENTAL + 4, "Softmax LogSoftmax Hardmax"),
    **_each(8.0, "LayerNormalization GroupNormalization InstanceNormalization MeanVarianceNormalization"),
    **_each(5.0, "RMSNormalization LpNormalization"),
    **_each(5.0, "SimplifiedLayerNormalization"),
    **_each(9.0, "SkipLayerNormalization SkipGroupNorm EmbedLayerNormalization GroupNorm", "com.microsoft"),
    **_each(6.0, "SkipSimplifiedLayerNormalization GatedRMSNorm", "com.microsoft"),
    **_each(12.0, "LRN"),
    **_each(20.0, "TopK"),
    **_each(40.0, "DFT STFT"),
}  # fmt: skip
"""Operations per element of the first input."""

PRODUCTS: dict[str, int] = {
    "MatMul": 1,
    "MatMulInteger": 1,
    "QLinearMatMul": 3,
    "Gemm": 1,
    "com.microsoft::FusedMatMul": 1,
    "com.microsoft::FusedGemm": 1,
    "com.microsoft::GemmFastGelu": 1,
    "com.microsoft::DynamicQuantizeMatMul": 1,
    "com.microsoft::MatMulIntegerToFloat": 1,
    "com.microsoft::QGemm": 3,
}
"""Matrix products, and the operand that is the second factor."""

CONVOLUTIONS: dict[str, int] = {
    "Conv": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
    "DeformConv": 1,
    "com.microsoft::FusedConv": 1,
    "com.microsoft::NhwcConv": 1,
    "com.microsoft::QLinearConv": 3,
}
"""Convolutions whose output each is a sum over the weights of one filter, and the operand with the weights."""

POOLS = frozenset({"AveragePool", "MaxPool", "LpPool"})
RECURRENT: dict[str, int] = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Recurrent layers, and how many gates each has."""

ALIASES = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Size", "Dropout", "com.microsoft::ExpandDims"}
)
"""The output is the input under another shape, or a fact about it: runtimes move nothing."""

SELECTIONS = frozenset(
    {"Gather", "GatherND", "GatherElements", "Slice", "Split", "Compress", "com.microsoft::GatherBlockQuantized"}
)
"""As much of the first input is read as is written, not all of it."""

# What runs on matrix units where a machine has them, at the rate of its element type.
MATRIX_UNITS = frozenset((
    *PRODUCTS, *CONVOLUTIONS, *RECURRENT, "ConvTranspose", "Einsum", "Attention", "com.microsoft::MatMulNBits",
    "com.microsoft::MultiHeadAttention", "com.microsoft::GroupQueryAttention", "com.microsoft::Attention",
))  # fmt: skip

"""What operators are, by hand, where onnx.defs does not say or says it wrongly.

All tables hold op keys ("Add", "com.microsoft::Gelu"), and so speak of every revision of the
operator. `onnx.defs` has a determinism flag, but it calls AffineGrid random and DepthToSpace
unknown.
"""

from __future__ import annotations


def _keys(names: str, domain: str = "") -> frozenset[str]:
    prefix = f"{domain}::" if domain else ""
    return frozenset(prefix + name for name in names.split())


# Inputs may be exchanged: the first two, or all of a variadic list.
COMMUTATIVE = _keys(
    """
    Add And BitwiseAnd BitwiseOr BitwiseXor Equal Max Mean Min Mul Or Sum Xor
    """
) | _keys("ComplexMul", "com.microsoft")

# f(f(x)) = f(x), other inputs and attributes being the same.
IDEMPOTENT = _keys("Abs Ceil Clip Floor Identity Relu Round Sign Trilu")

# f(f(x)) = x exactly.
INVOLUTION = _keys("BitwiseNot Neg Not")

# An output element depends on the corresponding elements of the inputs only, after numpy
# broadcasting.
ELEMENTWISE = _keys(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitCast BitShift BitwiseAnd BitwiseNot
    BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor
    Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less
    LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu
    Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt StringConcat Sub Sum SwiGLU Swish Tan
    Tanh ThresholdedRelu Where Xor
    """
) | _keys(
    """
    BiasAdd BiasGelu FastGelu GatedAdd Gelu QuickGelu ScaledSiLU
    """,
    "com.microsoft",
)

# The output is input 0 in the same element order, only its shape differs.
VIEW = _keys("Flatten Identity Reshape Squeeze Unsqueeze") | _keys(
    "ExpandDims SampleOp", "com.microsoft"
)

# Elements are moved, repeated or dropped; none is computed. Views are not listed again.
MOVEMENT = _keys(
    """
    CenterCropPad Compress Concat DepthToSpace Expand Gather GatherElements GatherND Pad
    ReverseSequence Slice SpaceToDepth Split Tile Transpose Unique
    """
) | _keys("GatherND Pad UnfoldTensor Unique", "com.microsoft")

# Some axes are folded into one number each.
REDUCTION = _keys(
    """
    ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare
    """
) | _keys("QLinearReduceMean ReduceSumInteger", "com.microsoft")

# With a single input these return it.
ONE_INPUT_IS_IDENTITY = _keys("Concat Max Mean Min Sum")

# The constant which, at the given operand, leaves the other operand as it is: (operand or None for
# either, value). For floats, adding 0 turns -0.0 into 0.0; everything else is exact.
NEUTRAL: dict[str, tuple[int | None, float | bool]] = {
    "Add": (None, 0),
    "And": (None, True),
    "BitShift": (1, 0),
    "BitwiseAnd": (None, -1),
    "BitwiseOr": (None, 0),
    "BitwiseXor": (None, 0),
    "Div": (1, 1),
    "Mul": (None, 1),
    "Or": (None, False),
    "Pow": (1, 1),
    "Sub": (1, 0),
    "Xor": (None, False),
}

# A new draw at each run, even with a seed: not to be folded, merged or repeated.
RANDOM = _keys(
    """
    Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike
    """
) | _keys("Sampling", "com.microsoft")

# Random if this input may be true; inference, and so deterministic, without it.
TRAINING_INPUT: dict[str, int] = {
    "Dropout": 2,
    "com.microsoft::BiasDropout": 4,
    "com.microsoft::BitmaskBiasDropout": 4,
    "com.microsoft::BitmaskDropout": 2,
}

# These do more than compute their outputs, although they have a schema: caches written in place,
# compiled blobs, and a symbolic gradient of whatever surrounds it.
IMPURE = _keys(
    """
    EPContext PagedAttention Snpe SparsePagedAttention
    """,
    "com.microsoft",
) | _keys("Gradient", "ai.onnx.preview.training")

# The output may be far larger than all inputs together.
LARGE_OUTPUT = _keys(
    """
    BlackmanWindow CenterCropPad ConstantOfShape Expand HammingWindow HannWindow
    MelWeightMatrix OneHot Pad RandomNormal RandomUniform Range Resize Tile Upsample
    """
) | _keys("CropAndResize Pad Range UnfoldTensor", "com.microsoft")

# Folding would undo a decision of the model: quantized weights would grow back, filled tensors
# become weights.
NEVER_FOLD = _keys(
    """
    ConstantOfShape DequantizeLinear DynamicQuantizeLinear QuantizeLinear
    """
) | _keys(
    """
    DequantizeBFP DequantizeLinear DequantizeWithOrder GatherBlockQuantized QuantizeBFP
    QuantizeLinear QuantizeWithOrder
    """,
    "com.microsoft",
) | _keys("TRT_FP4DynamicQuantize TRT_MXFP8DynamicQuantize TRT_MXFP8DequantizeLinear", "trt")

"""Operators that work element by element: the shape of the operand, or the broadcast of several."""

from __future__ import annotations

from collections.abc import Callable

from ..core import Node
from ..types import BOOL, BY_ONNX, F32, DType, tensor_type
from .base import (
    Found,
    Result,
    broadcast,
    by_two_types,
    dtype_at,
    fail,
    made,
    same,
    shape_at,
    tensor_at,
)


def arithmetic(node: Node) -> Result:
    """Two operands of one dtype, broadcast."""
    if node.attrs and ("broadcast" in node.attrs or "axis" in node.attrs):
        return same(node)  # before opset 7 the second operand is fitted to the first
    return _arithmetic(node)


def comparison(node: Node) -> Result:
    """Two operands of one dtype, broadcast; the result is bool."""
    if node.attrs and ("broadcast" in node.attrs or "axis" in node.attrs):
        return made(BOOL, shape_at(node, 0))
    return _comparison(node)


@by_two_types
def _arithmetic(node: Node) -> Result:
    return _broadcast_pair(node, None)


@by_two_types
def _comparison(node: Node) -> Result:
    return _broadcast_pair(node, BOOL)


def _broadcast_pair(node: Node, result: DType | None) -> Found:
    dtype = _common_dtype(node, 0)
    if dtype is None:
        return None if result is None else tensor_type(result, None)
    a, b = shape_at(node, 0), shape_at(node, 1)
    shape = None if a is None or b is None else broadcast(node, a, b)
    return made(result or dtype, shape)


def _common_dtype(node: Node, first: int) -> DType | None:
    dtype: DType | None = None
    for index in range(first, len(node.inputs)):
        found = tensor_at(node, index)
        if found is None:
            continue
        if dtype is not None and found.dtype is not dtype:
            kinds = " and ".join(
                str(t) for i in range(first, len(node.inputs)) if (t := tensor_at(node, i))
            )
            raise fail(node, f"operands of different element types: {kinds}")
        dtype = found.dtype
    return dtype


def power(node: Node) -> Result:
    """The dtype of the base; the exponent may have another."""
    base = tensor_at(node, 0)
    if base is None or "broadcast" in node.attrs:
        return base
    a, b = base.shape, shape_at(node, 1)
    return made(base.dtype, None if a is None or b is None else broadcast(node, a, b))


def variadic(node: Node) -> Result:
    """Any number of operands of one dtype, broadcast."""
    dtype = _common_dtype(node, 0)
    if dtype is None:
        return None
    return _broadcast_all(node, dtype, 0)


def where(node: Node) -> Result:
    """condition, x, y broadcast; the dtype of x and y."""
    dtype = _common_dtype(node, 1)
    return None if dtype is None else _broadcast_all(node, dtype, 0)


def _broadcast_all(node: Node, dtype: DType, first: int) -> Found:
    shape = shape_at(node, first)
    if shape is None:
        return tensor_type(dtype, None)
    total = list(shape)
    for index in range(first + 1, len(node.inputs)):
        other = shape_at(node, index)
        if other is None:
            return tensor_type(dtype, None)
        total = broadcast(node, total, other)  # type: ignore[assignment]
    return made(dtype, total)


def predicate(node: Node) -> Result:
    """The operand's shape as bool: IsNaN, IsInf, Not, RegexFullMatch."""
    return tensor_type(BOOL, shape_at(node, 0))


def dtype_of_code(node: Node, code: object) -> DType:
    """The dtype of an attribute that holds a TensorProto.DataType. Raises InvalidModel if none."""
    found = BY_ONNX.get(code) if isinstance(code, int) else None
    if found is None and isinstance(code, str):  # Cast before opset 6 spells it
        found = next((d for d in BY_ONNX.values() if d.onnx_name == code.lower()), None)
    if found is None:
        raise fail(node, f"{code!r} is no element type")
    return found


def cast(node: Node) -> Result:
    return tensor_type(dtype_of_code(node, node.attrs.get("to")), shape_at(node, 0))


def cast_like(node: Node) -> Result:
    dtype = dtype_at(node, 1)
    return None if dtype is None else tensor_type(dtype, shape_at(node, 0))


def bit_cast(node: Node) -> Result:
    """The same bytes under another dtype of the same width."""
    return tensor_type(dtype_of_code(node, node.attrs.get("to")), shape_at(node, 0))


def dropout(node: Node) -> Result:
    """Output and mask; the mask is bool from opset 10 on."""
    data = tensor_at(node, 0)
    if data is None:
        return None
    mask = BOOL if node.op.revision >= 10 or node.op.until is None else data.dtype
    return data, tensor_type(mask, data.shape)


def like_with_dtype(node: Node) -> Result:
    """The operand's shape with the dtype attribute, else the operand's dtype."""
    data = tensor_at(node, 0)
    if data is None:
        return None
    code = node.attrs.get("dtype")
    return data if code is None else tensor_type(dtype_of_code(node, code), data.shape)


def random(node: Node) -> Result:
    """RandomNormal, RandomUniform: attributes shape and dtype."""
    code = node.attr("dtype")
    dtype = F32 if code is None else dtype_of_code(node, code)
    return made(dtype, node.attrs.get("shape"))


# What has the type of its first operand, whichever module it belongs to.
_LIKE_FIRST = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Celu", "Clip", "Cos",
    "Cosh", "CumProd", "CumSum", "Elu", "Erf", "Exp", "Floor", "Gelu", "GroupNormalization", "HardSigmoid",
    "HardSwish", "Hardmax", "Identity", "InstanceNormalization", "LRN", "LeakyRelu", "Log", "LogSoftmax",
    "LpNormalization", "MeanVarianceNormalization", "Mish", "Neg", "PRelu", "RMSNormalization", "Reciprocal",
    "Relu", "ReverseSequence", "RotaryEmbedding", "Round", "Scatter", "ScatterElements", "ScatterND", "Selu",
    "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus", "Softsign", "Sqrt", "SwiGLU", "Swish",
    "Tan", "Tanh", "TensorScatter", "ThresholdedRelu", "Trilu",
)  # fmt: skip
_ARITHMETIC = (
    "Add", "Sub", "Mul", "Div", "Mod", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "StringConcat",
)  # fmt: skip
_COMPARISONS = (
    "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor",
)  # fmt: skip

TABLE: dict[str, Callable[[Node], Result]] = {
    **dict.fromkeys(_LIKE_FIRST, same),
    **dict.fromkeys(_ARITHMETIC, arithmetic),
    **dict.fromkeys(_COMPARISONS, comparison),
    **dict.fromkeys(("Sum", "Max", "Min", "Mean"), variadic),
    **dict.fromkeys(("IsNaN", "IsInf", "Not", "RegexFullMatch"), predicate),
    **dict.fromkeys(("RandomNormalLike", "RandomUniformLike", "Bernoulli", "EyeLike"), like_with_dtype),
    **dict.fromkeys(("RandomNormal", "RandomUniform"), random),
    "Pow": power,
    "Where": where,
    "Cast": cast,
    "CastLike": cast_like,
    "BitCast": bit_cast,
    "Dropout": dropout,
}

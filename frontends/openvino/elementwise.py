"""Layers that work element by element: arithmetic, comparison, logic, activations, conversions."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.infer import content_of
from ...ir.types import BOOL, I32, I64
from . import weights
from .table import TABLE, Made, Reading, reads, refused
from .xml import Layer

_UNARY = {
    "Abs": "Abs", "Acos": "Acos", "Acosh": "Acosh", "Asin": "Asin", "Asinh": "Asinh", "Atan": "Atan",
    "Atanh": "Atanh", "Ceiling": "Ceil", "Cos": "Cos", "Cosh": "Cosh", "Erf": "Erf", "Exp": "Exp", "Floor": "Floor",
    "HSwish": "HardSwish", "IsNaN": "IsNaN", "Log": "Log", "Mish": "Mish", "Negative": "Neg", "LogicalNot": "Not",
    "ReLU": "Relu", "Sigmoid": "Sigmoid", "Sign": "Sign", "Sin": "Sin", "Sinh": "Sinh", "SoftPlus": "Softplus",
    "SoftSign": "Softsign", "Sqrt": "Sqrt", "Tan": "Tan", "Tanh": "Tanh", "BitwiseNot": "BitwiseNot",
}  # fmt: skip
_BINARY = {
    "Add": "Add", "LogicalAnd": "And", "LogicalOr": "Or", "LogicalXor": "Xor", "Equal": "Equal",
    "Greater": "Greater", "GreaterEqual": "GreaterOrEqual", "Less": "Less", "LessEqual": "LessOrEqual",
    "Maximum": "Max", "Minimum": "Min", "BitwiseAnd": "BitwiseAnd", "BitwiseOr": "BitwiseOr",
    "BitwiseXor": "BitwiseXor",
}  # fmt: skip


def operands(r: Reading, layer: Layer) -> tuple[Value, Value]:
    """Both operands of a layer that broadcasts as numpy does. UnsupportedModel for another way."""
    if layer.text("auto_broadcast", "numpy").lower() not in ("numpy", "none"):
        raise refused(layer, f"there is no auto_broadcast {layer.text('auto_broadcast')!r}")
    return r.arg(layer, 0), r.arg(layer, 1)


def _unary(r: Reading, layer: Layer) -> Made:
    return r.b.op(_UNARY[layer.type], r.arg(layer, 0))


def _binary(r: Reading, layer: Layer) -> Made:
    return r.b.op(_BINARY[layer.type], *operands(r, layer))


TABLE.update(dict.fromkeys(_UNARY, _unary))
TABLE.update(dict.fromkeys(_BINARY, _binary))


@reads("Subtract")
def subtract(r: Reading, layer: Layer) -> Made:
    return r.b.op("Sub", *operands(r, layer))


@reads("Power")
def power(r: Reading, layer: Layer) -> Made:
    """Of integers of 32 or 64 bits and floats, which ONNX has it of; other integers go through those of 64 bits."""
    a, b = operands(r, layer)
    if a.dtype is None or not a.dtype.is_int or a.dtype in (I32, I64):
        return r.b.op("Pow", a, b)
    return r.cast(r.b.op("Pow", r.cast(a, I64), r.cast(b, I64)), a.dtype)


@reads("Multiply")
def multiply(r: Reading, layer: Layer) -> Made:
    a, b = operands(r, layer)
    return weights.scaled(r, a, b) or weights.scaled(r, b, a) or r.b.op("Mul", a, b)


@reads("Divide")
def divide(r: Reading, layer: Layer) -> Made:
    a, b = operands(r, layer)
    if a.dtype is None or a.dtype.kind != "i" or not layer.flag("m_pythondiv", True) or _are_sizes(r, a, b):
        return r.b.op("Div", a, b)
    return r.b.op("Div", r.b.op("Sub", a, r.b.op("Mod", a, b)), b)  # towards minus infinity


def _are_sizes(r: Reading, a: Value, b: Value) -> bool:
    """True where a quotient is known to have no sign: then it is rounded alike both ways."""
    for value in (a, b):
        tensor = value.const
        if tensor is not None and tensor.size and (tensor.array() >= 0).all():
            continue
        content = content_of(value)
        if content is None or any(d is None or (isinstance(d, int) and d < 0) for d in content):
            return False
        if any(not isinstance(d, int) and any(factor < 0 for _, factor in d.terms) for d in content if d is not None):
            return False
    return True


@reads("NotEqual")
def not_equal(r: Reading, layer: Layer) -> Made:
    return r.b.op("Not", r.b.op("Equal", *operands(r, layer)))


@reads("SquaredDifference")
def squared_difference(r: Reading, layer: Layer) -> Made:
    spread = r.b.op("Sub", *operands(r, layer))
    return r.b.op("Mul", spread, spread)


@reads("Mod", "FloorMod")
def mod(r: Reading, layer: Layer) -> Made:
    a, b = operands(r, layer)
    is_float = a.dtype is not None and a.dtype.is_float
    if layer.type == "Mod":
        return r.b.op("Mod", a, b, fmod=1)
    if not is_float:
        return r.b.op("Mod", a, b)
    return r.b.op("Sub", a, r.b.op("Mul", r.b.op("Floor", r.b.op("Div", a, b)), b))


@reads("BitwiseLeftShift", "BitwiseRightShift")
def shift(r: Reading, layer: Layer) -> Made:
    a, b = operands(r, layer)
    return r.b.op("BitShift", a, b, direction="LEFT" if layer.type == "BitwiseLeftShift" else "RIGHT")


@reads("IsInf")
def is_inf(r: Reading, layer: Layer) -> Made:
    signs = {name: int(layer.flag(name, True)) for name in ("detect_negative", "detect_positive")}
    return r.b.op("IsInf", r.arg(layer, 0), **signs)


@reads("IsFinite")
def is_finite(r: Reading, layer: Layer) -> Made:
    x = r.arg(layer, 0)
    return r.b.op("Not", r.b.op("Or", r.b.op("IsInf", x), r.b.op("IsNaN", x)))


@reads("Round")
def round_(r: Reading, layer: Layer) -> Made:
    x = r.arg(layer, 0)
    mode = layer.text("mode", "half_to_even").lower()
    if mode == "half_to_even":
        return r.b.op("Round", x)
    if mode != "half_away_from_zero":
        raise refused(layer, f"there is no mode {mode!r}")
    whole = r.b.op("Floor", r.b.op("Add", r.b.op("Abs", x), r.number(0.5, x)))
    return r.b.op("Mul", r.b.op("Sign", x), whole)


@reads("Select")
def select(r: Reading, layer: Layer) -> Made:
    if layer.text("auto_broadcast", "numpy").lower() not in ("numpy", "none"):
        raise refused(layer, f"there is no auto_broadcast {layer.text('auto_broadcast')!r}")
    condition, a, b = (r.arg(layer, index) for index in range(3))
    if a.dtype is not BOOL:
        return r.b.op("Where", condition, a, b)
    # onnxruntime has no Where of booleans.
    return r.b.op("Or", r.b.op("And", condition, a), r.b.op("And", r.b.op("Not", condition), b))


@reads("Identity")
def identity(r: Reading, layer: Layer) -> Made:
    return r.arg(layer, 0)


@reads("Convert")
def convert(r: Reading, layer: Layer) -> Made:
    x, dtype = r.arg(layer, 0), layer.dtype("destination_type")
    return weights.converted(r, x, dtype) or r.cast(x, dtype)


@reads("ConvertLike")
def convert_like(r: Reading, layer: Layer) -> Made:
    like = r.arg(layer, 1).dtype
    if like is None:
        raise refused(layer, "the element type it converts to is unknown")
    return r.cast(r.arg(layer, 0), like)


# Activations


@reads("Clamp")
def clamp(r: Reading, layer: Layer) -> Made:
    x, low, high = r.arg(layer, 0), layer.float("min"), layer.float("max")
    infinite = float("inf")
    if x.dtype is not None and not x.dtype.is_float:
        raise refused(layer, "its element type is no float")
    bounds = [None if abs(bound) == infinite else r.number(bound, x) for bound in (low, high)]
    if bounds == [None, None]:
        return x
    return r.b.op("Relu", x) if low == 0 and bounds[1] is None else r.b.op("Clip", x, *bounds)


@reads("Elu")
def elu(r: Reading, layer: Layer) -> Made:
    return r.b.op("Elu", r.arg(layer, 0), alpha=layer.float("alpha"))


@reads("Selu")
def selu(r: Reading, layer: Layer) -> Made:
    return r.b.op("Selu", r.arg(layer, 0), alpha=r.known_number(layer, 1), gamma=r.known_number(layer, 2))


@reads("PReLU")
def prelu(r: Reading, layer: Layer) -> Made:
    x, slope = r.arg(layer, 0), r.arg(layer, 1)
    tensor = r.fixed(slope)
    if tensor is not None and tensor.size == 1:
        return r.b.op("LeakyRelu", x, alpha=float(tensor.item()))
    rank = r.rank(layer, x)
    if slope.rank == 1 and rank > 2:  # one number per channel, while ONNX aligns it at the end
        slope = r.reshape(slope, [-1] + [1] * (rank - 2))
    return r.b.op("PRelu", x, slope)


@reads("HardSigmoid")
def hard_sigmoid(r: Reading, layer: Layer) -> Made:
    return r.b.op("HardSigmoid", r.arg(layer, 0), alpha=r.known_number(layer, 1), beta=r.known_number(layer, 2))


@reads("HSigmoid")
def h_sigmoid(r: Reading, layer: Layer) -> Made:
    return r.b.op("HardSigmoid", r.arg(layer, 0), alpha=1 / 6, beta=0.5)


@reads("Gelu")
def gelu(r: Reading, layer: Layer) -> Made:
    mode = layer.choice("approximation_mode", {"erf": "none", "tanh": "tanh"}, "erf")
    return r.b.op("Gelu", r.arg(layer, 0), approximate=mode)


@reads("Swish")
def swish(r: Reading, layer: Layer) -> Made:
    x, beta = r.arg(layer, 0), r.option(layer, 1)
    if beta is None or (r.fixed(beta) is not None and r.known_number(layer, 1) == 1):
        return r.b.op("Mul", x, r.b.op("Sigmoid", x))
    return r.b.op("Mul", x, r.b.op("Sigmoid", r.b.op("Mul", x, r.scalar(beta))))


@reads("ReduceLogicalAnd", "ReduceLogicalOr")
def reduce_logical(r: Reading, layer: Layer) -> Made:
    x, axes = r.cast(r.arg(layer, 0), I32), r.vector(r.arg(layer, 1))
    name = "ReduceMin" if layer.type == "ReduceLogicalAnd" else "ReduceMax"
    return r.cast(r.b.op(name, x, axes, keepdims=int(layer.flag("keep_dims"))), BOOL)

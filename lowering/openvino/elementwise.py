"""Operators that work element by element: arithmetic, comparison, logic, activations, casts."""

from __future__ import annotations

from typing import Any

from ...ir.core import Node
from ...ir.types import BY_ONNX
from .table import TABLE, NoMapping, Translation, maps

_UNARY = {
    "Abs": "abs", "Acos": "acos", "Acosh": "acosh", "Asin": "asin", "Asinh": "asinh", "Atan": "atan",
    "Atanh": "atanh", "Ceil": "ceiling", "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Floor": "floor",
    "HardSwish": "hswish", "IsNaN": "is_nan", "Log": "log", "Mish": "mish", "Neg": "negative", "Not": "logical_not",
    "Relu": "relu", "Round": "round", "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh",
    "Softplus": "softplus", "Softsign": "softsign", "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh",
    "BitwiseNot": "bitwise_not",
}  # fmt: skip
_BINARY = {
    "Add": "add", "Sub": "subtract", "Mul": "multiply", "And": "logical_and", "Or": "logical_or",
    "Xor": "logical_xor", "Equal": "equal", "Greater": "greater", "GreaterOrEqual": "greater_equal", "Less": "less",
    "LessOrEqual": "less_equal", "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
}  # fmt: skip
_VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add"}


def _unary(t: Translation, node: Node) -> Any:
    return getattr(t.o, _UNARY[node.op.name])(t.arg(node, 0))


def _binary(t: Translation, node: Node) -> Any:
    a, b = t.arg(node, 0), t.arg(node, 1)
    if node.op.commutative and _ones(a) > _ones(b):
        a, b = b, a  # the CPU plugin takes the layout of the first one, and brings the other into it
    return getattr(t.o, _BINARY[node.op.name])(a, b)


def _ones(output: Any) -> int:
    """How many axes are broadcast, leading ones that are absent left out."""
    shape = output.get_partial_shape()
    return 0 if shape.rank.is_dynamic else sum(d.is_static and d.get_length() == 1 for d in shape)


def _variadic(t: Translation, node: Node) -> Any:
    made = t.arg(node, 0)
    for index in range(1, len(node.inputs)):
        made = getattr(t.o, _VARIADIC[node.op.name])(made, t.arg(node, index))
    return made


TABLE.update(dict.fromkeys(_UNARY, _unary))
TABLE.update(dict.fromkeys(_BINARY, _binary))
TABLE.update(dict.fromkeys(_VARIADIC, _variadic))


@maps("Mean")
def mean(t: Translation, node: Node) -> Any:
    made = t.arg(node, 0)
    for index in range(1, len(node.inputs)):
        made = t.o.add(made, t.arg(node, index))
    return t.o.divide(made, t.number(len(node.inputs), made))


@maps("Div")
def div(t: Translation, node: Node) -> Any:
    made = t.o.divide(t.arg(node, 0), t.arg(node, 1))
    if not t.is_float(made):
        made.set_attribute("m_pythondiv", False)  # ONNX rounds integers towards zero
    return made


@maps("Mod")
def mod(t: Translation, node: Node) -> Any:
    write = t.o.mod if node.attr("fmod") else t.o.floor_mod
    return write(t.arg(node, 0), t.arg(node, 1))


@maps("Pow")
def power(t: Translation, node: Node) -> Any:
    base, exponent = t.arg(node, 0), t.arg(node, 1)
    if not t.is_float(base) and t.is_float(exponent):
        return t.same_type(t.o.power(t.same_type(base, exponent), exponent), base)
    return t.o.power(base, t.same_type(exponent, base))


@maps("Reciprocal")
def reciprocal(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    return t.o.divide(t.number(1, x), x)


@maps("BitShift")
def bit_shift(t: Translation, node: Node) -> Any:
    write = t.o.bitwise_left_shift if node.attr("direction") == "LEFT" else t.o.bitwise_right_shift
    return write(t.arg(node, 0), t.arg(node, 1))


@maps("IsInf")
def is_inf(t: Translation, node: Node) -> Any:
    wanted = {f"detect_{sign}": bool(node.attr(f"detect_{sign}")) for sign in ("positive", "negative")}
    return t.o.is_inf(t.arg(node, 0), wanted)


@maps("Clip")
def clip(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    low, high = t.known(node, 1), t.known(node, 2)
    constant = all(t.option(node, i) is None or t.known(node, i) is not None for i in (1, 2))
    if constant and t.is_float(x):
        lowest, highest = low.item() if low else float("-inf"), high.item() if high else float("inf")
        if lowest <= highest and (low or high):
            return t.o.clamp(x, float(lowest), float(highest))
    for index, write in ((1, t.o.maximum), (2, t.o.minimum)):
        bound = t.option(node, index)
        x = x if bound is None else write(x, bound)
    return x


@maps("Where")
def where(t: Translation, node: Node) -> Any:
    return t.o.select(t.arg(node, 0), t.arg(node, 1), t.arg(node, 2))


@maps("Cast")
def cast(t: Translation, node: Node) -> Any:
    return _convert(t, t.arg(node, 0), t.type_of(BY_ONNX[node.attr("to")]))


@maps("CastLike")
def cast_like(t: Translation, node: Node) -> Any:
    return _convert(t, t.arg(node, 0), t.arg(node, 1).get_element_type())


def _convert(t: Translation, x: Any, type: Any) -> Any:
    if type == t.ov.Type.boolean and x.get_element_type() != type:
        return t.o.not_equal(x, t.number(0, x))
    return x if x.get_element_type() == type else t.o.convert(x, type)


@maps("Identity", "Dropout")
def identity(t: Translation, node: Node) -> Any:
    if len(node.outputs) > 1 and node.outputs[1].uses:
        raise NoMapping("its mask is used")
    training = t.known(node, 2)
    if node.input(2) is not None and (training is None or training.item()):
        raise NoMapping("it may be in training mode")
    return t.arg(node, 0)


# Activations


@maps("Elu")
def elu(t: Translation, node: Node) -> Any:
    return t.o.elu(t.arg(node, 0), node.attr("alpha"))


@maps("Celu")
def celu(t: Translation, node: Node) -> Any:
    x, alpha = t.arg(node, 0), node.attr("alpha")
    scaled = t.o.elu(t.o.divide(x, t.number(alpha, x)), 1.0)
    return t.o.multiply(scaled, t.number(alpha, x))


@maps("Selu")
def selu(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    return t.o.selu(x, t.number(node.attr("alpha"), x), t.number(node.attr("gamma"), x))


@maps("LeakyRelu")
def leaky_relu(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    return t.o.prelu(x, t.reshape(t.number(node.attr("alpha"), x), [1]))


@maps("PRelu")
def prelu(t: Translation, node: Node) -> Any:
    x, slope = t.arg(node, 0), t.arg(node, 1)
    missing = t.rank(x) - t.rank(slope)
    # A slope of one dimension would be one number per channel there, while ONNX aligns it at the end.
    return t.o.prelu(x, t.unsqueeze(slope, range(missing)))


@maps("HardSigmoid")
def hard_sigmoid(t: Translation, node: Node) -> Any:
    """As three operators, which the CPU plugin fuses into what is before; its HardSigmoid is fused with nothing."""
    x = t.arg(node, 0)
    line = t.o.add(t.o.multiply(x, t.number(node.attr("alpha"), x)), t.number(node.attr("beta"), x))
    return t.o.clamp(line, 0.0, 1.0)


@maps("ThresholdedRelu")
def thresholded_relu(t: Translation, node: Node) -> Any:
    x = t.arg(node, 0)
    return t.o.select(t.o.greater(x, t.number(node.attr("alpha"), x)), x, t.number(0, x))


@maps("Shrink")
def shrink(t: Translation, node: Node) -> Any:
    x, bias, lambd = t.arg(node, 0), node.attr("bias"), node.attr("lambd")
    if not t.is_float(x):
        raise NoMapping("the element type is no float")
    low = t.o.select(t.o.less(x, t.number(-lambd, x)), t.o.add(x, t.number(bias, x)), t.number(0, x))
    return t.o.select(t.o.greater(x, t.number(lambd, x)), t.o.subtract(x, t.number(bias, x)), low)


@maps("Gelu", "com.microsoft::Gelu", "com.microsoft::FastGelu", "com.microsoft::BiasGelu")
def gelu(t: Translation, node: Node) -> Any:
    x, bias = t.arg(node, 0), t.option(node, 1)
    fast = node.op.name == "FastGelu" or node.attr("approximate") == "tanh"
    return t.o.gelu(x if bias is None else t.o.add(x, bias), "tanh" if fast else "erf")


@maps("Swish", "com.microsoft::QuickGelu")
def swish(t: Translation, node: Node) -> Any:
    x, alpha = t.arg(node, 0), node.attr("alpha")
    return t.o.swish(x, t.number(1 if alpha is None else alpha, x))

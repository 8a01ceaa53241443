"""Operators that work on each element: arithmetic, activations, comparisons, casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F

from ..dtypes import torch_dtype
from .base import Given, Lacking, Operator, at, of_first, of_two


def _div(a: Any, b: Any) -> Any:
    """Whole numbers are divided towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _pow(a: Any, b: Any) -> Any:
    """The result has the type of the base."""
    return torch.pow(a, b).to(a.dtype)


def _mod(node: Any, given: Given) -> Any:
    return (torch.fmod if node.attr("fmod") else torch.remainder)(given[0], given[1])


def _clip(node: Any, given: Given) -> Any:
    low, high = at(given, 1), at(given, 2)
    return given[0] if low is None and high is None else torch.clamp(given[0], min=low, max=high)


def _prelu(node: Any, given: Given) -> Any:
    x, slope = given
    return torch.where(x < 0, slope * x, x)


def _shrink(node: Any, given: Given) -> Any:
    x, bias, lambd = given[0], node.attr("bias"), node.attr("lambd")
    zero = torch.zeros((), dtype=x.dtype)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, zero))


def _is_inf(node: Any, given: Given) -> Any:
    x = given[0]
    negative, positive = node.attr("detect_negative"), node.attr("detect_positive")
    found = torch.isinf(x)
    return found & (((x < 0) & bool(negative)) | ((x > 0) & bool(positive)))


def _cast(x: Any, dtype: Any) -> Any:
    if dtype == torch.bool:
        return x != 0
    return x.to(dtype)


def _dropout(node: Any, given: Given) -> Any:
    """Inference form: everything passes."""
    if len(node.outputs) > 1:
        return [given[0], torch.ones_like(given[0], dtype=torch.bool)]
    return given[0]


def _bit_shift(node: Any, given: Given) -> Any:
    x, by = given[0].to(torch.int64), given[1].to(torch.int64)
    found = x << by if node.attr("direction") == "LEFT" else x >> by
    return found.to(given[0].dtype)


def _hard_swish(x: Any) -> Any:
    return x * torch.clamp(x / 6 + 0.5, 0, 1)


def _activation(function: Callable[[Any, Any], Any]) -> Operator:
    """An activation of its operand and the node, whose attributes are its numbers."""
    return Operator(lambda node, given: function(given[0], node))


def _selu(x: Any, node: Any) -> Any:
    return node.attr("gamma") * F.elu(x, node.attr("alpha"))


def _celu(x: Any, node: Any) -> Any:
    return F.celu(x, node.attr("alpha"))


def _swish(x: Any, node: Any) -> Any:
    return x * torch.sigmoid(node.attr("alpha") * x)


def _thresholded(x: Any, node: Any) -> Any:
    return torch.where(x > node.attr("alpha"), x, torch.zeros((), dtype=x.dtype))


def _hard_sigmoid(x: Any, node: Any) -> Any:
    return torch.clamp(node.attr("alpha") * x + node.attr("beta"), 0, 1)


def _every(function: Callable[[Any, Any], Any]) -> Operator:
    """The operator that folds a function over all of its operands."""
    return Operator(lambda node, given: reduce(function, given))


def _mean(node: Any, given: Given) -> Any:
    return reduce(torch.add, given) / len(given)


def _cast_node(node: Any, given: Given) -> Any:
    dtype = torch_dtype(node.outputs[0].dtype)
    if dtype is None:
        raise Lacking(f"torch has no type for {node.outputs[0].dtype}")
    return _cast(given[0], dtype)


TABLE: dict[str, Operator] = {
    **{key: of_first(function) for key, function in {
        "Abs": torch.abs, "Neg": torch.neg, "Sqrt": torch.sqrt, "Exp": torch.exp, "Log": torch.log, "Sin": torch.sin,
        "Cos": torch.cos, "Tan": torch.tan, "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan,
        "Sinh": torch.sinh, "Cosh": torch.cosh, "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh,
        "Erf": torch.erf, "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign,
        "Reciprocal": torch.reciprocal, "IsNaN": torch.isnan, "Not": torch.logical_not,
        "BitwiseNot": torch.bitwise_not, "Identity": lambda x: x, "Relu": torch.relu, "Sigmoid": torch.sigmoid,
        "Tanh": torch.tanh, "Softplus": F.softplus, "Softsign": F.softsign, "Mish": F.mish, "HardSwish": _hard_swish,
    }.items()},
    **{key: of_two(function) for key, function in {
        "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": _div, "Pow": _pow, "Equal": torch.eq,
        "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le,
        "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
        "BitwiseAnd": torch.bitwise_and, "BitwiseOr": torch.bitwise_or, "BitwiseXor": torch.bitwise_xor,
    }.items()},
    "Max": _every(torch.maximum),
    "Min": _every(torch.minimum),
    "Sum": _every(torch.add),
    "Mean": Operator(_mean),
    "Where": Operator(lambda node, given: torch.where(given[0], given[1], given[2])),
    "Mod": Operator(_mod),
    "Clip": Operator(_clip),
    "PRelu": Operator(_prelu),
    "Shrink": Operator(_shrink),
    "IsInf": Operator(_is_inf),
    "BitShift": Operator(_bit_shift),
    "Cast": Operator(_cast_node),
    "CastLike": Operator(_cast_node),
    "Dropout": Operator(_dropout),
    "LeakyRelu": _activation(lambda x, node: F.leaky_relu(x, node.attr("alpha"))),
    "Elu": _activation(lambda x, node: F.elu(x, node.attr("alpha"))),
    "Selu": _activation(_selu),
    "Celu": _activation(_celu),
    "Swish": _activation(_swish),
    "ThresholdedRelu": _activation(_thresholded),
    "HardSigmoid": _activation(_hard_sigmoid),
    "Gelu": _activation(lambda x, node: F.gelu(x, approximate=node.attr("approximate"))),
    "Softmax": _activation(lambda x, node: torch.softmax(x, node.attr("axis"))),
    "LogSoftmax": _activation(lambda x, node: torch.log_softmax(x, node.attr("axis"))),
}  # fmt: skip

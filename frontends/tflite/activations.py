"""Functions of one number: activations, rounding, roots; and the changes between numbers and codes."""

from __future__ import annotations

from ...ir.errors import InvalidModel
from ...ir.types import F16, F32
from .call import Call, converts

_VECTOR = 4096  # elements: biases and slopes have no more
_SAME_NAMES = {
    "RELU": "Relu", "TANH": "Tanh", "LOGISTIC": "Sigmoid", "HARD_SWISH": "HardSwish", "ELU": "Elu", "EXP": "Exp",
    "LOG": "Log", "SQRT": "Sqrt", "NEG": "Neg", "ABS": "Abs", "FLOOR": "Floor", "CEIL": "Ceil", "ROUND": "Round",
    "SIN": "Sin", "COS": "Cos", "SIGN": "Sign", "LOGICAL_NOT": "Not",
}  # fmt: skip
_CLIPS = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}


@converts(*_SAME_NAMES)
def _unary(call: Call) -> None:
    call.give_real(call.builder.op(_SAME_NAMES[call.name], call.real(0)))


@converts(*_CLIPS)
def _clip(call: Call) -> None:
    low, high = _CLIPS[call.name]
    b, x = call.builder, call.real(0)
    call.give_real(b.op("Clip", x, b.const(low, like=x), b.const(high, like=x)))


@converts("RSQRT")
def _rsqrt(call: Call) -> None:
    call.give_real(call.builder.op("Reciprocal", call.builder.op("Sqrt", call.real(0))))


@converts("SQUARE")
def _square(call: Call) -> None:
    x = call.real(0)
    call.give_real(call.builder.op("Mul", x, x))


@converts("LEAKY_RELU")
def _leaky_relu(call: Call) -> None:
    call.give_real(call.builder.op("LeakyRelu", call.real(0), alpha=call.option("alpha")))


@converts("PRELU")
def _prelu(call: Call) -> None:
    call.give_real(call.builder.op("PRelu", call.real(0), call.real(1)))


@converts("GELU")
def _gelu(call: Call) -> None:
    form = "tanh" if call.option("approximate") else "none"
    call.give_real(call.builder.op("Gelu", call.real(0), approximate=form))


@converts("SOFTMAX")
def _softmax(call: Call) -> None:
    x, beta = call.real(0), call.option("beta")
    if beta != 1.0:
        x = call.builder.op("Mul", x, call.builder.const(beta, like=x))
    call.give_real(call.builder.op("Softmax", x, axis=-1))


@converts("LOG_SOFTMAX")
def _log_softmax(call: Call) -> None:
    call.give_real(call.builder.op("LogSoftmax", call.real(0), axis=-1))


@converts("CAST")
def _cast(call: Call) -> None:
    call.give(call.cast(call.value(0), call.outputs[0].dtype))


@converts("QUANTIZE")
def _quantize(call: Call) -> None:
    call.give_real(call.real(0))


@converts("DEQUANTIZE")
def _dequantize(call: Call) -> None:
    """Codes, or weights in half precision: vectors become single at once, larger ones a Cast of what the file has."""
    x = call.real(0)
    if x.const is not None and x.dtype is F16 and x.const.size <= _VECTOR:
        call.give(call.builder.const(x.const.array().astype("float32"), F32, hint=call.outputs[0].name))
    else:
        call.give(call.cast(x, call.outputs[0].dtype or F32))


@converts("FAKE_QUANT")
def _fake_quant(call: Call) -> None:
    """Rounded to the steps of a range that is moved so that zero is a step (fake_quant_with_min_max_vars)."""
    bits, low, high = call.option("num_bits"), call.option("min"), call.option("max")
    least, most = int(call.option("narrow_range")), (1 << min(bits, 16)) - 1
    if not 2 <= bits <= 16 or not low <= 0 <= high or high - low < 1e-30:
        raise InvalidModel(f"rounds {low} to {high} to {bits} bits")
    scale = (high - low) / (most - least)
    zero = min(max(round(least - low / scale), least), most)
    b, x = call.builder, call.real(0)
    ends = [b.const((end - zero) * scale, like=x) for end in (least, most)]
    above = b.op("Sub", b.op("Clip", x, *ends), ends[0])
    step = b.const(scale, like=x)
    rounded = b.op("Floor", b.op("Add", b.op("Div", above, step), b.const(0.5, like=x)))
    call.give_real(b.op("Add", b.op("Mul", rounded, step), ends[0]))


@converts("DENSIFY")
def _densify(call: Call) -> None:
    info = call.info(0)
    if info.sparsity is None or info.const is None:
        call.give(call.value(0))
        return
    call.give(call.builder.const(info.sparsity.dense(info.const), info.dtype, hint=info.name))

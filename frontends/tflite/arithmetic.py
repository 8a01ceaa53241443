"""Functions of two and more tensors: arithmetic, comparisons, products of matrices."""

from __future__ import annotations

from math import pi, prod

from ...ir.builder import Builder
from ...ir.core import Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.types import F32
from .call import Call, converts

_ARITHMETIC = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div"}
_PLAIN = {
    "MAXIMUM": "Max", "MINIMUM": "Min", "POW": "Pow", "LESS": "Less", "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual", "LESS_EQUAL": "LessOrEqual", "EQUAL": "Equal", "LOGICAL_OR": "Or",
    "LOGICAL_AND": "And",
}  # fmt: skip


@converts(*_ARITHMETIC)
def _arithmetic(call: Call) -> None:
    activation = call.option("activation") if call.options is not None else 0
    call.give_real(call.builder.op(_ARITHMETIC[call.name], call.real(0), call.real(1)), 0, activation)


@converts(*_PLAIN)
def _plain(call: Call) -> None:
    call.give_real(call.builder.op(_PLAIN[call.name], call.real(0), call.real(1)))


@converts("NOT_EQUAL")
def _not_equal(call: Call) -> None:
    call.give(call.builder.op("Not", call.builder.op("Equal", call.real(0), call.real(1))))


@converts("SQUARED_DIFFERENCE")
def _squared_difference(call: Call) -> None:
    difference = call.builder.op("Sub", call.real(0), call.real(1))
    call.give_real(call.builder.op("Mul", difference, difference))


@converts("ADD_N")
def _add_n(call: Call) -> None:
    if not call.inputs:
        raise InvalidModel("adds nothing")
    total = call.real(0)
    for index in range(1, len(call.inputs)):  # Sum lacks integers
        total = call.builder.op("Add", total, call.real(index))
    call.give_real(total)


@converts("FLOOR_DIV", "FLOOR_MOD")
def _floored(call: Call) -> None:
    """The quotient rounded down, and what is left of it, which has the sign of the divisor."""
    b, x, y = call.builder, call.real(0), call.real(1)
    is_float = x.dtype is not None and x.dtype.is_float
    if not is_float:
        rest = b.op("Mod", x, y)
        call.give(rest if call.name == "FLOOR_MOD" else b.op("Div", b.op("Sub", x, rest), y))
        return
    quotient = b.op("Floor", b.op("Div", x, y))
    call.give(quotient if call.name == "FLOOR_DIV" else b.op("Sub", x, b.op("Mul", quotient, y)))


@converts("ATAN2")
def _atan2(call: Call) -> None:
    """The angle of (x, y), which are the second operand and the first."""
    call.give_real(angle(call.builder, call.real(0), call.real(1)))


def angle(b: Builder, y: Value, x: Value) -> Value:
    """atan2(y, x): of y / x, and half a turn more or less to the left of zero."""
    zero = b.const(0, like=x)
    turn = b.op("Where", b.op("Less", y, zero), b.const(-pi, like=x), b.const(pi, like=x))
    right = b.op("Atan", b.op("Div", y, b.op("Add", x, zero)))  # of which -0 becomes 0
    found = b.op("Where", b.op("Less", x, zero), b.op("Add", right, turn), right)
    at_zero = b.op("And", b.op("Equal", x, zero), b.op("Equal", y, zero))
    return b.op("Where", at_zero, zero, found)


@converts("BITWISE_XOR")
def _bitwise_xor(call: Call) -> None:
    call.give(call.builder.op("BitwiseXor", call.value(0), call.value(1)))


@converts("RIGHT_SHIFT")
def _right_shift(call: Call) -> None:
    """x / 2 ** y rounded down, also of negative numbers, which ONNX does not shift."""
    b, x = call.builder, call.value(0)
    if x.dtype is None or x.dtype.kind != "i":
        call.give(b.op("BitShift", x, call.value(1), direction="RIGHT"))
        return
    whole = b.op("Cast", b.op("Pow", b.const(2.0, F32), b.op("Cast", call.value(1), to=F32.onnx)), to=x.dtype.onnx)
    call.give(b.op("Div", b.op("Sub", x, b.op("Mod", x, whole)), whole))


@converts("SELECT", "SELECT_V2")
def _select(call: Call) -> None:
    condition, x = call.value(0), call.real(1)
    if call.name == "SELECT" and condition.rank == 1 and x.rank not in (1, None):
        assert x.rank is not None
        axes = call.builder.ints(range(1, x.rank))  # of the older operator a vector chooses rows
        condition = call.builder.op("Unsqueeze", condition, axes)
    call.give_real(call.builder.op("Where", condition, x, call.real(2)))


@converts("FULLY_CONNECTED")
def _fully_connected(call: Call) -> None:
    """x @ w.T + bias with weights [outputs, inputs]; x is flattened to rows unless its dimensions are kept."""
    if call.option("weights_format") != 0:
        raise UnsupportedModel("has shuffled weights")
    shape = call.info(1).shape
    if len(shape) != 2 or min(shape) < 1:
        raise InvalidModel(f"has weights of {list(shape)}")
    b, x, weights = call.builder, call.real(0), call.real(1)
    bias = call.real(2) if call.has(2) else None
    activation = call.option("activation")
    if call.option("keep_num_dims") and call.rank(0) != 2:
        result = b.op("MatMul", x, call.weights(1, (1, 0)))
        if bias is not None:
            result = b.op("Add", result, bias)
        call.give_real(result, 0, activation)
        return
    if call.rank(0) != 2 or call.extent(x, 1) != shape[1]:
        x = b.op("Reshape", x, b.ints([_rows(x, shape[1]), shape[1]]))
    call.give_real(b.op("Gemm", x, weights, bias, transB=1), 0, activation)


def _rows(x: Value, columns: int) -> int:
    """Rows of that many columns that a value's elements come to; -1 where its shape is open."""
    known = [d for d in x.shape or () if isinstance(d, int)]
    if x.shape is None or len(known) < len(x.shape):
        return -1
    count = prod(known)
    if count % columns:
        raise InvalidModel(f"has weights of {columns} columns for {list(known)}")
    return count // columns


@converts("BATCH_MATMUL")
def _batch_matmul(call: Call) -> None:
    b = call.builder
    operands = []
    for index, option in enumerate(("adj_x", "adj_y")):
        x = call.real(index)
        if call.option(option):
            rank = call.rank(index)
            if rank < 2:
                raise InvalidModel(f"transposes an operand of {rank} dimensions")
            x = b.op("Transpose", x, perm=(*range(rank - 2), rank - 1, rank - 2))
        operands.append(x)
    call.give_real(b.op("MatMul", *operands))


@converts("L2_NORMALIZATION")
def _l2_normalization(call: Call) -> None:
    """x / max(|x|, 1e-6) over the last axis (tensorflow/lite/kernels/internal/reference/l2normalization.h)."""
    b, x = call.builder, call.real(0)
    norm = b.op("ReduceL2", x, b.ints([-1]))
    activation = call.option("activation") if call.options is not None else 0
    call.give_real(b.op("Div", x, b.op("Max", norm, b.const(1e-6, like=norm))), 0, activation)

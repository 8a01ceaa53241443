"""Quantized graphs, as quantizers write them. Scales are powers of 2, so that floats hold every step exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from ....ir.core import Value, constant
from ....ir.tensor import Tensor
from ....ir.types import BOOL, F32, I8, I16, I32, U8, DType
from ....lowering.targets import get_target
from ....lowering.targets.hardware import adds_exactly
from ..choices import seed_of
from ..sketch import Instance, Sketch
from ..wanted import Shape
from . import graph_for

# Even ones: some kernels of onnxruntime add them before they round to the nearest even step, QuantizeLinear does after.
_ZEROS: dict[DType, tuple[int, ...]] = {U8: (128, 0, 4, 200), I8: (0, -6, 100), I16: (0, 8)}
_MICROSOFT = "com.microsoft::"


def scale_of(sketch: Sketch) -> Value:
    return sketch.scalar(sketch.pick(0.5, 0.25, 2.0, 0.125), F32)


def zero_of(sketch: Sketch, dtype: DType) -> Value:
    return sketch.scalar(sketch.pick(*_ZEROS[dtype]), dtype)


def filled(shape: Shape, dtype: DType, low: int, high: int) -> Value:
    """A constant of random integers, the lowest and the highest among them."""
    rng = np.random.default_rng(seed_of("filled", *shape, low, high))
    array = rng.integers(low, high + 1, shape)
    array.reshape(-1)[: min(2, array.size)] = (low, high)[: array.size]
    return constant(Tensor.from_array(array.astype(dtype.numpy), dtype))


def vector(numbers: Sequence[float], dtype: DType, size: int) -> Value:
    """A constant of the first `size` numbers."""
    return constant(Tensor.from_array(np.asarray(numbers[:size], dtype.numpy), dtype))


def weights_of(sketch: Sketch, shape: Shape, channels: int, dtype: DType) -> tuple[Value, Value, Value]:
    """Weights with a scale and a zero point, for all or for each index of the axis `channels`."""
    low, high = (0, 255) if dtype is U8 else _signed()
    weights = filled(shape, dtype, low, high)
    size = shape[channels]
    if sketch.pick("one", "each") == "one":
        return weights, scale_of(sketch), zero_of(sketch, dtype)
    scales = [(0.5, 0.25, 1.0)[i % 3] for i in range(size)]
    return weights, vector(scales, F32, size), vector([_ZEROS[dtype][0]] * size, dtype, size)


@cache
def _signed() -> tuple[int, int]:
    """Weights of i8 whose products with u8 the judge adds up exactly on this processor."""
    return (-128, 127) if adds_exactly(get_target("cpu").hardware.features) else (-64, 63)


def _pair(sketch: Sketch) -> tuple[DType, DType]:
    """Element types of activations and weights that onnxruntime multiplies."""
    return sketch.pick((U8, I8), (U8, U8), (I8, I8))  # type: ignore[no-any-return]


def one(sketch: Sketch, y: Value) -> Instance:
    return sketch.instance({y: "y"}, [y])


def _contrib(sketch: Sketch, name: str, dtype: DType, zero: DType) -> Instance:
    x = sketch.input("x", dtype, (2, 3))
    if sketch.pick("one", "each") == "one":
        return one(sketch, sketch.op(_MICROSOFT + name, x, scale_of(sketch), zero_of(sketch, zero)))
    scales, zeros = vector([0.5, 0.25, 1.0], F32, 3), vector([0, 4, 2], zero, 3)
    return one(sketch, sketch.op(_MICROSOFT + name, x, scales, zeros, axis=1))


@graph_for("contrib_quantize")
def contrib_quantize(sketch: Sketch) -> Instance:
    """Floats to 8 or 16 bits."""
    return _contrib(sketch, "QuantizeLinear", F32, sketch.pick(U8, I8, I16))


@graph_for("contrib_dequantize")
def contrib_dequantize(sketch: Sketch) -> Instance:
    """Back to floats."""
    dtype = sketch.pick(U8, I8, I16)
    return _contrib(sketch, "DequantizeLinear", dtype, dtype)


@graph_for("qlinear_conv")
def qlinear_conv(sketch: Sketch) -> Instance:
    """A convolution of integers, per tensor or per channel, with a bias and without."""
    activations, stored = _pair(sketch)
    channels = sketch.pick(2, 3, 1)
    x = sketch.input("x", activations, (sketch.pick(1, 2), 2, 4, 5))
    w, ws, wz = weights_of(sketch, (channels, 2, 1, 2), 0, stored)
    bias = [filled((channels,), I32, -50, 70)] if sketch.pick(True, False) else []
    quantized = [scale_of(sketch), zero_of(sketch, activations)]
    y = sketch.op("QLinearConv", x, scale_of(sketch), zero_of(sketch, activations), w, ws, wz, *quantized, *bias)
    return one(sketch, y)


@graph_for("qlinear_matmul")
def qlinear_matmul(sketch: Sketch) -> Instance:
    """A product of integers; scales of the second operand for all or for each column."""
    activations, stored = _pair(sketch)
    a = sketch.input("a", activations, sketch.pick((3, 4), (2, 3, 4)))
    b, bs, bz = weights_of(sketch, (4, sketch.pick(2, 3)), 1, stored)
    operands = [a, scale_of(sketch), zero_of(sketch, activations), b, bs, bz]
    return one(sketch, sketch.op("QLinearMatMul", *operands, scale_of(sketch), zero_of(sketch, activations)))


@graph_for("q_gemm")
def q_gemm(sketch: Sketch) -> Instance:
    """A product and a sum, to integers or to floats."""
    activations, stored = _pair(sketch)
    turned, columns = sketch.pick(0, 1), sketch.pick(2, 3)
    a = sketch.input("a", activations, (3, 4))
    b, bs, bz = weights_of(sketch, (columns, 4) if turned else (4, columns), 1 - turned, stored)
    operands: list[Value | None] = [a, scale_of(sketch), zero_of(sketch, activations), b, bs, bz]
    to_integers = sketch.pick(True, False)
    operands.append(filled((columns,), I32, -40, 60) if sketch.pick(True, False) else None)
    if to_integers:
        operands += [scale_of(sketch), zero_of(sketch, activations)]
    elif operands[-1] is None:
        operands.pop()
    return one(sketch, sketch.op(_MICROSOFT + "QGemm", *operands, transB=turned))


def _binary(sketch: Sketch, name: str) -> Instance:
    dtype = sketch.pick(U8, I8)
    shape = sketch.pick((2, 3), (4,))
    a = sketch.input("a", dtype, shape)
    b = sketch.input("b", dtype, shape) if sketch.pick(True, False) else filled(shape[-1:], dtype, 1, 9)
    sides = [a, scale_of(sketch), zero_of(sketch, dtype), b, scale_of(sketch), zero_of(sketch, dtype)]
    return one(sketch, sketch.op(_MICROSOFT + name, *sides, scale_of(sketch), zero_of(sketch, dtype)))


@graph_for("qlinear_add")
def qlinear_add(sketch: Sketch) -> Instance:
    """A sum of integers, of two operands or one and a constant."""
    return _binary(sketch, "QLinearAdd")


@graph_for("qlinear_mul")
def qlinear_mul(sketch: Sketch) -> Instance:
    """A product element by element."""
    return _binary(sketch, "QLinearMul")


@graph_for("qlinear_where")
def qlinear_where(sketch: Sketch) -> Instance:
    """A choice between integers of two scales."""
    dtype = sketch.pick(U8, I8)
    test = sketch.input("test", BOOL, (2, 3))
    a, b = sketch.input("a", dtype, (2, 3)), sketch.input("b", dtype, (2, 3))
    sides = [a, scale_of(sketch), zero_of(sketch, dtype), b, scale_of(sketch), zero_of(sketch, dtype)]
    return one(sketch, sketch.op(_MICROSOFT + "QLinearWhere", test, *sides, scale_of(sketch), zero_of(sketch, dtype)))


def _joined(sketch: Sketch, count: int) -> Instance:
    dtype = sketch.pick(U8, I8)
    operands = [scale_of(sketch), zero_of(sketch, dtype)]
    for index in range(count):
        operands += [sketch.input(f"x{index}", dtype, (2, index + 1)), scale_of(sketch), zero_of(sketch, dtype)]
    return one(sketch, sketch.op(_MICROSOFT + "QLinearConcat", *operands, axis=sketch.pick(1, -1)))


@graph_for("qlinear_concat")
def qlinear_concat(sketch: Sketch) -> Instance:
    """Parts of different scales, joined."""
    return _joined(sketch, sketch.pick(2, 3, 4))


@graph_for("qlinear_concat_one")
def qlinear_concatone(sketch: Sketch) -> Instance:
    """One part alone."""
    return _joined(sketch, 1)


def _unary(sketch: Sketch, name: str, shape: Shape, **attrs: object) -> Instance:
    dtype = sketch.pick(U8, I8)
    x = sketch.input("x", dtype, shape)
    operands = [x, scale_of(sketch), zero_of(sketch, dtype), scale_of(sketch), zero_of(sketch, dtype)]
    return one(sketch, sketch.op(_MICROSOFT + name, *operands, **attrs))


@graph_for("qlinear_average_pool")
def qlinear_average_pool(sketch: Sketch) -> Instance:
    """Windows of 2 or 4 elements."""
    window = {"kernel_shape": sketch.pick((2, 2), (1, 2)), "strides": sketch.pick((1, 1), (2, 2))}
    pads = sketch.pick({}, {"pads": (1, 1, 1, 1), "count_include_pad": 1})
    return _unary(sketch, "QLinearAveragePool", (1, 2, 4, 5), **window, **pads)


@graph_for("qlinear_global_average_pool")
def qlinear_global_average_pool(sketch: Sketch) -> Instance:
    """All of a picture."""
    return _unary(sketch, "QLinearGlobalAveragePool", sketch.pick((1, 2, 2, 2), (2, 3, 1, 4)))


@graph_for("qlinear_sigmoid")
def qlinear_sigmoid(sketch: Sketch) -> Instance:
    """A function of one element."""
    return _unary(sketch, "QLinearSigmoid", (2, 3))


@graph_for("qlinear_leaky_relu")
def qlinear_leaky_relu(sketch: Sketch) -> Instance:
    """As qlinear_sigmoid, with a slope."""
    return _unary(sketch, "QLinearLeakyRelu", (2, 3), alpha=sketch.pick(0.25, 0.5))


@graph_for("qlinear_softmax")
def qlinear_softmax(sketch: Sketch) -> Instance:
    """Along the last axis, or with the meaning of opset 13; also what an older opset means."""
    axis, opset = sketch.pick((-1, 13), (1, 13), (-1, 11), (1, 11))
    return _unary(sketch, "QLinearSoftmax", (2, 3, 2), axis=axis, opset=opset)


def _scaled(sketch: Sketch, product: Value, first: Value, second: Value) -> Value:
    """Sums of integers times both scales, in the ways that this is written."""
    floats = sketch.op("Cast", product, to=F32.onnx)
    if sketch.pick(True, False):
        return sketch.swapped("Mul", floats, sketch.swapped("Mul", first, second))
    return sketch.swapped("Mul", sketch.swapped("Mul", floats, first), second)


def _by_range(sketch: Sketch, shape: Shape) -> tuple[Value, Value, Value]:
    x = sketch.input("x", F32, shape)
    a, scale, zero = sketch.outputs("DynamicQuantizeLinear", [x], 3)
    return a, scale, zero


@graph_for("matmul_of_range")
def matmul_of_range(sketch: Sketch) -> Instance:
    """A product of activations quantized at run time and weights."""
    a, scale, zero = _by_range(sketch, sketch.pick((3, 4), (2, 3, 4)))
    b, bs, bz = weights_of(sketch, (4, 2), 1, sketch.pick(I8, U8))
    product = sketch.op("MatMulInteger", a, b, zero, *([bz] if b.dtype is U8 or sketch.pick(True, False) else []))
    return one(sketch, _scaled(sketch, product, scale, bs))


@graph_for("conv_of_range")
def conv_of_range(sketch: Sketch) -> Instance:
    """A convolution of activations quantized at run time."""
    a, scale, zero = _by_range(sketch, (1, 2, 4, 5))
    stored = sketch.pick(U8, I8)
    w, wz = filled((3, 2, 1, 2), stored, 0, 100), zero_of(sketch, stored)
    product = sketch.op("ConvInteger", a, w, zero, *([wz] if sketch.pick(True, False) else []))
    return one(sketch, _scaled(sketch, product, scale, scale_of(sketch)))


@graph_for("dynamic_quantize_matmul")
def dynamic_quantize_matmul(sketch: Sketch) -> Instance:
    """As matmul_of_range, in one operator."""
    x = sketch.input("x", F32, (3, 4))
    b, bs, bz = weights_of(sketch, (4, 2), 1, sketch.pick(I8, U8))
    bias = [sketch.input("bias", F32, (2,))] if sketch.pick(True, False) else []
    return one(sketch, sketch.op(_MICROSOFT + "DynamicQuantizeMatMul", x, b, bs, bz, *bias))


@graph_for("matmul_integer_to_float")
def matmul_integer_to_float(sketch: Sketch) -> Instance:
    """A product of integers with scales beside it."""
    a = sketch.input("a", U8, (3, 4))
    b, bs, bz = weights_of(sketch, (4, 2), 1, sketch.pick(I8, U8))
    bias = [sketch.input("bias", F32, (2,))] if sketch.pick(True, False) else []
    operands = [a, b, scale_of(sketch), bs, zero_of(sketch, U8), bz]
    return one(sketch, sketch.op(_MICROSOFT + "MatMulIntegerToFloat", *operands, *bias))

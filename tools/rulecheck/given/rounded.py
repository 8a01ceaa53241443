"""Weights with a zero point, and what is rounded in the graph: moved, resized, joined, rounded again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....ir.core import Value, constant
from ....ir.tensor import Tensor
from ....ir.types import F32, I8, I16, I64, U8
from ..choices import seed_of
from ..sketch import Instance, Sketch
from ..wanted import Shape
from . import graph_for
from .quantized import filled, one, scale_of, vector, zero_of


def _indices(sketch: Sketch, rows: int) -> Value:
    return sketch.input("i", I64, sketch.pick((3,), (2, 2)), f"index {rows}")


@graph_for("quantized_by_one_scale")
def quantized_by_one_scale(sketch: Sketch) -> Instance:
    """A scale, and perhaps a zero point, in a vector; not the same in all of it now and then."""
    x = sketch.input("x", F32, (2, 3))
    size, axis = sketch.pick((3, 1), (2, 0), (1, 1))
    scale = vector(sketch.pick([0.5], [0.5], [0.25, 0.5, 2.0]) * size, F32, size)
    zero = [vector([sketch.pick(0, 7)] * size, I8, size)] if sketch.pick(True, False) else []
    return one(sketch, sketch.op("QuantizeLinear", x, scale, *zero, axis=axis))


@graph_for("dequantized_by_one_scale")
def dequantized_by_one_scale(sketch: Sketch) -> Instance:
    """As quantized_by_one_scale."""
    q = sketch.input("q", I8, (2, 3))
    size, axis = sketch.pick((3, 1), (2, 0), (1, 1))
    scale = vector(sketch.pick([0.5], [0.5], [0.25, 0.5, 2.0]) * size, F32, size)
    zero = [vector([sketch.pick(0, 7)] * size, I8, size)] if sketch.pick(True, False) else []
    return one(sketch, sketch.op("DequantizeLinear", q, scale, *zero, axis=axis))


@graph_for("integers_times_scale")
def integers_times_scale(sketch: Sketch) -> Instance:
    """Weights of 8 bits, cast and scaled."""
    w = filled((3, 4), sketch.pick(I8, U8), 0, 100)
    scale = sketch.pick(sketch.scalar(0.3, F32), vector([0.3], F32, 1))
    weights = sketch.swapped("Mul", sketch.op("Cast", w, to=F32.onnx), scale)
    y = sketch.op("MatMul", sketch.input("x", F32, (2, 3)), weights)
    return sketch.instance({y: "y"}, [weights])


@graph_for("integers_as_floats")
def integers_as_floats(sketch: Sketch) -> Instance:
    """Weights of 8 bits, cast."""
    weights = sketch.op("Cast", filled((3, 4), sketch.pick(I8, U8), 0, 100), to=F32.onnx)
    y = sketch.op("MatMul", sketch.input("x", F32, (2, 3)), weights)
    return sketch.instance({y: "y"}, [weights])


@graph_for("quantized_constant")
def quantized_constant(sketch: Sketch) -> Instance:
    """Weights of floats that the graph quantizes."""
    dtype = sketch.pick(I8, U8)
    rng = np.random.default_rng(seed_of("floats"))
    w = constant(Tensor.from_array((rng.standard_normal((3, 4)) * sketch.pick(1.0, 100.0)).astype(np.float32)))
    if sketch.pick("one", "each") == "one":
        return one(sketch, sketch.op("QuantizeLinear", w, sketch.scalar(0.3, F32), zero_of(sketch, dtype)))
    scale, zero = vector([0.3, 0.7, 0.01], F32, 3), vector([1, 0, 9], dtype, 3)
    return one(sketch, sketch.op("QuantizeLinear", w, scale, zero, axis=0))


@graph_for("weights_less_zero_point")
def weights_less_zero_point(sketch: Sketch) -> Instance:
    """Weights that fit into i8 once their zero point is taken from them, mostly."""
    dtype, zero = sketch.pick((U8, 100), (U8, 3), (I8, -4), (U8, 0))
    w = filled((3, 4), dtype, max(zero - 90, 0 if dtype is U8 else -128), zero + sketch.pick(20, 27))
    if sketch.pick("one", "each") == "one":
        weights = sketch.op("DequantizeLinear", w, sketch.scalar(0.3, F32), sketch.scalar(zero, dtype))
    else:
        scales, zeros = vector([0.3, 0.5, 1.0], F32, 3), vector([zero] * 3, dtype, 3)
        weights = sketch.op("DequantizeLinear", w, scales, zeros, axis=0)
    y = sketch.op("MatMul", sketch.input("x", F32, (2, 3)), weights)
    return sketch.instance({y: "y"}, [weights])


def _off_centre(sketch: Sketch, shape: Shape, columns: int) -> Value:
    """Dequantized weights of all steps of their type, whose zero point is not far from its middle."""
    dtype, zero = sketch.pick((U8, 141), (U8, 120), (I8, 5), (U8, 20))
    w = filled(shape, dtype, *((0, 255) if dtype is U8 else (-128, 127)))
    if sketch.pick("one", "each") == "one":
        return sketch.op("DequantizeLinear", w, sketch.scalar(0.01, F32), sketch.scalar(zero, dtype))
    size = shape[columns]
    scales, zeros = [(0.01, 0.03, 0.02)[i % 3] for i in range(size)], [zero + i % 2 for i in range(size)]
    return sketch.op("DequantizeLinear", w, vector(scales, F32, size), vector(zeros, dtype, size), axis=columns)


@graph_for("matmul_with_zero_point")
def matmul_with_zero_point(sketch: Sketch) -> Instance:
    """A product with weights around another number than the middle."""
    x = sketch.input("x", F32, sketch.pick((2, 4), (2, 3, 4)))
    return one(sketch, sketch.op("MatMul", x, _off_centre(sketch, (4, 3), 1)))


@graph_for("matmul_transposed_with_zero_point")
def matmul_transposed_with_zero_point(sketch: Sketch) -> Instance:
    """As matmul_with_zero_point, stored the other way round."""
    x = sketch.input("x", F32, sketch.pick((2, 4), (2, 3, 4)))
    weights = sketch.op("Transpose", _off_centre(sketch, (3, 4), 0), **sketch.pick({}, {"perm": (1, 0)}))
    return one(sketch, sketch.op("MatMul", x, weights))


@graph_for("gemm_with_zero_point")
def gemm_with_zero_point(sketch: Sketch) -> Instance:
    """As matmul_with_zero_point, for Gemm."""
    turned = sketch.pick(1, 0)
    weights = _off_centre(sketch, (3, 4) if turned else (4, 3), 1 - turned)
    bias = [sketch.input("b", F32, (3,))] if sketch.pick(True, False) else []
    attrs = {"transB": turned, "beta": sketch.pick(1.0, 0.5)}
    return one(sketch, sketch.op("Gemm", sketch.input("x", F32, (2, 4)), weights, *bias, **attrs))


@graph_for("table_with_zero_point")
def table_with_zero_point(sketch: Sketch) -> Instance:
    """Rows, or columns, of a table around another number than the middle."""
    return one(sketch, sketch.op("Gather", _off_centre(sketch, (5, 4), 0), _indices(sketch, 4), axis=sketch.pick(0, 1)))


@graph_for("weights_as_floats")
def weights_as_floats(sketch: Sketch) -> Instance:
    """Weights of a convolution around another number than the middle, and u8 without a zero point."""
    dtype, zero = sketch.pick((U8, 141), (I8, 90), (U8, 0))
    w = filled((2, 3, 1, 2), dtype, *((0, 255) if dtype is U8 else (-128, 127)))
    zeros = [sketch.scalar(zero, dtype)] if zero or sketch.pick(True, False) else []
    weights = sketch.op("DequantizeLinear", w, sketch.scalar(0.01, F32), *zeros)
    y = sketch.op("Conv", sketch.input("x", F32, (1, 3, 4, 4)), weights)
    return sketch.instance({y: "y"}, [weights])


def _rounded(sketch: Sketch, x: Value, scale: Value, zero: Value) -> Value:
    return sketch.op("DequantizeLinear", sketch.op("QuantizeLinear", x, scale, zero), scale, zero)


@graph_for("rounded_in_floats")
def rounded_in_floats(sketch: Sketch) -> Instance:
    """Activations around any number, of 8 bits and of 16."""
    dtype = sketch.pick(U8, I8, I16)
    zero = sketch.scalar(sketch.pick(*{U8: (114, 0, 255), I8: (3, -128), I16: (0, 500)}[dtype]), dtype)
    return one(sketch, _rounded(sketch, sketch.input("x", F32, (2, 3)), scale_of(sketch), zero))


@graph_for("rounded_by_range")
def rounded_by_range(sketch: Sketch) -> Instance:
    """Activations quantized by their own range, and taken back; now and then all below zero."""
    x = sketch.input("x", F32, sketch.pick((2, 3), (4,)))
    if sketch.pick(False, True):
        x = sketch.op("Neg", sketch.op("Abs", x))
    q, scale, zero = sketch.outputs("DynamicQuantizeLinear", [x], 3)
    return one(sketch, sketch.op("DequantizeLinear", q, scale, zero))


def _moves(sketch: Sketch) -> tuple[Shape, Callable[[Value], Value]]:
    """A shape, and something that moves the elements of a tensor of it."""
    shape: Shape = (1, 4, 2, 4)
    ints = sketch.ints
    ways: dict[str, Callable[[Value], Value]] = {
        "Transpose": lambda v: sketch.op("Transpose", v, perm=(0, 2, 3, 1)),
        "Reshape": lambda v: sketch.op("Reshape", v, ints(1, 8, 4)),
        "Squeeze": lambda v: sketch.op("Squeeze", v, ints(0)),
        "Unsqueeze": lambda v: sketch.op("Unsqueeze", v, ints(1)),
        "Flatten": lambda v: sketch.op("Flatten", v),
        "Slice": lambda v: sketch.op("Slice", v, ints(1), ints(3), ints(1)),
        "Expand": lambda v: sketch.op("Expand", v, ints(3, 4, 2, 4)),
        "Tile": lambda v: sketch.op("Tile", v, ints(1, 2, 1, 1)),
        "DepthToSpace": lambda v: sketch.op("DepthToSpace", v, blocksize=2),
        "SpaceToDepth": lambda v: sketch.op("SpaceToDepth", v, blocksize=2),
        "MaxPool": lambda v: sketch.op("MaxPool", v, kernel_shape=(2, 2), pads=sketch.pick((0,) * 4, (1,) * 4)),
    }
    return shape, ways[sketch.pick(*ways)]


def _grows(sketch: Sketch) -> Callable[[Value], Value]:
    mode = sketch.pick("nearest", "linear")
    scales = vector([1.0, 1.0, 2.0, 2.0], F32, 4)
    return lambda v: sketch.op("Resize", v, None, scales, mode=mode, coordinate_transformation_mode="asymmetric")


def _moved_integers(sketch: Sketch, shape: Shape, move: Callable[[Value], Value]) -> Instance:
    dtype = sketch.pick(U8, I8)
    scale, zero = scale_of(sketch), zero_of(sketch, dtype)
    q = sketch.op("QuantizeLinear", sketch.input("x", F32, shape), scale, zero)
    return one(sketch, sketch.op("DequantizeLinear", move(q), scale, zero))


@graph_for("dequantized_before_moving")
def dequantized_before_moving(sketch: Sketch) -> Instance:
    """Integers that move before they are dequantized."""
    return _moved_integers(sketch, *_moves(sketch))


@graph_for("dequantized_before_resizing")
def dequantized_before_resizing(sketch: Sketch) -> Instance:
    """Pictures of integers that grow."""
    return _moved_integers(sketch, (1, 2, 2, 3), _grows(sketch))


@graph_for("dequantized_before_joining")
def dequantized_before_joining(sketch: Sketch) -> Instance:
    """Integers that are joined."""
    dtype = sketch.pick(U8, I8)
    scale, zero = scale_of(sketch), zero_of(sketch, dtype)
    given = [sketch.input("x", F32, (2, size)) for size in range(1, sketch.pick(3, 4))]
    parts = [sketch.op("QuantizeLinear", x, scale, zero) for x in given]
    return one(sketch, sketch.op("DequantizeLinear", sketch.op("Concat", *parts, axis=1), scale, zero))


@graph_for("quantized_twice")
def quantized_twice(sketch: Sketch) -> Instance:
    """Integers taken back and quantized again, with the same scale or another."""
    dtype = sketch.pick(I8, U8)
    q, zero = sketch.input("q", dtype, (2, 3)), zero_of(sketch, dtype)
    scale = sketch.pick(sketch.scalar(0.3, F32), vector([0.3, 0.7, 0.02], F32, 3))
    if scale.rank:
        zero = vector([0, 4, 0], dtype, 3)
    again = sketch.pick(scale, sketch.op("Mul", scale, sketch.scalar(1.5, F32)))
    return one(sketch, sketch.op("QuantizeLinear", sketch.op("DequantizeLinear", q, scale, zero), again, zero))


@graph_for("relu_before_rounding")
def relu_before_rounding(sketch: Sketch) -> Instance:
    """Rounded numbers without the negative ones."""
    dtype = sketch.pick(I8, U8)
    x = sketch.input("x", F32, (2, 3))
    return one(sketch, sketch.op("Relu", _rounded(sketch, x, sketch.scalar(0.3, F32), zero_of(sketch, dtype))))


def _again(sketch: Sketch, shape: Shape, move: Callable[[Value], Value]) -> Instance:
    dtype = sketch.pick(I8, U8)
    scale, zero = sketch.scalar(0.3, F32), zero_of(sketch, dtype)
    moved = move(_rounded(sketch, sketch.input("x", F32, shape), scale, zero))
    return one(sketch, sketch.op("QuantizeLinear", moved, scale, zero))


@graph_for("moved_and_rounded_again")
def moved_and_rounded_again(sketch: Sketch) -> Instance:
    """Rounded numbers that move, rounded again."""
    return _again(sketch, *_moves(sketch))


@graph_for("resized_and_rounded_again")
def resized_and_rounded_again(sketch: Sketch) -> Instance:
    """A rounded picture that grows, rounded again."""
    return _again(sketch, (1, 2, 2, 3), _grows(sketch))


@graph_for("joined_and_rounded_again")
def joined_and_rounded_again(sketch: Sketch) -> Instance:
    """A rounded part among others, all rounded again."""
    others = [sketch.input("other", F32, (2, 1)) for _ in range(sketch.pick(1, 2))]
    first = sketch.pick(True, False)
    return _again(
        sketch, (2, 3), lambda v: sketch.op("Concat", *((v, *others) if first else (*others, v)), axis=1)
    )


@graph_for("rounded_behind_resizing")
def rounded_behind_resizing(sketch: Sketch) -> Instance:
    """A rounded picture that grows before a convolution."""
    scale, zero = sketch.scalar(0.3, F32), sketch.scalar(0, I8)
    grown = _grows(sketch)(_rounded(sketch, sketch.input("x", F32, (1, 2, 2, 3)), scale, zero))
    y = sketch.op("Conv", grown, sketch.input("w", F32, (2, 2, 1, 1)))
    return sketch.instance({y: "y"}, [grown])

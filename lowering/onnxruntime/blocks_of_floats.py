"""Floats in blocks in single precision, for models of other runtimes that are run here: it has no kernels for them.

NVFP4 and MXFP8 as `passes.quantize.minifloats` defines them; scales that are found at run time take the largest number
of a block to the largest of the format.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...ir.builder import Builder
from ...ir.core import Model, Node, Value, constant
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import F4E2M1, F8E4M3FN, F32, DType
from ...passes.quantize.minifloats import E2M1_LARGEST, E4M3_LARGEST, power_of_two

_DYNAMIC = ("trt::TRT_FP4DynamicQuantize", "trt::TRT_MXFP8DynamicQuantize")
_BACK = ("DequantizeLinear", "trt::TRT_MXFP8DequantizeLinear")
_SMALLEST = 2.0**-126  # a divisor below could be flushed to 0


def write_out_blocks(model: Model) -> None:
    """Change a model in place: what comes back of blocks is computed in single precision, to the same numbers."""
    for graph in model.graph.graphs():
        for node in list(graph):
            codes = node.input(0)
            if node.op.key == _BACK[0] and codes is not None and codes.dtype is F4E2M1:
                _replace(node, _nvfp4)
            elif node.op.key == _BACK[1]:
                _replace(node, _mxfp8)
        for node in graph.reversed():
            if not node.in_use and node.op.key in (*_DYNAMIC, *_BACK):
                graph.erase(node)


class _Blocks:
    """A node that brings codes back, and its operands apart in blocks of the last axis.

    What is [..., columns] is [..., blocks, elements of one].
    """

    def __init__(self, node: Node) -> None:
        assert node.graph is not None
        self.node = node
        self.b = Builder(node.graph, node, node.loc)
        codes = _at(node, 0)
        assert codes.shape is not None and isinstance(codes.shape[-1], int)
        self.columns, self.size, self.rank = codes.shape[-1], int(node.attr("block_size")), len(codes.shape)
        if node.attr("axis") % self.rank != self.rank - 1:
            raise NotImplementedError("blocks along another axis than the last")

    def apart(self, value: Value) -> Value:
        """In blocks, as f32."""
        single = value if value.dtype is F32 else self.b.op("Cast", value, to=F32.onnx)
        shape = [*[0] * (self.rank - 1), self.columns // self.size, self.size]
        return self.b.op("Reshape", single, self.b.ints(shape))

    def scales(self, value: Value) -> Value:
        """One for each block, beside `apart`."""
        return self.b.op("Unsqueeze", value, self.b.ints([self.rank]))

    def together(self, blocks: Value) -> Value:
        """In the shape and type of what the node gives."""
        whole = self.b.op("Reshape", blocks, self.b.ints([*[0] * (self.rank - 1), self.columns]))
        wanted = self.node.output.dtype
        assert wanted is not None
        return whole if wanted is F32 else self.b.op("Cast", whole, to=wanted.onnx)

    def largest(self, blocks: Value) -> Value:
        """The largest magnitude of each block."""
        return self.b.op("ReduceMax", self.b.op("Abs", blocks), self.b.ints([-1]), keepdims=1)

    def through(self, value: Value, dtype: DType) -> Value:
        """Rounded to a type, as f32."""
        return self.b.op("Cast", self.b.op("Cast", value, to=dtype.onnx), to=F32.onnx)

    def number(self, value: float) -> Value:
        return self.b.const(value, F32)


def _replace(node: Node, written_out: Callable[[_Blocks], Value]) -> None:
    result = written_out(_Blocks(node))
    hint = node.output.hint
    node.output.replace_with(result)
    result.hint = hint


def _nvfp4(blocks: _Blocks) -> Value:
    b, codes, node = blocks.b, _at(blocks.node, 0), blocks.node
    if codes.const is not None:
        steps = blocks.apart(constant(_floats(codes.const, lambda array: array.astype(F32.numpy))))
        return blocks.together(b.op("Mul", steps, blocks.scales(_at(node, 1))))
    maker = codes.producer
    assert maker is not None and maker.op.key == _DYNAMIC[0]
    x, whole = blocks.apart(_at(maker, 0)), _at(maker, 1)
    most = b.op("Mul", whole, blocks.number(E2M1_LARGEST))
    scale = b.op("Mul", blocks.through(b.op("Div", blocks.largest(x), most), F8E4M3FN), whole)
    quotient = b.op("Div", x, b.op("Max", scale, blocks.number(_SMALLEST)))
    empty = b.op("LessOrEqual", scale, blocks.number(0.0))
    return blocks.together(b.op("Mul", b.op("Where", empty, scale, _to_e2m1(blocks, quotient)), scale))


def _to_e2m1(blocks: _Blocks, x: Value) -> Value:
    """The nearest of 0, 0.5, 1, 1.5, 2, 3, 4 and 6 with its sign: whole halves below 2, whole numbers below 4, whole
    twos.

    Round goes to the even one of two that are as near, which is the even code in each of the three parts.
    """
    b, number = blocks.b, blocks.number
    x = b.op("Clip", x, number(-E2M1_LARGEST), number(E2M1_LARGEST))

    def steps(of: float) -> Value:
        return b.op("Mul", b.op("Round", b.op("Div", x, number(of))), number(of))

    size = b.op("Abs", x)
    coarse = b.op("Where", b.op("Less", size, number(4.0)), steps(1.0), steps(2.0))
    return b.op("Where", b.op("Less", size, number(2.0)), steps(0.5), coarse)


def _mxfp8(blocks: _Blocks) -> Value:
    b, codes, exponents = blocks.b, _at(blocks.node, 0), _at(blocks.node, 1)
    if codes.const is not None:
        assert exponents.const is not None
        scale = blocks.scales(constant(_floats(exponents.const, power_of_two)))
        return blocks.together(b.op("Mul", blocks.apart(codes), scale))
    maker = codes.producer
    assert maker is not None and maker.op.key == _DYNAMIC[1]
    x = blocks.apart(_at(maker, 0))
    share = b.op("Div", blocks.largest(x), blocks.number(E4M3_LARGEST))
    scale = b.op("Max", _power_from(blocks, share), blocks.number(_SMALLEST))
    return blocks.together(b.op("Mul", blocks.through(b.op("Div", x, scale), F8E4M3FN), scale))


def _power_from(blocks: _Blocks, x: Value) -> Value:
    """The smallest power of two that is no less; 0 for 0. What a logarithm gets wrong is off by one power at most."""
    b, number = blocks.b, blocks.number
    power = b.op("Pow", number(2.0), b.op("Ceil", b.op("Div", b.op("Log", x), number(math.log(2.0)))))
    half = b.op("Mul", power, number(0.5))
    power = b.op("Where", b.op("LessOrEqual", x, half), half, power)
    return b.op("Where", b.op("Greater", x, power), b.op("Mul", power, number(2.0)), power)


def _floats(tensor: Tensor, compute: Callable[[Array], Array]) -> Tensor:
    return DeferredTensor(F32, tensor.shape, tensor, "as floats", compute, elementwise=True)


def _at(node: Node, index: int) -> Value:
    value = node.inputs[index]
    assert value is not None
    return value

"""Puts floats of 8 and 4 bits into a graph: QuantizeLinear and DequantizeLinear with one scale, or in blocks.

In blocks, activations are quantized by the target's own operators, as the standard has none that finds scales at run
time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Node, Value, constant
from ...ir.errors import InvalidModel
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import F4E2M1, F8E4M3FN, F32, U8, DType
from ..precision.islands import HIDING
from .attentions import Attention
from .minifloats import MXFP8_BLOCK, NVFP4_BLOCK, mxfp8, nvfp4, scale_of, to_e4m3, whole_scale
from .small_floats import Floats

BLOCKS = {"nvfp4": NVFP4_BLOCK, "mxfp8": MXFP8_BLOCK}  # elements of a block, in the formats that have them


class FloatInserter:
    """Rewrites one graph; `created` collects the new nodes. `largest`: magnitudes of the activations."""

    def __init__(self, graph: Graph, format: str, kernels: Floats, largest: Mapping[Value, float]) -> None:
        self.graph = graph
        self.format = format
        self.kernels = kernels
        self.largest = largest
        self.created: list[Node] = []
        self._back: dict[Value, Value] = {}  # of a value what comes back of its quantization
        self._matrices: dict[Value, Value] = {}
        self._masks: dict[Value, Value] = {}

    def layer(self, node: Node) -> None:
        """Quantize both operands of a product or convolution."""
        x, w = node.inputs[0], node.inputs[1]
        assert x is not None and w is not None and w.const is not None
        node.set_input(0, self._rounded(x))
        if w not in self._matrices:
            b = Builder(self.graph, self.graph.first, node.loc)
            make = {"fp8": self._e4m3, "nvfp4": self._nvfp4, "mxfp8": self._mxfp8}[self.format]
            self._matrices[w] = make(b, w)
            self.created += b.created
        node.set_input(1, self._matrices[w])
        if node.op.key == "Conv" and node.input(2) is None:  # for what corrects it: else that would be integers
            zeros = Tensor.from_array(np.zeros(w.const.shape[0], np.float32))
            node.set_inputs([*node.inputs[:2], constant(zeros)])

    def attention(self, attention: Attention) -> None:
        """Quantize the four operands of an attention's products.

        Zeros for rows that are hidden as a whole would stand between the softmax and its quantization: where what hides
        is a sum, it is made finite instead, as in half precision, and such a row gives the mean of the values.
        """
        probabilities = attention.probabilities
        masks = attention.masks() if attention.guarded is not None else None
        if attention.guarded is not None and masks is not None:
            probabilities = attention.guarded
            for node, index in masks:
                node.set_input(index, self._finite_mask(node.inputs[index]))
        probabilities = self._rounded(probabilities, 1.0)
        q, k, v = (self._rounded(value) for value in attention.operands)
        attention.scores.set_input(0, q)
        attention.scores.set_input(1, k)
        attention.result.set_input(0, probabilities)
        attention.result.set_input(1, v)

    def _finite_mask(self, mask: Value | None) -> Value:
        assert mask is not None
        if mask not in self._masks:
            b = Builder.behind(mask, self.graph)
            self._masks[mask] = b.op("Max", mask, b.const(HIDING, F32))
            self.created += b.created
        return self._masks[mask]

    def _rounded(self, x: Value, largest: float | None = None) -> Value:
        """What comes back of a value that is quantized, once for all that multiply it."""
        found = self._back.get(x)
        if found is None:
            b = Builder.behind(x, self.graph)
            if self.format == "fp8":
                found = self._pair(b, x, self.largest[x] if largest is None else largest)
            else:
                found = self._at_run_time(b, x)
            self._back[x] = found
            self.created += b.created
        return found

    def _pair(self, b: Builder, x: Value, largest: float) -> Value:
        scale = b.const(scale_of(largest), F32)
        zero = b.const(_zero(F8E4M3FN))
        codes = b.node("QuantizeLinear", [x, scale, zero], outputs=[f"{x.hint}.fp8"]).output
        return b.node("DequantizeLinear", [codes, scale, zero], outputs=[x.hint], types=[x.type]).output

    def _at_run_time(self, b: Builder, x: Value) -> Value:
        block = {"axis": -1, "block_size": BLOCKS[self.format]}
        quantize, dequantize = self.kernels.blocks[self.format]
        hints = [f"{x.hint}.{self.format}", f"{x.hint}.scales"]
        if self.format == "mxfp8":
            codes, exponents = b.node(quantize, [x], {**block, "output_dtype": F8E4M3FN.onnx}, outputs=hints).outputs
            attrs = {**block, "output_dtype": F32.onnx}
            return b.node(dequantize, [codes, exponents], attrs, outputs=[x.hint], types=[x.type]).output
        whole = b.const(whole_scale(self.largest[x]), F32)
        codes, scales = b.node(quantize, [x, whole], {**block, "scale_type": F8E4M3FN.onnx}, outputs=hints).outputs
        factors = b.op("DequantizeLinear", scales, whole)
        return b.node("DequantizeLinear", [codes, factors], block, outputs=[x.hint], types=[x.type]).output

    # Weights

    def _e4m3(self, b: Builder, w: Value) -> Value:
        """One scale for all."""
        tensor = w.const
        assert tensor is not None
        scale = scale_of(_largest(tensor))
        recipe = f"as e4m3 by {float(scale).hex()}"
        codes = DeferredTensor(F8E4M3FN, tensor.shape, tensor, recipe, lambda array: to_e4m3(array, scale), True)
        operands = [constant(codes, w.hint), b.const(scale, F32)]
        return b.node("DequantizeLinear", operands, outputs=[f"{w.hint}.float"]).output

    def _nvfp4(self, b: Builder, w: Value) -> Value:
        """[inputs, outputs] as [outputs, inputs] in blocks, and turned back."""
        tensor = w.const
        assert tensor is not None
        whole = whole_scale(_largest(tensor))
        scales = nvfp4(_turned(tensor.array()), whole).scales
        recipe = f"as nvfp4 by {float(whole).hex()}"
        shape = tensor.shape[::-1]
        codes = DeferredTensor(F4E2M1, shape, tensor, recipe, lambda array: nvfp4(_turned(array), whole).codes)
        factors = b.op("DequantizeLinear", b.const(Tensor.from_array(scales, F8E4M3FN)), b.const(whole, F32))
        matrix = b.op("DequantizeLinear", constant(codes, w.hint), factors, axis=1, block_size=NVFP4_BLOCK)
        return b.op("Transpose", matrix, perm=(1, 0))

    def _mxfp8(self, b: Builder, w: Value) -> Value:
        """As `_nvfp4`."""
        tensor = w.const
        assert tensor is not None
        exponents = mxfp8(_turned(tensor.array())).exponents
        shape = tensor.shape[::-1]
        codes = DeferredTensor(F8E4M3FN, shape, tensor, "as mxfp8", lambda array: mxfp8(_turned(array)).codes)
        operands = [constant(codes, w.hint), b.const(Tensor.from_array(exponents, U8))]
        attrs = {"axis": 1, "block_size": MXFP8_BLOCK, "output_dtype": F32.onnx}
        matrix = b.node(self.kernels.blocks["mxfp8"][1], operands, attrs).output
        return b.op("Transpose", matrix, perm=(1, 0))


def _zero(dtype: DType) -> Tensor:
    return Tensor.from_array(np.zeros((), dtype.numpy), dtype)


def _turned(array: Array) -> Array:
    return np.ascontiguousarray(array.T, np.float32)


def _largest(tensor: Tensor) -> float:
    """The largest magnitude; NaN where one is among them."""
    return float(np.max([0.0, *(np.abs(piece).max(initial=0) for piece in tensor.pieces())]))


def check_finite(w: Value | None) -> None:
    """Raises InvalidModel for a constant with NaN or infinity."""
    if w is not None and w.const is not None and not np.isfinite(_largest(w.const)):
        raise InvalidModel(f"weight %{w.hint} holds NaN or infinity")

"""The layers of a model that compute with integers or read weights stored as such; the values that are quantized."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...ir.core import Model, Node, Value
from ...ir.tensor import Array
from ...passes.instruments import where
from .weights import Weight, scaled_behind_cast, weight_of

_QUANTIZERS = ("QuantizeLinear", "DynamicQuantizeLinear")
_VIEWS = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "MaxPool")


@dataclass
class Activation:
    """A value that is quantized when the model runs: by constant scales, or by its range in each run (`scale` None)."""

    value: Value  # floats, in front of the quantizer
    quantizer: Node
    bits: int
    dtype: str
    scale: Array | None
    zero: Array | None
    axis: int | None


@dataclass
class Layer:
    """A node that reads a quantized weight; `output` is its result in floats, behind its dequantization if need be."""

    node: Node
    name: str
    weight: Weight
    activation: Activation | None
    output: Value | None


@dataclass
class Found:
    """What of a model is quantized."""

    layers: list[Layer] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)  # those no layer reads included

    @property
    def empty(self) -> bool:
        """True where nothing is."""
        return not self.layers and not self.activations


def quantized_layers(model: Model) -> Found:
    """The layers and quantized values of the main graph, in its order."""
    found = Found()
    by_quantizer: dict[Node, Activation] = {}
    for node in model.graph:
        if node.op.name in _QUANTIZERS:
            activation = _activation(node)
            if activation is not None:
                by_quantizer[node] = activation
                found.activations.append(activation)
        else:
            read = weight_of(node)
            if read is not None:
                weight, operand = read
                source, output = _quantizer_of(node.input(operand)), _floats_behind(node)
                whole = _with_minima(output, node.input(operand))
                if whole is not None:
                    output, weight.decode = whole, None  # the codes alone are not the weights
                activation = by_quantizer.get(source) if source else None
                found.layers.append(Layer(node, where(node), weight, activation, output))
    return found


def _with_minima(product: Value | None, x: Value | None) -> Value | None:
    """The sum of a product and of what minima of blocks make of the same rows; None where there is no such sum.

    A product of the sums of each block with the minima: see the weights of a few bits in `lowering.onnxruntime`.
    """
    use = product.sole_use if product is not None else None
    if use is None or use[0].op.name != "Add" or x is None:
        return None
    value = use[0].inputs[1 - use[1]]
    for name in ("MatMul", "ReduceSum", "Reshape"):
        maker = None if value is None else value.producer
        if maker is None or maker.op.name != name:
            return None
        value = maker.inputs[0]
    return use[0].output if value is x else None


def _activation(node: Node) -> Activation | None:
    value = node.inputs[0]
    if value is None or value.const is not None or value.dtype is None or not value.dtype.is_float:
        return None
    dtype = node.outputs[0].dtype
    if dtype is None or dtype.kind not in "iu":
        return None
    scale, zero = node.input(1), node.input(2)
    if node.op.name == "DynamicQuantizeLinear" or scale is None or scale.const is None:
        return Activation(value, node, dtype.bits, dtype.name, None, None, None)
    scales = scale.const.array()
    zeros = np.zeros_like(scales) if zero is None or zero.const is None else zero.const.array()
    axis = node.attr("axis") if scales.size > 1 else None
    return Activation(
        value, node, dtype.bits, dtype.name, scales.astype(np.float32), zeros.astype(np.int64), axis
    )


def _quantizer_of(value: Value | None) -> Node | None:
    """The quantizer that a layer's operand comes from, through its dequantization and what hands codes on."""
    node = value.producer if value is not None else None
    for _ in range(8):
        if node is None or node.op.name in _QUANTIZERS:
            return node
        if node.op.name not in ("DequantizeLinear", *_VIEWS):
            return None
        inner = node.inputs[0]
        node = inner.producer if inner is not None else None
    return None


def _floats_behind(node: Node) -> Value | None:
    """A layer's result in floats: behind its dequantization, or the Cast and the scale that stand for one."""
    value = node.outputs[0]
    if value.dtype is not None and value.dtype.is_float:
        return value
    behind = [user for user, _ in value.uses if user.op.name == "DequantizeLinear"] or scaled_behind_cast(node)
    return behind[0].outputs[0] if behind else None

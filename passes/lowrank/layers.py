"""What can be split: products with a constant matrix, and 1 x 1 convolutions, which are products over channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Node, Value, constant
from ...ir.tensor import Array, Tensor
from ...ir.types import F32

_SPILLED = 4 << 20  # bytes from which on what is made lies in a temporary file: all of it can be gigabytes
LEAST = 1 << 12  # elements from which on a matrix is worth a look
_KINDS = ("MatMul", "Gemm", "Conv")


@dataclass(frozen=True, eq=False)
class Layer:
    """A node that multiplies `x` with a constant matrix f32 [inputs, outputs]: along the last axis, for Conv axis 1."""

    node: Node
    x: Value
    weight: Value
    inputs: int
    outputs: int

    @property
    def is_convolution(self) -> bool:
        """True for a 1 x 1 convolution."""
        return self.node.op.key == "Conv"

    @property
    def axis(self) -> int:
        """The axis of `x` that is summed over, and that of the outputs in the result."""
        return 1 if self.is_convolution else -1

    @property
    def parameters(self) -> int:
        """Elements of the matrix."""
        return self.inputs * self.outputs

    def matrix(self) -> Array:
        """The weights, f32 [inputs, outputs]."""
        assert self.weight.const is not None
        array = self.weight.const.read()
        if self.is_convolution:
            return array.reshape(self.outputs, self.inputs).T
        return array.T if self.node.attr("transB") else array


def kept_tensor(array: Array) -> Tensor:
    """A constant of an array, a large one out of memory: factors together take as much as the weights did."""
    array = np.ascontiguousarray(array)
    return Tensor.spilled(array) if array.nbytes >= _SPILLED else Tensor.from_array(array)


def layers_of(graph: Graph, least: int = LEAST) -> tuple[list[Layer], list[tuple[Node, str]]]:
    """The layers in the order of the graph, and nodes with a constant matrix that are none, with the reason."""
    found, others = [], []
    for node in graph:
        if node.op.key not in _KINDS:
            continue
        layer = _layer(node, least)
        if isinstance(layer, Layer):
            found.append(layer)
        elif layer:
            others.append((node, layer))
    return found, others


def _layer(node: Node, least: int) -> Layer | str:
    """The layer of a node; a reason where it has a weight that cannot be split, "" where it has none."""
    x, weight = node.inputs[0], node.inputs[1]
    if x is None or weight is None or weight.const is None or x.const is not None:
        return ""
    tensor = weight.const
    shape = tensor.shape
    if tensor.dtype is not F32 or tensor.size < least or tensor.splat is not None:
        return ""
    if len(weight.uses) > 1:
        return "other nodes read it as well"
    if node.op.key == "Conv":
        refused = _no_product(node, shape)
        if refused:
            return refused
        return Layer(node, x, weight, shape[1], shape[0])
    if len(shape) != 2:
        return "its weights are no matrix"
    if node.op.key == "Gemm" and (node.attr("transA") or node.attr("alpha") != 1.0):
        return "a Gemm of a turned or scaled matrix"
    turned = node.op.key == "Gemm" and bool(node.attr("transB"))
    inputs, outputs = shape[::-1] if turned else shape
    return Layer(node, x, weight, inputs, outputs)


def _no_product(node: Node, shape: tuple[int, ...]) -> str:
    """Why a convolution is no product over channels; "" for one that is."""
    if any(size != 1 for size in shape[2:]):
        return "its kernel is larger than 1 x 1"
    if node.attr("group") != 1:
        return "its channels are in groups"
    pads = node.attr("pads") or ()
    if node.attr("auto_pad") not in ("NOTSET", "VALID") or (isinstance(pads, tuple) and any(pads)):
        return "it pads"
    return ""


def by_operand(layers: list[Layer]) -> Iterator[list[Layer]]:
    """The layers in groups that multiply one value along one axis, as queries, keys and values do."""
    groups: dict[tuple[Value, int], list[Layer]] = {}
    for layer in layers:
        groups.setdefault((layer.x, layer.axis), []).append(layer)
    yield from groups.values()


def put_split(layers: list[Layer], left: Array, right: Array, created: list[Node]) -> None:
    """Make `layers`, which multiply one value, read what its product with `left` gives.

    `left` f32 [inputs, rank] is shared, `right` f32 [rank, outputs of all layers]. Convolutions of a group have equal
    strides.
    """
    first = layers[0]
    graph = first.node.graph
    assert graph is not None
    b = Builder(graph, first.node, first.node.loc)
    hidden = _reduced(b, first, left)
    for layer in layers:
        if layer.is_convolution:
            layer.node.attrs.pop("strides", None)
        layer.node.set_input(0, hidden)
    _set_rights(layers, right)
    created += b.created


def _set_rights(layers: list[Layer], right: Array) -> None:
    ends = np.cumsum([layer.outputs for layer in layers])[:-1]
    for layer, part in zip(layers, np.split(right, ends, axis=1)):
        _set_right(layer, part)


def _reduced(b: Builder, layer: Layer, left: Array) -> Value:
    hint = f"{layer.weight.hint}.left"
    if not layer.is_convolution:
        return b.op("MatMul", layer.x, b.const(kept_tensor(left), hint=hint))
    spatial = len(layer.weight.const.shape) - 2 if layer.weight.const is not None else 0
    kernel = np.ascontiguousarray(left.T).reshape(left.shape[1], layer.inputs, *(1,) * spatial)
    return b.op("Conv", layer.x, b.const(kept_tensor(kernel), hint=hint), strides=layer.node.attr("strides"))


def _set_right(layer: Layer, right: Array) -> None:
    node = layer.node
    assert layer.weight.const is not None
    hint = f"{layer.weight.hint}.right"
    if layer.is_convolution:
        array = right.T.reshape(layer.outputs, right.shape[0], *layer.weight.const.shape[2:])
    else:
        array = right.T if node.attr("transB") else right
    node.set_input(1, constant(kept_tensor(array), hint))

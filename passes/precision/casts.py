"""Carrying a choice of places out: types, constants, and casts where a value crosses."""

from __future__ import annotations

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import F16, F32, DType, tensor_type
from .islands import LARGEST, Islands
from .network import Place, is_single, place_of_maker, place_of_reader


class Rewriter:
    """Changes types, converts constants, and inserts casts where a value crosses."""

    def __init__(
        self, half: DType, opset: int, places: set[Place], islands: Islands, created: list[Node]
    ) -> None:
        """`places` compute in `half` from now on; `islands` knows masks and scales. New nodes go into `created`."""
        self.half = half
        self.opset = opset
        self.places = places
        self.hidden = islands.hidden
        self.hiding = islands.hiding
        self.scale_reason = islands.scale_reason
        self.created = created
        self.casts: dict[tuple[Value, DType], Value] = {}
        self.constants: dict[tuple[Value, bool], Value] = {}
        self.singles: dict[Value, Value] = {}  # constants in half precision, and what they were

    def run(self, model: Model) -> None:
        """Change the model in place."""
        graphs = model.graph.graphs()
        makes = {
            value: place_of_maker(value, self.half.type_str, self.opset) in self.places
            for graph in graphs
            for value in _values(graph)
            if is_single(value)
        }
        reads = {
            (node, index): place_of_reader(node, index, self.half.type_str, self.opset)
            for graph in graphs
            for node in [*graph, graph.ret]
            for index, value in enumerate(node.inputs)
            if value is not None and value.dtype is F32
        }
        for value, is_half in makes.items():
            if is_half:
                self.change(value)
        for (node, index), place in reads.items():
            operand = node.inputs[index]
            assert operand is not None
            if place is None:
                continue
            wanted = self.half if place in self.places else F32
            if operand.const is not None:
                if wanted is not F32:
                    node.set_input(index, self.converted(operand))
            elif operand.dtype is not wanted:
                node.set_input(index, self.cast(operand, wanted))

    def change(self, value: Value) -> None:
        """Give a value the half type, and its producer the attribute that says so."""
        value.type = tensor_type(self.half, value.shape)
        node = value.producer
        if node is None or node.regions:
            return
        if node.op.key == "Cast":
            node.attrs["to"] = self.half.onnx
        elif node.op.key == "trt::TRT_MXFP8DequantizeLinear":
            node.attrs["output_dtype"] = self.half.onnx
        elif node.op.key == "ConstantOfShape":
            node.attrs["value"] = _halved(node.attrs.get("value") or Tensor.of([0.0], F32), self.half)

    def converted(self, value: Value) -> Value:
        """The half form of a constant; one for all who read it."""
        is_mask = value in self.hidden
        found = self.constants.get((value, is_mask))
        if found is None:
            assert value.const is not None
            found = constant(_halved(value.const, self.half, self.hiding if is_mask else None), value.hint)
            self.constants[value, is_mask] = found
            self.singles[found] = value
        return found

    def cast(self, value: Value, dtype: DType) -> Value:
        """The value cast, right behind the place where it is made; one for all who read it."""
        found = self.casts.get((value, dtype))
        if found is None:
            scope = value.scope
            assert scope is not None
            maker = value.producer
            b = Builder.behind(value, scope)
            source = value
            if dtype is F16 and value in self.hidden:
                source = b.node("Max", [value, b.const(self.hiding, F32)]).output
            scale = self.scale_for(value, dtype) if source is value else None
            if maker is not None and scale is not None:
                operands = [maker.inputs[0], scale, *maker.inputs[2:]]
                found = b.node(maker.op, operands, dict(maker.attrs), outputs=[value.hint]).output
            else:
                found = b.node("Cast", [source], {"to": dtype.onnx}, outputs=[value.hint]).output
            self.casts[value, dtype] = found
            self.created += b.created
        return found

    def scale_for(self, value: Value, dtype: DType) -> Value | None:
        """The scale with which a DequantizeLinear gives `value` in another type; None where that is no way to it.

        Integers are dequantized once for each type: a cast would stand between them and what multiplies them.
        """
        maker = value.producer
        if maker is None or maker.op.key != "DequantizeLinear" or maker.attr("output_dtype"):
            return None
        scale = maker.inputs[1]
        assert scale is not None
        scale = self.singles.get(scale, scale)
        if scale.const is None or self.scale_reason(maker):
            return None
        return scale if dtype is F32 else self.converted(scale)


def _values(graph: Graph) -> list[Value]:
    return [*graph.inputs, *(value for node in graph for value in node.outputs)]


def _halved(tensor: Tensor, half: DType, hiding: float | None = None) -> Tensor:
    """The tensor in half precision, computed when it is read; what hides logits is clamped to `hiding`."""
    kind = half.numpy
    low, high = (-LARGEST, LARGEST) if hiding is None else (hiding, -hiding)

    def compute(array: Array) -> Array:
        limited = np.clip(array, low, high) if half is F16 else array
        return np.asarray(limited, np.float32).astype(kind)

    if tensor.splat is not None:
        return Tensor.of_splat(compute(np.asarray(tensor.splat)), tensor.shape, half)
    if tensor.size <= 1:
        return Tensor.from_array(compute(tensor.array()), half)
    recipe = f"to {half.name} within {low:g} and {high:g}"
    return DeferredTensor(half, tensor.shape, tensor, recipe, compute, elementwise=True)

"""Puts QuantizeLinear and DequantizeLinear into a graph: the canonical form that every lowering starts from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.tensor import Tensor
from ...ir.types import F32, I32
from .kernels import Integers
from .placement import Placement, tail
from .scheme import Affine, quantized_bias, represented, without_overflow
from .weights import Weights, as_codes, weight_affine, weight_scheme

Reference = tuple[Model, dict[Value, Value]]


class Inserter:
    """Rewrites one graph; `created` collects the new nodes."""

    def __init__(self, graph: Graph, kernels: Integers, per_channel: bool, method: str) -> None:
        self.graph = graph
        self.kernels = kernels
        self.per_channel = per_channel
        self.method = method
        self.created: list[Node] = []
        self._weights: dict[tuple[Value, int | None], Weights] = {}
        self._read: dict[Value, Value] = {}  # what dynamic layers read of a value

    @staticmethod
    def reference(model: Model) -> Reference:
        """The model as it is now, and the copies of its values."""
        return clone_model(model)

    def static(self, plan: Placement, affines: Mapping[Value, Affine]) -> None:
        """Quantize the values of a plan by the scales of their groups, and the weights."""
        constants = {
            root: (constant(Tensor.from_array(a.scale, F32)), constant(Tensor.from_array(a.zero)))
            for root, a in affines.items()
        }
        scale_of = {node: float(affines[plan.root(_operand(node))].scale) for node in plan.layers}
        for value in plan.values:
            root = plan.root(value)
            self._pair(plan, value, affines[root], *constants[root])
        for node in plan.layers:
            self._layer(node, scale_of[node])
        for node in plan.tables:
            self._table(node)

    def dynamic(self, layers: list[Node], tables: list[Node]) -> None:
        """Quantize weights, and activations by what is found at run time where there are kernels for that."""
        for node in layers:
            if node.op.key in self.kernels.dynamic:
                node.set_input(0, self._found_at_run_time(_operand(node)))
            self._layer(node, None)
        for node in tables:
            self._table(node)

    def _found_at_run_time(self, x: Value) -> Value:
        """Codes of a value, by its range at run time, and back; one for all layers of a graph that read it."""
        found = self._read.get(x)
        if found is None:
            # In the layer's own graph, where a lowering looks for both.
            b = Builder.behind(x, self.graph) if x.scope is self.graph else Builder(self.graph, self.graph.first)
            codes, scale, zero = b.node("DynamicQuantizeLinear", [x], outputs=3).outputs
            found = self._read[x] = b.op("DequantizeLinear", codes, scale, zero)
            self.created += b.created
        return found

    def _pair(self, plan: Placement, value: Value, affine: Affine, scale: Value, zero: Value) -> None:
        """Codes of a value and back; whoever computes in integers reads that, and all others if codes made it."""
        maker = value.producer
        users = list(value.uses)
        is_integer = _made_by(value, plan, self.kernels)
        source, absorbed = value, None
        if maker is not None and maker.op.key in self.kernels.absorbed and _covers(maker, affine):
            inner = maker.inputs[0]
            assert inner is not None
            if inner.producer in plan.integer and tail(inner.producer, self.kernels) is value:
                source, absorbed = inner, maker
        b = Builder.behind(source, self.graph)
        codes = b.node("QuantizeLinear", [source, scale, zero], outputs=[f"{value.hint}.codes"]).output
        back = b.node("DequantizeLinear", [codes, scale, zero], outputs=[value.hint], types=[value.type]).output
        self.created += b.created
        for node, index in users:
            if is_integer or (node, index) in plan.reads:
                node.set_input(index, back)
        if absorbed is not None:
            self.graph.erase(absorbed)

    def _layer(self, node: Node, activation_scale: float | None) -> None:
        w = node.inputs[1]
        assert w is not None and w.const is not None
        axis = (0 if node.op.key == "Conv" else 1) if self.per_channel else None
        weights = self._codes(w, axis)
        bias = node.input(2) if node.op.key == "Conv" else None
        affine = weights.affine
        if bias is not None and bias.const is not None and activation_scale and self.kernels.integer_bias:
            numbers = bias.const.array()
            scale = without_overflow(np.broadcast_to(affine.scale, numbers.shape), activation_scale, numbers)
            if axis is None:
                scale = scale.max()
            if (scale != affine.scale).any():
                weights = as_codes(w.const, affine._replace(scale=np.asarray(scale, np.float32)))
        b = Builder(node.graph or self.graph, node, node.loc)
        node.set_input(1, self._dequantized(b, weights, w.hint))
        if bias is not None and activation_scale and self.kernels.integer_bias:
            self.set_bias(node, b, activation_scale, weights, bias)
        self.created += b.created

    def set_bias(self, node: Node, b: Builder, activation_scale: float, weights: Weights, bias: Value) -> None:
        """A convolution's bias in 32-bit integers at the scale of its products."""
        assert bias.const is not None
        scale = np.asarray(weights.affine.scale * np.float32(activation_scale), np.float32)
        codes = quantized_bias(bias.const.array(), scale)
        attrs = {"axis": 0} if scale.ndim else {}
        operands = [b.const(Tensor.from_array(codes, I32), hint=bias.hint), b.const(Tensor.from_array(scale, F32))]
        node.set_input(2, b.node("DequantizeLinear", operands, attrs, outputs=[f"{bias.hint}.float"]).output)

    def _codes(self, w: Value, axis: int | None) -> Weights:
        found = self._weights.get((w, axis))
        if found is None:
            assert w.const is not None
            affine = weight_affine(w.const, axis, weight_scheme(self.kernels.reduced), self.method)
            found = self._weights[w, axis] = as_codes(w.const, affine)
        return found

    def _dequantized(self, b: Builder, weights: Weights, hint: str) -> Value:
        operands = [b.const(weights.codes, hint=hint), b.const(weights.scale), b.const(weights.zero)]
        attrs = {} if weights.axis is None else {"axis": weights.axis}
        return b.node("DequantizeLinear", operands, attrs, outputs=[f"{hint}.float"]).output

    def _table(self, node: Node) -> None:
        """The table of a row look-up, with a scale for each row."""
        table = node.inputs[0]
        assert table is not None
        b = Builder(node.graph or self.graph, node, node.loc)
        node.set_input(0, self._dequantized(b, self._codes(table, 0), table.hint))
        self.created += b.created


def _operand(node: Node) -> Value:
    x = node.inputs[0]
    assert x is not None
    return x


def _made_by(value: Value, plan: Placement, kernels: Integers) -> bool:
    """True if a kernel that gives codes makes this value, perhaps with an activation behind it."""
    maker = value.producer
    if maker is None:
        return False
    if maker in plan.integer:
        return True
    inner = maker.inputs[0] if maker.inputs else None
    return (
        maker.op.key in kernels.absorbed
        and inner is not None
        and inner.producer in plan.integer
        and tail(inner.producer, kernels) is value
    )


def _bound(value: Value | None, default: float) -> float:
    return default if value is None or value.const is None else float(value.const.item())


def _covers(node: Node, affine: Affine) -> bool:
    """True if the codes of an activation's result all lie within its bounds, so that saturation does its work."""
    low, high = (float(limit) for limit in represented(affine))
    least, most = 0.0, float("inf")
    if node.op.key == "Clip":
        least, most = _bound(node.input(1), float("-inf")), _bound(node.input(2), float("inf"))
    slack = 1e-5 * max(abs(low), abs(high))
    return low >= least - slack and high <= most + slack

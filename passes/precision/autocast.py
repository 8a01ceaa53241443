"""autocast: half precision where it is safe and faster, with as few casts as that takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.errors import UsageError
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import BF16, F16, F32, DType, tensor_type
from ..base import Context, Pass
from .islands import LARGEST, LIMIT, Islands
from .network import FIXED, Network, Place, halved, is_single, place_of_maker, place_of_reader
from .slots import half_operands, half_results
from .speed import HalfSpeed

_TYPES = {"fp16": F16, "bf16": BF16}


@dataclass(frozen=True)
class Autocast(Pass):
    """Nodes compute in half precision (``to`` = fp16 or bf16) where that is safe and saves time, with casts between.

    Safe: no number that was seen on the inputs exceeds ``limit`` in fp16, none comes near its largest on inputs
    scaled up a hundred times, no sum overflows, no constant vanishes, logits and angles stay small; positions, indices
    and rounding stay exact. Without inputs to run, constants and operators alone decide. Of all ways to place casts
    the one that takes the least time by the target's peak numbers is chosen, by a minimum cut; inputs and outputs of
    the model keep their types, weights are converted in the file, masks of -1e9 and the like are clamped. Nodes inside
    If, Loop and Scan take part.
    """

    name: ClassVar[str] = "autocast"
    lossy: ClassVar[bool] = True
    to: str = "fp16"
    limit: float = LIMIT

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any node changed. Raises UsageError for another type."""
        half = _TYPES.get(self.to)
        if half is None:
            raise UsageError(f"autocast goes to {' or '.join(_TYPES)}, not {self.to!r}", source="--passes")
        opset = getattr(ctx.capabilities, "max_opset", None) or _NEWEST
        network = Network.of(model, half.type_str, opset)
        if not network.nodes:
            return False
        islands = Islands(model, half, None if ctx.measure is None else ctx.measure(model), self.limit)
        stays: dict[Place, str] = {}
        for node in network.nodes:
            reason = islands.reason(node)
            if not reason and not ctx.allow(self.name, "", node):
                reason = "not allowed"
            if reason:
                stays[node] = reason
        for flow in network.flows:
            if not isinstance(flow.maker, Node) and flow.maker is not FIXED:
                reason = islands.reason_of(flow.value)
                if reason:
                    stays[flow.maker] = reason
        speed = HalfSpeed(half, getattr(ctx.capabilities, "hardware", None))
        places = halved(network, stays, speed.gain, speed.cast)
        changes = [node for node in network.nodes if node in places and _has_half_slots(node, half, opset)]
        _remark(self.name, ctx, network, stays, places)
        if not changes:
            return False
        created: list[Node] = []
        with ctx.rewrite(self.name, "", changes, created):
            _Rewriter(half, opset, places, islands, created).run(model)
        return True


_NEWEST = 1 << 30


def _has_half_slots(node: Node, half: DType, opset: int) -> bool:
    return bool(half_operands(node, half.type_str, opset) or half_results(node, half.type_str, opset))


def _remark(name: str, ctx: Context, network: Network, stays: dict[Place, str], places: set[Place]) -> None:
    """Say of each node that stays why it does; of all others how many there are."""
    if not ctx.wants_remarks:
        return
    for place, reason in stays.items():
        node = place if isinstance(place, Node) else place[0]
        ctx.remark("refused", name, f"{node.op.name} stays in single precision: {reason}", node=node)
    saved = Counter(node.op.name for node in network.nodes if node in places)
    ctx.remark("applied", name, ", ".join(f"{count} {op}" for op, count in saved.most_common()))


class _Rewriter:
    """Changes types, converts constants, and inserts casts where a value crosses."""

    def __init__(
        self, half: DType, opset: int, places: set[Place], islands: Islands, created: list[Node]
    ) -> None:
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
            b = Builder(scope, scope.first) if maker is None else Builder(scope, maker.next, maker.loc)
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

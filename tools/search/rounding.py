"""A model in which each rounding to half precision can be switched on alone.

    with Roundings(model, sources, placement, write) as trial:
        exact = trial.run(feeds, [])               # the model as it is
        rounded = trial.run(feeds, sources[3:5])   # with two of the roundings

A rounding is that of a value, wherever it is read, or that of the constants that a node reads. All are in one file:
which are on is an input of it, so that trying another set costs a run and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Model, Node, Value
from ...ir.types import BOOL, F16, F32, tensor_type
from ...passes.precision.islands import LARGEST
from ...passes.precision.network import Place
from ...passes.precision.placement import is_rounded
from ...passes.precision.slots import half_operands
from ..running.temporary import Running

if TYPE_CHECKING:
    from typing import TypeAlias

    from ...passes.precision.placement import Placement

Source: TypeAlias = "Value | Node"
"""A value that may be rounded, or a node whose constants may be."""


def sources_of(placement: Placement, places: set[Place]) -> list[Source]:
    """What is rounded anew when `places` are in half precision, in the order of the graph."""
    found: list[Source] = []
    nodes = {node for node in placement.network.nodes if node in places and _constants(node, placement)}
    for flow in placement.network.flows:
        maker = flow.value.producer
        if maker is not None and maker in nodes:
            nodes.discard(maker)
            found.append(maker)
        if is_rounded(flow, places):
            found.append(flow.value)
    return [*found, *nodes]  # nodes with no result in single precision come last


def _constants(node: Node, placement: Placement) -> list[int]:
    """The operands of a node that become constants in half precision."""
    slots = half_operands(node, placement.half.type_str, placement.opset)
    operands = enumerate(node.inputs)
    return [i for i, v in operands if i in slots and v is not None and v.const is not None and v.dtype is F32]


class Roundings(Running):
    """A model with switches."""

    def __init__(
        self,
        model: Model,
        sources: Sequence[Source],
        placement: Placement,
        write: Callable[[Model, str], None],
    ) -> None:
        """`placement` is that of `model`; `write` makes an ONNX file for onnxruntime.

        Raises CannotCheck where onnxruntime does not load the model.
        """
        self._number = {source: number for number, source in enumerate(sources)}
        copy, of = clone_model(model)
        taken = set(copy.graph.input_names)
        self._name = next(name for i in range(len(taken) + 1) if (name := f"round{i}") not in taken)
        self._outputs = list(copy.graph.output_names)
        switches = copy.graph.add_input(self._name, tensor_type(BOOL, (len(sources),)))
        _Switched(placement, switches, of).build(sources)
        super().__init__(copy, write, "the model with its roundings")

    def run(self, feeds: Mapping[str, Any], on: Iterable[Source]) -> list[Any]:
        """The outputs, in the graph's order, with the roundings `on`. Raises what onnxruntime raises."""
        switches = np.zeros(len(self._number), bool)
        switches[[self._number[source] for source in on]] = True
        found: list[Any] = self._session.run(self._outputs, {**feeds, self._name: switches})
        return found


class _Switched:
    """Puts the switches in. `of`: the copy of each value."""

    def __init__(self, placement: Placement, switches: Value, of: Mapping[Value, Value]) -> None:
        self.placement = placement
        self.switches = switches
        self.of = of
        islands = placement.islands
        self.hiding = {of[value]: islands.hiding for value in islands.hidden if value in of}

    def build(self, sources: Sequence[Source]) -> None:
        for number, source in enumerate(sources):
            if isinstance(source, Value):
                self.switch_value(self.of[source], number)
            else:
                self.switch_constants(self.twin(source), _constants(source, self.placement), number)

    def twin(self, node: Node) -> Node:
        found = self.of[node.outputs[0]].producer
        assert found is not None
        return found

    def switch_value(self, value: Value, number: int) -> None:
        """All who read the value, graph outputs too, read what the switch chooses."""
        graph = value.scope
        assert graph is not None
        uses = list(value.uses)
        b = Builder(graph, graph.first if value.producer is None else value.producer.next)
        chosen = self.chosen(b, value, self.hiding.get(value), None, number)
        for node, index in uses:
            node.set_input(index, chosen)

    def switch_constants(self, node: Node, indices: list[int], number: int) -> None:
        assert node.graph is not None
        b = Builder(node.graph, node)
        for index in indices:
            constant = node.inputs[index]
            assert constant is not None
            low = self.hiding.get(constant, -LARGEST)
            node.set_input(index, self.chosen(b, constant, low, -low, number))

    def chosen(self, b: Builder, value: Value, low: float | None, high: float | None, number: int) -> Value:
        """The value, or the nearest one in half precision, fp16 within its limits."""
        half = self.placement.half
        limited = value
        if half is F16 and low is not None:
            limited = b.op("Max", limited, b.const(low, F32))
        if half is F16 and high is not None:
            limited = b.op("Min", limited, b.const(high, F32))
        rounded = b.op("Cast", b.op("Cast", limited, to=half.onnx), to=F32.onnx)
        return b.op("Where", b.op("Gather", self.switches, b.const(number)), rounded, value)

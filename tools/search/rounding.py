"""A model in which each rounding to half precision can be switched on alone.

    with Roundings(model, sources, placement, write) as trial:
        exact = trial.run(feeds, [])               # the model as it is
        rounded = trial.run(feeds, sources[3:5])   # with two of the roundings

A rounding is that of a value, wherever it is read, or that of the constants that a node reads. All are in one file:
which values are rounded is an input of it, and so are the constants, fed as they are or rounded. Trying another set
costs a run and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Model, Node, Value
from ...ir.tensor import Array
from ...ir.types import BOOL, F16, F32, DType, tensor_type
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
        values = [source for source in sources if isinstance(source, Value)]
        self._number = {value: number for number, value in enumerate(values)}
        copy, of = clone_model(model)
        taken = set(copy.graph.input_names)
        self._name = next(name for i in range(len(taken) + 1) if (name := f"round{i}") not in taken)
        self._outputs = list(copy.graph.output_names)
        switches = copy.graph.add_input(self._name, tensor_type(BOOL, (len(values),)))
        switched = _Switched(copy, placement, switches, of)
        self._constants = {
            source: switched.open_constants(source, f"{self._name}.{number}")
            for number, source in enumerate(sources)
            if isinstance(source, Node)
        }
        for number, value in enumerate(values):
            switched.switch(of[value], number)
        super().__init__(copy, write, "the model with its roundings")

    def run(self, feeds: Mapping[str, Any], on: Iterable[Source]) -> list[Any]:
        """The outputs, in the graph's order, with the roundings `on`. Raises what onnxruntime raises."""
        switches = np.zeros(len(self._number), bool)
        rounded = set(on)
        switches[[number for value, number in self._number.items() if value in rounded]] = True
        constants = {
            constant.name: constant.rounded() if source in rounded else constant.exact
            for source, constants in self._constants.items()
            for constant in constants
        }
        found: list[Any] = self._session.run(self._outputs, {**feeds, **constants, self._name: switches})
        return found


@dataclass(frozen=True)
class _Constant:
    """A constant that is fed: in single precision, and how it becomes half."""

    name: str
    exact: Array
    half: DType
    limit: float | None

    def rounded(self) -> Array:
        """The nearest numbers in half precision, within the limits."""
        limited = self.exact if self.limit is None else np.clip(self.exact, -self.limit, self.limit)
        return np.asarray(limited.astype(self.half.numpy).astype(np.float32))  # of a scalar numpy makes no array


class _Switched:
    """Puts the switches in. `of`: the copy of each value."""

    def __init__(self, model: Model, placement: Placement, switches: Value, of: Mapping[Value, Value]) -> None:
        self.model = model
        self.placement = placement
        self.switches = switches
        self.of = of
        islands = placement.islands
        self.hiding = {of[value]: islands.hiding for value in islands.hidden if value in of}

    def switch(self, value: Value, number: int) -> None:
        """All who read the value, graph outputs too, read what the switch chooses."""
        graph = value.scope
        assert graph is not None
        uses = list(value.uses)
        b = Builder(graph, graph.first if value.producer is None else value.producer.next)
        chosen = self.chosen(b, value, self.hiding.get(value), number)
        for node, index in uses:
            node.set_input(index, chosen)

    def open_constants(self, source: Node, name: str) -> list[_Constant]:
        """Make the constants that a node reads inputs of the graph."""
        node = self.of[source.outputs[0]].producer
        assert node is not None
        found = []
        for index in _constants(source, self.placement):
            value = node.inputs[index]
            assert value is not None and value.const is not None
            opened = self.model.graph.add_input(f"{name}.{index}", value.type)
            limit = -self.hiding.get(value, -LARGEST) if self.placement.half is F16 else None
            found.append(_Constant(f"{name}.{index}", value.const.array(), self.placement.half, limit))
            node.set_input(index, opened)
        return found

    def chosen(self, b: Builder, value: Value, low: float | None, number: int) -> Value:
        """The value, or the nearest one in half precision, fp16 within its limit."""
        half = self.placement.half
        limited = value
        if half is F16 and low is not None:
            limited = b.op("Max", limited, b.const(low, F32))
        rounded = b.op("Cast", b.op("Cast", limited, to=half.onnx), to=F32.onnx)
        return b.op("Where", b.op("Gather", self.switches, b.const(number)), rounded, value)

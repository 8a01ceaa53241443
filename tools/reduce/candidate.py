"""A model that may fail, inputs for it, and parts of it as models of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...ir.clone import clone_model, extract, frontier
from ...ir.core import Model, Node, Value
from ...ir.infer import infer_graph
from ...ir.tensor import Tensor
from ...ir.types import TensorType, tensor_type
from ..bisect.local import values_of

SHAPE_SIZE = 16  # elements of an integer vector up to which it is taken for a shape, axes, or a number
Write = Callable[[Model, str], Any]
Make = Callable[[], "Candidate"]
"""Builds a candidate; raises a GeocError where its parts do not fit together."""


class Candidate:
    """`feeds`: arrays by input, None where nothing is known that it runs on. The model must not change any more."""

    def __init__(self, model: Model, feeds: dict[str, Any] | None) -> None:
        self.model = model
        self.feeds = feeds
        self._known: dict[Value, Any] = {}

    @property
    def size(self) -> int:
        """Nodes, those in regions included."""
        return self.model.node_count

    def values(self, write: Write, wanted: Iterable[Value]) -> dict[Value, Any]:
        """What values of the main graph are on the inputs. Raises CannotCheck where the model does not run."""
        wanted = list(wanted)
        assert self.feeds is not None
        missing = [value for value in dict.fromkeys(wanted) if value not in self._known]
        if missing:
            found = values_of(write, self.model, missing, [self.feeds], "a part of the model")[0]
            self._known.update(zip(missing, found))
        return {value: self._known[value] for value in wanted}

    def results_of(self, nodes: Sequence[Node]) -> list[Value]:
        """What nodes make for others, or for the outside; of nodes without either, all that they make."""
        inside = {inner for node in nodes for inner in _with_inner(node)}
        made = [value for node in nodes for value in node.outputs]
        found = [v for v in made if any(user not in inside for user, _ in v.uses)]
        return found or [v for v in made if not v.uses]

    def part(
        self, write: Write, nodes: Iterable[Node], outputs: Sequence[Value] | None = None, *, fixed: bool
    ) -> Candidate:
        """A model of some nodes of the main graph. `fixed`: with the sizes of the inputs, and shapes as constants.

        What does not depend on the inputs of the model becomes a constant. Raises CannotCheck where it does not run.
        """
        chosen = set(nodes)
        ordered = [node for node in self.model.graph if node in chosen]
        results = self.results_of(ordered) if outputs is None else list(outputs)
        read = list(dict.fromkeys([*frontier(ordered), *(v for v in results if v.producer not in chosen)]))
        model, of = extract(self.model, ordered, results)
        if self.feeds is None:
            return Candidate(model, None)
        made = [value for node in ordered for value in node.outputs if value.uses]
        known = self.values(write, [v for v in (*read, *(made if fixed else ())) if v.const is None])
        static = static_values(self.model)
        names = {of[v]: v for v in read if v in of}
        for copy, value in list(names.items()):
            array = known.get(value)
            if copy.is_input and isinstance(array, np.ndarray) and (value in static or (fixed and _is_shape(array))):
                const = Value(None, copy.hint)
                const.const = Tensor.from_array(array, value.dtype)
                const.type = const.const.type
                copy.replace_with(const)
        drop_unused_inputs(model)
        feeds = {
            name: known[names[value]] for name, value in zip(model.graph.input_names, model.graph.inputs)
        }
        if fixed:
            _fix_types(model, {of[value]: array for value, array in known.items() if value in of})
        return Candidate(model, feeds)

    def copy(self) -> tuple[Candidate, dict[Value, Value]]:
        """To be changed; also gives the copy of each value."""
        model, of = clone_model(self.model)
        return Candidate(model, None if self.feeds is None else dict(self.feeds)), of


def _with_inner(node: Node) -> list[Node]:
    found = [node]
    for region in node.regions.values():
        found += [*region.walk(), *(graph.ret for graph in region.graphs())]
    return found


def _is_shape(array: Any) -> bool:
    return array.dtype.kind in "iu" and array.dtype.itemsize > 1 and array.ndim <= 1 and array.size <= SHAPE_SIZE


def static_values(model: Model) -> set[Value]:
    """Values of the main graph that are the same whatever the inputs are."""
    found: set[Value] = set()
    for node in model.graph:
        is_plain = node.op.pure and not node.regions and not node.op.random
        if is_plain and all(v is None or v.const is not None or v in found for v in node.inputs):
            found.update(node.outputs)
    return found


def drop_unused_inputs(model: Model) -> None:
    """Take away inputs that nothing reads."""
    graph = model.graph
    for index in reversed(range(len(graph.inputs))):
        if not graph.inputs[index].uses:
            graph.remove_input(index)


def drop_dead(candidate: Candidate) -> None:
    """Take away nodes and inputs that nothing reads, and what was given to such inputs."""
    graph = candidate.model.graph
    for node in graph.reversed():
        if not node.in_use:
            graph.erase(node)
    drop_unused_inputs(candidate.model)
    if candidate.feeds is not None:
        candidate.feeds = {name: candidate.feeds[name] for name in graph.input_names if name in candidate.feeds}


def _fix_types(model: Model, arrays: dict[Value, Any]) -> None:
    """Give values the shapes of the arrays that they are, and infer the rest."""
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        array = arrays.get(value)
        if isinstance(array, np.ndarray) and isinstance(value.type, TensorType):
            value.type = tensor_type(value.type.dtype, array.shape)
        value.content = None
    infer_graph(model.graph)

"""A graph in the making, with decisions at hand: what left sides, and graphs given for rules, are drawn on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.errors import GeocError
from ...ir.tensor import Tensor
from ...ir.types import I64, DType, tensor_type
from ...ir.verify import verify
from .choices import Choices, Infeasible


@dataclass
class Instance:
    """A left side: a model that returns its roots, and what its inputs may hold (see `Want.fill`)."""

    model: Model
    roots: list[Node]
    fills: dict[str, str] = field(default_factory=dict)


class Sketch:
    """A graph, what its inputs may hold, and where its decisions come from."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.graph = Graph("main")
        self.builder = Builder(self.graph)
        self.fills: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def pick(self, *options: Any) -> Any:
        """One of the options, the first of which is the simplest."""
        return self.choices.pick("own", options)

    def input(self, name: str, dtype: DType, shape: Sequence[int], fill: str = "") -> Value:
        """A new input of the graph; the name gets a number where it is taken."""
        count = self._counts[name] = self._counts.get(name, 0) + 1
        if count > 1:
            name = f"{name}_{count}"
        self.fills[name] = fill
        return self.graph.add_input(name, tensor_type(dtype, tuple(shape)))

    def op(self, key: str, *operands: Value | None, **attrs: Any) -> Value:
        """The result of a new node. Raises Infeasible where its operands do not fit."""
        return self.outputs(key, operands, 1, attrs)[0]

    def outputs(
        self, key: str, operands: Iterable[Value | None], count: int, attrs: dict[str, Any] | None = None
    ) -> list[Value]:
        """All results of a new node. Raises Infeasible where its operands do not fit."""
        try:
            return list(self.builder.node(key, operands, attrs, outputs=count).outputs)
        except GeocError as error:
            raise Infeasible(f"{key}: {error.message}") from None

    def swapped(self, key: str, a: Value, b: Value) -> Value:
        """A commutative operator, its operands in either order."""
        return self.op(key, a, b) if self.pick(True, False) else self.op(key, b, a)

    def ints(self, *numbers: int) -> Value:
        """A vector of integers."""
        return constant(Tensor.of(list(numbers), I64))

    def scalar(self, number: Any, dtype: DType) -> Value:
        """A constant of one number."""
        return constant(Tensor.of(number, dtype))

    def instance(self, returned: Mapping[Value, str], roots: Sequence[Value]) -> Instance:
        """The graph with these results under these names, each made unique. Raises Infeasible for a broken one."""
        names = list(returned.values())
        self.graph.set_outputs(returned, [f"{n}_{i}" if n in names[:i] else n for i, n in enumerate(names)])
        for value in [*self.graph.inputs]:
            if not value.uses:
                self.graph.remove_input(value.index)
        model = Model(self.graph)
        try:
            verify(model)
        except GeocError as error:
            raise Infeasible(error.message) from None
        nodes = [value.producer for value in roots if value.producer is not None]
        return Instance(model, nodes, {n: self.fills.get(n, "") for n in self.graph.input_names})

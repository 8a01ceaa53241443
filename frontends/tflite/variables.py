"""Variables, which keep numbers from one run to the next: inputs and outputs of the graph.

A variable that is read gets an input of its name; what is assigned to it last is an output, NAME_next. A caller that
feeds each output to its input at the next run computes what TFLite does with its own memory. What the variables begin
with, from the subgraph that CALL_ONCE runs, is the model's metadata: `state NAME` is JSON with the names of input and
output and the first number, or all of them as a list where they are not equal.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ...ir.core import Graph, Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.tensor import Tensor
from ...ir.types import tensor_type
from .call import Call

if TYPE_CHECKING:
    from .importer import Importer

VARIABLE_OPERATORS = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})


class _Variable:
    """What one variable holds at this point of the graph; None until something reads or assigns it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.input: Value | None = None
        self.value: Value | None = None
        self.assigned = False


class State(NamedTuple):
    """The output that has a variable's new content."""

    name: str
    value: Value


class Variables:
    """The variables of one model while its operators are converted."""

    def __init__(self, importer: Importer, graph: Graph, names: Counter[str]) -> None:
        self.importer = importer
        self.graph = graph
        self.names = names
        self.handles: dict[int, _Variable] = {}  # by the tensor that holds the handle
        self.found: dict[str, _Variable] = {}
        self.initial: dict[str, Tensor] = {}
        self.metadata: dict[str, str] = {}

    def convert(self, call: Call) -> None:
        """One of VARIABLE_OPERATORS. Raises UnsupportedModel or InvalidModel for what is not a plain variable."""
        if call.name == "CALL_ONCE":
            self._initialize(call.option("init_subgraph_index"))
        elif call.name == "VAR_HANDLE":
            name = call.option("shared_name") or ""
            if not call.outputs:
                raise InvalidModel("has no result")
            self.handles[call.outputs[0].index] = self.found.setdefault(name, _Variable(name))
        elif call.name == "READ_VARIABLE":
            call.give(self._read(call))
        else:
            variable = self._of(call)
            variable.value, variable.assigned = call.value(1), True

    def _of(self, call: Call) -> _Variable:
        info = call.info(0)
        if info.index not in self.handles:
            raise InvalidModel(f"uses {info.label}, which is no handle of a variable")
        return self.handles[info.index]

    def _read(self, call: Call) -> Value:
        variable = self._of(call)
        if variable.value is None:
            if not call.outputs or call.outputs[0].dtype is None:
                raise InvalidModel("has no result")
            info = call.outputs[0]
            first = self.initial.get(variable.name)
            shape = first.shape if first is not None else info.dims()
            name = self._unique(variable.name or "state")
            variable.input = variable.value = self.graph.add_input(name, tensor_type(call.outputs[0].dtype, shape))
        return variable.value

    def _initialize(self, index: int) -> None:
        """What a subgraph assigns: constants to variables, and nothing else."""
        infos, operators = self.importer.subgraph(index)
        handles: dict[int, str] = {}
        for name, inputs, outputs, options in operators:
            if name == "VAR_HANDLE" and options is not None and outputs:
                handles[outputs[0]] = options["shared_name"] or ""
            elif name == "ASSIGN_VARIABLE" and len(inputs) == 2 and inputs[0] in handles and inputs[1] >= 0:
                const = infos[inputs[1]].const
                if const is None:
                    raise UnsupportedModel("begins with a variable that is computed")
                self.initial[handles[inputs[0]]] = const
            else:
                raise UnsupportedModel(f"begins with {name}, which is not the assignment of a constant")

    def finish(self) -> list[State]:
        """The outputs of the state, in the order of the variables; fills `metadata`."""
        outputs = []
        for variable in self.found.values():
            if variable.input is None:
                continue  # nobody saw what it held before
            assert variable.value is not None
            shown = self.graph.inputs.index(variable.input)
            name = self._unique(f"{self._input_name(shown)}_next")
            outputs.append(State(name, variable.value))
            self.metadata[f"state {variable.name}"] = json.dumps(
                {"input": self._input_name(shown), "output": name, "initial": self._first(variable.name)}
            )
        return outputs

    def _input_name(self, index: int) -> str:
        return self.graph.inputs[index].hint

    def _first(self, name: str) -> float | list[float]:
        const = self.initial.get(name)
        if const is None or not const.size:
            return 0
        array = const.array().reshape(-1)
        found: float | list[float] = array[0].item() if (array == array[0]).all() else array.tolist()
        return found

    def _unique(self, name: str) -> str:
        self.names[name] += 1
        return name if self.names[name] == 1 else self._unique(f"{name}_{self.names[name]}")

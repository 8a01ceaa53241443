"""Variables, which keep numbers from one run to the next: inputs and outputs of the graph.

A variable that is read gets an input of its name; what is assigned to it last is an output, NAME_next. A caller that
feeds each output to its input at the next run computes what TFLite does with its own memory. What the variables begin
with, from the subgraph that CALL_ONCE runs, is the model's metadata: `state NAME` is JSON with the names of input and
output and the first number, or all of them as a list where they are not equal. Variables are resources
(VAR_HANDLE), or tensors that recurrent operators change in their place (is_variable), which begin with zeros.

Nobody sees in what order TFLite keeps a variable. One that becomes part of images that are convolved is kept channels
first, as convolutions take it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.tensor import Array
from ...ir.types import tensor_type
from .call import TO_FIRST, Call, Scope
from .tensors import TensorInfo

if TYPE_CHECKING:
    from .importer import Importer

VARIABLE_OPERATORS = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})

_IMAGES = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D"})
# Operators that work on whatever order an image has.
_PASSING = frozenset(
    {
        "CONCATENATION", "STRIDED_SLICE", "SLICE", "SPLIT", "SPLIT_V", "PAD", "QUANTIZE", "DEQUANTIZE", "ADD", "MUL",
        "RELU",
    }
)  # fmt: skip


def seen_as_images(operators: Iterable[tuple[str, list[int], list[int]]]) -> set[int]:
    """Tensors that convolutions and pools read, as they are or joined, cut and added; operators last one first."""
    found: set[int] = set()
    for name, inputs, outputs in operators:
        if name in _IMAGES:
            found.update(inputs[:1])
        elif name in _PASSING and not found.isdisjoint(outputs):
            found.update(inputs)
    return found


class _Variable:
    """What one variable holds at this point of the graph; None until something reads or assigns it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.first: Array | None = None  # zeros where it is None
        self.input: Value | None = None
        self.value: Value | None = None
        self.image = False


class State(NamedTuple):
    """The output that has a variable's new content."""

    name: str
    value: Value


class Variables:
    """The variables of one model while its operators are converted; `images` are tensors of `seen_as_images`."""

    def __init__(self, importer: Importer, graph: Graph, names: Counter[str], images: set[int]) -> None:
        self.importer = importer
        self.graph = graph
        self.names = names
        self.images = images
        self.handles: dict[int, _Variable] = {}  # by the tensor that holds the handle, or that is the variable
        self.found: dict[str, _Variable] = {}
        self.metadata: dict[str, str] = {}

    def convert(self, call: Call) -> None:
        """One of VARIABLE_OPERATORS. Raises UnsupportedModel or InvalidModel for what is not a plain variable."""
        if call.name == "CALL_ONCE":
            self._initialize(call.option("init_subgraph_index"))
        elif call.name == "VAR_HANDLE":
            name = call.option("shared_name") or ""
            if not call.outputs:
                raise InvalidModel("has no result")
            self.handles[call.outputs[0].index] = self._named(name)
        elif call.name == "READ_VARIABLE":
            if not call.outputs:
                raise InvalidModel("has no result")
            call.give(self._read(self._of(call.info(0)), call.outputs[0], call))
        else:
            self._of(call.info(0)).value = call.value(1)

    def held(self, info: TensorInfo, call: Call) -> Value:
        """What a tensor that is a variable holds, as it is stored."""
        if not info.is_variable:
            raise InvalidModel(f"keeps numbers in {info.label}, which is no variable")
        if info.index not in self.handles:
            name = info.name or f"state{info.index}"
            if name in self.found:
                raise InvalidModel(f"has two variables called {name}")
            self.handles[info.index] = variable = self._named(name)
            if info.quantization is not None and info.dtype is not None:  # zero, as a code
                variable.first = np.full(1, info.quantization.zero[0], info.dtype.numpy)
        return self._read(self.handles[info.index], info, call)

    def assign(self, info: TensorInfo, value: Value) -> None:
        """What it holds from here on."""
        self._of(info).value = value

    def _named(self, name: str) -> _Variable:
        return self.found.setdefault(name, _Variable(name))

    def _of(self, info: TensorInfo) -> _Variable:
        if info.index not in self.handles:
            raise InvalidModel(f"uses {info.label}, which is no handle of a variable")
        return self.handles[info.index]

    def _read(self, variable: _Variable, info: TensorInfo, call: Call) -> Value:
        if variable.value is not None:
            return variable.value
        if info.dtype is None:
            raise InvalidModel("reads a handle of a variable as numbers")
        first = variable.first
        shape = first.shape if first is not None and first.size > 1 else info.dims()
        variable.image = len(shape) == 4 and info.index in self.images
        if variable.image:
            shape = tuple(shape[axis] for axis in TO_FIRST)
        value = self.graph.add_input(self._unique(variable.name or "state"), tensor_type(info.dtype, shape))
        variable.input = value
        if variable.image:
            value = call.channels_last(value)
        variable.value = value
        return value

    def _initialize(self, index: int) -> None:
        """What a subgraph assigns: constants to variables, and nothing else."""
        handles: dict[int, str] = {}
        for name, inputs, outputs, options, infos in self.importer.operators_of(index):
            if name == "VAR_HANDLE" and options is not None and outputs:
                handles[outputs[0]] = options["shared_name"] or ""
            elif name == "ASSIGN_VARIABLE" and len(inputs) == 2 and inputs[0] in handles and inputs[1] >= 0:
                const = infos[inputs[1]].const
                if const is None:
                    raise UnsupportedModel("begins with a variable that is computed")
                self._named(handles[inputs[0]]).first = const.array()
            else:
                raise UnsupportedModel(f"begins with {name}, which is not the assignment of a constant")

    def finish(self, scope: Scope) -> list[State]:
        """The outputs of the state, in the order of the variables; fills `metadata`."""
        outputs = []
        for variable in self.found.values():
            if variable.input is None:
                continue  # nobody saw what it held before
            value = variable.value
            assert value is not None
            if variable.image:
                value = scope.first.get(value) or Builder(self.graph).op("Transpose", value, perm=TO_FIRST)
            name = variable.input.hint
            outputs.append(State(self._unique(f"{name}_next"), value))
            self.metadata[f"state {variable.name}"] = json.dumps(
                {"input": name, "output": outputs[-1].name, "initial": _numbers(variable)}
            )
        return outputs

    def _unique(self, name: str) -> str:
        self.names[name] += 1
        return name if self.names[name] == 1 else self._unique(f"{name}_{self.names[name]}")


def _numbers(variable: _Variable) -> float | list[float]:
    """What a variable begins with, in the order of its input; one number where all are equal."""
    first = variable.first
    if first is None or not first.size:
        return 0
    if variable.image and first.ndim == 4:
        first = first.transpose(TO_FIRST)
    flat = first.reshape(-1)
    found: float | list[float] = flat[0].item() if (flat == flat[0]).all() else flat.tolist()
    return found

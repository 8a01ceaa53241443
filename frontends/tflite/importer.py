"""TFLite's tables to an IR graph: tensors, operators in the order of the file, inputs and outputs, subgraphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Value, constant
from ...ir.errors import FormatError, GeocError, InvalidModel, UnsupportedModel
from ...ir.tensor import Array, MappedFile
from ...ir.types import tensor_type
from ..reading import refuse_operators
from . import (  # noqa: F401  (their converters)
    activations,
    arithmetic,
    control,
    custom,
    detection,
    images,
    indexing,
    landmarks,
    movement,
    recurrent,
    reductions,
    signals,
    slicing,
    volumes,
)
from .call import CONVERTERS, Call, Scope
from .dilated import dilated
from .flatbuffer import Table
from .schema import OPERATORS, OPTIONS, OPTIONS_2, SUBGRAPHS
from .tensors import TensorInfo, TensorReader
from .variables import VARIABLE_OPERATORS, Variables, seen_as_images

_CUSTOM = OPERATORS.index("CUSTOM")
# Operators that may be converted for each one of the file, beside the first ones: regions repeat what they call.
_SHARED, _FREE = 8, 1000
_MAX_DEPTH = 16


class Importer:
    """Converts one file."""

    def __init__(self, root: Table, file: MappedFile, source: str) -> None:
        self.root = root
        self.file = file
        self.codes = [_operator_name(code) for code in root["operator_codes"]]
        self.tensors = TensorReader(file, source, root["buffers"])
        self.subgraphs: list[Table] = root["subgraphs"]
        self.infos: dict[int, list[TensorInfo]] = {}
        self.depth = 0
        self.operators: list[list[Table]] = [table["operators"] for table in self.subgraphs]
        self.left = _FREE + _SHARED * sum(map(len, self.operators))

    def run(self) -> Model:
        """The model. Raises FormatError, InvalidModel or UnsupportedModel, naming the operator or tensor."""
        if self.root["version"] != 3:
            raise UnsupportedModel(f"schema version {self.root['version']}; 3 is read")
        if not self.subgraphs:
            raise FormatError("it has no graph")
        main = self.subgraphs[0]
        self._refuse()
        infos = self._tensors(0)
        graph = Graph(main["name"] or "main")
        model = Model(graph)
        model.info = {"producer_name": "TFLite", "doc_string": self.root["description"] or ""}
        model.typed = False
        names: Counter[str] = Counter()
        scope = Scope(graph, self.file, self.body, self.input_infos)
        for index in self._indices(main["inputs"], infos, "inputs"):
            info = infos[index]
            if info.dtype is None or info.const is not None or index in scope.values:
                raise InvalidModel(f"{info.label} cannot be an input")
            shown = _unique(info.name or f"input{index}", names)
            scope.values[index] = graph.add_input(shown, tensor_type(info.dtype, info.dims()))
        backwards = reversed([operator[:3] for operator in self.operators_of(0)])
        scope.variables = variables = Variables(self, graph, names, seen_as_images(backwards))
        self._convert(0, scope)
        results = self._results(0, scope)
        output_names = [_unique(info.name or f"output{info.index}", names) for info, _ in results]
        state = variables.finish(scope)
        output_names += [kept.name for kept in state]
        graph.set_outputs([*(value for _, value in results), *(kept.value for kept in state)], output_names)
        model.metadata.update(variables.metadata)
        return model

    def body(self, index: int, graph: Graph, operands: Sequence[Value]) -> list[Value]:
        """Convert another subgraph into `graph` for these operands; its results.

        Raises FormatError where it is not there or takes others, UnsupportedModel for calls without end.
        """
        infos = self._tensors(index)
        inputs = self._indices(self.subgraphs[index]["inputs"], infos, "inputs")
        if len(inputs) != len(operands) or len(set(inputs)) != len(inputs):
            raise FormatError(f"subgraph {index} takes {len(inputs)} inputs, it is given {len(operands)}")
        if self.depth >= _MAX_DEPTH:
            raise UnsupportedModel(f"subgraphs call others {_MAX_DEPTH} deep")
        scope = Scope(graph, self.file, self.body, self.input_infos)
        scope.values.update(zip(inputs, operands))
        self.depth += 1
        self._convert(index, scope)
        self.depth -= 1
        return [value for _, value in self._results(index, scope)]

    def input_infos(self, index: int) -> list[TensorInfo]:
        """What a subgraph says of its inputs."""
        infos = self._tensors(index)
        return [infos[i] for i in self._indices(self.subgraphs[index]["inputs"], infos, "inputs")]

    def operators_of(self, index: int) -> Iterator[tuple[str, list[int], list[int], Table | None, list[TensorInfo]]]:
        """The operators (name, inputs, outputs, options) of a subgraph, each with the tensors that they name."""
        infos = self._tensors(index)
        for operator in self.operators[index]:
            name = self._name(operator)
            inputs = self._indices(operator["inputs"], infos, "operands")
            yield name, inputs, self._indices(operator["outputs"], infos, "results"), _options(name, operator), infos

    def _tensors(self, index: int) -> list[TensorInfo]:
        if not 0 <= index < len(self.subgraphs):
            raise FormatError(f"there is no subgraph {index}, there are {len(self.subgraphs)}")
        if index not in self.infos:
            tables = self.subgraphs[index]["tensors"]
            self.infos[index] = [self.tensors.read(i, table) for i, table in enumerate(tables)]
        return self.infos[index]

    def _convert(self, index: int, scope: Scope) -> None:
        infos = self._tensors(index)
        place = f" of subgraph {index}" if index else ""
        outputs = self._indices(self.subgraphs[index]["outputs"], infos, "outputs")
        merged = dilated(list(self.operators_of(index)), outputs)
        for number, operator in enumerate(self.operators[index]):
            self.left -= 1
            if self.left < 0:
                raise UnsupportedModel("its subgraphs call each other too often")
            name = self._name(operator)
            dilation = merged.get(number)
            if number in merged and dilation is None:
                continue
            try:
                call = self._call(name, operator, infos, scope)
                if dilation is not None:
                    call.dilate(dilation, infos)
                if name not in VARIABLE_OPERATORS:
                    CONVERTERS[name](call)
                elif scope.variables is not None:
                    scope.variables.convert(call)
                else:
                    raise UnsupportedModel("keeps numbers inside IF or WHILE")
                if dilation is not None and dilation.is_sequence:
                    row = scope.values[call.outputs[0].index]
                    scope.values[dilation.result] = call.builder.op("Squeeze", row, call.builder.ints([1]))
            except GeocError as error:
                error.place = error.place or f"operator {number} {name}{place}"
                raise

    def _results(self, index: int, scope: Scope) -> list[tuple[TensorInfo, Value]]:
        """The outputs of a subgraph with their values."""
        infos = self._tensors(index)
        found = []
        for place in self._indices(self.subgraphs[index]["outputs"], infos, "outputs"):
            info = infos[place]
            value = scope.values.get(place)
            if value is None and info.const is not None and info.sparsity is None:
                value = constant(info.const, info.name)
            if value is None:
                raise InvalidModel(f"output {info.label} is computed by no operator")
            if value in scope.complex:
                raise UnsupportedModel(f"output {info.label} is complex")
            found.append((info, value))
        return found

    def _name(self, operator: Table) -> str:
        code: int = operator["opcode_index"]
        if code >= len(self.codes):
            raise FormatError(f"an operator has code {code}, there are {len(self.codes)}")
        return self.codes[code]

    def _refuse(self) -> None:
        """Raise UnsupportedModel with every operator that has no converter, also of subgraphs that are called."""
        missing: Counter[str] = Counter()
        waiting = [0]
        for index in waiting:  # grows while we go
            if not 0 <= index < len(self.subgraphs):
                raise FormatError(f"there is no subgraph {index}, there are {len(self.subgraphs)}")
            for operator in self.operators[index]:
                name = self._name(operator)
                if name not in CONVERTERS and name not in VARIABLE_OPERATORS:
                    missing[name] += 1
                elif name in SUBGRAPHS and (options := _options(name, operator)) is not None:
                    waiting += {options[field] for field in SUBGRAPHS[name]}.difference(waiting)
        refuse_operators(missing)

    def _indices(self, found: Array | None, infos: list[TensorInfo], what: str) -> list[int]:
        """Indices of tensors; those of operands may be -1, for absent."""
        indices: list[int] = [] if found is None else found.tolist()
        least = -1 if what == "operands" else 0
        if any(not least <= i < len(infos) for i in indices):
            raise FormatError(f"{what} name tensors {indices[:8]}, there are {len(infos)}")
        return indices

    def _call(self, name: str, operator: Table, infos: list[TensorInfo], scope: Scope) -> Call:
        inputs = [infos[i] if i >= 0 else None for i in self._indices(operator["inputs"], infos, "operands")]
        outputs = [infos[i] for i in self._indices(operator["outputs"], infos, "results")]
        if not outputs and name not in VARIABLE_OPERATORS:
            raise InvalidModel("has no result")
        label = outputs[0].name if outputs else ""
        call = Call(name, Builder(scope.graph, loc=(label,) if label else ()), inputs, outputs, scope)
        call.options = _options(name, operator)
        call.custom = operator["custom_options"]
        return call


def _options(name: str, operator: Table) -> Table | None:
    """The options of an operator; None where it has none. Raises FormatError for those of another one."""
    field, known = ("builtin_options_2", OPTIONS_2) if name in OPTIONS_2 else ("builtin_options", OPTIONS)
    number, layout = known.get(name, (0, ""))
    found: int = operator[f"{field}_type"]
    if not layout or not found:
        return None
    if found != number:
        raise FormatError(f"has options of kind {found}, not {number}")
    return operator.union(field, layout)


def _operator_name(code: Table) -> str:
    """The name of a builtin operator (the older field holds 127 where the number does not fit), or a custom one's."""
    number = max(code["builtin_code"], code["deprecated_builtin_code"])
    if not 0 <= number < len(OPERATORS):
        raise UnsupportedModel(f"operator {number} is newer than the newest known one, {len(OPERATORS) - 1}")
    if number == _CUSTOM:
        return f"custom {code['custom_code'] or '?'}"
    name: str = OPERATORS[number]
    return name


def _unique(name: str, names: Counter[str]) -> str:
    """A name that no other input or output has."""
    names[name] += 1
    return name if names[name] == 1 else _unique(f"{name}_{names[name]}", names)

"""TFLite's tables to an IR graph: tensors, operators in the order of the file, inputs and outputs."""

from __future__ import annotations

from collections import Counter

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Value, constant
from ...ir.errors import FormatError, GeocError, InvalidModel, UnsupportedModel
from ...ir.tensor import Array, MappedFile
from ...ir.types import tensor_type
from ..reading import refuse_operators
from . import activations, arithmetic, custom, images, movement, reductions, slicing  # noqa: F401  (their converters)
from .call import CONVERTERS, Call
from .flatbuffer import Table
from .schema import OPERATORS, OPTIONS
from .tensors import TensorInfo, TensorReader
from .variables import VARIABLE_OPERATORS, Variables

_CUSTOM = OPERATORS.index("CUSTOM")


class Importer:
    """Converts one file."""

    def __init__(self, root: Table, file: MappedFile, source: str) -> None:
        self.root = root
        self.source = source
        self.codes = [_operator_name(code) for code in root["operator_codes"]]
        self.tensors = TensorReader(file, source, root["buffers"])
        self.subgraphs: list[Table] = root["subgraphs"]

    def run(self) -> Model:
        """The model. Raises FormatError, InvalidModel or UnsupportedModel, naming the operator or tensor."""
        if self.root["version"] != 3:
            raise UnsupportedModel(f"schema version {self.root['version']}; 3 is read")
        if not self.subgraphs:
            raise FormatError("it has no graph")
        main = self.subgraphs[0]
        operators: list[Table] = main["operators"]
        self._refuse([self._name(operator) for operator in operators])
        infos = [self.tensors.read(index, table) for index, table in enumerate(main["tensors"])]
        graph = Graph(main["name"] or "main")
        model = Model(graph)
        model.info = {"producer_name": "TFLite", "doc_string": self.root["description"] or ""}
        model.typed = False
        values: dict[int, Value] = {}
        names: Counter[str] = Counter()
        for index in self._indices(main["inputs"], infos, "inputs"):
            info = infos[index]
            if info.dtype is None or info.const is not None or index in values:
                raise InvalidModel(f"{info.label} cannot be an input")
            shown = _unique(info.name or f"input{index}", names)
            values[index] = graph.add_input(shown, tensor_type(info.dtype, info.dims()))
        variables = Variables(self, graph, names)
        first: dict[Value, Value] = {}
        for number, operator in enumerate(operators):
            name = self._name(operator)
            try:
                call = self._call(name, operator, infos, graph, values, first)
                if name in VARIABLE_OPERATORS:
                    variables.convert(call)
                else:
                    CONVERTERS[name](call)
            except GeocError as error:
                error.place = error.place or f"operator {number} {name}"
                raise
        outputs = self._outputs(main, infos, values)
        output_names = [_unique(infos[index].name or f"output{index}", names) for index in outputs]
        state = variables.finish()
        output_names += [kept.name for kept in state]
        graph.set_outputs([*outputs.values(), *(kept.value for kept in state)], output_names)
        model.metadata.update(variables.metadata)
        return model

    def subgraph(self, index: int) -> tuple[list[TensorInfo], list[tuple[str, list[int], list[int], Table | None]]]:
        """The tensors and the operators (name, inputs, outputs, options) of another subgraph."""
        if not 0 < index < len(self.subgraphs):
            raise FormatError(f"there is no subgraph {index} to call")
        table = self.subgraphs[index]
        infos = [self.tensors.read(i, t) for i, t in enumerate(table["tensors"])]
        found = []
        for operator in table["operators"]:
            name = self._name(operator)
            inputs = self._indices(operator["inputs"], infos, "operands")
            found.append((name, inputs, self._indices(operator["outputs"], infos, "results"), _options(name, operator)))
        return infos, found

    def _outputs(self, main: Table, infos: list[TensorInfo], values: dict[int, Value]) -> dict[int, Value]:
        outputs: dict[int, Value] = {}
        for index in self._indices(main["outputs"], infos, "outputs"):
            value, const = values.get(index), infos[index].const
            if value is None and const is not None and infos[index].sparsity is None:
                value = constant(const, infos[index].name)
            if value is None or index in outputs:
                raise InvalidModel(f"output {infos[index].label} is computed by no operator, or listed twice")
            outputs[index] = value
        return outputs

    def _name(self, operator: Table) -> str:
        code: int = operator["opcode_index"]
        if code >= len(self.codes):
            raise FormatError(f"an operator has code {code}, there are {len(self.codes)}")
        return self.codes[code]

    def _refuse(self, names: list[str]) -> None:
        """Raise UnsupportedModel with every operator that has no converter."""
        refuse_operators(Counter(n for n in names if n not in CONVERTERS and n not in VARIABLE_OPERATORS))

    def _indices(self, found: Array | None, infos: list[TensorInfo], what: str) -> list[int]:
        """Indices of tensors; those of operands may be -1, for absent."""
        indices: list[int] = [] if found is None else found.tolist()
        least = -1 if what == "operands" else 0
        if any(not least <= i < len(infos) for i in indices):
            raise FormatError(f"{what} name tensors {indices[:8]}, there are {len(infos)}")
        return indices

    def _call(
        self,
        name: str,
        operator: Table,
        infos: list[TensorInfo],
        graph: Graph,
        values: dict[int, Value],
        first: dict[Value, Value],
    ) -> Call:
        inputs = [infos[i] if i >= 0 else None for i in self._indices(operator["inputs"], infos, "operands")]
        outputs = [infos[i] for i in self._indices(operator["outputs"], infos, "results")]
        if not outputs and name not in VARIABLE_OPERATORS:
            raise InvalidModel("has no result")
        label = outputs[0].name if outputs else ""
        builder = Builder(graph, loc=(label,) if label else ())
        call = Call(name, builder, inputs, outputs, values, first, self.tensors.file)
        call.options = _options(name, operator)
        call.custom = operator["custom_options"]
        return call


def _options(name: str, operator: Table) -> Table | None:
    number, layout = OPTIONS.get(name, (0, ""))
    found: int = operator["builtin_options_type"]
    if not layout or not found:
        return None
    if found != number:
        raise FormatError(f"has options of kind {found}, not {number}")
    return operator.union("builtin_options", layout)


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

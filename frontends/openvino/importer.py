"""Layers to IR graphs: parameters, results, variables, and one reader of the table for every other layer."""

from __future__ import annotations

from collections import Counter

from ...ir.core import Graph, Model, Value, constant
from ...ir.dim_parser import parse
from ...ir.errors import FormatError, InvalidModel, UnsupportedModel
from ...ir.tensor import MappedFile
from ...ir.types import TensorType, merge, tensor_type
from ..reading import refuse_operators
from . import (  # noqa: F401  each fills the table
    attention,
    control,
    counting,
    elementwise,
    movement,
    norms,
    pooling,
    products,
    quantized,
    recurrent,
    selecting,
    spectral,
)
from .table import TABLE, Reading, Weights, outputs
from .xml import Layer, Net, split_names

_SINK = "/sink_port_"
_NEXT = ".next"  # what the output is called that a variable is after a run


class Importer:
    """Converts one model."""

    def __init__(self, net: Net, weights: MappedFile | None) -> None:
        self.net = net
        self.weights = Weights(weights)

    def run(self) -> Model:
        """The model. Raises GeocError naming the layer for one that breaks the rules or has no form here."""
        graph = Graph(self.net.name)
        model = Model(graph)
        reading = Reading(self.net, graph, self.weights)
        order = self.net.ordered()
        refuse_operators(_without_form(self.net))
        variables: dict[str, Value] = {}
        for layer in self.net.layers.values():  # inputs in the order of the file
            if layer.type == "Parameter":
                name = _input_name(layer)
                type = _with_names(parameter_type(layer), self.net.dims.get(name, []))
                _define(reading, layer, [graph.add_input(name, type)])
        results: list[tuple[str, Value]] = []
        assigned: list[tuple[str, Value]] = []
        for layer in order:
            if layer.type == "ReadValue":
                name = layer.text("variable_id")
                if name not in variables:
                    variables[name] = graph.add_input(name, _variable_type(layer))
                _define(reading, layer, [variables[name]])
            elif layer.type == "Assign":
                value = reading.arg(layer, 0)
                _define(reading, layer, [value] if layer.outputs else [])
                assigned.append((layer.text("variable_id"), value))
            elif layer.type not in ("Parameter", "Result"):
                read_layer(reading, layer)
        taken: set[str] = set()
        for layer in self.net.layers.values():
            if layer.type == "Result":
                name = _output_name(reading, layer, taken)
                taken.add(name)
                results.append((name, reading.arg(layer, 0)))
        results += [(name + _NEXT, value) for name, value in assigned]
        if not results:
            raise InvalidModel("it has no results")
        _check_unique(graph, [name for name, _ in results])
        graph.set_outputs([value for _, value in results], [name for name, _ in results])
        _sweep(graph)
        return model


def read_body(reading: Reading, net: Net, graph: Graph, inputs: dict[int, Value]) -> dict[int, Value]:
    """Read a body into a region, with a value for the id of each Parameter; the value of each Result by its id."""
    inner = Reading(net, graph, reading.weights, reading.root)
    inner.b.loc = reading.b.loc
    results: dict[int, Value] = {}
    for layer in net.ordered():
        if layer.type == "Parameter":
            if layer.id not in inputs:
                raise InvalidModel(f"nothing leads to {layer} of a body")
            _define(inner, layer, [inputs[layer.id]])
        elif layer.type == "Result":
            results[layer.id] = inner.arg(layer, 0)
        elif layer.type in ("ReadValue", "Assign"):
            raise UnsupportedModel(f"{layer}: a variable inside a body has no form")
        else:
            read_layer(inner, layer)
    return results


def read_layer(reading: Reading, layer: Layer) -> None:
    """Read one layer by the table; what it makes has the declared types."""
    if layer.type == "Const":
        _define(reading, layer, [constant(reading.weights.read(layer), _hint(layer, 0))])
        return
    reader = TABLE.get(layer.type)
    if reader is None:
        raise UnsupportedModel(f"{layer}: there is no form for layers of this type")
    reading.b.loc = (layer.name,) if layer.name else ()
    try:
        made = outputs(reader(reading, layer))
    except InvalidModel as error:
        if str(layer) not in error.message:
            error.message = f"{layer}: {error.message}"
        raise
    _define(reading, layer, made)


def parameter_type(layer: Layer) -> TensorType:
    return tensor_type(layer.dtype("element_type"), layer.shape("shape"))


def _with_names(type: TensorType, names: list[str]) -> TensorType:
    """The type with names for its open sizes. FormatError where they are no dimensions."""
    if type.shape is None or len(names) != len(type.shape):
        return type
    dims = list(type.shape)
    for place, (dim, name) in enumerate(zip(type.shape, names)):
        if name and not isinstance(dim, int):
            try:
                said = parse(name)
            except ValueError as error:
                raise FormatError(str(error)) from None
            dims[place] = dim if isinstance(said, int) else said
    return tensor_type(type.dtype, tuple(dims))


def _variable_type(layer: Layer) -> TensorType:
    """Of a ReadValue; the older ones say it only at their output."""
    if "variable_type" in layer.data:
        return tensor_type(layer.dtype("variable_type"), layer.shape("variable_shape"))
    if not layer.outputs or layer.outputs[0].type is None:
        raise UnsupportedModel(f"{layer}: the type of its variable is unknown")
    return layer.outputs[0].type


def _define(reading: Reading, layer: Layer, made: list[Value | None]) -> None:
    """Values for the output ports; InvalidModel where they cannot be what the ports declare."""
    if len(made) < len(layer.outputs):
        raise InvalidModel(f"{layer} has {len(layer.outputs)} outputs, {len(made)} are known")
    for index, (port, value) in enumerate(zip(layer.outputs, made)):
        reading.values[layer.id, port.id] = value
        if value is None:
            continue
        value.hint = value.hint or _hint(layer, index)
        found = value.type
        if port.type is None or found is port.type:
            continue
        if layer.type == "Convert":
            continue  # its own attribute says what it gives; in branches, writers have declared here what went in
        if isinstance(found, TensorType) and not _agree(found, port.type):
            raise InvalidModel(f"{layer} declares {port.type} for what is {found}")
        if value.producer is not None:
            value.type = merge(found, port.type)


def _agree(found: TensorType, declared: TensorType) -> bool:
    if found.dtype is not declared.dtype:
        return False
    if found.shape is None or declared.shape is None:
        return True
    pairs = zip(found.shape, declared.shape)
    same_rank = len(found.shape) == len(declared.shape)
    return same_rank and all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def _hint(layer: Layer, index: int) -> str:
    names = layer.outputs[index].names if index < len(layer.outputs) else ()
    return names[0] if names else layer.name


def _input_name(layer: Layer) -> str:
    names = layer.outputs[0].names if layer.outputs else ()
    return layer.name if layer.name in names or not names else names[0]


def _output_name(reading: Reading, layer: Layer, taken: set[str]) -> str:
    """The name that no earlier result has: of the tensor, if it has several that of the result, else of the result."""
    said = list(split_names(layer.element.get("output_names")))
    source = reading.net.sources.get((layer.id, layer.inputs[0])) if layer.inputs else None
    if source is not None:
        maker = reading.net.layers[source[0]]
        said += [name for port in maker.outputs if port.id == source[1] for name in port.names]
        if not said and len(maker.outputs) == 1:
            said.append(maker.name)
    own = layer.name.partition(_SINK)[0]
    names = [own, *said] if own in said else [*said, own, layer.name]
    return next((name for name in names if name and name not in taken), f"{own}.{layer.id}")


def _check_unique(graph: Graph, names: list[str]) -> None:
    for group, what in ((graph.input_names, "inputs"), (names, "outputs")):
        twice = next((name for place, name in enumerate(group) if name in group[:place]), None)
        if twice is not None:
            raise InvalidModel(f"two {what} are called {twice!r}")


def _without_form(net: Net) -> Counter[str]:
    """The types of layers, of bodies too, that no reader is for, so that all are named at once."""
    known = {*TABLE, "Parameter", "Result", "Const", "ReadValue", "Assign"}
    has_parts = [layer for layer in net.layers.values() if layer.type not in ("Const", "Parameter")]
    types = (each.get("type") or "?" for layer in has_parts for each in layer.element.iter("layer"))
    return Counter(name for name in types if name not in known)


def _sweep(graph: Graph) -> None:
    """Erase what nobody uses: initial values of variables, and what readers looked through."""
    for node in graph.reversed():
        if not node.in_use:
            graph.erase(node)

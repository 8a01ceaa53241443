"""Our graph as an openvino model, operator by operator.

    made = to_openvino(model)                   # openvino.Model
    openvino.compile_model(made, "CPU")

Inputs and outputs keep their names (as names of tensors) and their order; sizes that are not fixed are open. Weights
are not copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...ir.core import Graph, Model, Node
from ...ir.types import TensorType
from ...passes.caches import caches
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
)
from .stateful import empty_cache
from .table import TABLE, NoMapping, Translation

Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
BEAM = "beam_idx"  # as openvino's own exporters call it


class Unmapped(Exception):
    """A model that has no openvino form here; the message says why, with the operators and how many there are."""


def without_mapping(model: Model) -> list[Node]:
    """The nodes of the main graph and its regions whose operators have no mapping."""
    return [node for node in model.graph.walk() if node.op.key not in TABLE]


def to_openvino(model: Model, stateful: bool = False, profile: Profile | None = None) -> Any:
    """The model as an `openvino.Model`, which must live as long as anything that is made of it.

    Inputs that have defaults are constants in it: openvino has none that may be left out. `stateful`: key-value caches
    (see `passes.caches`) are variables in it, and an input more, ``beam_idx`` i32[batch], says which row of the last
    run each row continues; so openvino's generators want it, and so its plugins fuse the cache with the attention.
    `profile`: the smallest, the best and the largest shape of inputs by name; the ends become bounds.
    Raises Unmapped where an operator has no mapping, UsageError where openvino is not installed.
    """
    missing = Counter(node.op.key for node in without_mapping(model))
    if missing:
        counted = ", ".join(f"{key} ({count})" for key, count in sorted(missing.items()))
        raise Unmapped(f"there is no mapping for {counted}")
    graph = model.graph
    kept = caches(graph) if stateful else {}
    if stateful and (not kept or BEAM in graph.input_names):
        raise Unmapped("it has no key-value cache" if not kept else f"it has an input {BEAM} already")
    t = Translation()
    parameters = []
    for place, (name, value) in enumerate(zip(graph.input_names, graph.inputs)):
        if place in kept:
            continue
        try:
            if value in graph.defaults:
                t.values[value] = t.constant(graph.defaults[value]).output(0)
                continue
            shapes = (profile or {}).get(name)
            parameter = t.parameter(value, (shapes[0], shapes[2]) if shapes else None)
        except NoMapping as error:
            raise Unmapped(f"input {name!r}: {error}") from error
        parameter.friendly_name = name
        parameter.output(0).set_names({name})
        t.values[value] = parameter.output(0)
        parameters.append(parameter)
    if kept:
        rows = t.o.parameter(t.ov.PartialShape([-1]), t.ov.Type.i32)
        rows.friendly_name = BEAM
        rows.output(0).set_names({BEAM})
        parameters.append(rows)
        for place in kept:
            _read_cache(t, graph, place, rows)
    translate(t, graph)
    results, sinks = [], []
    for place, (name, value) in enumerate(zip(graph.output_names, graph.outputs)):
        output = t.value(value)
        if place in kept.values():
            past = next(i for i, o in kept.items() if o == place)
            sinks.append(t.o.assign(output.get_node(), graph.input_names[past]))
            continue
        output.add_names({name})
        results.append(t.o.result(output))
    made = t.ov.Model(results, sinks, parameters, graph.name or "graph")
    made.geoc_constants = t.keep  # openvino knows only the addresses of these
    return made


def _read_cache(t: Translation, graph: Graph, place: int, rows: Any) -> None:
    """A variable for the cache that an input is, called like the input."""
    value = graph.inputs[place]
    assert isinstance(value.type, TensorType)
    try:
        start = empty_cache(t, graph, value, dict(t.values))
        shape, type = t.partial_shape(value.type), t.type_of(value.type.dtype)
    except NoMapping as error:
        raise Unmapped(f"input {graph.input_names[place]!r}: {error}") from error
    cache = t.o.read_value(start, graph.input_names[place], type, shape)
    t.values[value] = t.o.gather(cache, rows, t.i64(0)).output(0)


def translate(t: Translation, graph: Graph) -> None:
    """Write the nodes of a graph whose inputs `t` knows. Raises Unmapped with the node that cannot be written."""
    for node in graph:
        try:
            _write(t, node)
        except Unmapped:  # of a region
            raise
        except NoMapping as error:
            raise Unmapped(f"{node.op.key} {_name(node)}: {error}") from error
        except Exception as error:  # openvino's operators and bindings raise many kinds; none may end the command
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise Unmapped(f"{node.op.key} {_name(node)}: openvino refuses it: {reason}") from error


def _write(t: Translation, node: Node) -> None:
    made = TABLE[node.op.key](t, node)
    outputs = made if isinstance(made, list) else [made]
    for value, output in zip(node.outputs, outputs):
        if hasattr(output, "outputs"):
            output.friendly_name = value.hint or output.friendly_name
            output = t.out(output)
        type = value.type
        if isinstance(type, TensorType):
            if output.get_partial_shape().rank.is_dynamic:
                raise NoMapping("the number of dimensions of its result is unknown")
            found, wanted = output.get_element_type(), t.type_of(type.dtype)
            if found != wanted or not output.get_partial_shape().compatible(t.partial_shape(type)):
                shape = output.get_partial_shape()
                raise NoMapping(f"it came out as {found.get_type_name()}{shape}, not {type}")
        t.values[value] = output


def _name(node: Node) -> str:
    return f"%{node.outputs[0].hint}" if node.outputs else ""

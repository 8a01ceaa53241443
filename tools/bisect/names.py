"""Names that can be read, for models that are looked at and not linked to anything."""

from __future__ import annotations

from ...ir.clone import unique_name
from ...ir.core import Model, Value


def shorten(model: Model) -> dict[str, str]:
    """Names without their scopes, in place; inputs and outputs too. Gives the old name of each input by its new one."""
    taken: set[str] = set()
    graph = model.graph
    old_names = list(graph.input_names)
    nodes = list(model.walk())
    regions = [value for each in graph.graphs() if each is not graph for value in each.inputs]
    constants = [v for node in nodes for v in node.inputs if v is not None and v.const is not None]
    made = [value for node in nodes for value in node.outputs]
    for value in dict.fromkeys((*graph.inputs, *made, *regions, *constants)):
        value.hint = unique_name(_short(value), taken)
    graph.input_names = [value.hint for value in graph.inputs]
    names: list[str] = []
    for value in graph.outputs:  # a value that is returned twice, or comes in already, has another name as well
        is_free = value.producer is not None and value.hint not in names
        names.append(value.hint if is_free else unique_name(f"{value.hint}.out", taken))
    graph.set_outputs(graph.outputs, names)
    return dict(zip(graph.input_names, old_names))


def _short(value: Value) -> str:
    """The last part of a name; for none, what it is."""
    short = value.hint.rstrip("/").rpartition("/")[2].removesuffix("_output_0")
    if short:
        return short
    if value.const is not None:
        return "c"
    return "x" if value.producer is None else value.producer.op.name.lower()

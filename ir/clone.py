"""Copies of graphs that share the constants' data: for trying something out beside the original.

    copy, of = clone_model(model)
    of[value]                       # the copy of a value of `model`
    part, of = extract(model, nodes, [nodes[-1].output])    # a model of these nodes alone
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .core import Graph, Model, Node, Value


def clone_model(model: Model) -> tuple[Model, dict[Value, Value]]:
    """A model with new graphs, nodes and values over the same tensors, and the copy of each value.

    Functions are shared: nothing changes them once a model is loaded.
    """
    of: dict[Value, Value] = {}
    result = Model(Graph(model.graph.name))
    for name in Model.__slots__:
        if name != "graph":
            field = getattr(model, name)
            setattr(result, name, dict(field) if isinstance(field, dict) else field)
    work = [(model.graph, result.graph)]
    for source, target in work:  # grows while we go: outer graphs before the regions in them
        _fill(source, target, of, work)
    return result, of


def _fill(source: Graph, target: Graph, of: dict[Value, Value], work: list[tuple[Graph, Graph]]) -> None:
    for name, value in zip(source.input_names, source.inputs):
        of[value] = _like(value, target.add_input(name, value.type))
    target.defaults = {of[value]: tensor for value, tensor in source.defaults.items()}
    target.meta = source.meta
    for node in source:
        _copy(node, target, of, work)
    results = [_operand(value, of) for value in source.outputs]
    target.set_outputs([value for value in results if value is not None], source.output_names)


def extract(model: Model, nodes: Sequence[Node], outputs: Iterable[Value]) -> tuple[Model, dict[Value, Value]]:
    """A model of some nodes of one graph, in their order: what they read and do not make becomes its inputs.

    `outputs` are values that they make or read. Regions come along, with what they capture. Also gives the copy of
    each value.
    """
    result = Model(Graph("main"))
    for name in ("functions", "opsets", "ir_version"):
        setattr(result, name, getattr(model, name))
    of: dict[Value, Value] = {}
    taken: set[str] = set()
    for value in frontier(nodes):
        name = unique_name(value.hint or "input", taken)
        of[value] = _like(value, result.graph.add_input(name, value.type))
    copy_nodes(nodes, result.graph, of)
    values = list(dict.fromkeys(outputs))
    names = [unique_name(value.hint or "output", taken) for value in values]
    result.graph.set_outputs([copy for value in values if (copy := _operand(value, of)) is not None], names)
    return result, of


def copy_nodes(nodes: Iterable[Node], target: Graph, of: dict[Value, Value]) -> None:
    """Append copies of nodes to a graph. `of` has the copies of their `frontier`, and gets those of what they make."""
    work: list[tuple[Graph, Graph]] = []
    for node in nodes:
        _copy(node, target, of, work)
    for source, into in work:  # grows while we go
        _fill(source, into, of, work)


def frontier(nodes: Iterable[Node]) -> list[Value]:
    """What nodes, and those in their regions, read and do not make, constants left out, in the order of first use."""
    inside: set[Value] = set()
    read: dict[Value, None] = {}
    for node in nodes:
        for each in (node, *(inner for region in node.regions.values() for inner in region.walk())):
            inside.update(each.outputs)
            read.update((value, None) for value in each.inputs if value is not None and value.const is None)
            for region in each.regions.values():
                inside.update(region.inputs)
                read.update((value, None) for value in region.outputs if value.const is None)
    return [value for value in read if value not in inside]


def unique_name(name: str, taken: set[str]) -> str:
    """`name`, with a number behind it where it is taken already; it is taken afterwards."""
    found, count = name, 1
    while found in taken:
        found, count = f"{name}.{count}", count + 1
    taken.add(found)
    return found


def _copy(node: Node, target: Graph, of: dict[Value, Value], work: list[tuple[Graph, Graph]]) -> None:
    """Append a copy of a node; its regions become `work`."""
    regions = {name: Graph(region.name) for name, region in node.regions.items()}
    outputs = [_like(value, Value(value.type, value.hint)) for value in node.outputs]
    of.update(zip(node.outputs, outputs))
    copy = Node(node.op, [_operand(v, of) for v in node.inputs], outputs, dict(node.attrs), regions, node.loc)
    copy.meta = node.meta
    target.append(copy)
    work += [(node.regions[name], region) for name, region in regions.items()]


def _operand(value: Value | None, of: dict[Value, Value]) -> Value | None:
    if value is None:
        return None
    found = of.get(value)
    if found is None:  # constants belong to no graph
        found = of[value] = _like(value, Value(value.type, value.hint))
        found.const = value.const
    return found


def _like(value: Value, copy: Value) -> Value:
    copy.content = value.content
    copy.meta = value.meta
    return copy

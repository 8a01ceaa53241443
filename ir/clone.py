"""Copies of graphs that share the constants' data: for trying something out beside the original.

    copy, of = clone_model(model)
    of[value]                       # the copy of a value of `model`
"""

from __future__ import annotations

from .core import Graph, Model, Node, Value


def clone_model(model: Model) -> tuple[Model, dict[Value, Value]]:
    """A model with new graphs, nodes and values over the same tensors, and the copy of each value.

    Functions are shared: nothing changes them once a model is loaded.
    """
    of: dict[Value, Value] = {}
    result = Model(Graph(model.graph.name))
    for name in Model.__slots__:
        if name != "graph":
            setattr(result, name, getattr(model, name))
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
        regions = {name: Graph(region.name) for name, region in node.regions.items()}
        outputs = [_like(value, Value(value.type, value.hint)) for value in node.outputs]
        of.update(zip(node.outputs, outputs))
        copy = Node(node.op, [_operand(v, of) for v in node.inputs], outputs, dict(node.attrs), regions, node.loc)
        copy.meta = node.meta
        target.append(copy)
        work += [(node.regions[name], region) for name, region in regions.items()]
    results = [_operand(value, of) for value in source.outputs]
    target.set_outputs([value for value in results if value is not None], source.output_names)


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

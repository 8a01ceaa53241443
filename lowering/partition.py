"""Splitting a model between a target and its fallback: convex parts that run one after another.

    for part in partition(model, refused):
        part.on_target, part.model        # a model of its own, inputs and outputs by name
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..ir.core import Graph, Model, Node, Value


@dataclass
class Part:
    """One part: whether the target runs it, and its nodes as a model. What crosses parts has one name everywhere."""

    on_target: bool
    model: Model
    nodes: int


def partition(model: Model, refused: Collection[Node]) -> list[Part]:
    """Parts in the order in which they run; one part if nothing, or everything, is refused.

    `refused` are nodes of the main graph. The model is taken apart: do not use it afterwards.
    """
    groups = groups_of(model.graph, refused)
    names = _names(model)
    homes = {node: key for key, nodes in groups.items() for node in nodes}
    plans = [(key, *_boundary(model.graph, nodes, homes, key)) for key, nodes in sorted(groups.items())]
    model.graph.set_outputs([])
    return [_part(model, groups[key], key[1], inputs, outputs, names) for key, inputs, outputs in plans]


def groups_of(graph: Graph, refused: Collection[Node]) -> dict[tuple[int, bool], list[Node]]:
    """The nodes of each part, by its level and whether they are not refused.

    A node's level is how often a path to it changes sides; nodes of one level and side are a part. A path that leaves a
    part comes back on a higher level only, so that parts are convex.
    """
    sides: dict[Node, bool] = {node: node not in refused for node in graph}
    levels: dict[Node, int] = {}
    groups: dict[tuple[int, bool], list[Node]] = {}
    for node in graph:
        side = sides[node]
        level = 0
        for before in read_by(node):
            maker = before.producer
            if maker is not None and maker in sides:
                level = max(level, levels[maker] + (sides[maker] is not side))
        levels[node] = level
        groups.setdefault((level, side), []).append(node)
    return groups


def read_by(node: Node) -> list[Value]:
    """What a node and the nodes in its regions read of the graph around it."""
    found = [value for value in node.inputs if value is not None]
    for region in node.regions.values():
        for graph in region.graphs():
            for inner in [*graph, graph.ret]:
                found += [value for value in inner.inputs if value is not None]
    return found


def _names(model: Model) -> dict[Value, str]:
    """A name for every value of the main graph: those of the interface, and hints made unique for the others."""
    graph = model.graph
    found = dict(zip(graph.inputs, graph.input_names))
    taken = {*graph.input_names, *graph.output_names}
    for value, name in zip(graph.outputs, graph.output_names):
        found.setdefault(value, name)
    for node in graph:
        for value in node.outputs:
            if value not in found:
                base = name = value.hint or "value"
                number = 0
                while name in taken:
                    number += 1
                    name = f"{base}_{number}"
                taken.add(name)
                found[value] = name
    return found


def _boundary(
    graph: Graph, nodes: list[Node], homes: dict[Node, tuple[int, bool]], key: tuple[int, bool]
) -> tuple[list[Value], list[Value]]:
    """What a part reads from outside, and what others, or the model's caller, read of it."""
    own = {value for node in nodes for value in node.outputs}
    inputs = {
        value: None
        for node in nodes
        for value in read_by(node)
        if value not in own and value.const is None and (value.graph is graph or value.producer in homes)
    }
    outputs = []
    for node in nodes:
        for value in node.outputs:
            users = (graph.enclosing_node(user) if user is not graph.ret else user for user in value.users)
            if any(user is graph.ret or (user in homes and homes[user] != key) for user in users):
                outputs.append(value)
    return list(inputs), outputs


def _part(
    model: Model, nodes: list[Node], on_target: bool, inputs: list[Value], outputs: list[Value], names: dict[Value, str]
) -> Part:
    """Move nodes into a graph of their own. Parts are made in their order: what runs later is still in the model."""
    graph = Graph(model.graph.name)
    inside = set(nodes)
    for value in inputs:
        twin = graph.add_input(names[value], value.type)
        for user, index in list(value.uses):
            if model.graph.enclosing_node(user) in inside:
                user.set_input(index, twin)
        default = model.graph.defaults.get(value)
        if default is not None:
            graph.defaults[twin] = default
    for node in nodes:
        graph.move(node, None)
    made = Model(graph)
    made.functions, made.opsets, made.ir_version = model.functions, model.opsets, model.ir_version
    made.metadata, made.info = model.metadata, model.info
    graph.set_outputs(outputs, [names[value] for value in outputs])
    return Part(on_target, made, len(nodes))

"""Node order: files should list nodes in topological order, and some do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...ir.errors import InvalidModel
from ...ir.proto.messages import AttributeProto, GraphProto, NodeProto

GraphsOf = Callable[[AttributeProto], list[tuple[str, GraphProto]]]


def sort_if_needed(
    nodes: Sequence[NodeProto], find: Callable[[str], Any], graphs_of: GraphsOf
) -> Sequence[NodeProto]:
    """The nodes in an order in which every operand is defined before it is used.

    The given order where that is one already, else a stable topological sort. `find` knows the names that
    are defined before the nodes. A name that nothing defines does not matter here. Raises InvalidModel for a cycle.
    """
    defined: set[str] = {""}
    sorted_ = True
    for node in nodes:
        names = needs(node, graphs_of) if node.attribute else node.input
        if not defined.issuperset(names):
            for name in names:
                if name not in defined:
                    if find(name) is None:
                        sorted_ = False
                        break
                    defined.add(name)
            if not sorted_:
                break
        defined.update(node.output)
    return nodes if sorted_ else _sort(nodes, graphs_of)


def needs(node: NodeProto, graphs_of: GraphsOf) -> Sequence[str]:
    """The names a node uses, those its subgraphs capture included."""
    for attribute in node.attribute:
        if attribute.g is not None or attribute.graphs:
            break
    else:
        return node.input
    names = list(node.input)
    for attribute in node.attribute:
        for _, graph in graphs_of(attribute):
            names.extend(free_names(graph, graphs_of))
    return names


def free_names(graph: GraphProto, graphs_of: GraphsOf) -> Iterator[str]:
    """The names a subgraph uses and does not define itself."""
    own: set[str] = {vi.name or "" for vi in graph.input}
    own.update(t.name or "" for t in graph.initializer)
    own.update((t.values.name if t.values else "") or "" for t in graph.sparse_initializer)
    for node in graph.node:
        own.update(node.output)
    own.add("")
    seen: set[str] = set()
    for node in graph.node:
        for name in needs(node, graphs_of):
            if name not in own and name not in seen:
                seen.add(name)
                yield name
    for vi in graph.output:
        if (vi.name or "") not in own and (vi.name or "") not in seen:
            seen.add(vi.name or "")
            yield vi.name or ""


def _sort(nodes: Sequence[NodeProto], graphs_of: GraphsOf) -> list[NodeProto]:
    import heapq

    producer: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if name and name in producer:
                raise InvalidModel(f"value {name!r} is defined twice")
            if name:
                producer[name] = index
    waiting = [0] * len(nodes)
    users: list[list[int]] = [[] for _ in nodes]
    for index, node in enumerate(nodes):
        for name in dict.fromkeys(needs(node, graphs_of)):
            if not name:
                continue
            source = producer.get(name)
            if source is not None:
                users[source].append(index)
                waiting[index] += 1
    ready = [index for index, count in enumerate(waiting) if count == 0]
    order: list[NodeProto] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(nodes[index])
        for user in users[index]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, user)
    if len(order) < len(nodes):
        stuck = nodes[_on_cycle(waiting, users)]
        label = stuck.name or (stuck.output[0] if stuck.output else "?")
        raise InvalidModel(f"the graph has a cycle through node {label!r} ({stuck.op_type})")
    return order


def _on_cycle(waiting: list[int], users: list[list[int]]) -> int:
    """A node on a cycle: upstream of a node that waits for ever, another one does."""
    upstream = {user: index for index, of in enumerate(users) if waiting[index] for user in of}
    at = next(index for index, count in enumerate(waiting) if count)
    seen: set[int] = set()
    while at not in seen:
        seen.add(at)
        at = upstream[at]
    return at

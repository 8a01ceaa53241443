"""Where casts go: a minimum cut between nodes that stay in single precision and nodes that gain from half precision.

Every f32 value is made by one place and read by others. A place computes in one precision; where a value crosses from
one to the other it is cast, once, however many places read it. The cheapest choice is a minimum cut (Ford and
Fulkerson, 1956): the source of the flow is single precision, its sink half precision, edges to the sink carry what a
place loses by staying in single precision, and of each value two auxiliary vertices carry the price of casting it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...ir.core import Graph, Model, Node, Value
from ...ir.types import F32
from .slots import half_operands, half_results

if TYPE_CHECKING:
    from typing import TypeAlias

Place: TypeAlias = "Node | tuple[Any, ...]"
"""A node, or a port: a node with regions and the number of one of its results (or of what it scans)."""
FIXED: Place = ("fixed",)
"""All that stays in single precision whatever the rest does: graph inputs and outputs, operands of no other type."""
HALF: Place = ("half",)
"""What is in half precision whatever the rest does: inputs and outputs of the model that will be declared so."""


@dataclass
class Flow:
    """One f32 value: the place that makes it and those that read it, each operand that takes either type left out."""

    value: Value
    maker: Place
    readers: list[Place] = field(default_factory=list)


@dataclass
class Network:
    """All flows of a model. `nodes` are the places that are single nodes, in order."""

    flows: list[Flow]
    nodes: list[Node]

    @classmethod
    def of(cls, model: Model, half: str, opset: int, ends: Place = FIXED) -> Network:
        """The network of the main graph and its regions. `half`: the type as type constraints spell it.

        `ends` HALF: inputs (those without a default) and outputs of the model will be declared in half precision.
        """
        flows, nodes = [], []
        main = model.graph
        for graph in main.graphs():
            for value in filter(is_single, graph.inputs):
                flow = _flow(value, half, opset, main, ends)
                if graph is main and value not in main.defaults:
                    flow.maker = ends
                flows.append(flow)
            for node in graph:
                results = [value for value in node.outputs if is_single(value)]
                flows += [_flow(value, half, opset, main, ends) for value in results]
                if not node.regions and (results or _reads_single(node)):
                    nodes.append(node)
        return cls(flows, nodes)


def _flow(value: Value, half: str, opset: int, main: Graph, ends: Place) -> Flow:
    readers = []
    for node, index in value.uses:
        place = ends if node is main.ret else place_of_reader(node, index, half, opset)
        if place is not None:
            readers.append(place)
    return Flow(value, place_of_maker(value, half, opset), readers)


def place_of_maker(value: Value, half: str, opset: int) -> Place:
    """The place that makes an f32 value."""
    node = value.producer
    if node is None:  # the input of a graph
        graph = value.graph
        assert graph is not None
        return FIXED if graph.parent is None else _port_of_input(graph.parent, value.index)
    if node.regions:
        return _port_of_output(node, value.index)
    return node if value.index in half_results(node, half, opset) else FIXED


def place_of_reader(node: Node, index: int, half: str, opset: int) -> Place | None:
    """The place that reads an f32 operand; None where either type does."""
    graph = node.graph
    assert graph is not None
    if node is graph.ret:
        return FIXED if graph.parent is None else _port_of_return(graph.parent, index)
    if node.regions:
        return _port_of_input(node, index)
    if _takes_either(node, index):
        return None
    return node if index in half_operands(node, half, opset) else FIXED


def _takes_either(node: Node, index: int) -> bool:
    """True for operands whose type changes nothing: what is cast to another float, compared with its own kind, or only
    lends its shape."""
    if node.op.key == "Cast":
        to = node.output.dtype
        return to is not None and (to.is_float or to.name == "bool")
    return node.op.key in ("Shape", "Size", "IsNaN", "IsInf", "ArgMax", "ArgMin") and index == 0


def _reads_single(node: Node) -> bool:
    operands = enumerate(node.inputs)
    return any(value is not None and is_single(value) and not _takes_either(node, index) for index, value in operands)


def is_single(value: Value) -> bool:
    """True for f32 tensors that are no constants."""
    return value.const is None and value.dtype is F32


def _port_of_output(node: Node, index: int) -> Place:
    """The place that the result `index` of a node with regions goes through."""
    return (node, index) if node.op.key in ("If", "Loop", "Scan") else FIXED


def _port_of_input(node: Node, index: int) -> Place:
    """Of the operand `index` of a node, and of the input `index` of its region: the state, or what is scanned."""
    if node.op.key == "Loop" and index >= 2:
        return (node, index - 2)
    if node.op.key == "Scan":
        states = _states(node)
        return (node, index) if index < states else (node, "scanned", index - states)
    return FIXED


def _port_of_return(node: Node, index: int) -> Place:
    if node.op.key == "Loop":
        return (node, index - 1) if index >= 1 else FIXED
    return _port_of_output(node, index)


def _states(node: Node) -> int:
    return len(node.inputs) - int(node.attrs["num_scan_inputs"])


def halved(
    network: Network,
    stays: Iterable[Place],
    gain: Callable[[Node], float],
    cast: Callable[[Value], float],
    overhead: float = 0.0,
    rounding: Callable[[Value], float] = lambda value: 0.0,
) -> set[Place]:
    """The places that compute in half precision for the least time, those of `stays` never.

    `gain`: seconds that a node saves in half precision, negative where it loses. `cast`: seconds that casting a value
    takes, to which `overhead` comes for those between nodes: others have to be paid wherever half precision is used at
    all; `rounding`: what a cast to half precision counts as besides. Of several cheapest choices it is the one with
    most in half precision.
    """
    import networkx
    from networkx.algorithms.flow import boykov_kolmogorov

    graph: Any = networkx.DiGraph()
    graph.add_nodes_from((FIXED, HALF))
    for node in network.nodes:
        saved = _units(gain(node))
        if saved > 0:
            _connect(graph, node, HALF, saved)
        elif saved < 0:
            _connect(graph, FIXED, node, -saved)
    for place in stays:
        graph.add_edge(FIXED, place)
        graph[FIXED][place].pop("capacity", None)  # without one it cannot be cut
    for number, flow in enumerate(network.flows):
        if not flow.readers:
            continue
        is_inside = not {FIXED, HALF} & {flow.maker, *flow.readers}
        price = max(1, _units(cast(flow.value) + is_inside * overhead))
        down, up = (number, "down"), (number, "up")
        graph.add_edge(flow.maker, down, capacity=price + _units(rounding(flow.value)))
        graph.add_edge(up, flow.maker, capacity=price)
        for reader in flow.readers:
            graph.add_edge(down, reader)
            graph.add_edge(reader, up)
    single = _reachable(boykov_kolmogorov(graph, FIXED, HALF))
    places = {*network.nodes, *(flow.maker for flow in network.flows), *(r for f in network.flows for r in f.readers)}
    return places - single - {HALF}


def _reachable(residual: Any) -> set[Place]:
    """What the source still reaches when the flow is as large as it gets: its side of the smallest of all minimum cuts.

    networkx.minimum_cut gives the side of the sink in the largest one.
    """
    found, stack = {FIXED}, [FIXED]
    while stack:
        for place, edge in residual[stack.pop()].items():
            if place not in found and edge["flow"] < edge["capacity"]:
                found.add(place)
                stack.append(place)
    return found


_PICO = 1e12  # capacities are whole picoseconds: sums of floats would leave cuts that are not quite minimal


def _units(seconds: float) -> int:
    return round(seconds * _PICO)


def _connect(graph: Any, start: Place, end: Place, capacity: int) -> None:
    known = graph.get_edge_data(start, end)
    graph.add_edge(start, end, capacity=capacity + (known["capacity"] if known else 0))

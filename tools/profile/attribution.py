"""Which nodes of a file each node that a runtime runs was made from.

A runtime fuses nodes, moves layouts, and names what it makes as it likes; but values that it keeps keep their names.
So a node that is run stands for the nodes between its outputs and the next values that are still there:

    file   x -> MatMul -> a -> Add -> b -> Relu -> y          run   x -> FusedGemm -> y        all three

What is left, conversions of layouts for the most part, belongs to whom it serves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str]
"""The node whose body it is in, "" for none, and its own name."""


@dataclass
class Item:
    """A node of a file."""

    name: str
    op: str
    inputs: list[str]
    outputs: list[str]
    bodies: dict[str, View] = field(default_factory=dict)


@dataclass
class View:
    """A graph of a file: nodes in order, and the values that are there before any of them has run."""

    items: list[Item]
    given: set[str]
    constants: set[str]

    def __post_init__(self) -> None:
        self.makers = {value: item for item in self.items for value in item.outputs}
        self.by_name = {item.name: item for item in self.items}


@dataclass
class Origin:
    """Where a node that is run comes from. `owned`: those of `sources` that are counted here and nowhere else."""

    sources: tuple[str, ...] = ()
    owned: tuple[str, ...] = ()


def view_of(graph: Any) -> View:
    """Of an onnx.GraphProto. Nodes without names have those that onnxruntime gives them: operator and number."""
    items, constants = [], {tensor.name for tensor in graph.initializer}
    for number, node in enumerate(graph.node):
        if node.op_type == "Constant":
            constants.update(node.output)
            continue
        bodies = {a.name: view_of(a.g) for a in node.attribute if a.HasField("g")}
        outputs = [name for name in node.output if name]
        items.append(Item(node.name or f"{node.op_type}_{number}", node.op_type, list(node.input), outputs, bodies))
    return View(items, {value.name for value in graph.input} | constants, constants)


def attribute(source: View, run: View, inside: str = "") -> dict[Key, Origin]:
    """For each node of `run`, the graph after the runtime's changes, its origin in `source`, bodies included."""
    found = {(inside, item.name): Origin() for item in run.items}
    folded = _folded(source)
    alive = {value for item in run.items for value in item.outputs} | run.given
    claimed: set[str] = set()

    def claim(item: Item, names: Iterable[str]) -> None:
        origin = found[inside, item.name]
        new = [name for name in names if name not in claimed and name not in folded]
        claimed.update(new)
        origin.owned += tuple(new)
        origin.sources += tuple(new)

    for item in run.items:
        if item.name in source.by_name:
            claim(item, [item.name])
    for item in run.items:
        if not found[inside, item.name].owned:
            claim(item, _named_after(item.name, source))
    own = {item.name: found[inside, item.name] for item in run.items}
    absorb(own, source, own, alive)
    claimed.update(name for origin in own.values() for name in origin.owned)
    for item in run.items:
        claim(item, _between(item, source, alive))
    _spread(found, run, inside)
    for item in run.items:
        origin = source.by_name.get(item.name)
        for name, body in item.bodies.items():
            if origin is not None and name in origin.bodies:
                for key, inner in attribute(origin.bodies[name], body, item.name).items():
                    found.setdefault(key, inner)
    return found


def _folded(source: View) -> set[str]:
    """Names of nodes that nothing but constants goes into: a runtime computes them when it loads the file."""
    constant = set(source.constants)
    found = set()
    for item in source.items:
        if not item.bodies and item.inputs and all(not value or value in constant for value in item.inputs):
            constant.update(item.outputs)
            found.add(item.name)
    return found


def _named_after(name: str, source: View) -> list[str]:
    """The node whose name, or whose output's, the runtime made this name from."""
    at = name.removeprefix("fused ")
    while at:
        item = source.by_name.get(at) or source.makers.get(at)
        if item is not None:
            return [item.name]
        at = at[: max(at.rfind("/"), at.rfind("_"), 0)]
    return []


def _between(item: Item, source: View, alive: set[str]) -> Iterator[str]:
    """Nodes of the source from the outputs of `item` back to values that are still there."""
    waiting = [value for value in item.outputs if value in source.makers]
    seen = set()
    while waiting:
        maker = source.makers[waiting.pop()]
        if maker.name not in seen:
            seen.add(maker.name)
            yield maker.name
            waiting += [value for value in maker.inputs if value not in alive and value in source.makers]


def _spread(found: Mapping[Key, Origin], run: View, inside: str) -> None:
    """Give nodes of no origin that of what reads them, else of what they read."""
    users: dict[str, list[Item]] = {}
    for item in run.items:
        for value in item.inputs:
            users.setdefault(value, []).append(item)
    neighbours = {
        item.name: [
            [user.name for value in item.outputs for user in users.get(value, ())],
            [run.makers[value].name for value in item.inputs if value in run.makers],
        ]
        for item in run.items
    }
    order = [item.name for item in run.items]
    spread({name: found[inside, name] for name in order}, neighbours, order)


def absorb(
    origins: Mapping[str, Origin], source: View, order: Iterable[str], alive: Collection[str] = frozenset()
) -> None:
    """Give nodes what nobody has of the nodes that theirs read, as far back as nobody has it: fused without a trace.

    Values that are `alive` are made by others.
    """
    claimed = {name for origin in origins.values() for name in origin.owned} | _folded(source)
    for name in order:
        origin = origins[name]
        waiting = [value for owned in origin.owned if owned in source.by_name for value in source.by_name[owned].inputs]
        while waiting:
            value = waiting.pop()
            maker = source.makers.get(value)
            if maker is not None and value not in alive and maker.name not in claimed:
                claimed.add(maker.name)
                origin.owned += (maker.name,)
                origin.sources += (maker.name,)
                waiting += maker.inputs


def spread(origins: Mapping[str, Origin], neighbours: Mapping[str, list[list[str]]], order: list[str]) -> None:
    """Nodes without sources get those of their neighbours: of the first kind from the end on, else of the second."""
    for kind, names in ((0, order[::-1]), (1, order)):
        for name in names:
            if not origins[name].sources:
                near = (origins[other].sources for other in neighbours[name][kind])
                origins[name].sources = next((sources for sources in near if sources), ())

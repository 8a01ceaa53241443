"""Branches and loops opened: an If as one of its branches, a Loop as one trip."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ...ir.builder import Builder
from ...ir.core import Node, Value
from ...ir.infer import infer_graph
from ...ir.types import BOOL, I64
from ...passes.clean.regions import inline
from .candidate import Candidate, Make, drop_dead


def opened(candidate: Candidate) -> Iterator[Make]:
    """Each If and Loop of the main graph opened, an If in both ways."""
    for index, node in enumerate(candidate.model.graph):
        for region in _ways(node):
            yield partial(open_at, candidate, index, region)


def _ways(node: Node) -> tuple[str, ...]:
    if node.op.key == "If":
        return ("then_branch", "else_branch")
    return ("body",) if node.op.key == "Loop" else ()


def open_around(candidate: Candidate, location: str) -> Make | None:
    """Opens the If or Loop of the main graph that has a node from `location` inside; None where there is none."""
    for index, node in enumerate(candidate.model.graph):
        for region in _ways(node):
            if any(location in inner.loc for inner in node.regions[region].walk()):
                return partial(open_at, candidate, index, region)
    return None


def open_at(candidate: Candidate, index: int, region: str) -> Candidate:
    """Node `index` of the main graph replaced by one of its regions."""
    result, _ = candidate.copy()
    graph = result.model.graph
    node = next(each for number, each in enumerate(graph) if number == index)
    if region == "body":
        _one_trip(node)
    inline(node, region)
    drop_dead(result)
    infer_graph(graph)
    return result


def _one_trip(loop: Node) -> None:
    """Make the body of a loop one that is run once: it reads what the loop starts with, and returns what that does."""
    graph, body = loop.graph, loop.regions["body"]
    assert graph is not None
    start = Builder(graph, loop, loop.loc)
    states = list(loop.inputs[2:])
    given: list[Value | None] = [start.const(0, I64), start.const(True, BOOL), *states]
    for value, operand in zip(body.inputs, given):
        if operand is not None:
            value.replace_with(operand)
    results = list(body.outputs[1:])
    end = Builder(body, None, loop.loc)
    scans = [end.op("Unsqueeze", value, end.ints([0])) for value in results[len(states) :]]
    body.set_outputs([*results[: len(states)], *scans], body.output_names[1:])

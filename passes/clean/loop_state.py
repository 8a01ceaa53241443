"""Outputs of Loop and Scan that nobody needs, and how to remove them.

Both operators carry N values from trip to trip and collect K scan outputs. Slot i < N is a carried value: an
operand of the node, an input and an output of the body, an output of the node. Slot N + j is scan output j.
"""

from __future__ import annotations

from typing import Any

from ...ir.core import Graph, Node, Value
from .regions import remove_outputs, remove_results


class _Layout:
    """Where the slots of a loop are."""

    def __init__(self, node: Node) -> None:
        self.body: Graph = node.regions["body"]
        if node.op.key == "Loop":
            self.operand = self.parameter = 2  # ahead of the state: trip count, condition; trip number, condition
            self.result = 1  # the body returns the condition first
            self.carried = max(len(node.inputs) - 2, 0)
        else:
            self.operand = self.parameter = self.result = 0
            self.carried = len(node.inputs) - int(node.attrs["num_scan_inputs"])


def is_loop(node: Node) -> bool:
    """True for a Loop or Scan whose slots can be told."""
    return node.op.key in ("Loop", "Scan")


def dead_slots(node: Node) -> set[int]:
    """Slots whose output is unused and, if carried, which influence nothing but themselves and other dead slots."""
    layout = _Layout(node)
    unused = {index for index, value in enumerate(node.outputs) if not value.uses}
    if len(unused) == len(node.outputs):
        unused.discard(0)  # the operator must have an output
    dead = {index for index in unused if index >= layout.carried}
    candidates = unused - dead
    if candidates:
        dead |= candidates - _live_carried(layout, candidates, dead)
    return dead


def _live_carried(layout: _Layout, candidates: set[int], dead_scans: set[int]) -> set[int]:
    """Which of the candidates are needed: backwards from what the body must compute in any case."""
    body = layout.body
    slot_of: dict[Value, int] = {body.inputs[layout.parameter + i]: i for i in candidates}
    live: set[int] = set()
    seen: set[Node] = set()
    work: list[Value] = []

    def need(value: Value | None) -> None:
        if value is None:
            return
        slot = slot_of.get(value)
        if slot is not None:
            if slot not in live:
                live.add(slot)
                work.append(body.outputs[layout.result + slot])
        elif value.producer is not None:
            work.append(value)

    for index, value in enumerate(body.outputs):
        slot = index - layout.result
        if slot not in candidates and slot not in dead_scans:
            need(value)
    for node in body:
        if not node.op.pure:  # loops and branches inside count as needed
            _need_all(node, seen, need)
    while work:
        value = work.pop()
        producer = value.producer
        if producer is None:
            need(value)
            continue
        inside = body.enclosing_node(producer)
        if inside is not None and inside not in seen:
            _need_all(inside, seen, need)
    return live


def _need_all(node: Node, seen: set[Node], need: Any) -> None:
    """Everything that a node of the body, or a region of it, reads."""
    seen.add(node)
    for value in node.inputs:
        need(value)
    for region in node.regions.values():
        for graph in region.graphs():
            for inner in [*graph, graph.ret]:
                for value in inner.inputs:
                    need(value)


def drop_slots(node: Node, slots: set[int]) -> None:
    """Remove slots that `dead_slots` found, with whatever in the body only served them."""
    layout = _Layout(node)
    body = layout.body
    carried = {slot for slot in slots if slot < layout.carried}
    scans = {slot - layout.carried for slot in slots - carried}
    remove_results(body, {slot + layout.result for slot in slots})
    _erase_dead(body)
    for slot in sorted(carried, reverse=True):
        body.remove_input(layout.parameter + slot)
    kept = [v for i, v in enumerate(node.inputs) if i - layout.operand not in carried]
    while kept and kept[-1] is None:
        kept.pop()
    node.set_inputs(kept)
    remove_outputs(node, slots)
    for name in ("scan_output_axes", "scan_output_directions"):
        listed = node.attrs.get(name)
        if listed:
            rest = tuple(v for i, v in enumerate(listed) if i not in scans)
            if rest:
                node.attrs[name] = rest
            else:
                del node.attrs[name]


def _erase_dead(body: Graph) -> None:
    for node in body.reversed():
        if node.op.pure and not node.in_use:
            body.erase(node)

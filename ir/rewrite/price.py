"""Whether a replacement would cost more than what it takes away, by estimate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..core import Node, Value
from ..types import Type
from .place import Pairs, dying_nodes

if TYPE_CHECKING:
    from ..ops.cost import CostModel

MARGIN = 1.05  # estimates that are nearer to each other say nothing


def why_dearer(model: CostModel, pairs: Pairs, matched: list[Node], created: list[Node]) -> str:
    """In words, how much more the `created` nodes cost than those that die; "" where they do not, or nobody knows.

    Matched nodes that live on for other users count on neither side, nor does what clean-up will merge.
    """
    types: dict[Value, Type | None] = {new: old.type for old, new in pairs if new.producer is not None}
    after = _sum(model, [node for node in created if not _will_merge(node)], types)
    if not after:
        return ""
    dying = dying_nodes(matched, dict.fromkeys(old for old, _ in pairs))
    before = _sum(model, dying, None)
    if before is None or after <= MARGIN * before:
        return ""
    dead = [*dying, *_dead_below(dying)]
    before = _sum(model, dead, None)
    if before is None or after <= MARGIN * before:
        return ""
    ratio = f"{after / before:.2g}x" if before else "new"
    old = f"{_names(dead)} ({_micro(before)})" if dead else "nothing, since all of it stays in use"
    return f"estimated cost {ratio}: {_names(created)} ({_micro(after)}) for {old}"


def _sum(model: CostModel, nodes: Iterable[Node], types: dict[Value, Type | None] | None) -> float | None:
    total = 0.0
    for node in nodes:
        seconds = model.seconds(node, types)
        if seconds is None:
            return None
        total += seconds
    return total


def _will_merge(node: Node) -> bool:
    """A new Transpose of a Transpose: clean-up leaves one of the two, or none."""
    source = node.inputs[0].producer if node.op.base_key == "Transpose" and node.inputs[0] is not None else None
    return source is not None and source.op is node.op


def _dead_below(dying: dict[Node, None]) -> list[Node]:
    """The pure nodes that only fed those which die."""
    gone = dict(dying)
    found: list[Node] = []
    waiting = list(dying)
    while waiting:
        for value in waiting.pop().inputs:
            producer = None if value is None else value.producer
            if producer is None or producer in gone or not producer.op.pure or producer.regions:
                continue
            if all(user in gone for output in producer.outputs for user, _ in output.uses):
                gone[producer] = None
                found.append(producer)
                waiting.append(producer)
    return found


def _names(nodes: Iterable[Node]) -> str:
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.op.key] = counts.get(node.op.key, 0) + 1
    return ", ".join(f"{count} {key}" if count > 1 else key for key, count in counts.items())


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} us"

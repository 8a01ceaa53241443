"""Cutting a scope that has too many members into parts, where few values cross.

Between two statements in the order of the program, some values that were computed are still to be read. Where that is
one, as between two blocks of a residual network, a cut hides nothing: each part has one way in and one way out.
"""

from __future__ import annotations

from collections import defaultdict
from math import sqrt

from ...ir.core import Node
from .cycles import in_order, members_of

Path = tuple[str, ...]

MOST = 60  # members of a scope that are shown beside each other
SMALLEST, LARGEST = 8, 60  # of a part, as far as there are good places


def cut(nodes: list[Node], scopes: dict[Node, Path]) -> dict[Node, Path]:
    """The scopes with those of more than `MOST` members cut into parts, named part 1, part 2, ... in them."""
    sizes: dict[Path, set[Node | str]] = defaultdict(set)
    for node in nodes:
        path = scopes[node]
        sizes[path].add(node)
        for depth in range(len(path)):
            sizes[path[:depth]].add(path[depth])
    result = dict(scopes)
    # From the inside out: what is put into a path is at a place that the inner ones lie behind.
    for path in sorted((p for p, inside in sizes.items() if len(inside) > MOST), key=len, reverse=True):
        inside = in_order(members_of(nodes, scopes, path))
        for number, part in enumerate(parts_of(inside), 1):
            for node in (node for member in part for node in member):
                old = result[node]
                result[node] = (*old[: len(path)], f"part {number}", *old[len(path) :])
    return result


def parts_of(members: list[list[Node]]) -> list[list[list[Node]]]:
    """Members (one node, or all of an inner scope) in order, as parts that follow each other."""
    size = min(LARGEST, max(SMALLEST, round(sqrt(len(members)))))
    crossing = crossings(members)
    parts = []
    start = 0
    while len(members) - start > size * 3 // 2:
        window = range(start + max(SMALLEST, size // 2), min(start + 2 * size, len(members) - SMALLEST // 2) + 1)
        wanted = start + size
        end = min(window, key=lambda at: (crossing[at - 1], abs(at - wanted)), default=len(members))
        parts.append(members[start:end])
        start = end
    if start < len(members):
        parts.append(members[start:])
    return parts


def crossings(members: list[list[Node]]) -> list[int]:
    """How many values made by members up to each one are read by members behind it."""
    place = {node: at for at, member in enumerate(members) for node in member}
    steps = [0] * (len(members) + 1)
    for node, at in place.items():
        for value in node.outputs:
            last = max((place.get(user, at) for user in value.users), default=at)
            if last > at:
                steps[at] += 1
                steps[last] -= 1
    found, total = [], 0
    for step in steps[:-1]:
        total += step
        found.append(total)
    return found

"""Scopes that read from each other in a circle cannot stand above one another: small and scattered ones are given up.

A module that is used twice in a block (one activation for two layers) is such a scope: what it makes is read by a
layer, and what that makes is read by it again.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from itertools import pairwise

from ...ir.core import Node

Path = tuple[str, ...]
Member = Node | str
"""What stands beside each other in a scope: nodes, and inner scopes by their names."""

SMALL = 8  # nodes up to which a scope is given up
SCATTERED = 6  # places up to which a larger one is kept


def members_of(nodes: list[Node], scopes: dict[Node, Path], path: Path) -> dict[Member, list[Node]]:
    """The members of a scope, each with its nodes, in the order of their first ones."""
    depth = len(path)
    found: dict[Member, list[Node]] = defaultdict(list)
    for node in nodes:
        own = scopes[node]
        if own[:depth] == path:
            found[own[depth] if len(own) > depth else node].append(node)
    return dict(found)


def edges_of(members: dict[Member, list[Node]]) -> dict[Member, set[Member]]:
    """Which members read from which: the readers of each."""
    home = {node: member for member, inside in members.items() for node in inside}
    found: dict[Member, set[Member]] = {member: set() for member in members}
    for node, member in home.items():
        graph = node.graph
        for value in node.outputs:
            for user in value.users:
                reader = graph.enclosing_node(user) if graph is not None else None
                other = home.get(reader) if reader is not None else None
                if other is not None and other is not member and other != member:
                    found[member].add(other)
    return found


def circles(edges: dict[Member, set[Member]]) -> list[set[Member]]:
    """Groups of members that all read from each other, by way of others perhaps."""
    import networkx

    found = networkx.strongly_connected_components(networkx.DiGraph(edges))
    return [set(group) for group in found if len(group) > 1]


def without_circles(nodes: list[Node], scopes: dict[Node, Path]) -> dict[Node, Path]:
    """The scopes without small or scattered ones that stand in a circle; others stay as they are."""
    result = dict(scopes)
    place = {node: at for at, node in enumerate(nodes)}
    waiting: list[Path] = [()]
    while waiting:
        path = waiting.pop()
        members = members_of(nodes, result, path)
        given_up = {name for group in circles(edges_of(members)) for name in _given_up(group, members, place)}
        if given_up:
            for name in given_up:
                for node in members[name]:
                    result[node] = path + result[node][len(path) + 1 :]
            waiting.append(path)
        else:
            waiting += [(*path, member) for member in members if isinstance(member, str)]
    return result


def _given_up(group: set[Member], members: dict[Member, list[Node]], place: dict[Node, int]) -> list[str]:
    """Of the scopes in a circle those to give up next: the smallest, if they are small; else the one whose nodes are in
    most places of the program, if they are in many."""
    names = sorted(member for member in group if isinstance(member, str))
    least = min((len(members[name]) for name in names), default=0)
    if names and least <= SMALL:
        return [name for name in names if len(members[name]) == least]
    runs = {name: sum(place[b] - place[a] > 1 for a, b in pairwise(members[name])) + 1 for name in names}
    most = max(runs.values(), default=0)
    return [name for name in names if runs[name] == most] if most > SCATTERED else []


def in_order(members: dict[Member, list[Node]]) -> list[list[Node]]:
    """The nodes of members so that each stands behind those it reads from, else in their order; in that order alone
    where some stand in a circle."""
    edges = edges_of(members)
    place = {member: at for at, member in enumerate(members)}
    waiting = dict.fromkeys(members, 0)
    for readers in edges.values():
        for reader in readers:
            waiting[reader] += 1
    names = list(members)
    heap = [at for at, member in enumerate(names) if not waiting[member]]  # in order, so it is a heap
    found: list[Member] = []
    while heap:
        member = names[heapq.heappop(heap)]
        found.append(member)
        for reader in edges[member]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(heap, place[reader])
    return [members[member] for member in (found if len(found) == len(members) else names)]

"""Which part of a model each statement belongs to: a path of names such as encoder, layer.0, attention.

What an exporter said comes first: names with slashes (/encoder/layer.0/attention/MatMul), then the scopes that torch's
dynamo exporter writes beside its nodes, then the names of the weights that a node reads (encoder.layer.0.query.bias). A
node of which nothing is said goes with the one node that reads it, else stays where the statement before it is, as far
as the next one that is known is in there as well. What was found for a source name holds for all later graphs, so that
a scope keeps its nodes while passes rewrite them. Where a scope still has too many members, `parts` cuts it.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from ...ir.core import Graph, Node
from ...ir.lines import split_lines
from .cycles import without_circles
from .parts import cut

Path = tuple[str, ...]

NAMED = 0.5  # the share of nodes with a scope of their own from which on the names of weights are not asked
_NUMBER = re.compile(r"\d+\Z")
_NOWHERE = "_empty_nn_module_stack_from_metadata_hook"  # torch's word for a node that belongs to no module
_META = "pkg.torch.onnx.name_scopes"


def scope_in_name(name: str) -> Path | None:
    """The scope in a source name: all of a path with slashes but its end; None for a name without."""
    parts = [part for part in name.split("/") if part]
    return tuple(parts[:-1]) if "/" in name else None


def scope_in_dots(name: str) -> Path | None:
    """The scope in a weight's name with dots; a number stays with the word before it (layer.0)."""
    if "/" in name or ":" in name:
        return None
    parts: list[str] = []
    for part in name.split(".")[:-1]:
        if _NUMBER.match(part) and parts:
            parts[-1] += f".{part}"
        else:
            parts.append(part)
    return tuple(parts) or None


def scope_in_meta(meta: Mapping[str, str] | None) -> Path | None:
    """The scope that torch's exporter notes: a list of modules, each name with those around it, and the node's own."""
    text = (meta or {}).get(_META)
    if text is None:
        return None
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or names[:1] == [_NOWHERE]:
        return None
    path: list[str] = []
    around = ""
    for name in names[:-1]:
        if not name:
            continue
        if not name.startswith(around):
            return None
        path.append(name[len(around) :].lstrip("."))
        around = name
    return tuple(path) or None


def common(paths: Iterable[Path]) -> Path:
    """The longest path that all of some paths begin with; () for none."""
    found: Path | None = None
    for path in paths:
        if found is None:
            found = path
        else:
            same = 0
            while same < min(len(found), len(path)) and found[same] == path[same]:
                same += 1
            found = found[:same]
    return found or ()


def joined(paths: list[Path]) -> Path:
    """Where a node is that came from nodes of several scopes: in the innermost of scopes within each other, else in the
    one that is around all."""
    deepest = max(paths, key=len)
    return deepest if all(path == deepest[: len(path)] for path in paths) else common(paths)


class Scopes:
    """Finds the scopes of graphs that follow each other, or stand side by side, so that they agree."""

    def __init__(self) -> None:
        self._known: dict[str, Path] = {}  # by source name, as it was found in the first graph that had it
        self._named: dict[Path, Path] = {}  # by the scope in a name

    def of(self, graph: Graph) -> dict[Node, Path]:
        """The scope of each node of one graph; regions of its nodes are graphs of their own."""
        nodes = list(graph)
        inherited = {node: self._inherited(node) for node in nodes}
        fresh = sum(path is None for path in inherited.values())
        if fresh * 2 > len(nodes):  # a graph that nothing is known of yet
            found = cut(nodes, without_circles(nodes, _tidied(nodes, _spread(nodes, _own(nodes)))))
            for node in nodes:
                for name in _names(node):
                    self._known.setdefault(name, found[node])
                    self._named.setdefault(scope_in_name(name) or (), found[node])
            return found
        known = {node: path for node, path in inherited.items() if path is not None}
        return cut(nodes, without_circles(nodes, _spread(nodes, known)))

    def _inherited(self, node: Node) -> Path | None:
        paths = [self._known[name] for name in _names(node) if name in self._known]
        if not paths:  # a name that a pass or a writer made of another
            scopes = [scope for name in _names(node) if (scope := scope_in_name(name))]
            paths = [self._named[scope] for scope in scopes if scope in self._named]
        return joined(paths) if paths else None


def _names(node: Node) -> list[str]:
    """Source names of the nodes that a node was made of; not their lines, which many scopes share."""
    return split_lines(node.loc)[0]


def _own(nodes: list[Node]) -> dict[Node, Path]:
    """What is said of single nodes."""
    found: dict[Node, Path] = {}
    for node in nodes:
        paths = [path for name in node.loc if (path := scope_in_name(name)) is not None]
        path = joined(paths) if paths else scope_in_meta(node.meta)
        if path is not None:
            found[node] = path
    if len(found) < NAMED * len(nodes):
        for node in nodes:
            if node not in found:
                paths = [
                    path
                    for value in node.inputs
                    if value is not None and value.const is not None
                    if (path := scope_in_dots(value.hint)) is not None
                ]
                if paths:
                    found[node] = joined(paths)
    return found


def _spread(nodes: list[Node], known: dict[Node, Path]) -> dict[Node, Path]:
    """A scope for every node, from the nodes that have one."""
    found = dict(known)
    if not found:
        return dict.fromkeys(nodes, ())
    graph = nodes[0].graph
    for node in reversed(nodes):
        if node not in found:
            users = {user for value in node.outputs for user in value.users}
            if len(users) == 1:
                (user,) = users
                if user.graph is graph and user in found:
                    found[node] = found[user]
    following: list[Path] = []
    path: Path = ()
    for node in reversed(nodes):
        path = found.get(node, path)
        following.append(path)
    before: Path = ()
    for node, after in zip(nodes, reversed(following)):
        if node not in found:
            found[node] = before[: len(common([before, after])) + 1]
        before = found[node]
    return found


def _tidied(nodes: list[Node], found: dict[Node, Path]) -> dict[Node, Path]:
    """Without what says nothing: a beginning that all share, scopes of one node, scopes that hold one scope alone."""
    shared = len(common(found[node] for node in nodes if found[node]))
    paths = [found[node][shared:] for node in nodes]
    sizes = Counter(path[:depth] for path in paths for depth in range(1, len(path) + 1))
    short: dict[Path, Path] = {}
    for path in paths:
        short.setdefault(path, _shortened(path, sizes))
    return {node: short[path] for node, path in zip(nodes, paths)}


def _shortened(path: Path, sizes: Counter[Path]) -> Path:
    """A path without scopes of one node; one that holds nothing but another becomes one with it."""
    result: list[str] = []
    joined = ""
    for depth in range(1, len(path) + 1):
        size = sizes[path[:depth]]
        if size == 1:
            break
        name = joined + path[depth - 1]
        if depth < len(path) and sizes[path[: depth + 1]] == size:
            joined = name + "/"
            continue
        result.append(name)
        joined = ""
    return tuple(result)

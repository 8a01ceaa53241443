"""The profile as one record: nodes, operators, scopes, and the roofline's estimate beside what was measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ...ir.core import Model, Node
from ...ir.dims import Dim
from ...ir.errors import UsageError
from ...lowering.estimate import NodeEstimate, estimate_model
from ...lowering.targets import get_target
from ..inputs.shapes import Shapes, specialise
from ..versions import geoc_version
from ..view.scopes import scope_in_meta, scope_in_name
from .prepared import Prepared
from .recorded import Recorded, Row

FAR = 2.0  # times as long as estimated, or as short, that is a miss
SMALL = 0.002  # of the whole time: less is no miss worth a line


def profile_of(
    prepared: Prepared, recorded: Recorded, feeds: Mapping[str, Any], threads: int, shape: str, inputs: str
) -> dict[str, Any]:
    """The record that -o FILE.json writes: seconds of one run of the model."""
    contender = prepared.contender
    total = sum(row.seconds for row in recorded.rows)
    estimates, why = _estimates(prepared, feeds, threads)
    beside = _beside(recorded.rows)
    nodes = [_node(row, prepared, estimates, total, beside.get(row.name, 0.0)) for row in recorded.rows]
    gathered = 0.0
    for node in nodes:
        gathered += node["share"]
        node["cumulative"] = gathered
    return {
        "schema": 1, "geoc": geoc_version(), "model": contender.path, "runtime": contender.runtime,
        "threads": threads, "shape": shape, "inputs": inputs, "note": prepared.note,
        "seconds": {
            "run": recorded.wall, "nodes": total, "between": recorded.wall - total, "without_profiler": recorded.plain,
        },
        "overhead": {**asdict(recorded.overhead), "noise": recorded.noise},
        "runs": recorded.runs, "nodes": nodes, "operators": _operators(nodes, total),
        "tree": tree_of(nodes, [row.place for row in recorded.rows]),
        "estimate": {"why_not": why, "target": f"cpu,cores={threads}", **_missed(nodes)},
    }  # fmt: skip


def _beside(rows: list[Row]) -> dict[str, float]:
    """Seconds of nodes that the runtime added, such as conversions of layouts, by the node that they serve."""
    owners = {name: row.name for row in rows for name in row.origin.owned}
    found: dict[str, float] = defaultdict(float)
    for row in rows:
        served = [owners[name] for name in row.origin.sources if name in owners]
        if not row.origin.owned and served:
            found[served[0]] += row.seconds
    return found


def _node(
    row: Row, prepared: Prepared, estimates: Mapping[str, list[NodeEstimate]], total: float, beside: float
) -> dict[str, Any]:
    """`measured` is what stands beside the estimate: the node with what the runtime added for it."""
    sources = tuple(dict.fromkeys(at for name in row.origin.sources for at in prepared.sources(name)))
    own = [each for name in row.origin.owned for each in estimates.get(name, ())]
    estimated = sum(each.seconds for each in own) * max(row.calls, 1.0) if own else None
    longest = max(own, key=lambda each: each.seconds, default=None)
    known = prepared.names.get(next(iter(row.origin.owned), ""), [])
    main = longest.node if longest is not None else next(iter(known), None)
    at = sources[0] if sources else row.name
    if main is not None and main.loc and main.loc[0] in sources:
        at = main.loc[0]
        sources = tuple(dict.fromkeys((at, *sources)))  # the one that takes longest comes first
    return {
        "name": row.name, "op": row.op, "kernel": row.kernel, "inside": row.inside, "sources": list(sources),
        "scope": scope_of(at, main), "seconds": row.seconds, "calls": row.calls, "share": row.seconds / (total or 1.0),
        "estimate": estimated, "bound": longest.bound if longest is not None else None,
        "measured": row.seconds + beside, "ratio": (row.seconds + beside) / estimated if estimated else None,
    }  # fmt: skip


def scope_of(name: str, node: Node | None) -> list[str]:
    """The modules around a node, from the outermost in: the folders of its name, else what its metadata says.

    >>> scope_of("/encoder/layer.0/attention/MatMul", None)
    ['encoder', 'layer.0', 'attention']
    """
    return list(scope_in_name(name) or scope_in_meta(None if node is None else node.meta) or ())


def tree_of(nodes: list[dict[str, Any]], places: list[int]) -> dict[str, Any]:
    """Scopes in each other with the time in them, in the order in which they run; a leaf has the number of a node."""
    root: dict[str, Any] = {"name": "model", "seconds": 0.0, "children": []}
    at: dict[tuple[str, ...], dict[str, Any]] = {(): root}
    for number in sorted(range(len(nodes)), key=places.__getitem__):
        node = nodes[number]
        path = tuple(node["scope"])
        for depth in range(1, len(path) + 1):
            if path[:depth] not in at:
                made = {"name": path[depth - 1], "seconds": 0.0, "children": []}
                at[path[:depth]] = made
                at[path[: depth - 1]]["children"].append(made)
        for depth in range(len(path) + 1):
            at[path[:depth]]["seconds"] += node["seconds"]
        at[path]["children"].append({"name": node["op"], "seconds": node["seconds"], "node": number})
    return root


def _operators(nodes: list[dict[str, Any]], total: float) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for node in nodes:
        groups[node["op"]].append(node)
    found = [
        {
            "op": op, "nodes": len(group), "calls": sum(n["calls"] for n in group),
            "seconds": sum(n["seconds"] for n in group), "share": sum(n["seconds"] for n in group) / (total or 1.0),
        }
        for op, group in groups.items()
    ]  # fmt: skip
    return sorted(found, key=lambda entry: -float(entry["seconds"]))


def _estimates(prepared: Prepared, feeds: Mapping[str, Any], threads: int) -> tuple[dict[str, list[NodeEstimate]], str]:
    """By the name in the file; and why there are none. The model takes the sizes of the inputs."""
    model = prepared.contender.model
    if model is None:
        return {}, "an .xml is run as it is, without a graph of geoc's"
    specialise(model, _sizes(model, feeds))
    try:
        found = estimate_model(model, get_target(f"cpu,cores={threads}"))
    except UsageError as error:
        return {}, error.message
    by_node = {each.node: each for each in found.nodes}
    names = {name: [by_node[node] for node in nodes if node in by_node] for name, nodes in prepared.names.items()}
    return {name: each for name, each in names.items() if each}, ""


def _sizes(model: Model, feeds: Mapping[str, Any]) -> Shapes:
    shapes = Shapes()
    for name, value in zip(model.graph.input_names, model.graph.inputs):
        array = feeds.get(name)
        if not isinstance(array, np.ndarray):
            continue
        for dim, size in zip(value.shape or (), array.shape):
            if isinstance(dim, Dim) and dim.atom is not None and dim.atom.is_symbol:
                shapes.symbols[dim.atom.name] = int(size)
    return shapes


def _missed(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over nodes of which both are known, and those where the two are far apart, the most time first."""
    both = [(number, node) for number, node in enumerate(nodes) if node["estimate"]]
    whole = sum(node["seconds"] for node in nodes) or 1.0
    far = [
        number
        for number, node in both
        if not 1 / FAR <= node["ratio"] <= FAR and abs(node["measured"] - node["estimate"]) > SMALL * whole
    ]
    far.sort(key=lambda number: -abs(nodes[number]["measured"] - nodes[number]["estimate"]))
    return {
        "seconds": sum(node["estimate"] for _, node in both), "measured": sum(node["measured"] for _, node in both),
        "misses": far,
    }  # fmt: skip

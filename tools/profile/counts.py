"""OpenVINO's profiler: what a request reports of its last inference (docs.openvino.ai, "Performance counters").

The graph that is run comes with it, and each of its nodes says which nodes of the file went into it. Bodies of If and
Loop are not reported node by node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..bench.rounds import Block, Budget, Samples, compete
from ..running.contender import InOpenvino
from ..running.sessions import compiled_openvino
from ..running.stopwatch import Stopwatch
from .attribution import Key, Origin, absorb, spread, view_of
from .prepared import Prepared
from .recorded import PLAIN, PROFILED, RUNS, WHAT, Recorded, Row, Run, summed

_ORIGINAL = "originalLayersNames"


def record_openvino(
    prepared: Prepared,
    feeds: Mapping[str, Any],
    threads: int,
    budget: Budget,
    seed: int,
    said: Callable[[str, float], None],
) -> Recorded:
    """Run it with and without counting."""
    rows: dict[Key, Row] = {}
    runs: list[Run] = []
    origins: dict[str, Origin] = {}

    def opened() -> Mapping[str, Block]:
        counting = InOpenvino(compiled_openvino(prepared.contender.file, threads, PERF_COUNT=True))
        if not origins:
            origins.update(_origins(counting.compiled.get_runtime_model(), prepared))
        plain = prepared.contender.open(threads)
        return {
            PLAIN: partial(_block, plain.bound(feeds), threads, lambda: None),
            PROFILED: partial(_block, counting.bound(feeds), threads, partial(_note, counting.request, rows, runs)),
        }

    rounds = compete(opened, budget, seed, said)
    for row in rows.values():
        row.origin = origins.get(row.name) or Origin((row.name,), (row.name,))
    return summed(runs, rows, rounds)


def _block(call: Callable[[], Any], threads: int, note: Callable[[], None], count: int) -> Samples:
    times = []
    with Stopwatch(threads) as watch:
        for _ in range(min(count, RUNS)):
            times.append(watch.time(call))
            note()
    return {WHAT: times}


def _note(request: Any, rows: dict[Key, Row], runs: list[Run]) -> None:
    nodes: Run = {}
    for info in request.get_profiling_info():
        if info.status == info.Status.EXECUTED:
            key = ("", info.node_name)
            if key not in rows:
                rows[key] = Row(info.node_name, info.node_type, kernel=info.exec_type)
            nodes[key] = info.real_time.total_seconds(), 1
    runs.append(nodes)


def _origins(graph: Any, prepared: Prepared) -> dict[str, Origin]:
    """By name of the node that is run. Originals that the file does not know are of the runtime's own making."""
    ops = graph.get_ordered_ops()
    origins: dict[str, Origin] = {}
    neighbours: dict[str, list[list[str]]] = {}
    claimed: set[str] = set()
    for op in ops:
        name, info = op.get_friendly_name(), op.get_rt_info()
        originals = str(info[_ORIGINAL].astype(str)).split(",") if _ORIGINAL in info else []
        known = [each for each in originals if not prepared.names or each in prepared.names]
        owned = tuple(each for each in known if each not in claimed)
        claimed.update(owned)
        origins[name] = Origin(tuple(known), owned)
        readers = [port.get_node() for output in op.outputs() for port in output.get_target_inputs()]
        made = [port.get_source_output().get_node() for port in op.inputs()]
        neighbours[name] = [[node.get_friendly_name() for node in nodes] for nodes in (readers, made)]
    order = [op.get_friendly_name() for op in ops]
    if prepared.names:
        import onnx

        absorb(origins, view_of(onnx.load(prepared.contender.file, load_external_data=False).graph), order)
    spread(origins, neighbours, order)
    return origins

"""onnxruntime's profiler: a JSON file of events, one for each kernel that ran (its documentation: "Profiling tools").

An event has its start and its duration in whole microseconds. Nodes of a body (If, Loop, Scan) are written before the
node that holds them, and lie inside it in time. The graph that is run is written as well, to find out what each of its
nodes was made from.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..bench.rounds import Block, Budget, Samples, compete
from ..running.contender import InOnnxruntime
from ..running.sessions import fast_session
from ..running.stopwatch import Stopwatch
from .attribution import Key, Origin, attribute, view_of
from .prepared import Prepared
from .recorded import PLAIN, PROFILED, RUNS, WARM, WHAT, Recorded, Row, Run, summed

_KERNEL = "_kernel_time"
_HOLDERS = frozenset(("If", "Loop", "Scan", "SequenceMap"))


def record_onnxruntime(
    prepared: Prepared,
    feeds: Mapping[str, Any],
    threads: int,
    budget: Budget,
    seed: int,
    said: Callable[[str, float], None],
) -> Recorded:
    """Run it with and without the profiler, and read what that wrote."""
    contender = prepared.contender
    with tempfile.TemporaryDirectory(prefix="geoc-profile-") as folder:
        optimized = os.path.join(folder, "run.onnx")
        live: list[Any] = []
        files: list[str] = []

        def close() -> None:
            files.extend(session.end_profiling() for session in live)
            live.clear()

        def opened() -> Mapping[str, Block]:
            close()
            graph = "" if os.path.exists(optimized) else optimized
            profile = os.path.join(folder, f"events{len(files)}")
            live.append(fast_session(contender.file, threads, contender.disabled, profile, graph))
            plain = contender.open(threads)
            calls = {PLAIN: plain.bound(feeds), PROFILED: InOnnxruntime(live[0]).bound(feeds)}
            return {name: partial(_block, call, threads) for name, call in calls.items()}

        rounds = compete(opened, budget, seed, said)
        close()
        origins = _origins(contender.file, optimized)
        rows: dict[Key, Row] = {}
        runs = [run for file in files for run in read_runs(file, rows)[WARM:]]
    for key, row in rows.items():
        row.origin = origins.get(key) or Origin((row.name,), (row.name,))
    return summed(runs, rows, rounds, len(runs))


def _block(call: Callable[[], Any], threads: int, count: int) -> Samples:
    with Stopwatch(threads) as watch:
        return {WHAT: [watch.time(call) for _ in range(min(count, RUNS))]}


def _origins(source: str, optimized: str) -> dict[Key, Origin]:
    import onnx

    graphs = [onnx.load(path, load_external_data=False).graph for path in (source, optimized)]
    return attribute(view_of(graphs[0]), view_of(graphs[1]))


def read_runs(path: str, rows: dict[Key, Row]) -> list[Run]:
    """The runs in a file of events, in order; nodes that they meet are added to `rows`."""
    with open(path, encoding="utf-8") as file:
        events = json.load(file)
    runs: list[Run] = []
    waiting: list[tuple[str, dict[str, Any]]] = []  # of the run at hand, by the node that holds them ("" so far)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_KERNEL):
            if event["args"].get("op_name") in _HOLDERS:
                waiting = _held(waiting, event)
            waiting.append(("", event))
        elif event["name"] == "model_run":
            runs.append(_run(waiting, rows))
            waiting = []
    return runs


def _held(waiting: list[tuple[str, dict[str, Any]]], holder: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Those that ran since the holder began are in it; its own time is what they leave."""
    name = holder["name"].removesuffix(_KERNEL)
    found = []
    for inside, event in waiting:
        if not inside and event["ts"] >= holder["ts"] and event["ts"] + event["dur"] > holder["ts"]:
            inside = name
            holder["own"] = holder.get("own", holder["dur"]) - event["dur"]
        found.append((inside, event))
    return found


def _run(waiting: list[tuple[str, dict[str, Any]]], rows: dict[Key, Row]) -> Run:
    nodes: Run = {}
    for inside, event in waiting:
        key = (inside, event["name"].removesuffix(_KERNEL))
        if key not in rows:
            rows[key] = Row(key[1], event["args"].get("op_name", ""), inside)
        before, calls = nodes.get(key, (0.0, 0))
        nodes[key] = before + max(0, event.get("own", event["dur"])) / 1e6, calls + 1
    return nodes

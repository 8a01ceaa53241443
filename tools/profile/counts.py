"""OpenVINO's profiler: what a request reports of each node (docs.openvino.ai, "Performance counters").

That is the mean over all inferences since the model was compiled, in whole microseconds. The first ones allocate and
generate code, and are taken off. What is left holds the time that others took the processor away as well, from long
nodes more often than from short ones: all are scaled by what an undisturbed run takes of the mean of these runs.

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
from .recorded import PLAIN, PROFILED, RUNS, WARM, WHAT, Recorded, Row, Run, summed, undisturbed

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
    counters: list[_Counter] = []
    origins: dict[str, Origin] = {}

    def opened() -> Mapping[str, Block]:
        counting = InOpenvino(compiled_openvino(prepared.contender.file, threads, PERF_COUNT=True))
        if not origins:
            origins.update(_origins(counting.compiled.get_runtime_model(), prepared))
        for counter in counters:
            counter.finish()
        counters.append(_Counter(counting.request))
        plain = prepared.contender.open(threads)
        return {
            PLAIN: partial(_block, plain.bound(feeds), threads, lambda wall: None),
            PROFILED: partial(_block, counting.bound(feeds), threads, counters[-1].note),
        }

    rounds = compete(opened, budget, seed, said)
    counters[-1].finish()
    walls = [wall for counter in counters for wall in counter.walls]
    scale = undisturbed(rounds.samples(PROFILED, WHAT)) * len(walls) / sum(walls)
    rows: dict[Key, Row] = {}
    run: Run = {}
    for counter in counters:
        for key, (row, seconds) in counter.sums.items():
            rows.setdefault(key, row).origin = origins.get(row.name) or Origin((row.name,), (row.name,))
            run[key] = run.get(key, (0.0, 1))[0] + seconds / len(walls) * scale, 1
    return summed([run], rows, rounds, len(walls))


def _block(call: Callable[[], Any], threads: int, note: Callable[[float], None], count: int) -> Samples:
    times = []
    with Stopwatch(threads) as watch:
        for _ in range(min(count, RUNS)):
            before = watch.wall
            times.append(watch.time(call))
            note(watch.wall - before)
    return {WHAT: times}


class _Counter:
    """The counts of one request. `walls`: seconds of the runs that count; `sums`: of each node over all of these."""

    def __init__(self, request: Any) -> None:
        self._request: Any = request
        self._made = 0
        self._before: dict[Key, tuple[Row, float]] = {}
        self.walls: list[float] = []
        self.sums: dict[Key, tuple[Row, float]] = {}

    def note(self, wall: float) -> None:
        """It has run once more."""
        self._made += 1
        if self._made == WARM:
            self._before = self._totals()
        elif self._made > WARM:
            self.walls.append(wall)

    def finish(self) -> None:
        """Read the counts and let go of the request; once more does nothing."""
        if self._request is not None:
            none = (None, 0.0)
            after = self._totals()
            self.sums = {key: (row, max(0.0, s - self._before.get(key, none)[1])) for key, (row, s) in after.items()}
            self._request = None

    def _totals(self) -> dict[Key, tuple[Row, float]]:
        """Seconds of each node over all runs so far."""
        return {
            ("", info.node_name): (
                Row(info.node_name, info.node_type, kernel=info.exec_type), info.real_time.total_seconds() * self._made,
            )
            for info in self._request.get_profiling_info()
            if info.status == info.Status.EXECUTED
        }  # fmt: skip


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

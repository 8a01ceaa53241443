"""``geoc tune MODEL``."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from typing import Any

from ...ir.errors import GeocError, UsageError
from ..args import Arguments
from ..calibration.statistics import OFF
from ..emitting import FASTEST, default_output
from ..files import files_of, load_any, need_folders, protect
from ..goal import GOALS
from ..metric import read_drop
from ..precision import read_error
from ..settings import Settings
from ..units import read_seconds
from ..userfile import user_function
from ..versions import geoc_version
from .content import inputs_of
from .ending import Ending, Winner, output_for, write
from .executors import open_executor
from .journal import Journal
from .order import MINUTES, Order, bounds_of, targets_of
from .page import page
from .picture import write_png
from .result import result_of
from .search import Search, SourceFailed
from .space import VERSION
from .text import Watch, summary

DONE, NOTHING, INTERRUPTED = 0, 1, 130


def tune_verb(arguments: Arguments) -> int:
    """Search, write the winner, print the front; 1 where nothing fits the bound and nothing was written."""
    order = order_of(arguments)
    if find_spec("optuna") is None:
        raise UsageError("geoc tune needs Optuna: pip install 'geoc[tune]'")
    output = arguments.get("output") or _default_output(order, arguments.get("target", "cpu"))
    if len(order.targets) > 1 and os.path.splitext(output)[1].lower() in (".onnx", ".xml"):
        raise UsageError("what wins decides between .onnx and .xml; leave the suffix out", source=output)
    folder = arguments.get("checkpoint") or f"{os.path.splitext(output)[0]}.tune"
    need_folders(output, None)
    protect([output], files_of(order.source, load_any(order.source)))
    inputs = inputs_of(order)
    watch = Watch(None if arguments.get("quiet") else sys.stderr)
    executor = open_executor(arguments.get("scheduler"), inputs, order.is_timed)
    try:
        key = {
            "model": inputs[0].digest, "data": " ".join(each.digest for each in inputs[1:]),
            "space": f"{VERSION}, geoc {geoc_version()}", "machines": executor.machines, **order.key(),
        }  # fmt: skip
        journal = Journal(os.path.join(folder, "journal.jsonl"), json.loads(json.dumps(key)))
        try:
            return _searched(arguments, Search(order, executor, journal, folder, watch), output, watch)
        finally:
            journal.close()
    finally:
        watch.finished()
        executor.close()


def _searched(arguments: Arguments, search: Search, output: str, watch: Watch) -> int:
    interrupted = False
    try:
        search.run()
    except KeyboardInterrupt:
        search.interrupted()
        if not search.fitting:
            raise
        interrupted = True
    except SourceFailed as error:
        raise GeocError(str(error), source=search.order.source) from None
    winner, written = _ended(search, output, not interrupted)
    watch.finished()
    result = result_of(search, winner, written)
    paths = [] if written is None else [written["output"]]
    if written is not None:
        paths += _shown(result, written["output"])
    if arguments.get("json"):
        print(json.dumps(result))
    elif not arguments.get("quiet") or winner is None:
        print(summary(result, bool(arguments.get("verbose")), paths))
    if search.executor.note and not arguments.get("quiet"):
        sys.stderr.write(f"geoc: {search.executor.note}\n")
    return INTERRUPTED if interrupted else DONE if written is not None else NOTHING


def _ended(search: Search, output: str, with_turns: bool) -> tuple[Winner | None, dict[str, Any] | None]:
    """The winner, and what was written; where its own command refuses it, the next one."""
    while True:
        winner = Ending(search, with_turns).winner()
        if winner is None:
            return None, None
        path = output_for(winner, output)
        search.now = "writing the winner"
        search.tell()
        found = write(winner, path, search.cache)
        if "failed" not in found:
            for outcome in search.outcomes:
                search.forget(outcome)
            return winner, {"output": path, **found}
        winner.outcome.result = {"failed": f"its command refused it in the end: {found['failed']}"}


def _shown(result: dict[str, Any], output: str) -> list[str]:
    """Write the page, and the picture where matplotlib is; the paths."""
    stem = f"{os.path.splitext(output)[0]}.tune"
    paths = [f"{stem}.html"]
    with open(paths[0], "w", encoding="utf-8") as file:
        file.write(page(result))
    if find_spec("matplotlib") is not None:
        paths.append(f"{stem}.png")
        write_png(result, paths[1])
    return paths


def order_of(arguments: Arguments) -> Order:
    """The order that a command line is. Raises UsageError, naming the option."""
    if len(arguments.words) != 1:
        raise UsageError("give one model to tune: geoc tune MODEL [options]")
    source, get = arguments.words[0], arguments.get
    if not os.path.exists(source):
        raise FileNotFoundError(2, "no such file", source)
    trials, threads = get("trials"), tuple(get("threads", ()))
    if trials is not None and trials < 1:
        raise UsageError("--trials takes a number from 1 on")
    goal = get("goal", "latency")
    if goal not in GOALS:
        raise UsageError(f"takes one of {', '.join(GOALS)}; not {goal!r}", source="--goal")
    latency = None if get("latency_target") is None else read_seconds(get("latency_target"), "--latency-target")
    if latency is not None and goal != "latency":
        said = "is a limit of latency, and accuracy is what is preferred inside it: leave --goal out"
        raise UsageError(said, source="--latency-target")
    bounds = bounds_of(
        None if get("max_error") is None else read_error(get("max_error")), get("metric"),
        None if get("max_drop") is None else read_drop(get("max_drop")), latency,
    )  # fmt: skip
    if bounds["metric"] is not None:
        user_function(bounds["metric"], "--metric")
    found = Order(
        source, targets_of(get("target", "cpu")), goal, **bounds, calib=get("calib"), shape=tuple(get("shape", ())),
        threads=threads[0] if len(threads) == 1 else None, thread_choices=threads if len(threads) > 1 else (),
        trials=trials, seconds=read_seconds(get("time", f"{MINUTES:g}m"), "--time"),
        seed=get("seed", 0), cache=_absolute(get("cache")),
        given=tuple(Settings(source, calib=get("calib"), metric=bounds["metric"]).given_files()),
    )  # fmt: skip
    for path in found.given:
        if path != "random" and not os.path.exists(path):
            raise UsageError(f"no file or folder {path}", source="--calib" if path == found.calib else "--metric")
    return Order(**{**vars(found), "given": tuple(path for path in found.given if path != "random")})


def _absolute(cache: str | None) -> str | None:
    """The folder as workers find it, whose own one may be another."""
    return cache if cache in (None, OFF) else os.path.abspath(cache)


def _default_output(order: Order, target: str) -> str:
    if len(order.targets) > 1:
        return default_output(order.source, FASTEST, ())
    return default_output(order.source, target, ())

"""Timing models on this machine: runs of several are interleaved, so that other work falls on all alike.

    calls = {"w8a8": partial(loaded(run, model, stem), feeds), SOURCE: partial(loaded_source(run, folder), feeds)}
    speed = measure(calls, ("w8a8",), threads=1, shape="1x128")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.core import Model
from ...ir.types import F16, F32, I8
from ...lowering.onnxruntime.session import disabled_optimizers
from ..emitting import Output
from ..files import is_onnx
from ..report import Speed
from ..writing import order_of
from .sessions import compiled_openvino, fast_session

if TYPE_CHECKING:
    from ..compiler import Compilation

SOURCE = "the source in onnxruntime"
RUNS = 40
PATIENCE = 20.0  # seconds after which no further run begins, once there were a few
FEWEST_RUNS = 5
TRIES = 3  # of each measurement, of a run that takes less than
LONG = 0.25  # seconds
SHORTEST = 1e-3  # seconds that one measurement takes at the least: short models run several times in it

Feeds = dict[str, Any]
Call = Callable[[Feeds], list[Any]]


def measure(
    calls: Mapping[str, Callable[[], Any]],
    choices: tuple[str, ...],
    threads: int,
    shape: str,
    runs: int | None = None,
    patience: float | None = None,
) -> Speed:
    """Time all `calls` in turn, forwards and backwards; of `choices` the one is taken that is the fastest of them in
    the median of the ratios, run by run. At most `runs`, none of which begins after `patience` seconds (by default
    `RUNS` and `PATIENCE`).
    """
    repeats, tries = {}, {}
    for name, call in calls.items():
        call()  # the first run allocates
        once = _seconds(call, 1, 1)
        repeats[name] = max(1, round(SHORTEST / max(once, 1e-7)))
        tries[name] = TRIES if once < LONG else 1
    times: dict[str, list[float]] = {name: [] for name in calls}
    begun = perf_counter()
    for number in range(runs or RUNS):
        if number >= FEWEST_RUNS and perf_counter() - begun > (patience or PATIENCE):
            break
        for name in list(calls)[:: -1 if number % 2 else 1]:
            times[name].append(_seconds(calls[name], repeats[name], tries[name]))
    middle = {name: median(found) for name, found in times.items()}
    taken = min(choices, key=lambda name: _spread(times[name], times[choices[0]])[0])
    ratios = {name: _spread(times[name], times[taken]) for name in calls if name != taken}
    return Speed(taken, middle, ratios, len(times[taken]), threads, shape)


def _seconds(call: Callable[[], Any], repeats: int, tries: int) -> float:
    """Of one run, the best of a few tries: another process can only add to it."""
    best = float("inf")
    for _ in range(tries):
        begun = perf_counter()
        for _ in range(repeats):
            call()
        best = min(best, perf_counter() - begun)
    return best / repeats


def _spread(times: list[float], least: list[float]) -> tuple[float, float, float]:
    """The ratio run by run: its median, its first and its ninth tenth."""
    middle, low, high = np.quantile([a / b for a, b in zip(times, least)], (0.5, 0.1, 0.9))
    return float(middle), float(low), float(high)


def shape_of(feeds: Feeds) -> str:
    """The largest input's shape as text: ``1x128``."""
    arrays = [value for value in feeds.values() if isinstance(value, np.ndarray)]
    largest = max(arrays, key=lambda array: array.size, default=None)
    return "-" if largest is None else "x".join(map(str, largest.shape)) or "scalar"


def declared_feeds(model: Model, given: Feeds) -> Feeds:
    """Inputs in the element types that a model declares; caches of codes get some for floats, which take as long."""
    dtypes = {name: value.dtype for name, value in zip(model.graph.input_names, model.graph.inputs)}
    return {
        name: value.astype(dtypes[name].numpy) if dtypes[name] in (F16, F32, I8) else value
        for name, value in given.items()
    }


def native_output(run: Compilation, stem: str) -> Output:
    """A file in the form that the target's runtime loads fastest."""
    backend = run.target.backend
    emitter = backend.emitters()[backend.default]
    return Output(backend.default, stem + emitter.suffix, emitter)


def loaded(run: Compilation, model: Model, stem: str) -> Call:
    """A finished model in the target's runtime on this machine, from a file that begins with `stem`."""
    output = native_output(run, stem)
    output.emitter.write(model, output.path, replace(order_of(run, model), weights=None))
    return RUNNERS[run.target.runtime](output.path, threads_of(run), model)


def loaded_source(run: Compilation, folder: str) -> Call:
    """The source in onnxruntime."""
    return _onnxruntime(_source_file(run, folder), threads_of(run))


def threads_of(run: Compilation) -> int:
    """By default one: with several a shared machine measures its other users."""
    return run.settings.threads or 1


def _source_file(run: Compilation, folder: str) -> str:
    """An ONNX file of the source."""
    path = run.settings.path
    if path is not None and is_onnx(path):
        return path
    path = os.path.join(folder, "source.onnx")
    run.export(run.model(), path)
    return path


def _onnxruntime(path: str, threads: int, model: Model | None = None, disabled: Sequence[str] = ()) -> Call:
    """Runs a file in onnxruntime, with the options that `model`, which it holds, should have, or without `disabled`."""
    session = fast_session(path, threads, disabled if model is None else disabled_optimizers(model))

    def call(feeds: Feeds) -> list[Any]:
        found: list[Any] = session.run(None, feeds)
        return found

    return call


def _openvino(path: str, threads: int, model: Model | None = None, disabled: Sequence[str] = ()) -> Call:
    """Runs a file in OpenVINO, in the precision that it says."""
    compiled = compiled_openvino(path, threads)
    request = compiled.create_infer_request()

    def call(feeds: Feeds) -> list[Any]:
        found = request.infer(feeds, share_inputs=True, share_outputs=True)
        return [found[output] for output in compiled.outputs]

    return call


RUNNERS: dict[str, Callable[..., Call]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
"""What runs a file on this machine, by runtime: (path, threads, the model in it or None, and for None the optimizers
of onnxruntime to disable)."""

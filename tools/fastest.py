"""``--target=fastest-cpu``: compile for onnxruntime and for OpenVINO, measure both on this machine, keep the faster.

Runs are interleaved, so that whatever else the machine does falls on all alike, and compared one by one. They use the
threads of --threads, by default one: with several a shared machine measures its other users.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, TextIO

import numpy as np

from ..ir.core import Model
from ..ir.errors import UnsupportedModel, UsageError
from ..ir.types import F16, F32
from ..lowering.installed import runtime_version
from ..lowering.onnxruntime.session import disabled_optimizers
from .check import first_line
from .compiler import Compilation
from .emitting import FASTEST, Output
from .files import need_folders, protect
from .report import Refusal, Report, Speed
from .settings import Settings
from .writing import example_feeds, order_of, write_outputs

ONNXRUNTIME, OPENVINO = "cpu", "openvino-cpu"
SOURCE = "the source in onnxruntime"
_TARGETS = f"--target={ONNXRUNTIME} or --target={OPENVINO}"
RUNS = 40
PATIENCE = 20.0  # seconds after which no further run begins, once there were a few
FEWEST_RUNS = 5
TRIES = 3  # of each measurement
SHORTEST = 1e-3  # seconds that one measurement takes at the least: short models run several times in it

Feeds = dict[str, Any]
Call = Callable[[Feeds], list[Any]]


@dataclass
class _Candidate:
    """One compilation, and how its result is run."""

    run: Compilation
    report: Report
    model: Model
    call: Call

    def feeds(self, given: Feeds) -> Feeds:
        """Inputs in the element types that the result declares."""
        graph = self.model.graph
        dtypes = {name: value.dtype for name, value in zip(graph.input_names, graph.inputs)}
        return {
            name: value.astype(dtypes[name].numpy) if dtypes[name] in (F16, F32) else value
            for name, value in given.items()
        }


def compile_fastest(settings: Settings, log: TextIO | None = None) -> Report:
    """Compile for both and write the faster one in its runtime's own form: ``OUTPUT.onnx`` or ``OUTPUT.xml``.

    The report is that of the compilation that was kept, with `speed`. Raises UsageError where openvino is not
    installed, where -o or --emit leaves no choice, and for a model in memory, which would be changed twice.
    """
    begun = perf_counter()
    _check(settings)
    need_folders(settings.output, settings.report)
    threads = settings.threads or 1
    with tempfile.TemporaryDirectory(prefix="geoc-fastest-") as folder:
        candidates: dict[str, _Candidate] = {}
        refused: list[Refusal] = []
        for name in (ONNXRUNTIME, OPENVINO):
            run = Compilation(_settings_of(settings, name), log)
            report = run.run()
            if not report.ok:
                if name == OPENVINO and candidates:
                    refused.append(Refusal(OPENVINO, report.accuracy.reason))
                    continue
                return report
            protect(_paths(settings), run.inputs)
            try:
                path = _written(run, report.model, folder)
                call = _openvino(path, threads) if name == OPENVINO else _onnxruntime(path, threads, report.model)
                candidates[name] = _Candidate(run, report, report.model, call)
                _compare(candidates[name])
            except UnsupportedModel as error:
                if name == ONNXRUNTIME:
                    raise
                candidates.pop(name, None)
                refused.append(Refusal(OPENVINO, error.message))
        first = candidates[ONNXRUNTIME]
        feeds = example_feeds(first.run, first.model)
        if not feeds and first.model.graph.inputs:
            raise UsageError(f"no inputs can be made up to measure on; choose a target yourself: {_TARGETS}")
        calls = {name: partial(c.call, c.feeds(feeds)) for name, c in candidates.items()}
        calls[SOURCE] = partial(_onnxruntime(_source(first.run, folder), threads), feeds)
        speed = measure(calls, tuple(candidates), threads, _shape(feeds))
        kept = candidates[speed.taken]
        report = kept.report
        report.speed, report.refused = speed, report.refused + refused
        if settings.output is not None:
            (output,) = _outputs(kept.run, settings.output)
            report.output = output.path
            write_outputs(kept.run, kept.model, [output])
    report.seconds = perf_counter() - begun
    report.again = settings.command()
    if settings.report is not None:
        report.write(settings.report)
    return report


def measure(calls: Mapping[str, Callable[[], Any]], choices: tuple[str, ...], threads: int, shape: str) -> Speed:
    """Time all `calls` in turn, forwards and backwards; of `choices` the one is taken that is the fastest of them in
    the median of the ratios, run by run.
    """
    repeats = {}
    for name, call in calls.items():
        call()  # the first run allocates
        repeats[name] = max(1, round(SHORTEST / max(_seconds(call, 1), 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    begun = perf_counter()
    for number in range(RUNS):
        if number >= FEWEST_RUNS and perf_counter() - begun > PATIENCE:
            break
        for name in list(calls)[:: -1 if number % 2 else 1]:
            times[name].append(_seconds(calls[name], repeats[name]))
    middle = {name: median(found) for name, found in times.items()}
    taken = min(choices, key=lambda name: _spread(times[name], times[choices[0]])[0])
    ratios = {name: _spread(times[name], times[taken]) for name in calls if name != taken}
    return Speed(taken, middle, ratios, len(times[taken]), threads, shape)


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    """Of one run, the best of a few tries: another process can only add to it."""
    best = float("inf")
    for _ in range(TRIES):
        begun = perf_counter()
        for _ in range(repeats):
            call()
        best = min(best, perf_counter() - begun)
    return best / repeats


def _spread(times: list[float], least: list[float]) -> tuple[float, float, float]:
    """The ratio run by run: its median, its first and its ninth tenth."""
    middle, low, high = np.quantile([a / b for a, b in zip(times, least)], (0.5, 0.1, 0.9))
    return float(middle), float(low), float(high)


def _shape(feeds: Feeds) -> str:
    """The largest input's."""
    arrays = [value for value in feeds.values() if isinstance(value, np.ndarray)]
    largest = max(arrays, key=lambda array: array.size, default=None)
    return "-" if largest is None else "x".join(map(str, largest.shape)) or "scalar"


def _check(settings: Settings) -> None:
    if isinstance(settings.source, Model):
        raise UsageError(f"{FASTEST} compiles twice and takes a file, not a model in memory")
    if settings.emit:
        raise UsageError(f"{FASTEST} chooses the form; --emit goes with a target", source="--emit")
    if settings.io_precision == "bf16":
        raise UsageError("onnxruntime takes no bf16 from numpy to be measured on", source="--io-precision")
    if settings.output is not None and os.path.splitext(settings.output)[1].lower() in (".onnx", ".xml"):
        raise UsageError(f"{FASTEST} chooses between .onnx and .xml; leave the suffix out", source=settings.output)
    if runtime_version("openvino") is None:
        raise UsageError(f"{FASTEST} measures OpenVINO as well: pip install 'geoc[openvino]'")


def _settings_of(settings: Settings, target: str) -> Settings:
    """One of the two compilations, writing nothing but what looks inside it, each into its own place."""

    def apart(path: str | None) -> str | None:
        return None if path is None else f"{path.rstrip(os.sep)}.{target}"

    return replace(
        settings, target=target, output=None, report=None,
        dump_dir=apart(settings.dump_dir), remarks=apart(settings.remarks),
    )  # fmt: skip


def _paths(settings: Settings) -> list[str]:
    """All files that may be written."""
    ends = (".onnx", ".onnx.data", ".xml", ".bin")
    found = [] if settings.output is None else [settings.output + end for end in ends]
    return found if settings.report is None else [*found, settings.report]


def _outputs(run: Compilation, stem: str) -> list[Output]:
    backend = run.target.backend
    emitter = backend.emitters()[backend.default]
    return [Output(backend.default, stem + emitter.suffix, emitter)]


def _written(run: Compilation, model: Model, folder: str) -> str:
    (output,) = _outputs(run, os.path.join(folder, run.settings.target))
    output.emitter.write(model, output.path, replace(order_of(run, model), weights=None))
    return output.path


def _source(run: Compilation, folder: str) -> str:
    """An ONNX file of the source."""
    path = run.settings.path
    if path is not None and not path.endswith(".gir"):
        return path
    path = os.path.join(folder, "source.onnx")
    run.export(run.model(), path)
    return path


def _onnxruntime(path: str, threads: int, model: Model | None = None) -> Call:
    """Runs a file in onnxruntime, with the options that `model`, which it holds, should have."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        path,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=[] if model is None else disabled_optimizers(model),
    )

    def call(feeds: Feeds) -> list[Any]:
        found: list[Any] = session.run(None, feeds)
        return found

    return call


def _openvino(path: str, threads: int) -> Call:
    """Runs a file in OpenVINO, in the precision that it says: the default is bf16 where the CPU has it.

    Threads are not bound to cores, as onnxruntime's are not: on a machine with other work a bound thread waits for its
    core, and takes three times as long in the median (1.6 ms became 5.5).
    """
    from ..lowering.openvino.package import openvino

    options = {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    try:
        compiled = openvino().Core().compile_model(path, "CPU", options)
    except RuntimeError as error:
        raise UnsupportedModel(f"OpenVINO does not compile it: {first_line(error)}") from error
    request = compiled.create_infer_request()

    def call(feeds: Feeds) -> list[Any]:
        found = request.infer(feeds, share_inputs=True, share_outputs=True)
        return [found[output] for output in compiled.outputs]

    return call


def _compare(candidate: _Candidate) -> None:
    """Raise UnsupportedModel unless the runtime gives what the source gave, where that is known."""
    judge = candidate.run.judge
    if judge is None:
        return
    try:
        results = [_declared(candidate.call(candidate.feeds(run.feeds)), run.outputs) for run in judge.runs]
    except RuntimeError as error:
        raise UnsupportedModel(f"it does not run: {first_line(error)}") from error
    verdict = judge.compare_results(results)
    if not verdict.ok:
        raise UnsupportedModel(f"its results are wrong: {verdict.message}")


def _declared(results: list[Any], reference: list[Any]) -> list[Any]:
    """Copies of results, those in single and half precision in the element types of the reference."""
    halves = (np.float16, np.float32)
    return [
        value.astype(wanted.dtype if value.dtype in halves and wanted.dtype in halves else value.dtype)
        if isinstance(value, np.ndarray) and isinstance(wanted, np.ndarray)
        else value
        for value, wanted in zip(results, reference)
    ]

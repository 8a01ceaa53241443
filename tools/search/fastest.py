"""``--target=fastest-cpu``: compile for onnxruntime and for OpenVINO, measure both on this machine, keep the faster.

Runs are interleaved, so that whatever else the machine does falls on all alike, and compared one by one. They use the
threads of --threads, by default one: with several a shared machine measures its other users.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, TextIO

import numpy as np

from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ...lowering.installed import runtime_version
from ..compiler import Compilation
from ..emitting import FASTEST
from ..files import need_folders, protect
from ..report import Refusal, Report
from ..running.sessions import first_line
from ..running.timing import (
    SOURCE,
    Call,
    declared_feeds,
    loaded,
    loaded_source,
    measure,
    native_output,
    shape_of,
    threads_of,
)
from ..settings import Settings
from ..writing import example_feeds, write_outputs

ONNXRUNTIME, OPENVINO = "cpu", "openvino-cpu"
_TARGETS = f"--target={ONNXRUNTIME} or --target={OPENVINO}"


@dataclass
class _Candidate:
    """One compilation, and how its result is run."""

    run: Compilation
    report: Report
    model: Model
    call: Call


def compile_fastest(settings: Settings, log: TextIO | None = None) -> Report:
    """Compile for both and write the faster one in its runtime's own form: ``OUTPUT.onnx`` or ``OUTPUT.xml``.

    The report is that of the compilation that was kept, with `speed`. Raises UsageError where openvino is not
    installed, where -o or --emit leaves no choice, and for a model in memory, which would be changed twice.
    """
    begun = perf_counter()
    _check(settings)
    need_folders(settings.output, settings.report)
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
                call = loaded(run, report.model, os.path.join(folder, name))
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
        calls = {name: partial(c.call, declared_feeds(c.model, feeds)) for name, c in candidates.items()}
        calls[SOURCE] = partial(loaded_source(first.run, folder), feeds)
        speed = measure(calls, tuple(candidates), threads_of(first.run), shape_of(feeds))
        kept = candidates[speed.taken]
        report = kept.report
        report.speed, report.refused = speed, report.refused + refused
        if settings.output is not None:
            output = native_output(kept.run, settings.output)
            report.output = output.path
            write_outputs(kept.run, kept.model, [output])
    report.seconds = perf_counter() - begun
    report.again = settings.command()
    if settings.report is not None:
        report.write(settings.report)
    return report


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


def _compare(candidate: _Candidate) -> None:
    """Raise UnsupportedModel unless the runtime gives what the source gave, where that is known."""
    judge = candidate.run.judge
    if judge is None:
        return
    try:
        feeds = [declared_feeds(candidate.model, run.feeds) for run in judge.runs]
        results = [_declared(candidate.call(given), run.outputs) for given, run in zip(feeds, judge.runs)]
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

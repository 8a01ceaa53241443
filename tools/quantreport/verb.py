"""``geoc quant-report MODEL [ORIGINAL]``."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ...ir.core import Model
from ...ir.errors import UsageError
from ...lowering.backend import Order
from ...lowering.emit import write_onnx, write_text
from ...lowering.targets import get_target
from ..args import Arguments
from ..calibration.calibration import RANDOM, Calibration
from ..calibration.samples import open_samples
from ..files import load_any, protect
from ..inputs.shapes import Shapes, read_shapes, specialise
from ..progress import Progress
from .data import report_of
from .errors import measure
from .layers import quantized_layers
from .text import table

SAMPLES = 32  # that are run at most
_SUFFIXES = (".html", ".png", ".json")


def quant_report_verb(arguments: Arguments) -> int:
    """Print the report, and write it where ``-o`` says."""
    if not 1 <= len(arguments.words) <= 2:
        said = "give the quantized model, and the original if there is one: geoc quant-report MODEL [ORIGINAL]"
        raise UsageError(said)
    output = arguments.get("output")
    if output is not None and os.path.splitext(output)[1].lower() not in _SUFFIXES:
        raise UsageError(f"a report is written as {', '.join(_SUFFIXES)}, not {output}", source="-o")
    protect([output] if output else [], [word for word in arguments.words if os.path.exists(word)])
    progress = Progress(None if arguments.get("quiet") else sys.stderr)
    try:
        report = _report(arguments, progress)
    finally:
        progress.finished()
    if output is not None:
        _write(report, output)
    if arguments.get("json"):
        sys.stdout.write("".join(json.dumps(layer) + "\n" for layer in report["layers"]))
    elif not arguments.get("quiet"):
        print(table(report, everything=bool(arguments.get("verbose"))))
    return 0


def _report(arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from ..versions import geoc_version

    path, original_path = (*arguments.words, None)[:2]
    progress.stage("reading", 0.0, 0.1)
    model, shapes = _model(path, arguments)
    original = None if original_path is None else _model(original_path, arguments)[0]
    found = quantized_layers(model)
    if found.empty:
        raise UsageError("nothing in it is quantized", source=str(path))
    if original is not None:
        _check_inputs(model, original)
    calib = arguments.get("calib")
    samples = None if calib in (None, RANDOM) else open_samples(calib, model)
    progress.stage("running", 0.1, 1.0)
    calibration = Calibration(model, shapes, arguments.get("seed", 0), _write_model, samples, progress.detail)
    try:
        measured = measure(found, model, original, calibration.observe, SAMPLES)
    finally:
        calibration.close()
    inputs = "made-up inputs: ranges and errors of real ones differ" if samples is None else f"from {calib}"
    return {
        "geoc": geoc_version(), "model": path, "original": original_path, "inputs": inputs,
        **report_of(found, measured, model),
    }  # fmt: skip


def _model(path: Any, arguments: Arguments) -> tuple[Model, Shapes]:
    """A model at the sizes of --shape, and these."""
    model = load_any(path)
    shapes = read_shapes(arguments.get("shape", ()), model)
    specialise(model, shapes)
    return model, shapes


def _write_model(model: Model, path: str) -> None:
    write_onnx(model, path, Order(get_target("cpu"), None, "reuse"))


def _check_inputs(model: Model, original: Model) -> None:
    ours, theirs = (
        {name: value.dtype for name, value in zip(m.graph.input_names, m.graph.inputs)} for m in (model, original)
    )
    if ours != theirs:
        raise UsageError(
            f"the two models have different inputs: {', '.join(map(str, ours))} and {', '.join(map(str, theirs))}"
        )


def _write(report: dict[str, Any], path: str) -> None:
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".json":
        write_text(path, json.dumps(report, indent=2) + "\n")
        return
    from .page import page, write_picture

    if suffix == ".html":
        write_text(path, page(report))
    else:
        write_picture(report, path)

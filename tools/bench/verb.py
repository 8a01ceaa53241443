"""``geoc bench A B ...``."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

from ...ir.errors import UsageError
from ...lowering.emit import write_text
from ...lowering.targets import get_target
from ..args import Arguments
from ..files import need_folders, protect
from ..progress import Progress
from ..running.contender import open_contenders
from ..terminal import has_colour
from ..units import read_seconds
from .data import record_of
from .history import OPTION, add_run, read_history, since_last
from .machine import described
from .measuring import Request, measure
from .text import text_of

_SUFFIXES = (".json", ".png")


def bench_verb(arguments: Arguments) -> int:
    """Measure, print, and write what -o and --history say."""
    _check(arguments)
    output, history = arguments.get("output"), arguments.get("history")
    runs = [] if history is None else read_history(history)
    progress = Progress(None if arguments.get("quiet") else sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="geoc-bench-") as folder:
            record = _record(arguments, folder, progress)
    finally:
        progress.finished()
    if history is not None:
        record["since"] = since_last(history, runs, record)
        add_run(history, runs, record)
    if output is not None and output.lower().endswith(".json"):
        write_text(output, json.dumps(record, indent=2) + "\n")
    elif output is not None:
        from .picture import write_picture

        write_picture(record, output)
    if arguments.get("json"):
        print(json.dumps(record))
    elif not arguments.get("quiet"):
        print(text_of(record, has_colour(sys.stdout)))
    return 0


def _check(arguments: Arguments) -> None:
    if not arguments.words:
        raise UsageError("give models to time: geoc bench A.onnx B.onnx")
    for key in ("rounds", "prompt"):
        if arguments.get(key, 1) < 1:
            raise UsageError("takes a whole number from 1 on", source=f"--{key}")
    if arguments.get("tokens", 0) < 0:
        raise UsageError("takes no negative number", source="--tokens")
    if arguments.get("runtime") == "reference":
        said = "the reference evaluator is not timed; there are ort, openvino and tensorrt"
        raise UsageError(said, source="--runtime")
    output, history = arguments.get("output"), arguments.get("history")
    if output is not None and os.path.splitext(output)[1].lower() not in _SUFFIXES:
        raise UsageError(f"is written as {' or '.join(_SUFFIXES)}, not {output}", source="-o")
    need_folders(output, history)
    protect([path for path in (output, history) if path], arguments.words)
    if history is not None and history == output:
        raise UsageError("is the file of -o as well", source=OPTION)


def _record(arguments: Arguments, folder: str, progress: Progress) -> dict[str, Any]:
    target = arguments.get("target", "cpu")
    price = get_target(target).hardware.price
    seconds = read_seconds(arguments.get("time", "10s"), "--time")
    progress.stage("reading", 0.0, 0.05)
    contenders = open_contenders(arguments.words, arguments.get("runtime"), folder)
    progress.stage("timing", 0.05, 1.0)
    inputs = arguments.get("inputs")
    request = Request(
        contenders, arguments.get("shape", []), arguments.get("batch"), arguments.get("threads", [1]), inputs, seconds,
        arguments.get("rounds"), arguments.get("prompt", 128), arguments.get("tokens", 64), arguments.get("seed", 0),
        progress.detail,
    )  # fmt: skip
    measured = measure(request)
    progress.stage("hashing", 0.99, 1.0)
    said = f"from {inputs}" if inputs is not None else "made up"
    return record_of(contenders, measured, described(), target, price, said)

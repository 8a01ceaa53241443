"""``geoc profile MODEL``."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from functools import partial
from typing import Any

from ...ir.errors import UsageError
from ...lowering.emit import write_text
from ..args import Arguments
from ..bench.rounds import Budget
from ..files import need_folders, protect
from ..inputs.timed import feeds_for, samples_for
from ..library import one_model
from ..progress import Progress
from ..running.contender import OPENVINO, Running
from ..running.sessions import first_line, refusals
from ..running.timing import shape_of
from ..units import read_seconds
from .data import profile_of
from .prepared import Prepared, prepare
from .text import text_of

_SUFFIXES = (".html", ".png", ".json")
_ROUNDS = 30
_RUNTIMES = ("ort", "openvino")


def profile_verb(arguments: Arguments) -> int:
    """Measure, print, and write what -o says."""
    source = one_model(arguments)
    output = arguments.get("output")
    _check(arguments, source, output)
    progress = Progress(None if arguments.get("quiet") else sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="geoc-profile-") as folder:
            progress.stage("reading", 0.0, 0.1)
            profile = _profile(arguments, prepare(source, arguments.get("runtime"), folder), progress)
    finally:
        progress.finished()
    if output is not None:
        _write(profile, output)
    if arguments.get("json"):
        sys.stdout.write("".join(json.dumps(node) + "\n" for node in profile["nodes"]))
    elif not arguments.get("quiet"):
        print(text_of(profile, everything=bool(arguments.get("verbose"))))
    return 0


def _check(arguments: Arguments, source: str, output: str | None) -> None:
    if output is not None and os.path.splitext(output)[1].lower() not in _SUFFIXES:
        raise UsageError(f"a profile is written as {', '.join(_SUFFIXES)}, not {output}", source="-o")
    if arguments.get("runtime", "ort") not in _RUNTIMES:
        raise UsageError(f"profiles {' and '.join(_RUNTIMES)}, not {arguments.get('runtime')}", source="--runtime")
    for key in ("threads", "rounds"):
        if arguments.get(key, 1) < 1:
            raise UsageError("takes a whole number from 1 on", source=f"--{key}")
    need_folders(output)
    protect([output] if output else [], [source])


def _profile(arguments: Arguments, prepared: Prepared, progress: Progress) -> dict[str, Any]:
    threads, seed, inputs = arguments.get("threads", 1), arguments.get("seed", 0), arguments.get("inputs")
    budget = Budget(read_seconds(arguments.get("time", "3s"), "--time"), arguments.get("rounds", _ROUNDS))
    contender = prepared.contender
    running = contender.open(threads)
    feeds = _feeds(arguments, prepared, running)
    shape = shape_of(feeds)
    progress.stage("running", 0.1, 1.0)
    if contender.runtime == OPENVINO:
        from .counts import record_openvino as record
    else:
        from .events import record_onnxruntime as record
    recorded = record(prepared, feeds, threads, budget, seed, progress.detail)
    said = f"from {inputs}" if inputs is not None else "made up"
    return profile_of(prepared, recorded, feeds, threads, shape, said)


def _feeds(arguments: Arguments, prepared: Prepared, running: Running) -> dict[str, Any]:
    model, inputs = prepared.contender.model, arguments.get("inputs")
    if model is None:
        from ..running.unread import interface_of

        model = interface_of(running)
    if inputs is not None:
        return running.fitted(samples_for(inputs, model)[0], prepared.contender.path)
    seed, shape = arguments.get("seed", 0), arguments.get("shape", [])
    feeds, _ = feeds_for(model, shape, None, seed, partial(_refused, running, prepared.contender.path))
    return running.fitted(feeds, prepared.contender.path)


def _refused(running: Running, path: str, feeds: dict[str, Any]) -> str:
    try:
        running.bound(running.fitted(feeds, path))()
    except refusals() as error:
        return first_line(error)
    return ""


def _write(profile: dict[str, Any], path: str) -> None:
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".json":
        write_text(path, json.dumps(profile, indent=2) + "\n")
    elif suffix == ".html":
        from .page import page

        write_text(path, page(profile))
    else:
        from .picture import write_picture

        write_picture(profile, path)

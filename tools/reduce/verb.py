"""``geoc reduce MODEL``."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from time import perf_counter
from typing import Any

from ...ir.clone import clone_model
from ...ir.core import Model
from ...ir.errors import UsageError
from ...ir.text import parse_model, print_model
from ...ir.verify import verify
from ...lowering.backend import Order
from ...lowering.emit import write_onnx, write_text
from ..args import Arguments
from ..bisect.case import Case, opened_case
from ..bisect.options import compilation_of
from ..bisect.outcome import SKIP, Outcome
from ..bisect.tests import OPTION
from ..calibration.calibration import RANDOM
from ..comparing.kept_inputs import keep_inputs
from ..files import format_of, need_folders, protect, stem_of
from ..inputs.example import example_of
from ..settings import Settings
from ..terminal import has_colour, painter
from ..units import read_seconds
from .candidate import Candidate
from .guilty import mark, unmark
from .reducer import Reducer, TimeUp


def reduce_verb(arguments: Arguments) -> int:
    """Write the smallest model found; 0 where nothing is wrong, else 1."""
    begun = perf_counter()
    settings = compilation_of(arguments)
    test, quiet = arguments.get("test", "ort"), arguments.get("quiet", False)
    given = arguments.get("time")
    seconds = None if given is None else read_seconds(given, "--time")
    source = settings.path or ""
    output = arguments.get("output") or stem_of(source) + ".reduced.gir"
    kind = format_of(output)
    need_folders(output)
    protect([output], [source])
    with opened_case(settings, test, None if quiet else sys.stderr) as case:
        outcome = case.outcome()
        if outcome.kind == SKIP:
            raise UsageError(f"the test says nothing of the whole model ({outcome.text})", source=OPTION)
        if outcome.good:
            return _say_nothing_is_wrong(arguments, settings)
        outcome = case.without_lossy(outcome)
        model = case.source()
        before = model.node_count
        mark(model)
        reducer = Reducer(case.run, test, outcome, seconds, case.left_out)
        ended = _reduce(reducer, case, model)
        stored = finish(reducer)
        best = reducer.best
        assert best is not None
        case.run.progress.finished()
        text = _comments(settings, test, reducer)
        _write(best.model, output, kind, text, case)
    data = {
        "model": settings.path, "output": output, "outcome": vars(reducer.outcome), "rewrite": reducer.place,
        "right_without": reducer.because,
        "nodes_before": before, "nodes_after": best.size, "inputs": stored, "tests": reducer.tests,
        "seconds": round(perf_counter() - begun, 1), "ended": ended,
        "again": again(settings, output, test, "bisect"),
    }  # fmt: skip
    if arguments.get("json"):
        print(json.dumps(data))
    elif not quiet:
        print(_summary(data, best.model, painter(has_colour(sys.stdout))))
    return 1


def _say_nothing_is_wrong(arguments: Arguments, settings: Settings) -> int:
    if arguments.get("json"):
        print(json.dumps({"model": settings.path, "outcome": vars(Outcome("good"))}))
    elif not arguments.get("quiet"):
        print(f"{settings.path}: nothing is wrong, so that there is nothing to reduce")
    return 0


def _reduce(reducer: Reducer, case: Case, model: Model) -> str:
    """Run it; why it ended before it was done, "" where it was done."""
    try:
        reducer.reduce(_first(reducer, case, model))
    except TimeUp:
        return "the time was over"
    except KeyboardInterrupt:
        return "interrupted"
    return ""


def _first(reducer: Reducer, case: Case, model: Model) -> Candidate:
    """The source on the one set of inputs on which it fails. Raises UsageError where it fails on none alone."""
    made_up = example_of(model, case.run.shapes, case.run.settings.seed) or None
    if case.test.judge is None:
        return reducer.began(Candidate(model, made_up))
    case.test.narrow()
    reducer.began(Candidate(model, case.feeds()[0]))
    for feeds in case.feeds():
        candidate = Candidate(model, feeds)
        if reducer.fails(candidate):
            return candidate
    if case.run.is_lossy and not case.left_out:
        said = "with scales from one sample alone each is within the limit: no part shows what lossy passes add up to"
        raise UsageError(f"{said}; geoc bisect shows where the sum passes it", source="--max-error")
    raise UsageError("it fails on no inputs alone, only as a whole: there is nothing to go by", source=OPTION)


def finish(reducer: Reducer) -> str:
    """Put short names and, where it takes them, the inputs into the best; says which inputs show the failure."""
    reducer.deadline = None
    reducer.rename()
    best = reducer.best
    assert best is not None
    unmark(best.model)
    back = Candidate(parse_model(print_model(best.model, weights="inline")), best.feeds)
    if reducer.failure_of(back) is None:
        return "NOT CONFIRMED: read back from its text it does not fail"
    if best.feeds is None or reducer.outcome.family not in ("numbers", "type", "run"):
        return "none are needed"
    if reducer.failure_of(best, made_up=True) is not None:
        return "any: it fails on made-up ones too"
    keep_inputs(best.model, [best.feeds])
    verify(best.model)
    return "those in its metadata, on which it failed"


def again(settings: Settings, path: str, test: str, verb: str) -> str:
    """The command that tests the reduced model the same way."""
    # Samples are those of the source's inputs: scales come from the inputs that the model has with it, or made-up ones.
    calib = None if settings.calib is None else RANDOM
    words = shlex.split(replace(settings, source=path, shape=(), calib=calib, output=None).command())
    return shlex.join(["geoc", verb, *words[1:], *(["--test", test] if test != "ort" else [])])


def _comments(settings: Settings, test: str, reducer: Reducer) -> list[str]:
    found = [f"Reduced by geoc from {os.path.basename(settings.path or 'a model')}: {reducer.outcome.text}"]
    if reducer.place:
        found.append(f"The rewrite to blame in the whole model: {reducer.place}")
    return [*found, again(settings.without_folders(), "THIS.gir", test, "bisect")]


def _write(model: Model, output: str, kind: str, comments: list[str], case: Case) -> None:
    if kind == "gir":
        text = print_model(model, weights="inline")
        write_text(output, "".join(f"# {line}\n" for line in comments) + text)
    else:
        write_onnx(clone_model(model)[0], output, Order(case.run.target, case.run.settings.opset, "inline"))


def _summary(data: dict[str, Any], model: Model, paint: Any) -> str:
    from ..bisect.text import graph_text

    nodes = paint(f"{data['nodes_before']} -> {data['nodes_after']} nodes", "bold")
    lines = [f"{data['model']} -> {data['output']}   {nodes}   {data['seconds']:.1f} s, {data['tests']} tests"]
    if data["ended"]:
        lines.append(f"ended     {paint(data['ended'], 'yellow')}: this is the best so far")
    lines.append(f"fails     {data['outcome']['message'] or data['outcome']['kind']}")
    if data["rewrite"]:
        without = ", without which it is right" if data["right_without"] else ""
        lines.append(f"by        {data['rewrite']}{without}")
    lines.append(f"inputs    {data['inputs']}")
    shown = graph_text(model).split("\n")
    if len(shown) <= 40:
        lines += [f"{'graph' if number == 0 else '':<10}{line}" for number, line in enumerate(shown)]
    return "\n".join([*lines, f"again     {data['again']}"])

"""What runs a model here, by the names that --runtime takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ...ir.core import Model
from ...ir.errors import GeocError, UsageError
from ...lowering.backend import Order
from ...lowering.emit import write_onnx
from ...lowering.installed import runtime_version
from ...lowering.targets import get_target
from ..files import is_onnx
from ..running.emulate import emulated, has_bfloat16
from ..running.sessions import CannotCheck, first_line, folds, refusals, unoptimized_session
from ..running.temporary import Running
from .sides import Side

Feeds = dict[str, Any]
Call = Callable[[Feeds], list[Any]]
Fetch = Callable[[list[str], Feeds], list[Any]]

RUNTIMES = {
    "ort": "onnxruntime {onnxruntime} without optimizations",
    "ort-optimized": "onnxruntime {onnxruntime}",
    "openvino": "OpenVINO {openvino}",
    "reference": "ONNX's reference evaluator",
}
"""What is said of each; names in braces stand for versions."""
THREADS = 2


class DoesNotRun(Exception):
    """A model does not run on inputs, for the reason given in one line."""


def title_of(runtime: str) -> str:
    """A runtime in words, with its version."""
    versions = {name: runtime_version(name) or "" for name in ("onnxruntime", "openvino")}
    return " ".join(RUNTIMES[runtime].format(**versions).split())


def runtimes_of(said: list[str]) -> tuple[str | None, str | None]:
    """What --runtime gives for the two models; None for what its form asks for. Raises UsageError."""
    for name in said:
        if name not in RUNTIMES:
            raise UsageError(f"there is no runtime {name!r}; there are {', '.join(RUNTIMES)}", source="--runtime")
    if len(said) > 2:
        raise UsageError("takes one name, or one for each of the two models", source="--runtime")
    first = said[0] if said else None
    return first, said[1] if len(said) == 2 else first


def open_model(side: Side, folder: str) -> Call:
    """Load a model into its runtime: a function from inputs to outputs in order, which raises DoesNotRun.

    Files that have to be written go into `folder`. Raises UsageError where the runtime does not take it.
    """
    path = side.path
    model = side.model
    try:
        if model is not None and (not is_onnx(path) or (side.runtime == "ort" and has_bfloat16(model))):
            path = os.path.join(folder, "model.onnx")
            _write(emulated(model) if side.runtime == "ort" and has_bfloat16(model) else model, path)
        return _guarded(_load(path, side.runtime, model))
    except _not_loaded() as error:
        raise _refused(side, error) from None


def _not_loaded() -> tuple[type[Exception], ...]:
    return (GeocError, CannotCheck, *refusals())


def _refused(side: Side, error: Exception) -> UsageError:
    said = error.message if isinstance(error, GeocError) else first_line(error)
    return UsageError(f"{title_of(side.runtime)} does not load it: {said}", source=side.path)


def _write(model: Model, path: str) -> None:
    write_onnx(model, path, Order(get_target("cpu"), None, None))


def _load(path: str, runtime: str, model: Model | None) -> Call:
    if runtime == "reference":
        from ..rulecheck.reference import evaluator

        try:
            found = evaluator(path)
        except Exception as error:  # of protobuf, of onnx's checker, of single operators: there is no common base
            raise CannotCheck(first_line(error)) from error
        return lambda feeds: list(found.run(None, feeds))
    if runtime == "ort":
        session = unoptimized_session(path, "it", fold=model is not None and folds(model))
        return lambda feeds: list(session.run(None, feeds))
    from ..running.timing import RUNNERS

    # OpenVINO writes over its results in the next run.
    call = RUNNERS["openvino" if runtime == "openvino" else "onnxruntime"](path, THREADS, model)
    return lambda feeds: [array.copy() if hasattr(array, "copy") else array for array in call(feeds)]


def _guarded(call: Call) -> Call:
    def run(feeds: Feeds) -> list[Any]:
        try:
            return call(feeds)
        except Exception as error:  # each runtime, and each operator of the reference, raises what it likes
            raise DoesNotRun(first_line(error)) from error

    return run


@contextmanager
def open_part(side: Side, part: Model, folder: str) -> Iterator[Fetch]:
    """Load a model that geoc made of a part of one, as long as the context lasts: a function from names of outputs and
    inputs to values, which raises DoesNotRun. onnxruntime computes no more than what is asked for.
    """
    fetch: Fetch
    with ExitStack() as stack:
        try:
            if side.runtime == "ort":
                model = emulated(part) if has_bfloat16(part) else part
                fetch = stack.enter_context(Running(model, _write_near, "it")).fetch
            else:
                path = os.path.join(folder, "part.onnx")
                _write(part, path)
                fetch = _picked(_load(path, side.runtime, part), part.graph.output_names)
        except _not_loaded() as error:
            raise _refused(side, error) from None
        yield lambda names, feeds: _guarded(lambda given: fetch(names, given))(feeds)


def _picked(call: Call, outputs: list[str]) -> Fetch:
    places = {name: index for index, name in enumerate(outputs)}

    def fetch(names: list[str], feeds: Feeds) -> list[Any]:
        found = call(feeds)
        return [found[places[name]] for name in names]

    return fetch


def _write_near(model: Model, path: str) -> None:
    """Large weights lie beside the file already."""
    write_onnx(model, path, Order(get_target("cpu"), None, "reuse"))

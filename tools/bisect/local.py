"""The difference that one change makes right where it is, on the values that the model has there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.clone import clone_model
from ...ir.core import Model, Value
from ...ir.errors import GeocError, UnsupportedModel
from ...ir.types import TensorType
from ..comparing.differences import difference
from ..comparing.exactness import float_limit
from ..inputs.maker import InputMaker
from ..inputs.shapes import Shapes
from ..running.sessions import CannotCheck, first_line, folds, refusals, unoptimized_session

if TYPE_CHECKING:
    from .case import Case
    from .region import Change


@dataclass
class Local:
    """The worst of the values that were replaced: `output`, by its name.

    `error` is max |difference| / max |value before|, `largest` the largest |difference| itself, `within` says that the
    error is rounding. `problem`: what keeps numbers from being compared. `made_up`: on inputs made up for the change
    alone, because the model's own values cannot be seen there.
    """

    output: str = ""
    error: float | None = None
    largest: float | None = None
    within: bool = False
    problem: str = ""
    made_up: bool = False


def values_of(
    write: Any, model: Model, values: Sequence[Value], feeds: Sequence[dict[str, Any]], name: str = "it"
) -> list[list[Any]]:
    """What values of the main graph are, for each of some inputs, in onnxruntime without optimizations.

    `write(model, path)` makes an ONNX file. Raises CannotCheck where it does not run, UnsupportedModel where it cannot
    be written.
    """
    copy, of = clone_model(model)
    wanted = [of[value] for value in values]
    distinct = list(dict.fromkeys(v for v in wanted if v.const is None and not v.is_input))
    if not distinct:
        return [[_known(value, given, copy, None) for value in wanted] for given in feeds]
    names = {value: f"geoc.value.{number}" for number, value in enumerate(distinct)}
    copy.graph.set_outputs(distinct, list(names.values()))
    for node in copy.graph.reversed():
        if not node.in_use:
            copy.graph.erase(node)
    with tempfile.TemporaryDirectory(prefix="geoc-values-") as folder:
        path = os.path.join(folder, "model.onnx")
        write(copy, path)
        session = unoptimized_session(path, name, fold=folds(copy))
        found: list[list[Any]] = []
        for given in feeds:
            known = {i.name for i in session.get_inputs()}
            try:
                results = session.run(list(names.values()), {k: v for k, v in given.items() if k in known})
            except refusals() as error:
                raise CannotCheck(first_line(error)) from None
            by_value = dict(zip(distinct, results))
            found.append([_known(value, given, copy, by_value) for value in wanted])
        del session
    return found


def _known(value: Value, given: dict[str, Any], model: Model, results: dict[Value, Any] | None) -> Any:
    if value.const is not None:
        return value.const.array()
    if value.is_input:
        name = model.graph.input_names[value.index]
        return given[name] if name in given else model.graph.defaults[value].array()
    assert results is not None
    return results[value]


def local_difference(case: Case, change: Change | None) -> Local | None:
    """Compare the values before and after a change; None where there is nothing to compare."""
    if change is None or not change.old:
        return None
    if not all(isinstance(v.type, TensorType) for v in (*change.old, *change.new)):
        return Local(problem="not compared: values that are no tensors")
    feeds = case.feeds()
    try:
        if change.is_nested or not feeds:
            return _apart(case, change)
        before = values_of(case.run.export, change.before.model, change.old, feeds)
        after = values_of(case.run.export, change.after.model, change.new, feeds)
    except (CannotCheck, UnsupportedModel) as error:
        return Local(problem=f"not compared: {getattr(error, 'message', '') or error}")
    return _worst(change, list(zip(before, after)))


def _apart(case: Case, change: Change) -> Local:
    """On inputs made up for the two sides."""
    both = change.both()
    graph = both.graph
    maker = InputMaker(both, Shapes(), case.run.settings.seed)
    if maker.problem:
        return Local(problem=f"not compared: {maker.problem}")
    before = [v for v, name in zip(graph.outputs, graph.output_names) if name.endswith(".before")]
    after = [v for v, name in zip(graph.outputs, graph.output_names) if name.endswith(".after")]
    if len(before) != len(change.old) or len(after) != len(before):
        return Local(problem="not compared: the replacement is an operand")
    reason = ""
    for sizes in maker.sizes():
        try:
            found = values_of(case.run.export, both, [*before, *after], [maker.feeds(sizes, 0)])[0]
        except (CannotCheck, GeocError) as error:
            reason = reason or str(error)
            continue
        local = _worst(change, [(found[: len(before)], found[len(before) :])])
        local.made_up = True
        return local
    return Local(problem=f"not compared: {reason}")


def _worst(change: Change, runs: list[tuple[list[Any], list[Any]]]) -> Local:
    limit = max(float_limit(change.before.model), 1e-6)
    worst = Local(within=True, error=0.0, largest=0.0)
    for before, after in runs:
        for value, old, new in zip(change.old, before, after):
            _, error, problem = difference(old, new, limit)
            if problem:
                return Local(value.hint, None, None, False, problem)
            if error > (worst.error or 0.0) or not worst.output:
                gap = np.abs(np.asarray(old, np.float64) - np.asarray(new, np.float64)) if np.asarray(old).size else 0.0
                worst = Local(value.hint, error, float(np.nanmax(gap, initial=0.0)), error <= limit)
    return worst

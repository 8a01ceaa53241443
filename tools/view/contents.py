"""Everything that a page shows, as plain data: one model, the steps of a run, or two models side by side."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ...ir.clone import clone_model
from ...ir.core import Model, Node
from ...ir.errors import GeocError, UsageError
from ...ir.tensor import Tensor
from ...lowering.backend import all_rule_sets
from ...lowering.estimate import Estimate, estimate_model
from ...lowering.targets import Target
from ...passes.registry import Registry
from ..diff.folders import load, steps_of
from ..files import files_of, load_any
from ..verbs.estimating import assume
from .dumps import Rewrite, rewrites_of
from .pairing import pairs_of_dumps, pairs_of_models
from .records import Book, Table
from .rule_texts import rule_text, short_place
from .weights import span_of

_SOURCES = re.compile(r'  !"(?:[^"\\]|\\.)*"')  # what a statement comes from, behind it


def of_models(models: Sequence[tuple[str, Model]], target: Target) -> dict[str, Any]:
    """One model, or two beside each other: paths and models."""
    book = Book(span_of if len(models) == 1 else Tensor.digest)
    before: Model | None = None
    for path, model in models:
        pairs = {} if before is None else pairs_of_models(before, model)
        _add(book, os.path.basename(path), model, pairs, target)
        before = model
    return {"mode": "pair" if len(models) > 1 else "one", "target": target.name, **book.to_json()}


def of_dumps(
    folder: str, target: Target, sized: Callable[[Model], None], said: Callable[[str, float], None]
) -> dict[str, Any]:
    """The steps of a run. `sized` gives a model the sizes that were asked for, `said` hears how far the work is."""
    book = Book(span_of)
    steps = steps_of(folder)
    rewrites = rewrites_of(folder)
    before: Model | None = None
    rules = Table()
    for index, step in enumerate(steps):
        said(step.name, index / len(steps))
        model = load(str(step.path))
        if before is None:
            _learn(book, model)
        sized(model)
        pairs = {} if before is None else pairs_of_dumps(before, model)
        _add(book, step.step, model, pairs, target)
        number = int(step.name.partition("_")[0])
        book.graphs[-1]["rewrites"] = [
            _rewrite(book, index, rewrite, before, model, rules)
            for rewrite in rewrites.get(number, ())
            if before is not None
        ]
        before = model
    name = os.path.basename(os.path.normpath(folder))
    passes = {step.step: _pass_text(step.step) for step in steps[1:]}
    about = {"mode": "steps", "name": name, "target": target.name, "rules": rules.rows, "passes": passes}
    return {**about, **book.to_json()}


def _learn(book: Book, dump: Model) -> None:
    """Take the scopes from the model that was compiled, where that file is the one that the dump refers to: exporters
    note some beside their nodes, which dumps leave out."""
    for path in files_of(None, dump):
        if path.endswith(".onnx"):
            book.finder.of(load_any(path).graph)


def _add(book: Book, title: str, model: Model, pairs: dict[Node, Node], target: Target) -> None:
    assumed: list[str] = []
    why = ""
    try:
        estimate = _estimate(model, target, assumed)
    except GeocError as error:  # sizes that go together with nothing, or a target without peak numbers
        estimate, why = None, str(error)
    sums = None if estimate is None else [estimate.seconds, estimate.flops, estimate.peak_bytes, len(estimate.unknown)]
    book.add(
        model, pairs, estimate, title=title, nodes=model.node_count, weights=_weight_bytes(model), sums=sums,
        no_estimate=why, assumed=assumed,
        opsets=[[domain or "ai.onnx", version] for domain, version in model.opsets.items()],
        producer=" ".join(str(model.info[key]) for key in ("producer_name", "producer_version") if key in model.info),
    )  # fmt: skip


def _weight_bytes(model: Model) -> int:
    """Bytes of the constants that nodes read; one that several read counts once."""
    sizes = {
        span_of(value.const): value.const.stored_bytes
        for node in [*model.walk(), *(graph.ret for graph in model.graphs())]
        for value in node.inputs
        if value is not None and value.const is not None
    }
    return sum(sizes.values())


def _estimate(model: Model, target: Target, assumed: list[str]) -> Estimate:
    """What the model would take, of its own nodes: sizes that have to be assumed are given to a copy, and told."""
    copy, _ = clone_model(model)
    assumed += assume(copy)
    estimate = estimate_model(copy, target)
    of = dict(zip(copy.graph.walk(), model.graph.walk()))
    estimate.nodes = [replace(each, node=of[each.node]) for each in estimate.nodes]
    return estimate


def _rewrite(
    book: Book, graph: int, rewrite: Rewrite, before: Model, after: Model, rules: Table
) -> dict[str, Any]:
    """A rewrite for the page: keys of its nodes in the graphs before and after, and which rule it was."""
    rule = rules.get(rewrite.at)
    if rule is None:  # the page does not tell where on this machine it is
        row = {"place": short_place(rewrite.at), "text": rule_text(rewrite.at)} if rewrite.at else {}
        rule = rules.number(rewrite.at, row)
    return {
        "number": rewrite.number,
        "rule": rewrite.rule,
        "at": rule,
        "ops": [op for op, _ in rewrite.before],
        "before": [book.key(graph - 1, node) for node in rewrite.nodes_before(before)],
        "after": [book.key(graph, node) for node in rewrite.nodes_after(after)],
        "statements": [book.names.number(_SOURCES.sub("", text)) for text in rewrite.after],
    }


def _pass_text(name: str) -> str:
    """The first paragraph about a pass; "" for one that is not known here."""
    try:
        doc = Registry(all_rule_sets()).find(name).__doc__ or ""
    except UsageError:  # of a plug-in or of a rule file of the user
        return ""
    return " ".join(doc.strip().split("\n\n")[0].split())

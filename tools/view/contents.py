"""Everything that a page shows, as plain data: one model, the steps of a run, or two models side by side."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from ...ir.clone import clone_model
from ...ir.core import Model, Node
from ...lowering.estimate import Estimate, estimate_model
from ...lowering.targets import Target
from ..verbs.estimating import assume
from .dumps import Rewrite, Step, nodes_before, steps_of
from .pairing import pairs_of_dumps, pairs_of_models
from .records import Book
from .rule_texts import rule_text, short_place
from .weights import span_of

_MADE = re.compile(r'%("(?:[^"\\]|\\.)*"|[^\s:,=]+)')


def of_models(models: Sequence[tuple[str, Model]], target: Target) -> dict[str, Any]:
    """One model, or two beside each other: paths and models."""
    book = Book()
    before: Model | None = None
    for path, model in models:
        pairs = {} if before is None else pairs_of_models(before, model)
        _add(book, os.path.basename(path), model, pairs, target)
        before = model
    return {"mode": "pair" if len(models) > 1 else "one", "target": target.name, **book.to_json()}


def of_dumps(folder: str, target: Target, sized: Any, said: Any = lambda text, part: None) -> dict[str, Any]:
    """The steps of a run. `sized` gives a model the sizes that were asked for, `said` hears how far the work is."""
    book = Book()
    steps = steps_of(folder)
    before: Model | None = None
    rules: dict[str, dict[str, str]] = {}
    for index, step in enumerate(steps):
        said(step.name, index / len(steps))
        model = step.load()
        sized(model)
        pairs = {} if before is None else pairs_of_dumps(before, model)
        _add(book, step.name, model, pairs, target, rewrites=[])
        if before is not None:
            book.graphs[-1]["rewrites"] = [
                _rewrite(book, index, rewrite, before, model, rules) for rewrite in step.rewrites
            ]
        before = model
    passes = {step.name: _pass_text(step) for step in steps[1:]}
    name = os.path.basename(os.path.normpath(folder))
    return {"mode": "steps", "name": name, "target": target.name, "rules": rules, "passes": passes, **book.to_json()}


def _add(book: Book, title: str, model: Model, pairs: dict[Node, Node], target: Target, **facts: Any) -> None:
    estimate, assumed = _estimate(model, target)
    book.add(
        model, pairs, estimate, title=title, nodes=model.node_count, weights=_weight_bytes(model),
        seconds=estimate.seconds, flops=estimate.flops, peak=estimate.peak_bytes, unknown=len(estimate.unknown),
        assumed=assumed, opsets=[[domain or "ai.onnx", version] for domain, version in model.opsets.items()],
        producer=" ".join(str(model.info[key]) for key in ("producer_name", "producer_version") if key in model.info),
        functions=len(model.functions), **facts,
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


def _estimate(model: Model, target: Target) -> tuple[Estimate, list[str]]:
    """What the model would take, of its own nodes: sizes that have to be assumed are given to a copy."""
    copy, _ = clone_model(model)
    assumed = assume(copy)
    estimate = estimate_model(copy, target)
    of = dict(zip(copy.graph.walk(), model.graph.walk()))
    estimate.nodes = [type(each)(of[each.node], each.seconds, each.flops, each.bytes, each.bound) for each in estimate.nodes]
    return estimate, assumed


def _rewrite(
    book: Book, graph: int, rewrite: Rewrite, before: Model, after: Model, rules: dict[str, dict[str, str]]
) -> dict[str, Any]:
    """A rewrite for the page: keys of its nodes in the graphs before and after, and which rule it was."""
    if rewrite.at and rewrite.at not in rules:
        rules[rewrite.at] = {"place": short_place(rewrite.at), "text": rule_text(rewrite.at)}
    made = {name for text in rewrite.after for name in _names_made(text)}
    names = {name for _, locs in rewrite.before for name in locs}
    after_keys = [
        book.key(graph, node)
        for node in after.walk()
        if any(value.hint in made for value in node.outputs) and (not node.loc or names & set(node.loc))
    ]
    return {
        "number": rewrite.number,
        "rule": rewrite.rule,
        "at": rewrite.at,
        "ops": [op for op, _ in rewrite.before],
        "before": [book.key(graph - 1, node) for node in nodes_before(rewrite, before)],
        "after": after_keys,
        "statements": rewrite.after,
    }


def _names_made(statement: str) -> list[str]:
    """The names of what a statement defines."""
    found = []
    for match in _MADE.finditer(statement.partition(" = ")[0]):
        name = match[1]
        found.append(name[1:-1] if name.startswith('"') else name)
    return found


def _pass_text(step: Step) -> str:
    """The first paragraph about a pass; "" for one that is not known here."""
    from ...ir.errors import UsageError
    from ...passes.registry import Registry

    try:
        doc = Registry().find(step.name).__doc__ or ""
    except UsageError:  # of a plug-in or of a rule file of the user
        return ""
    return " ".join(doc.strip().split("\n\n")[0].split())

"""Writing the result of a compilation in every form that was asked for, and saying in the report what was written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..ir.core import Model
from ..ir.errors import UnsupportedModel
from ..lowering.backend import Order, Unsupported, in_main_graph
from ..lowering.parts import describe, write_parts
from ..passes.base import Remark
from .emitting import Output, make_folder
from .files import reused_spans
from .inputs.example import example_of
from .inputs.shapes import profile
from .report import Device, Refusal
from .versions import geoc_version

if TYPE_CHECKING:
    from .compiler import Compilation

WHOLE = frozenset(("gir", "gguf", "run", "triton"))  # forms that hold the whole model, whoever runs its nodes


def write_outputs(run: Compilation, model: Model, outputs: Sequence[Output]) -> dict[str, int]:
    """Write the finished model; the bytes of each form. Raises UnsupportedModel where one cannot hold it, OSError."""
    report, settings = run.report, run.settings
    make_folder(outputs)
    report.after.bytes = 0
    order = order_of(run, model)
    refused = _refused(run, model)
    _place(run, model, refused)
    sizes: dict[str, int] = {}
    for output in outputs:
        try:
            if refused and run.fallback is not None and output.kind not in WHOLE:
                result = write_parts(model, output.path, order, output.emitter, run.fallback, refused)
            else:
                result = output.emitter.write(model, output.path, order)
        except OSError as error:
            error.filename = error.filename or output.path
            raise
        report.opset = result.opset or report.opset
        report.files += result.files
        report.notes += result.notes
        report.engine = result.engine or report.engine
        sizes[output.kind] = sum(result.files.values())
        report.after.bytes += sizes[output.kind]
        if settings.threads is not None and not output.emitter.threads:
            report.notes.append(f"--threads is not in what is written as {output.kind}; give it to what loads that")
        if settings.weights == "reuse" and output.kind == "onnx":
            sizes[output.kind] += _count_reused(run, model, output.path)
    report.notes += model.notes
    if model.beside and not (outputs[0].emitter.is_folder or outputs[0].emitter.canonical):  # that has them inside
        _write_beside(run, model, outputs[0].path)
    return sizes


def _write_beside(run: Compilation, model: Model, path: str) -> None:
    """The files that belong beside the model. What is there already may be another model's, and is left alone."""
    folder, name = os.path.split(path)
    written: list[str] = []
    other: list[str] = []
    for member, content in model.beside.items():
        place, data = os.path.join(folder, member), content(name)
        if data is None:
            continue
        try:
            with open(place, "xb") as file:
                file.write(data)
            written.append(member)
        except FileExistsError:
            with open(place, "rb") as file:
                (written if file.read() == data else other).append(member)
    if written:
        run.report.notes.append(f"beside it: {', '.join(written)}")
    if other:
        run.report.notes.append(f"{', '.join(other)} beside it had other contents and stayed as they were")


def check_outputs(run: Compilation, model: Model, outputs: Sequence[Output]) -> None:
    """Raise UsageError now for what would keep the result of `model`, the source, from being written in the end."""
    checks = [(output.emitter.check, output.path) for output in outputs if output.emitter.check is not None]
    if checks:
        order = order_of(run, model)
        for check, path in checks:
            check(model, path, order)


def example_feeds(run: Compilation, model: Model) -> dict[str, Any]:
    """Inputs on which the source ran, or some that were only made up; {} where none can be."""
    if run.judge is not None:
        return run.judge.runs[0].feeds
    return example_of(model, run.shapes, run.settings.seed)


def order_of(run: Compilation, model: Model) -> Order:
    """How the settings want `model` written."""
    settings = run.settings
    return Order(
        run.target,
        settings.opset,
        settings.weights,
        profile(model, run.shapes),
        settings.precision or "",
        run.shapes.symbols,
        settings.threads,
        _metadata(run),
        lambda: example_feeds(run, model),
        run.fallback is None,
        settings.tokenizer,
    )


def _refused(run: Compilation, model: Model) -> list[Unsupported]:
    """What the target cannot run, or rows of the user's refuse, and another does. UnsupportedModel where none shall."""
    found = run.target.backend.unsupported(model, run.target, run.settings.opset)
    found = in_main_graph(model, [*found, *_refused_by_users_rows(run, model)])
    if not found:
        return []
    said = describe(found)
    if run.fallback is None:
        raise UnsupportedModel(f"{run.target.name} cannot run {len(found)} nodes: {said}; --fallback=cpu runs them")
    if run.fallback.runtime == run.target.runtime:  # nothing else to turn to
        run.report.notes.append(f"{run.target.runtime} cannot run {len(found)} nodes: {said}")
        return []
    return found


def _refused_by_users_rows(run: Compilation, model: Model) -> list[Unsupported]:
    from ..ir.rewrite import RuleSet
    from ..lowering.rows import refused_by_rules
    from ..passes.rulepass import RulePass

    classes = [run.registry.find(name) for name in run.registry.added_rules]
    rules = [rule for cls in classes if issubclass(cls, RulePass) for rule in cls.rules() if rule.name not in run.skip]
    return refused_by_rules(model, RuleSet(rules)) if any(rule.refuses for rule in rules) else []


def _place(run: Compilation, model: Model, refused: list[Unsupported]) -> None:
    """Say in the report what an accelerator runs, and why not the rest. UnsupportedModel where all of it must."""
    found = run.target.backend.placement(model, run.target, {each.node for each in refused})
    if found is None:
        return
    if found.outside and run.fallback is None:
        said = f"{found.device} of {run.target.name} cannot run {len(found.outside)} of {found.total} nodes"
        hint = "without --fallback=none the GPU runs them"
        raise UnsupportedModel(f"{said}: {describe(found.outside)}; {hint}")
    counts: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    for each in found.outside:
        row = each.row.rpartition(" ")[2]
        counts[row] += 1
        reasons[row, each.reason] += 1
        run.outputs.remark(Remark("refused", "placement", row, each.reason, each.node.loc))
    run.report.refused += [Refusal(row, reason, count) for (row, reason), count in reasons.most_common()]
    run.report.device = Device(found.device, found.nodes, found.total, found.parts, found.most, dict(counts))
    if found.parts > found.most:
        said = f"{found.device} holds {found.most} parts at once and there are {found.parts}: the GPU gets the rest"
        run.report.notes.append(said)


def _metadata(run: Compilation) -> dict[str, str]:
    """Where the file comes from, for its metadata; paths without their folders. At -O0 it is the source's own."""
    settings = run.settings
    if settings.is_copy:
        return {}
    found = {"geoc.version": geoc_version(), "geoc.target": settings.target}
    hashes = {} if run.hashes is None else run.hashes.found()
    if settings.path in hashes:
        found["geoc.source"] = f"{os.path.basename(settings.path)} sha256:{hashes[settings.path]}"
    command = settings.without_folders().command()
    return {**found, "geoc.command": command} if command else found


def _count_reused(run: Compilation, model: Model, output: str) -> int:
    """Data of the source that the output refers to is part of its size, and worth a word; its bytes."""
    spans = reused_spans(model, os.path.dirname(os.path.abspath(output)))
    files = list(dict.fromkeys(path for path, _, _ in spans))
    size = sum(length for _, _, length in spans)
    if files:
        run.report.reused = files
        run.report.after.bytes += size
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        run.report.notes.append(
            f"needs the source's data: {os.path.basename(files[0])}{more}; --weights=copy writes its own"
        )
    return size

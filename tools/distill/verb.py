"""``geoc distill TEACHER STUDENT``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING

from ...ir.core import Model
from ...ir.equal import structural_hash
from ...ir.errors import GeocError
from ...ir.tensor import Array
from ...lowering.backend import Order
from ...lowering.emit import write_gir, write_onnx
from ...lowering.targets import get_target
from ..args import Arguments
from ..files import format_of, load_any
from ..inspect.weights import parameters_of
from ..progress import Progress
from ..versions import geoc_version
from .examples import Examples, read_examples, takes_several
from .goals import KL, Goal, check_inputs, goals_of, sum_up
from .package import need_torch
from .running import Teacher, Values, nearness
from .settings import Settings, settings_of
from .weights import trainable

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .module import GraphModule
    from .report import Report

AGREES = 1e-3  # relative L2 error of the module beside onnxruntime, from which on it is no form of the student
QUANTIZED = 0.1  # the same where rounding before a quantizer may move whole codes


def distill_verb(arguments: Arguments) -> int:
    """Train the student, write it, and print the summary; 1 where it did not come nearer and nothing was written."""
    settings = settings_of(arguments)
    need_torch()
    progress = Progress(None if arguments.get("quiet") else sys.stderr)
    try:
        report = distill(settings, progress)
    finally:
        progress.finished()
    if settings.report is not None:
        report.write(settings.report)
    if not arguments.get("quiet") or not report.ok:
        print(report.summary(bool(arguments.get("verbose"))), file=sys.stdout if report.ok else sys.stderr)
    return 0 if report.ok else 1


def distill(settings: Settings, progress: Progress) -> Report:
    """Train, and write the student where that helped. Raises GeocError for what does not fit, OSError."""
    import torch

    from .blocks import Refined, refine
    from .losses import Losses
    from .module import GraphModule
    from .report import Report
    from .training import Trainer

    begun = perf_counter()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    progress.stage("reading", 0.0, 0.02)
    teacher, student = load_any(settings.teacher), load_any(settings.student)
    check_inputs(teacher, student)
    goals, outputs = goals_of(teacher, student, settings)
    weights = trainable(student, settings.freeze)
    module = GraphModule(student, weights)
    examples = read_examples(settings, student, lambda done: progress.detail(f"reading, {done} samples"))
    checkpoint = _checkpoint(settings, teacher, student, examples)
    state = None if checkpoint is None else checkpoint.load()
    report = Report(settings, len(weights), goals=goals)
    report.trained, report.held_back = len(examples.trained), len(examples.held_back)
    report.parameters = sum(weight.tensor.size for weight in weights)
    report.teacher_parameters = parameters_of(teacher)
    wanted = [goal.teacher for goal in goals]
    with Values(teacher, [*wanted, *(output.teacher for output in outputs)], "the teacher") as values:
        theirs = Teacher(values, examples)

        def results(index: int) -> list[Array]:
            return theirs.of(index)[len(goals) :]

        progress.stage("running the teacher", 0.02, 0.1)
        _study(goals, theirs, examples, progress)
        progress.stage("comparing", 0.1, 0.12)
        report.before = nearness(student, outputs, results, examples, settings.labels is not None)
        _check_module(module, student, goals, examples)
        several = takes_several(student, [goal.student for goal in goals])
        losses = Losses(goals, settings)

        def first(index: int) -> list[Array]:
            return theirs.of(index)[: len(goals)]

        trainer = Trainer(module, losses, first, examples, several, settings)
        report.sparse = trainer.sparse
        begin = 0.12
        if settings.blocks and state is None:
            begin = 0.5
            progress.stage("refining blocks", 0.12, begin)
            start = trainer.evaluate()
            blocks = refine(module, goals, first, examples, several, settings, progress.detail)
            trainer.refined = {"start": start, "blocks": [asdict(block) for block in blocks]}
        progress.stage("training", begin, 0.97)
        history = trainer.run(progress.detail, checkpoint, state)
        report.start = trainer.refined.get("start")
        report.blocks = [Refined(**block) for block in trainer.refined.get("blocks", ())]
        report.losses, report.held_back_losses, report.best = history.trained, history.held_back, history.best
        if report.ok:
            module.put_back()
            progress.stage("comparing", 0.97, 1.0)
            report.after = nearness(student, outputs, results, examples, settings.labels is not None)
            report.bytes = _write(student, settings.output)
    report.seconds = perf_counter() - begun
    return report


def _checkpoint(settings: Settings, teacher: Model, student: Model, examples: Examples) -> Checkpoint | None:
    """Where ``--checkpoint`` keeps the state of this run; None without it."""
    import torch

    from .checkpoint import Checkpoint

    if settings.checkpoint is None:
        return None
    run = {
        "version of geoc": geoc_version(), "version of torch": str(torch.__version__),
        "teacher": structural_hash(teacher), "student": structural_hash(student), "data": examples.digest,
        **{f"--{key}": value for key, value in settings.decides().items()},
    }  # fmt: skip
    return Checkpoint(settings.checkpoint, run)


def _study(goals: list[Goal], teacher: Teacher, examples: Examples, progress: Progress) -> None:
    """Note in the goals what the teacher gives on what is trained on: mean squares, and whether they sum up to 1."""
    squares, numbers = [0.0] * len(goals), [0] * len(goals)
    for done, index in enumerate(examples.trained, 1):
        for position, (goal, array) in enumerate(zip(goals, teacher.of(index))):
            squares[position] += float((array.astype("float64") ** 2).sum())
            numbers[position] += array.size
            is_first = done == 1
            goal.theirs_sum_up = goal.kind == KL and (is_first or goal.theirs_sum_up) and sum_up(array, goal.axis)
        progress.detail(f"running the teacher, {done} of {len(examples.trained)} samples", done / len(examples.trained))
    for goal, square, number in zip(goals, squares, numbers):
        goal.size = square / number if square else 1.0


def _check_module(module: GraphModule, student: Model, goals: list[Goal], examples: Examples) -> None:
    """Raise GeocError unless the module computes what onnxruntime does, on one sample that is held back.

    Notes in the goals whether the student gives probabilities.
    """
    import torch

    from ..comparing.differences import l2_error
    from .dtypes import to_array

    index = examples.held_back[0]
    limit = QUANTIZED if any("Quantize" in node.op.name for node in student.walk()) else AGREES
    with Values(student, student.graph.outputs, "the student") as values:
        expected = values.of(examples.feeds[index], index)
    with torch.no_grad():
        found = [to_array(tensor) for tensor in module(examples.feeds[index])]
        inside = [to_array(tensor) for tensor in module(examples.feeds[index], [goal.student for goal in goals])]
    for goal, array in zip(goals, inside):
        goal.ours_sum_up = goal.kind == KL and sum_up(array, goal.axis)
    for name, a, b in zip(student.graph.output_names, expected, found):
        error, problem = l2_error(a, b.astype(a.dtype))
        if problem or error > limit:
            said = problem or f"relative L2 {error:.1%}"
            said = f"as a module of torch output {name} is not what onnxruntime gives: {said}"
            raise GeocError(said, source=student.source)


def _write(model: Model, path: str) -> int:
    """Write the student in the form that its suffix names; the bytes of all files. Raises OSError, UnsupportedModel."""
    write = write_gir if format_of(path) == "gir" else write_onnx
    return sum(write(model, path, Order(get_target("cpu"), None, None)).files.values())

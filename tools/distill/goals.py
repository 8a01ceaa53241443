"""What a student is brought to: pairs of values, one of the teacher's and one of its own, each with a measure.

*kl*: the classes along an axis, by the divergence of softmax at a temperature. *mse*: an output, *hidden*: a value
inside, both by the squared error relative to the teacher's mean square, so that values of any size count the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from ...ir.core import Model, Node, Value
from ...ir.errors import UsageError
from ...ir.tensor import Array
from .settings import AUTO, Settings

_MOST = 16  # pairs that are taken when they are found by name
_LOGITS = ("logit", "prob", "score", "class")  # in the name of an output that holds classes
KL, MSE, HIDDEN = "kl", "mse", "hidden"


@dataclass(eq=False)
class Goal:
    """One pair. `axis`: of the classes, or of the features.

    Known once both have run: `size`, the teacher's mean square; `theirs_sum_up` and `ours_sum_up`, whether the numbers
    of all classes are none below 0 and add up to 1, and so probabilities, whose logarithms stand for logits.
    """

    kind: str
    name: str
    teacher: Value
    student: Value
    axis: int
    size: float = 1.0
    theirs_sum_up: bool = False
    ours_sum_up: bool = False

    @property
    def widths(self) -> tuple[int, int] | None:
        """The numbers of features where both are known and differ: the student's are projected to the teacher's."""
        sizes = [value.shape[self.axis] if value.shape else None for value in (self.student, self.teacher)]
        if self.kind == HIDDEN and all(isinstance(size, int) for size in sizes) and sizes[0] != sizes[1]:
            return sizes[0], sizes[1]  # type: ignore[return-value]
        return None


@dataclass(frozen=True)
class Output:
    """An output of the student with the teacher's, as results are compared; `classes`: the axis they lie on, if any."""

    name: str
    index: int
    teacher: Value
    classes: int | None


def outputs_of(teacher: Model, student: Model) -> dict[str, tuple[Value, Value]]:
    """Outputs of floats by the student's name: the teacher's and the student's, of one name or else of one position.

    Raises UsageError where there are none.
    """
    theirs = dict(zip(teacher.graph.output_names, teacher.graph.outputs))
    ours = dict(zip(student.graph.output_names, student.graph.outputs))
    same = [name for name in ours if name in theirs]
    pairs = {name: (theirs[name], ours[name]) for name in same}
    if not same and len(theirs) == len(ours):
        pairs = {name: (there, here) for (name, here), there in zip(ours.items(), theirs.values())}
    found = {name: pair for name, pair in pairs.items() if all(_is_float(value) for value in pair)}
    if not found:
        raise UsageError(
            f"the models have no output in common: {', '.join(theirs)} and {', '.join(ours)}", source=student.source
        )
    return found


def check_inputs(teacher: Model, student: Model) -> None:
    """Raise UsageError unless both take inputs of the same names and types."""
    kinds = [
        {name: value.dtype for name, value in zip(m.graph.input_names, m.graph.inputs) if value not in m.graph.defaults}
        for m in (teacher, student)
    ]
    if kinds[0] != kinds[1]:
        lists = " and ".join(", ".join(f"{name} {dtype}" for name, dtype in kind.items()) for kind in kinds)
        raise UsageError(f"teacher and student have different inputs: {lists}")


def goals_of(teacher: Model, student: Model, settings: Settings) -> tuple[list[Goal], list[Output]]:
    """What is trained for, and the outputs that results are compared on. Raises UsageError for names that are none."""
    outputs = outputs_of(teacher, student)
    kl = dict(_with_axis(text, outputs) for text in settings.kl)
    mse = [_known(name, outputs, "--mse", "output") for name in settings.mse]
    if not kl and not mse:
        kl, mse = _by_default(outputs, settings.labels is not None)
    elif not kl and settings.labels is not None:
        kl = _classes_for_labels(outputs)
    if twice := [name for name in mse if name in kl]:
        raise UsageError(f"{twice[0]} is one of --kl as well", source="--mse")
    goals = [_classes(name, *outputs[name], axis) for name, axis in kl.items()]
    goals += [Goal(MSE, name, *outputs[name], -1) for name in mse]
    goals += _hidden(teacher, student, settings.hidden)
    axes = {goal.name: goal.axis for goal in goals if goal.kind == KL}
    compared = [
        Output(name, student.graph.output_names.index(name), there, axes.get(name))
        for name, (there, _) in outputs.items()
    ]
    return goals, compared


def _by_default(outputs: dict[str, tuple[Value, Value]], has_labels: bool) -> tuple[dict[str, int | None], list[str]]:
    """Outputs of softmax, or named like logits, by their classes; others by their squared error."""
    classes = [name for name, pair in outputs.items() if _holds_classes(name, pair)]
    if has_labels and not classes:
        return _classes_for_labels(outputs), []
    return dict.fromkeys(classes), [name for name in outputs if name not in classes]


def _holds_classes(name: str, pair: tuple[Value, Value]) -> bool:
    made = {value.producer.op.key for value in pair if value.producer is not None}
    by_softmax = any(_softmax_of(value) is not None for value in pair) or "LogSoftmax" in made
    return by_softmax or any(part in name.lower() for part in _LOGITS)


def _classes_for_labels(outputs: dict[str, tuple[Value, Value]]) -> dict[str, int | None]:
    if len(outputs) > 1:
        raise UsageError(f"say which output has the classes: --kl {'|'.join(outputs)}", source="--labels")
    return dict.fromkeys(outputs)


def _with_axis(text: str, outputs: dict[str, tuple[Value, Value]]) -> tuple[str, int | None]:
    """NAME or NAME:AXIS."""
    name, colon, axis = text.rpartition(":")
    if text not in outputs and colon and axis.lstrip("-").isdigit():
        name = _known(name, outputs, "--kl", "output")
        rank = outputs[name][1].rank
        if rank is not None and not -rank <= int(axis) < rank:
            raise UsageError(f"{name} has {rank} axes and none is {axis}", source="--kl")
        return name, int(axis)
    return _known(text, outputs, "--kl", "output"), None


def _classes(name: str, teacher: Value, student: Value, axis: int | None) -> Goal:
    """Along the given axis, or that of a softmax which makes the output, or the last one (of pictures the second).

    What a softmax is made of serves better than what it makes: small probabilities round to nothing.
    """
    for value in (teacher, student):
        node = _softmax_of(value)
        if axis is None and node is not None:
            axis = node.attr("axis")
    rank = student.rank or teacher.rank or 0
    axis = (1 if rank >= 4 else -1) if axis is None else axis
    return Goal(KL, name, _before_softmax(teacher), _before_softmax(student), axis % rank - rank if rank else axis)


def _softmax_of(value: Value) -> Node | None:
    """The softmax that makes a value, but for what hands it on."""
    node = value.producer
    while node is not None and node.op.key in ("Identity", "Cast") and node.inputs[0] is not None:
        node = node.inputs[0].producer
    return node if node is not None and node.op.key == "Softmax" else None


def _before_softmax(value: Value) -> Value:
    node = _softmax_of(value)
    before = None if node is None else node.inputs[0]
    return value if before is None else before


def _hidden(teacher: Model, student: Model, texts: tuple[str, ...]) -> list[Goal]:
    theirs, ours = _by_name(teacher), _by_name(student)
    if texts == (AUTO,):
        pairs = _alike(theirs, ours)
    else:
        pairs = [_pair(text, theirs, ours) for text in texts]
    goals = []
    for there, here, text in pairs:
        if there.rank != here.rank:
            raise UsageError(f"{text}: {there.type} and {here.type} do not correspond", source="--hidden")
        goals.append(Goal(HIDDEN, text, there, here, 1 - there.rank if there.rank in (4, 5) else -1))
    return goals


def _pair(text: str, theirs: dict[str, Value], ours: dict[str, Value]) -> tuple[Value, Value, str]:
    """TEACHERVALUE=STUDENTVALUE; names may hold the sign as well."""
    for at, letter in enumerate(text):
        if letter == "=" and text[:at] in theirs and text[at + 1 :] in ours:
            return theirs[text[:at]], ours[text[at + 1 :]], text
    there, equals, here = text.partition("=")
    if not equals:
        raise UsageError(f"takes TEACHERVALUE=STUDENTVALUE or {AUTO}, not {text}", source="--hidden")
    there = _known(there, theirs, "--hidden", "value of the teacher")
    return theirs[there], ours[_known(here, ours, "--hidden", "value of the student")], text


def _by_name(model: Model) -> dict[str, Value]:
    """The computed floats of the main graph by their names, and the first outputs of nodes by theirs."""
    found: dict[str, Value] = {}
    nodes = [node for node in model.graph if _is_float(node.output)]
    for node in nodes:
        found.update({value.hint: value for value in node.outputs if value.hint and _is_float(value)})
    for node in nodes:
        for name in node.loc:
            found.setdefault(name, node.output)
    return found


def _alike(theirs: dict[str, Value], ours: dict[str, Value]) -> list[tuple[Value, Value, str]]:
    """Values of one name and rank: the sums of residual streams, or else what products make; spread over the depth."""
    for wanted in (_is_residual, _is_product):
        pairs = {
            (theirs[name], here): name
            for name, here in ours.items()
            if name in theirs and wanted(here) and wanted(theirs[name]) and here.rank == theirs[name].rank
        }
        if pairs:
            chosen = list(pairs.items())
            step = max(1, -(-len(chosen) // _MOST))
            return [(there, here, name) for (there, here), name in chosen[::-1][::step][::-1]]
    said = "no values of the two models have one name; give pairs: TEACHERVALUE=STUDENTVALUE"
    raise UsageError(said, source="--hidden")


def _is_residual(value: Value) -> bool:
    """True for sums of two computed values of one shape: a mask that is added to scores has another."""
    node = value.producer
    return (
        node is not None and node.op.key == "Add" and (value.rank or 0) >= 2
        and all(x is not None and x.producer is not None and x.shape == value.shape for x in node.inputs)
    )  # fmt: skip


def _is_product(value: Value) -> bool:
    return value.producer is not None and value.producer.op.key in ("MatMul", "Gemm", "Conv") and (value.rank or 0) >= 2


def _known(name: str, among: Iterable[str], option: str, kind: str) -> str:
    names = list(among)
    if name not in names:
        near = get_close_matches(name, names, 3)
        listed = f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(names[:8])}"
        raise UsageError(f"no {kind} is called {name!r}{listed}", source=option)
    return name


def sum_up(array: Array, axis: int) -> bool:
    """True for probabilities: no number below 0, and along the axis they add up to 1."""
    return bool((array >= 0).all() and np.allclose(array.astype(np.float64).sum(axis), 1.0, atol=1e-3))


def _is_float(value: Value) -> bool:
    return value.dtype is not None and value.dtype.is_float



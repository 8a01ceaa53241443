"""Models in onnxruntime: what the teacher gives, and how near the student's outputs are to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...ir.core import Model, Value
from ...ir.errors import UsageError
from ...ir.tensor import Array
from ...lowering.backend import Order
from ...lowering.emit import write_onnx
from ...lowering.targets import get_target
from ..calibration.observing import part_of
from ..calibration.samples import Feeds
from ..comparing.differences import l2_error
from ..running.sessions import CannotCheck, first_line, refusals
from ..running.temporary import Running
from .examples import Examples
from .goals import Output
from .settings import DATA

MEMORY = 1 << 30  # bytes of the teacher's results that are kept; others are computed whenever they are asked for


class Values(Running):
    """Some values of a model, computed by onnxruntime without optimizations; a context."""

    def __init__(self, model: Model, values: Sequence[Value], what: str) -> None:
        """`what` names the model in messages. Raises UsageError where onnxruntime does not load it."""
        part, names = part_of(model, list(dict.fromkeys(values)))
        self._names = [names[value] for value in values]
        self._what = what
        try:
            super().__init__(part, _write, what)
        except CannotCheck as error:
            raise UsageError(str(error)) from None

    def of(self, feeds: Feeds, number: int) -> list[Array]:
        """The values on one sample. Raises UsageError that names the sample where it does not run."""
        taken = {node.name for node in self._session.get_inputs()}
        try:
            given = {name: array for name, array in feeds.items() if name in taken}
            return list(self._session.run(self._names, given))
        except refusals() as error:
            said = f"sample {number} does not run in {self._what}: {first_line(error)}"
            raise UsageError(said, source=DATA) from None


def _write(model: Model, path: str) -> None:
    write_onnx(model, path, Order(get_target("cpu"), None, "reuse"))


class Teacher:
    """What the teacher gives on each sample, kept up to `MEMORY`."""

    def __init__(self, values: Values, examples: Examples) -> None:
        self._values = values
        self._examples = examples
        self._kept: dict[int, list[Array]] = {}
        self._bytes = 0

    def of(self, index: int) -> list[Array]:
        """The values on the sample `index`. Raises UsageError where the teacher gives NaN or infinity."""
        found = self._kept.get(index)
        if found is None:
            found = self._values.of(self._examples.feeds[index], index)
            if not all(np.isfinite(array.astype(np.float32)).all() for array in found):
                raise UsageError(f"the teacher gives NaN or infinity on sample {index}", source=DATA)
            size = sum(array.nbytes for array in found)
            if self._bytes + size <= MEMORY:
                self._kept[index] = found
                self._bytes += size
        return found


@dataclass
class Nearness:
    """One output on the samples that are held back: its error, and how often the best of its classes is the right one.

    `l2`: mean relative L2 error; `agreement` with the teacher, `accuracy` by the labels: shares of positions, None
    where there are no classes, or no labels.
    """

    name: str
    l2: float
    agreement: float | None = None
    accuracy: float | None = None


def nearness(
    model: Model, outputs: Sequence[Output], teacher: Callable[[int], list[Array]], examples: Examples, has_labels: bool
) -> list[Nearness]:
    """Run a student on what is held back; `teacher` gives the outputs, in the order of `outputs`, of a sample."""
    errors: list[list[float]] = [[] for _ in outputs]
    hits = np.zeros((len(outputs), 2, 2))  # of the teacher's best and of the labels: how many, of how many
    labelled = next((i for i, output in enumerate(outputs) if output.classes is not None), None) if has_labels else None
    values = [model.graph.outputs[output.index] for output in outputs]
    with Values(model, values, "the student") as running:
        for index in examples.held_back:
            theirs = teacher(index)
            for i, (output, ours) in enumerate(zip(outputs, running.of(examples.feeds[index], index))):
                if ours.shape != theirs[i].shape:
                    shapes = " and ".join("x".join(map(str, array.shape)) for array in (theirs[i], ours))
                    raise UsageError(f"output {output.name}: teacher and student give different shapes: {shapes}")
                error, problem = l2_error(theirs[i], ours.astype(theirs[i].dtype))
                errors[i].append(np.inf if problem else error)
                if output.classes is not None:
                    best = ours.argmax(output.classes)
                    hits[i, 0] += (best == theirs[i].argmax(output.classes)).sum(), best.size
                    own = examples.labels[index]
                    if i == labelled and own is not None:
                        hits[i, 1] += ((best == own) & (own >= 0)).sum(), (own >= 0).sum()
    return [
        Nearness(output.name, float(np.mean(errors[i])), *(a / b if b else None for a, b in hits[i].tolist()))
        for i, output in enumerate(outputs)
    ]

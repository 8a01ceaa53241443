"""Values of a model on calibration samples, shown to observers while the model runs.

    observe(model, {value: observer}, samples.calibration(), write)

Sample by sample, and of one sample group by group of values, so that what is held at a time stays below a limit:
the memory of a plain run and one group of values, whatever the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

from ..ir import dims
from ..ir.clone import clone_model
from ..ir.core import Graph, Model, Value
from ..ir.errors import UsageError
from ..ir.types import TensorType
from ..passes.base import Observer
from .running import Running
from .samples import OPTION, Feeds
from .shapes import evaluate

MEMORY = 256 * 2**20  # bytes of values that are held at a time
_TYPICAL = 128  # elements along a dimension that nobody knows before the model has run


def observe(
    model: Model,
    observers: Mapping[Value, Observer],
    samples: Iterable[Feeds],
    write: Callable[[Model, str], Any],
    memory: int = MEMORY,
    step: Callable[[int], None] = lambda done: None,
) -> int:
    """Run `model` on each sample and give each value of its main graph to its observer; the number of samples.

    `write(model, path)` makes an ONNX file for onnxruntime of a model; `memory` is in bytes; `step(n)` is told after
    the n-th sample. Raises UsageError where a sample does not run, or an observer refuses a value (naming tensor and
    sample), CannotCheck where onnxruntime does not load the model, ValueError for values of nested graphs.
    """
    from .check import first_line, refusals

    inner = [value for value in observers if _graph_of(value) is not model.graph]
    if inner:
        raise ValueError(f"%{inner[0].hint} is not made in the main graph")
    if not observers:
        return 0
    with _Observed(model, list(observers), write) as observed:
        names = observed.names
        of = {names[value]: (value, observer) for value, observer in observers.items()}
        count = 0
        for count, feeds in enumerate(samples, 1):
            for group in _groups(names, _sizes(model, feeds), memory):
                try:
                    found = observed.run(group, feeds)
                except refusals() as error:
                    raise UsageError(f"sample {count - 1} does not run: {first_line(error)}", source=OPTION) from None
                for name, array in zip(group, found):
                    value, observer = of[name]
                    try:
                        observer.add(array)
                    except ValueError as error:
                        raise UsageError(f"sample {count - 1}, tensor %{value.hint}: {error}", source=OPTION) from None
            step(count)
        return count


def _graph_of(value: Value) -> Graph | None:
    return value.graph if value.producer is None else value.producer.graph


class _Observed(Running):
    """A model that hands out values of its main graph as further outputs; `names` are those of the outputs."""

    def __init__(self, model: Model, wanted: list[Value], write: Callable[[Model, str], Any]) -> None:
        copy, of = clone_model(model)
        graph = copy.graph
        self.names = {value: f"observed.{number}" for number, value in enumerate(wanted)}
        graph.set_outputs(
            [*graph.outputs, *(of[value] for value in wanted)], [*graph.output_names, *self.names.values()]
        )
        super().__init__(copy, write, "the model with the values that are observed")

    def run(self, group: list[str], feeds: Feeds) -> list[Any]:
        """Some of the outputs, and no more than they take."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        return list(self._session.run(group, feeds, options))


def _sizes(model: Model, feeds: Feeds) -> dict[str, int]:
    """What the symbols of the inputs stand for in one sample."""
    found: dict[str, int] = {}
    for name, value in zip(model.graph.input_names, model.graph.inputs):
        if name in feeds and isinstance(value.type, TensorType):
            for dim, size in zip(value.type.shape or (), feeds[name].shape):
                atoms = list(dims.atoms(dim))
                if len(atoms) == 1 and atoms[0].is_symbol and evaluate(dim, {atoms[0].name: size}) == size:
                    found.setdefault(atoms[0].name, size)
    return found


def _groups(names: Mapping[Value, str], sizes: Mapping[str, int], memory: int) -> Iterable[list[str]]:
    """The names in order, in groups whose values take about `memory` bytes at most."""
    group: list[str] = []
    taken = 0
    for value, name in names.items():
        size = _bytes(value, sizes)
        if group and taken + size > memory:
            yield group
            group, taken = [], 0
        group.append(name)
        taken += size
    yield group


def _bytes(value: Value, sizes: Mapping[str, int]) -> int:
    if not isinstance(value.type, TensorType) or value.type.shape is None:
        return _TYPICAL**2 * 4
    known = (evaluate(dim, sizes) for dim in value.type.shape)
    return prod(_TYPICAL if size is None else size for size in known) * value.type.dtype.bits // 8

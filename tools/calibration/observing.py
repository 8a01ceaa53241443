"""Values of a model on calibration samples, shown to observers while the model runs.

    observe(model, {value: observer}, samples.calibration(), write)

Sample by sample, and of one sample group by group of values, so that what is held at a time stays below a limit:
the memory of a plain run and one group of values, whatever the number of samples. With a `Kept` what was seen is kept,
and the model does not run where it was seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from math import prod
from typing import Any

from ...ir import dims
from ...ir.clone import clone_model
from ...ir.core import Graph, Model, Value
from ...ir.errors import UsageError
from ...ir.types import TensorType
from ...passes.base import Observer
from ..inputs.shapes import evaluate
from ..running.placed import PlacedWeights
from ..running.temporary import Running
from .kept import Kept, Saved
from .samples import OPTION, Feeds

MEMORY = 256 * 2**20  # bytes of values that are held at a time


def observe(
    model: Model,
    observers: Mapping[Value, Observer],
    samples: Iterable[Feeds],
    write: Callable[[Model, str], Any],
    memory: int = MEMORY,
    step: Callable[[int], None] = lambda done: None,
    label: Callable[[int], str] = str,
    weights: PlacedWeights | None = None,
    kept: Kept | None = None,
) -> int:
    """Run `model` on each sample and give each value of its main graph to its observer; the number of samples.

    `write(model, path)` makes an ONNX file for onnxruntime of a model; `memory` is in bytes; `step(n)` is told after
    the n-th sample, whose name is `label(n - 1)`; `weights` are shared with other models that run. Raises UsageError
    where a sample does not run, or an observer refuses a value (naming tensor and sample), CannotCheck where
    onnxruntime does not load the model, ValueError for values of nested graphs.
    """
    inner = [value for value in observers if _graph_of(value) is not model.graph]
    if inner:
        raise ValueError(f"%{inner[0].hint} is not made in the main graph")
    if not observers:
        return 0
    part, names = part_of(model, list(observers))
    saved = Saved(kept, part, list(observers.values()))
    if saved.complete:
        return saved.samples
    with _Observed(part, write, weights) as observed:
        seen = {names[value]: (value, observer) for value, observer in observers.items()}
        groups = Groups(model, names, memory)
        count = saved.samples
        for count, feeds in enumerate(islice(samples, saved.samples, None), saved.samples + 1):
            sample = f"sample {label(count - 1)}"
            for group in groups.of(feeds):
                for name, array in zip(group, observed.run(group, feeds, sample)):
                    value, observer = seen[name]
                    groups.note(name, array)
                    try:
                        observer.add(array)
                    except ValueError as error:
                        raise UsageError(f"{sample}, tensor %{value.hint}: {error}", source=OPTION) from None
            step(count)
            saved.after(count)
        saved.end(count)
        return count


def _graph_of(value: Value) -> Graph | None:
    return value.graph if value.producer is None else value.producer.graph


def part_of(model: Model, wanted: list[Value]) -> tuple[Model, dict[Value, str]]:
    """A copy that ends with the wanted values, and their names: what lies behind them is neither written nor loaded."""
    copy, of = clone_model(model)
    names = {value: f"observed.{number}" for number, value in enumerate(wanted)}
    copy.graph.set_outputs([of[value] for value in wanted], list(names.values()))
    for node in copy.graph.reversed():
        if not node.in_use:
            copy.graph.erase(node)
    return copy, names


class _Observed(Running):
    """A model whose outputs are what is observed."""

    def __init__(self, part: Model, write: Callable[[Model, str], Any], weights: PlacedWeights | None) -> None:
        super().__init__(part, write, "the model with the values that are observed", weights)

    def run(self, group: list[str], feeds: Feeds, sample: str) -> list[Any]:
        """Some of the outputs, and no more than they take. Raises UsageError for a sample, by its name."""
        from ..running.sessions import first_line, refusals

        try:
            return self.fetch(group, feeds)
        except refusals() as error:
            raise UsageError(f"{sample} does not run: {first_line(error)}", source=OPTION) from None


class Groups:
    """Parts the observed values so that those of one part take about `memory` bytes at most.

    A value whose size cannot be told from the inputs is fetched by itself until it was seen once; from then on it is
    taken to grow with the square of the inputs, as the largest values of models do (attention).
    """

    def __init__(self, model: Model, names: Mapping[Value, str], memory: int) -> None:
        self._model = model
        self._names = names
        self._memory = memory
        self._seen: dict[str, tuple[int, int]] = {}  # bytes of a value, and of the inputs it was made of
        self._given = 1

    def of(self, feeds: Feeds) -> Iterator[list[str]]:
        """The names in order, in groups for one sample. Sizes that `note` is told on the way count."""
        sizes = _sizes(self._model, feeds)
        self._given = max(1, sum(array.nbytes for array in feeds.values()))
        group: list[str] = []
        taken = 0
        for value, name in self._names.items():
            size = self._bytes(value, name, sizes)
            if group and (size is None or taken + size > self._memory):
                yield group
                group, taken = [], 0
            group.append(name)
            taken += self._memory if size is None else size
        yield group

    def note(self, name: str, array: Any) -> None:
        """What a value took in the sample at hand."""
        known = self._seen.get(name)
        if known is None or array.nbytes * known[1] > known[0] * self._given:
            self._seen[name] = (array.nbytes, self._given)

    def _bytes(self, value: Value, name: str, sizes: Mapping[str, int]) -> int | None:
        if isinstance(value.type, TensorType) and value.type.shape is not None:
            known = [evaluate(dim, sizes) for dim in value.type.shape]
            whole = [size for size in known if size is not None]
            if len(whole) == len(known):
                return prod(whole) * value.type.dtype.bits // 8
        seen = self._seen.get(name)
        if seen is None:
            return None
        growth = max(1.0, self._given / seen[1])
        return int(seen[0] * growth**2)


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

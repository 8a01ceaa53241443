"""The samples of a distillation: read once, every fifth held back, joined where the models take several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...ir import dims
from ...ir.core import Model, Value
from ...ir.errors import UsageError
from ...ir.tensor import Array
from ..calibration.samples import PART, Feeds, digest_of, open_samples
from .settings import DATA, Settings


class Examples(NamedTuple):
    """Arrays by input of each sample, its labels (None where it has none), and which samples are held back."""

    feeds: list[Feeds]
    labels: list[Array | None]
    trained: list[int]
    held_back: list[int]
    digest: str


def read_examples(settings: Settings, student: Model, step: Callable[[int], None]) -> Examples:
    """All samples of ``--data``. Raises UsageError where they do not fit, are fewer than five, or none has labels."""
    if settings.labels in student.graph.input_names:
        raise UsageError(f"{settings.labels} is an input of the models, and no labels", source="--labels")
    beside = () if settings.labels is None else (settings.labels,)
    samples = open_samples(settings.data, student, DATA, beside)
    feeds, labels = [], []
    for number, given in enumerate(samples, 1):
        own = None if settings.labels is None else given.get(settings.labels)
        if own is not None and own.dtype.kind not in "iu":
            said = f"sample {samples.label} has labels of {own.dtype}; they are numbers of classes"
            raise UsageError(said, source="--labels")
        feeds.append({name: array for name, array in given.items() if name not in beside})
        labels.append(None if own is None else own.astype(np.int64))
        step(number)
    if len(feeds) < PART:
        raise UsageError(f"{settings.data} holds {len(feeds)} samples; at least {PART} are needed", source=DATA)
    if settings.labels is not None and all(own is None or (own < 0).all() for own in labels):
        raise UsageError(f"no sample has labels called {settings.labels}", source="--labels")
    held_back = [index for index in range(len(feeds)) if index % PART == PART - 1]
    trained = [index for index in range(len(feeds)) if index % PART != PART - 1]
    whole = ({**given, **({"labels": own} if own is not None else {})} for given, own in zip(feeds, labels))
    return Examples(feeds, labels, trained, held_back, digest_of(whole))


def takes_several(model: Model, values: Iterable[Value]) -> bool:
    """True if samples can be put behind each other along the first axis: that is one symbol in all inputs and `values`.

    No other axis may depend on it, and some input has more axes: the one axis of audio is time.
    """
    graph = model.graph
    inputs = [value for value in graph.inputs if value not in graph.defaults]
    shapes = [value.shape for value in (*inputs, *values)]
    first = inputs[0].shape[0] if inputs and inputs[0].shape else None
    atom = first.atom if isinstance(first, dims.Dim) else None
    if atom is None or max(value.rank or 0 for value in inputs) < 2:
        return False
    for shape in shapes:
        if not shape or shape[0] != first:
            return False
        if any(atom in dims.atoms(dim) for dim in shape[1:]):
            return False
    return True


def grouped(indices: Sequence[int], examples: Examples, several: bool) -> list[list[int]]:
    """Samples that run at once: those of equal shapes, labelled alike; each by itself where a model takes one only."""
    if not several:
        return [[index] for index in indices]
    groups: dict[Any, list[int]] = {}
    for index in indices:
        own = examples.labels[index]
        shapes = tuple((name, array.shape) for name, array in sorted(examples.feeds[index].items()))
        groups.setdefault((shapes, None if own is None else own.shape), []).append(index)
    return list(groups.values())


def joined(parts: Sequence[Array]) -> Array:
    """Arrays of several samples behind each other."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

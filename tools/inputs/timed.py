"""Inputs that a model is timed on: the user's samples, or made-up ones of typical sizes that the model runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from ...ir.core import Model
from ...ir.errors import UsageError
from ..calibration.samples import open_samples
from .maker import InputMaker
from .shapes import Shapes, read_shapes

OPTION = "--inputs"
MOST = 8  # samples of the user's that are timed; each contender runs all of them in each of its turns
_TYPICAL = {"sequence": 128, "height": 224, "width": 224}
Feeds = dict[str, Any]


def samples_for(text: str, model: Model) -> list[Feeds]:
    """The first few samples that --inputs names. Raises UsageError."""
    return list(islice(open_samples(text, model, OPTION), MOST))


def feeds_for(
    model: Model, shape: list[str], batch: int | None, seed: int, runs: Callable[[Feeds], str]
) -> tuple[Feeds, int]:
    """Made-up inputs on which the model runs, and how many rows of a batch they are (1 where nothing tells).

    A dimension that is a batch has `batch` (None: what --shape says, else 1), a sequence 128, a picture 224 x 224
    unless --shape says another; where the model refuses that, what `InputMaker` tries. `runs` tries inputs and gives
    the reason why they do not run, or "". Raises UsageError with the last reason.
    """
    shapes = read_shapes(shape, model)
    kinds = InputMaker(model, shapes, seed)
    if kinds.problem:
        raise UsageError(f"{kinds.problem}; {OPTION} gives your own")
    batches = [name for name, kind in kinds.symbols.items() if kind == "batch" and name not in shapes.symbols]
    if batch is not None and not batches:
        raise UsageError("has no open dimension for a batch, or --shape fixes it", source="--batch")
    reason = ""
    for maker, sizes in _tries(model, shapes, kinds, dict.fromkeys(batches, batch or 1), seed):
        feeds = maker.feeds(sizes, 0)
        reason = runs(feeds)
        if not reason:
            return feeds, next((sizes[name] for name, kind in kinds.symbols.items() if kind == "batch"), 1)
    raise UsageError(f"runs on no inputs that were made up; {OPTION} or --shape give your own: {reason}")


def _tries(
    model: Model, shapes: Shapes, kinds: InputMaker, batches: dict[str, int], seed: int
) -> Iterator[tuple[InputMaker, dict[str, int]]]:
    """Sizes to try: the typical ones, then each kind's candidates."""
    typical = {name: _TYPICAL[kind] for name, kind in kinds.symbols.items() if kind in _TYPICAL}
    for more in (typical, {}):
        maker = InputMaker(model, replace(shapes, symbols={**more, **batches, **shapes.symbols}), seed)
        for sizes in islice(maker.sizes(), 1 if more else None):
            yield maker, sizes

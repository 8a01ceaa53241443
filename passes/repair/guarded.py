"""Layers are fitted again where that serves: judged by the model's outputs on samples that nothing was fitted to.

    held = held_out(model, ctx, 16)                    # the first samples, at most a quarter of them
    refit_where_it_serves(model, layers, original, ctx, 64, held, "prune")

A fit to few samples can bring the values in the middle of a model nearer to what they were, and its outputs away from
what they are on all that the samples are not: another photograph beside six, single words beside documents. Samples
are judged by in the order in which they are given, so kinds that are to judge stand first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...ir.clone import clone_model
from ...ir.core import Model, Node
from ...ir.tensor import Array
from ..base import Context
from ..quantize.difference import differences
from ..quantize.observers import Count
from .refit import Original, refit

_LARGEST = 4  # held-out samples are one in so many at most


def held_out(model: Model, ctx: Context, wanted: int) -> int:
    """How many of the first samples are kept from every fit: `wanted`, or a quarter where there are few; 0 without any.

    Raises UsageError where a sample does not run.
    """
    first = next((node for node in model.graph if node.outputs[0].type is not None), None)
    if ctx.observe is None or first is None or not wanted:
        return 0
    seen = Count()
    ctx.observe(model, {first.output: seen}, _LARGEST * wanted)
    return min(wanted, seen.count // _LARGEST)


def refit_where_it_serves(
    model: Model, layers: Sequence[Node], original: Original, ctx: Context, limit: int, held: int, name: str,
    kept: Mapping[Node, Array] | None = None,
) -> bool:  # fmt: skip
    """`refit` for the pass `name`, on at most `limit` samples behind the first `held`, by which it is judged.

    True if the layers stay as they were fitted: where the outputs are nearer to the original's, and where `held` is 0.
    Else the model is what it was, of other nodes. Raises UsageError where a sample does not run.
    """
    if not layers:
        return False
    assert ctx.observe is not None
    if not held:
        refit(model, layers, original, ctx, limit, kept)
        return True
    backup, _ = clone_model(model)
    before = differences(original.model, model, ctx.observe, held)
    refit(model, layers, original, ctx, limit, kept, held)
    after = differences(original.model, model, ctx.observe, held)
    serves = sum(after) < sum(before) or not before
    if before:
        off = f"outputs are off by {np.mean(after):.2%}, without it by {np.mean(before):.2%}"
        text = f"repair of {len(layers)} layers: {off}, on {held} samples that nothing was fitted to"
        ctx.remark("applied" if serves else "refused", name, text)
    if not serves:
        model.graph = backup.graph
    return serves

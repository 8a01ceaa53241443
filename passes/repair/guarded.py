"""Layers are fitted again where that serves: judged by the model's outputs on samples that nothing was fitted to.

A fit to few samples can bring the values in the middle of a model nearer to what they were, and its outputs away from
it on all that the samples are not: single words beside documents, another photograph beside six.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...ir.clone import clone_model
from ...ir.core import Model, Node
from ...ir.tensor import Array
from ..base import Context
from ..quantize.difference import differences
from .refit import Original, refit


def refit_where_it_serves(
    model: Model, layers: Sequence[Node], original: Original, ctx: Context, limit: int, name: str,
    kept: Mapping[Node, Array] | None = None,
) -> bool:  # fmt: skip
    """`refit` for the pass `name`, on at most `limit` samples; taken back where it does not serve on as many others.

    True if the layers stay as they were fitted, and where no samples are left to judge by. Raises UsageError where a
    sample does not run.
    """
    if not layers:
        return False
    assert ctx.observe is not None
    before = differences(original.model, model, ctx.observe, 2 * limit, limit)
    backup, _ = clone_model(model)
    refit(model, layers, original, ctx, limit, kept)
    if not any(before):  # no samples, or nothing that could be nearer
        return True
    after = differences(original.model, model, ctx.observe, 2 * limit, limit)
    off = f"outputs are off by {np.mean(after):.2%}, without it by {np.mean(before):.2%}"
    text = f"repair of {len(layers)} layers: {off}, on samples that were not fitted to"
    if float(np.mean(after)) < float(np.mean(before)):
        ctx.remark("applied", name, text)
        return True
    model.graph = backup.graph
    ctx.remark("refused", name, text)
    return False

"""Copies of constants in another shape: how share-weights finds and replaces them."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.builder import Builder
from ...ir.core import Graph, Value, constant
from ...ir.evaluate import DeferredTensor
from ...ir.evaluate import reshaped as in_shape
from ...ir.types import STR
from ..base import Context
from .equal_constants import equal_groups
from .transposed import remark_saving

_RULE = "reshaped"


def share_reshaped(root: Graph, values: Iterable[Value], min_bytes: int, name: str, ctx: Context) -> bool:
    """Replace constants with the bytes of another one by a Reshape of that; True if any was."""
    changed = False
    for kept, *copies in _groups(values, min_bytes):
        for copy in copies:
            users = list(copy.users)
            if not users or not ctx.allow(name, _RULE, users[0]):
                continue
            assert copy.const is not None
            b = Builder(root, root.first, users[0].loc)  # visible from everywhere
            with ctx.rewrite(name, _RULE, users, b.created):
                shaped = b.op("Reshape", kept, b.ints(list(copy.const.shape)))
                shaped.hint = copy.hint
                copy.replace_with(shaped)
            remark_saving(ctx, name, _RULE, kept, copy, b.created[0])
            changed = True
    return changed


def _groups(values: Iterable[Value], min_bytes: int) -> Iterable[list[Value]]:
    """Constants of equal bytes, of which no two have the same shape."""
    buckets: dict[tuple[object, int], list[Value]] = {}
    for value in values:
        tensor = value.const
        if tensor is None or tensor.splat is not None or tensor.dtype is STR or isinstance(tensor, DeferredTensor):
            continue
        if tensor.length >= min_bytes:
            buckets.setdefault((tensor.dtype, tensor.size), []).append(value)
    for bucket in buckets.values():
        if len(bucket) < 2:
            continue
        flat = {constant(in_shape(v.const, (v.const.size,))): v for v in bucket if v.const is not None}
        for group in equal_groups(list(flat)):
            shapes = {flat[each].const.shape: flat[each] for each in reversed(group)}  # type: ignore[union-attr]
            if len(shapes) > 1:
                yield [flat[each] for each in group if flat[each] in shapes.values()]

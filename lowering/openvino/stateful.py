"""Key-value caches (`passes.caches`) that stay inside the model: variables instead of inputs and outputs."""

from __future__ import annotations

from typing import Any

from ...ir.core import Graph, Value
from ...ir.tensor import Tensor
from ...ir.types import TensorType
from .table import NoMapping, Translation


def empty_cache(t: Translation, graph: Graph, value: Value, known: dict[Value, Any]) -> Any:
    """The initial value of a cache: no past, and the batch of an input in `known` that has the same batch size.

    Raises NoMapping where no input tells the batch size or the other sizes are open.
    """
    type = value.type
    assert isinstance(type, TensorType) and type.shape is not None
    batch, heads, _, size = type.shape
    if not isinstance(heads, int) or not isinstance(size, int):
        raise NoMapping("the heads of a cache are not fixed")
    if isinstance(batch, int):
        rows = t.i64([batch])
    else:
        rows = None
        for other in graph.inputs:
            axes = [axis for axis, dim in enumerate(other.shape or ()) if dim == batch]
            if other in known and axes:
                rows = t.o.gather(t.shape_of(known[other]), t.i64([axes[0]]), t.i64(0))
                break
        if rows is None:
            raise NoMapping("no input tells how many rows a cache has")
    zero = t.constant(Tensor.of(0, type.dtype))
    return t.o.broadcast(zero, t.o.concat([rows, t.i64([heads, 0, size])], 0))

"""sparse-storage: weights with many zeros are stored as the others and their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.attributes import SparseTensor
from ...ir.builder import Builder
from ...ir.core import Graph, Model, Value
from ...ir.tensor import Array, Tensor
from ..base import Context, Pass
from ..naming import choose_named, names_of

_PLACE = 8  # bytes of a place: ONNX has i64 alone ("indices", SparseTensorProto)
_NOTED = 0.25  # of a weight that is zero: from there on it is worth a remark that this does not pay


@dataclass(frozen=True)
class SparseStorage(Pass):
    """Weights become sparse initializers where these are smaller: their numbers, and the place of each as a 64-bit one.

    So a file is smaller from two thirds of zeros on for f32 (12 bytes for each number that is not zero, beside 4 for
    every one). The runtime fills in the zeros when it loads the model: speed and memory are those of the full weights.
    No number changes. It stands last in a pipeline, behind `sparsify`: other passes know less of such weights. A target
    that does not load them gets none.

    `layers`, if given, names the only ones (weights or nodes that read them, with * and ?), `keep` those that stay
    full, and so do those of fewer than `least` numbers.
    """

    name: ClassVar[str] = "sparse-storage"
    settles: ClassVar[bool] = True
    layers: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    least: int = 1 << 12

    def run(self, model: Model, ctx: Context) -> bool:
        """True if a weight is stored in another way. Raises UsageError for a name that nothing has."""
        found = _weights(model.graph, self.least)
        named = [(value, next(iter(value.users)), {value.hint, *names_of(value.users)}) for value in found]
        changed = False
        for value in choose_named(self, named, ctx, "weight"):
            changed |= self._stored(model.graph, value, ctx)
        return changed

    def _stored(self, graph: Graph, value: Value, ctx: Context) -> bool:
        tensor, node = value.const, next(iter(value.users))
        assert tensor is not None
        count = sum(int(np.count_nonzero(_bits(piece))) for piece in tensor.pieces())
        size = count * (tensor.dtype.bits // 8 + _PLACE)
        zeros = 1 - count / tensor.size
        if size >= tensor.length:
            if zeros >= _NOTED:
                least = _PLACE / (tensor.dtype.bits // 8 + _PLACE)
                said = f"%{value.hint} stays full: {zeros:.0%} are zero, and it is smaller from {least:.0%} on"
                ctx.decline("refused", self.name, "", node, said)
            return False
        if not getattr(ctx.capabilities, "sparse_constants", True):
            ctx.decline("refused", self.name, "", node, "the target loads no weights without their zeros")
            return False
        if not ctx.allow(self.name, "", node):
            return False
        flat = tensor.read().reshape(-1)
        places = np.flatnonzero(_bits(flat))
        sparse = SparseTensor(Tensor.from_array(flat[places]), Tensor.from_array(places.astype(np.int64)), tensor.shape)
        b = Builder(graph, graph.first)  # visible from everywhere
        with ctx.rewrite(self.name, "", list(value.users), b.created):
            value.replace_with(b.node("Constant", (), {"sparse_value": sparse}, outputs=[value.hint]).output)
        if ctx.wants_remarks:
            text = f"%{value.hint}: {zeros:.1%} are zero, {size / tensor.length:.0%} of its size"
            ctx.remark("applied", self.name, text, node=node)
        return True


def _weights(graph: Graph, least: int) -> list[Value]:
    """Constants of whole bytes that nodes read, in a graph and its regions."""
    found: dict[Value, None] = {}
    for inner in graph.graphs():
        for node in inner:
            found.update((v, None) for v in node.inputs if v is not None and v.const is not None)
    returned = {value for inner in graph.graphs() for value in inner.outputs}
    return [
        value for value in found
        if value not in returned and value.const is not None and value.const.size >= least
        and value.const.splat is None and value.const.dtype.is_float and value.const.dtype.bits in (16, 32, 64)
    ]  # fmt: skip


def _bits(array: Array) -> Array:
    """Numbers by their bits: a zero below zero is none that may be left out."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")

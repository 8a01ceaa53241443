"""share-weights: equal constants, and transposed copies of them, are stored once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Graph, Model, Node, Value
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Tensor
from ...ir.types import STR
from ..base import Context, Pass
from .transposed import share_transposed

# Up to here payloads are compared whole, beyond by a sample and then by digest.
_SMALL = 256


@dataclass(frozen=True)
class ShareWeights(Pass):
    """Constants of the same dtype, shape and bytes become one value, wherever in the model they are used.

    Spans of one file are compared by their place; other payloads are read only where two constants have the same
    dtype and shape, and read whole only if a sample of their bytes is equal. Bodies of functions share nothing
    with each other, as they cannot refer to each other's constants.

    Transposed copies: exporters write the tied embedding of a language model a second time, transposed, for the
    last MatMul. With `transposed` such pairs of matrices, of `min_saving` bytes or more, are found as well. The copy
    goes; a MatMul of rank 2 and a Gemm read the other matrix with transB, anything else reads a Transpose of
    it. Runtimes compute that once, when they load the model: the file is smaller, the speed the same. fold leaves
    that Transpose alone, as folding it would make the file grow again.
    """

    name: ClassVar[str] = "share-weights"
    transposed: bool = True
    min_saving: int = 1 << 20

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any constant was replaced."""
        changed = False
        for root in model.roots():
            kept = self._share_equal(root, ctx)
            changed = kept[1] or changed
            if self.transposed:
                changed = share_transposed(root, kept[0], self.min_saving, self.name, ctx) or changed
        return changed

    def _share_equal(self, root: Graph, ctx: Context) -> tuple[list[Value], bool]:
        """Merge equal constants; those that are left, and whether any went."""
        buckets: dict[tuple[object, ...], list[Value]] = {}
        for value in constants(root):
            tensor = _tensor(value)
            buckets.setdefault((tensor.dtype, tensor.shape), []).append(value)
        left: list[Value] = []
        changed = False
        for bucket in buckets.values():
            for group in equal_groups(bucket):
                left.append(group[0])
                for double in group[1:]:
                    user = next(iter(double.uses))[0]
                    if not ctx.allow(self.name, "equal", user):
                        left.append(double)
                        continue
                    with ctx.rewrite(self.name, "equal", list(double.users) if ctx.watched else [user]):
                        double.replace_with(group[0])
                    changed = True
        return left, changed


def constants(root: Graph) -> dict[Value, None]:
    """The constants used in a graph and its regions, in order of first use."""
    found: dict[Value, None] = {}
    for graph in root.graphs():
        for node in graph:
            _add_constants(node, found)
        _add_constants(graph.ret, found)
    return found


def _add_constants(node: Node, found: dict[Value, None]) -> None:
    for value in node.inputs:
        if value is not None and value.const is not None:
            found[value] = None


def equal_groups(bucket: list[Value]) -> list[list[Value]]:
    """Partition constants of one dtype and shape by their bytes, reading as little as possible."""
    if len(bucket) == 1:
        return [bucket]
    places: dict[Hashable, list[Value]] = {}
    for value in bucket:
        places.setdefault(_place(_tensor(value)), []).append(value)
    if len(places) == 1:
        return [bucket]
    by_sample: dict[Hashable, list[list[Value]]] = {}
    for same in places.values():
        by_sample.setdefault(_sample(_tensor(same[0])), []).append(same)
    whole = _tensor(bucket[0]).nbytes <= _SMALL
    groups: list[list[Value]] = []
    for alike in by_sample.values():
        if whole or len(alike) == 1:
            groups.append([value for same in alike for value in same])
            continue
        by_digest: dict[Hashable, list[Value]] = {}
        for same in alike:
            by_digest.setdefault(_digest(_tensor(same[0])), []).extend(same)
        groups.extend(by_digest.values())
    return groups


def _tensor(value: Value) -> Tensor:
    assert value.const is not None
    return value.const


def _place(tensor: Tensor) -> Hashable:
    """Equal for tensors that are surely equal because they are the same bytes."""
    if isinstance(tensor, DeferredTensor):
        return (tensor.recipe, _place(tensor.source))
    return id(tensor) if tensor.file is None else (id(tensor.file), tensor.offset)


def _sample(tensor: Tensor) -> Hashable:
    """Some of the payload; all of it where it is small."""
    if isinstance(tensor, DeferredTensor):  # compared by what it is computed from
        return (tensor.recipe, _sample(tensor.source))
    if tensor.dtype is STR:
        return tuple(tensor.strings())
    if tensor.length <= _SMALL:
        return bytes(tensor.data())
    if tensor.dtype.bits < 8:
        return bytes(tensor.data()[:_SMALL])
    last = tensor.size - 8
    return tensor.sampled((0, last // 3, 2 * last // 3, last), 8)


def _digest(tensor: Tensor) -> Hashable:
    if isinstance(tensor, DeferredTensor):
        return (tensor.recipe, tensor.source.digest())
    return tensor.digest()

"""Constants with equal bytes: told apart by reading as little of them as possible."""

from __future__ import annotations

from collections.abc import Hashable

from ...ir.core import Value
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Tensor
from ...ir.types import STR

# Up to here payloads are compared whole, beyond by a sample and then by digest.
_SMALL = 256


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

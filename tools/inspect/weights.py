"""Constants by element type, which of them hold the same, and which hold one number over and over."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from ...ir.core import Model, Value, constant
from ...ir.tensor import Tensor
from ...ir.types import STR
from ...passes.clean.equal_constants import equal_groups
from ...passes.clean.share_weights import constants
from ...passes.quantize.dequantize import blocks_of

_WORTH = 1024  # bytes from which on equal or repeated elements are worth a word
_CODES = "com.microsoft::MatMulNBits"
# Operands that say what codes are.
_SCALES = {
    "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), _CODES: (2, 3), "com.microsoft::GatherBlockQuantized": (2, 3),
}  # fmt: skip


def weights_of(model: Model) -> dict[str, Any]:
    """For the facts: `count`, `bytes`, `parameters`, `by_dtype`, `duplicates` and `splats`.

    Data that several constants refer to counts once. `bytes` are those of the elements, packed; a splat's are all of
    them, though a file holds one. `parameters` as `parameters_of` counts them. `duplicates` are groups of names of
    constants from 1,024 bytes on with equal type, shape and elements in different places; `splats` are constants of
    that size with one element over and over.
    """
    values = _distinct(model)
    rows: dict[str, dict[str, Any]] = {}
    for _, tensor in values:
        name = tensor.dtype.name
        row = rows.setdefault(name, {"dtype": name, "count": 0, "elements": 0, "bytes": 0})
        row["count"] += 1
        row["elements"] += tensor.size
        row["bytes"] += tensor.nbytes
    total = sum(row["bytes"] for row in rows.values())
    for row in rows.values():
        row["share"] = row["bytes"] / total if total else 0.0
    splats: list[dict[str, Any]] = []
    alike: dict[Hashable, list[Value]] = {}
    for value, tensor in values:
        if tensor.dtype is STR or tensor.nbytes < _WORTH:
            continue
        if _is_splat(tensor):
            entry = {"name": value.hint, "type": str(tensor.type), "value": _element(tensor), "bytes": tensor.nbytes}
            splats.append(entry)
        else:
            alike.setdefault((tensor.dtype, tensor.shape), []).append(value)
    groups = [group for bucket in alike.values() for group in equal_groups(bucket) if len(group) > 1]
    return {
        "count": len(values),
        "bytes": total,
        "parameters": parameters_of(model),
        "by_dtype": sorted(rows.values(), key=lambda row: -row["bytes"]),
        "duplicates": [_group(group) for group in groups],
        "splats": splats,
    }


def parameters_of(model: Model) -> int:
    """Elements of floats and of codes of 8 bits and less, the codes of MatMulNBits one by one; scales, zero points and
    minima of codes are none. Data that several constants refer to counts once."""
    scales = set(map(id, _scales(model)))
    plain = sum(tensor.size for _, tensor in _distinct(model) if _is_parameter(tensor) and id(tensor) not in scales)
    return plain + _packed(model)


def _distinct(model: Model) -> list[tuple[Value, Tensor]]:
    """Constants that do not refer to data that another one has already; defaults of inputs by the inputs."""
    found: dict[Hashable, tuple[Value, Tensor]] = {}
    for value, tensor in _all(model):
        is_span = tensor.file is not None and tensor.length
        key: Hashable = (id(tensor.file), tensor.offset, tensor.length) if is_span else id(tensor)
        found.setdefault(key, (value, tensor))
    return list(found.values())


def _all(model: Model) -> Iterator[tuple[Value, Tensor]]:
    for graph in model.graphs():
        yield from ((constant(tensor, value.hint), tensor) for value, tensor in graph.defaults.items())
    for value in chain.from_iterable(map(constants, model.roots())):
        assert value.const is not None
        yield value, value.const


def _is_parameter(tensor: Tensor) -> bool:
    return tensor.dtype.is_float or (tensor.dtype.is_int and tensor.dtype.bits <= 8)


def _scales(model: Model) -> Iterator[Tensor]:
    """Constants that say what codes mean: scales, zero points and minima of blocks."""
    for node in model.walk():
        for slot in _SCALES.get(node.op.key, ()):
            value = node.input(slot)
            if value is not None and value.const is not None:
                yield value.const
        found = blocks_of(node) if node.op.key == "DequantizeLinear" else None
        if found is not None and found.minima is not None:
            yield found.minima


def _packed(model: Model) -> int:
    """Codes of MatMulNBits beyond the bytes that hold them."""
    seen: dict[Value, int] = {}
    for node in model.walk():
        codes = node.input(1)
        if node.op.key == _CODES and codes is not None and codes.const is not None:
            seen[codes] = int(node.attr("N")) * int(node.attr("K")) - codes.const.size
    return sum(seen.values())


def _is_splat(tensor: Tensor) -> bool:
    """True where all elements have the same bits. What differs early is read no further."""
    if tensor.splat is not None:
        return True
    if tensor.dtype.bits < 8:
        start = tensor.data()[:64]
        return len(set(start)) == 1 and len(np.unique(tensor.array().view(np.uint8))) == 1
    pieces = tensor.pieces()
    first = None
    for piece in chain([np.frombuffer(tensor.sampled((0, tensor.size - 1)), tensor.dtype.numpy)], pieces):
        bits = np.ascontiguousarray(piece).view(np.uint8).reshape(piece.size, -1)
        first = bits[0] if first is None else first
        if not (bits == first).all():
            return False
    return True


def _element(tensor: Tensor) -> float | int | str:
    """The element of a splat as JSON has it."""
    if tensor.splat is not None:
        element = tensor.splat
    elif tensor.dtype.bits < 8:
        element = tensor.array().reshape(-1)[0]
    else:
        element = np.frombuffer(tensor.sampled((0,)), tensor.dtype.numpy)[0]
    if tensor.dtype.is_float:
        number = float(element)
        return number if np.isfinite(number) else str(number)
    return str(element) if tensor.dtype.kind == "c" else int(element)


def _group(group: list[Value]) -> dict[str, Any]:
    """Constants that hold the same; `bytes` are those that all but one of them take."""
    tensor = group[0].const
    assert tensor is not None
    return {"names": [v.hint for v in group], "type": str(tensor.type), "bytes": tensor.nbytes * (len(group) - 1)}

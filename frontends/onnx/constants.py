"""The nodes that stand for constants: Constant in all its spellings, and ConstantOfShape of a known shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ir.attributes import SparseTensor
from ...ir.errors import InvalidModel
from ...ir.tensor import Tensor
from ...ir.types import F32, I64, STR

_NUMBERS = {"value_float": F32, "value_floats": F32, "value_int": I64, "value_ints": I64}
# Below this many bytes a repeated element is spelled out; ONNX's writer draws the same line.
_SMALLEST_SPLAT = 128
# A sparse constant that saves fewer bytes than this is not worth a node, which knows less than a constant.
_SPARSE_SAVING = 1024


def constant_value(attrs: Mapping[str, Any]) -> Tensor | SparseTensor:
    """What a Constant node with these attributes holds. Raises InvalidModel unless there is exactly one."""
    if len(attrs) != 1:
        raise InvalidModel(f"a Constant has exactly one value, not {len(attrs)}")
    name, value = next(iter(attrs.items()))
    if isinstance(value, (Tensor, SparseTensor)):
        return value
    if name == "value_string":
        return Tensor(STR, (), data=[_bytes(value)])
    if name == "value_strings":
        return Tensor(STR, (len(value),), data=[_bytes(s) for s in value])
    dtype = _NUMBERS.get(name)
    if dtype is None:
        raise InvalidModel(f"a Constant cannot have the attribute {name!r}")
    return Tensor.of(list(value) if name.endswith("s") else value, dtype)


def splat(shape: Tensor, attrs: Mapping[str, Any]) -> Tensor | None:
    """ConstantOfShape of a constant: one element repeated; None where it has to stay a node."""
    element = attrs.get("value") or Tensor.of([0.0], F32)
    if shape.dtype is not I64 or len(shape.shape) != 1 or not isinstance(element, Tensor):
        return None
    dims = shape.ints()
    if element.size != 1 or element.dtype is STR or any(d < 0 for d in dims):
        return None
    repeated = Tensor.of_splat(element.item(), dims, element.dtype)
    if repeated.length <= _SMALLEST_SPLAT:
        return Tensor.from_array(repeated.array(), element.dtype)
    return repeated if repeated.length < 1 << 63 and element.dtype.bits >= 8 else None


def dense(sparse: SparseTensor) -> Tensor | None:
    """A sparse constant as a plain one, where that takes about as little room; None where it stays a node.

    Raises InvalidModel for an index outside the shape.
    """
    values, indices, count = sparse.values, sparse.indices, math.prod(sparse.shape)
    dtype = values.dtype
    if dtype is STR or dtype.bits < 8 or dtype.nbytes(count) > values.length + indices.length + _SPARSE_SAVING:
        return None
    places = indices.array()
    limits = np.array([count] if places.ndim == 1 else sparse.shape, np.int64)
    table = places.reshape(len(places), len(limits))
    if ((table < 0) | (table >= limits)).any():
        raise InvalidModel(f"a sparse constant has an index outside its shape {list(sparse.shape)}")
    array = np.zeros(sparse.shape, dtype.numpy)
    flat = places if places.ndim == 1 else np.ravel_multi_index(tuple(table.T), sparse.shape)
    array.reshape(-1)[flat] = values.array()
    return Tensor.from_array(array, dtype)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value

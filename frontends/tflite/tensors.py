"""TFLite's tensors: what a model says of each, and the data of the constant ones, left where it lies in the file."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ...ir.dims import DimLike, symbol
from ...ir.errors import FormatError, InvalidModel, UnsupportedModel
from ...ir.tensor import Array, MappedFile, Tensor
from ...ir.types import STR, DType
from .flatbuffer import Table
from .schema import DTYPES, RESOURCE
from .sparsity import Sparsity

_MAX_RANK = 64


@dataclass(frozen=True)
class Quantization:
    """real = scale * (stored - zero); one pair for all, or one for each index of `axis`."""

    scale: Array  # f32, 1-D
    zero: Array  # i64, 1-D, as many
    axis: int

    @property
    def per_tensor(self) -> bool:
        return self.scale.size == 1

    def same(self, other: Quantization | None) -> bool:
        """True if integers mean the same numbers under both."""
        return (
            other is not None
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
            and (self.per_tensor or self.axis == other.axis)
        )


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a subgraph. `shape` has -1 where the model leaves a dimension open; `dtype` is None for handles."""

    index: int
    name: str
    dtype: DType | None
    shape: tuple[int, ...]
    quantization: Quantization | None
    const: Tensor | None
    sparsity: Sparsity | None
    is_variable: bool = False

    @property
    def label(self) -> str:
        return f"tensor {self.name!r}" if self.name else f"tensor {self.index}"

    def dims(self) -> tuple[DimLike, ...]:
        """The shape with a symbol for each open dimension, named by the tensor and the axis."""
        return tuple(symbol(f"{self.name}_d{axis}") if d < 0 else d for axis, d in enumerate(self.shape))


class TensorReader:
    """Reads the tensors of one model."""

    def __init__(self, file: MappedFile, source: str, buffers: list[Table]) -> None:
        self.file = file
        self.source = source
        self.buffers = buffers

    def read(self, index: int, table: Table) -> TensorInfo:
        """One tensor. Raises FormatError, naming it, where its parts contradict each other."""
        name = table["name"] or ""
        label = f"tensor {name!r}" if name else f"tensor {index}"
        code = table["type"]
        dtype = DTYPES.get(code)
        if dtype is None and code != RESOURCE:
            raise UnsupportedModel(f"{label} has element type {code}, which ONNX lacks", source=self.source)
        shape = self._shape(table, "shape", label)
        sparsity = None
        if table["sparsity"] is not None:
            sparsity = Sparsity(table["sparsity"], shape, label)
        const = None
        if dtype is not None and not table["is_variable"]:
            const = self._const(table["buffer"], dtype, shape, sparsity, label)
        if const is None:
            signature = self._shape(table, "shape_signature", label, least=-1)
            if len(signature) == len(shape):
                shape = signature
        quantization = self._quantization(table, shape, label)
        return TensorInfo(index, name, dtype, shape, quantization, const, sparsity, table["is_variable"])

    def _shape(self, table: Table, field: str, label: str, least: int = 0) -> tuple[int, ...]:
        found = table[field]
        if found is None:
            return ()
        if found.size > _MAX_RANK or (found.size and int(found.min()) < least):
            raise self._error(f"{label} has an impossible shape {found[:8].tolist()}")
        return tuple(found.tolist())

    def _const(
        self, index: int, dtype: DType, shape: tuple[int, ...], sparsity: Sparsity | None, label: str
    ) -> Tensor | None:
        """The data of a tensor's buffer; None for an empty one, which other tensors are computed into."""
        if index >= len(self.buffers):
            raise self._error(f"{label} is in buffer {index}, there are {len(self.buffers)}")
        buffer = self.buffers[index]
        span = buffer["data"]
        offset, length = span if span is not None else (0, 0)
        if buffer["offset"] > 1:  # models of over 2 GB keep their data behind the flatbuffer
            offset, length = buffer["offset"], buffer["size"]
            if offset + length > self.file.size:
                raise self._error(f"buffer {index} ends at byte {offset + length}, the file has {self.file.size}")
        if not length:
            return None
        if dtype is STR:
            raise UnsupportedModel(f"{label} is a constant of strings", source=self.source)
        if sparsity is not None:
            shape = (sparsity.stored,)
        expected = dtype.nbytes(prod(shape))
        if length != expected:
            raise self._error(f"{label} has {length} bytes, {dtype}{list(shape)} needs {expected}")
        return Tensor(dtype, shape, file=self.file, offset=offset)

    def _quantization(self, table: Table, shape: tuple[int, ...], label: str) -> Quantization | None:
        found = table["quantization"]
        if found is None:
            return None
        scale, zero, axis = found["scale"], found["zero_point"], found["quantized_dimension"]
        if scale is None or not scale.size:
            return None
        if zero is None or not zero.size:
            zero = np.zeros(scale.size, np.int64)
        if zero.size == 1:
            zero = np.repeat(zero, scale.size)
        if zero.size != scale.size or not np.isfinite(scale).all() or not (scale > 0).all():
            raise self._error(f"{label} has scales that are none, or {zero.size} zero points for {scale.size} scales")
        if scale.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scale.size):
            raise self._error(f"{label} has {scale.size} scales for axis {axis} of {list(shape)}")
        return Quantization(scale, zero, axis)

    def _error(self, message: str) -> FormatError:
        return FormatError(message, source=self.source)


def stored_zero(quantization: Quantization, dtype: DType, label: str) -> Array:
    """The zero points in the type of the codes. Raises InvalidModel where they do not fit."""
    limits = np.iinfo(dtype.numpy) if dtype.bits >= 8 else None
    low, high = (limits.min, limits.max) if limits is not None else (-8, 7)
    zero = quantization.zero
    if int(zero.min()) < low or int(zero.max()) > high:
        raise InvalidModel(f"{label} has zero points outside {dtype}")
    return zero.astype(dtype.numpy)

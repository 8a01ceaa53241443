"""Tensors of a GGUF file as values of a graph: floats as spans of the file, matrices in blocks dequantized there.

A matrix is `DequantizeLinear(codes [outputs, inputs], scales) {axis=1, block_size}`, with `Reshape, Add, Reshape`
behind it where its blocks have minima (docs/weights.md). Nothing of it is read before somebody asks for the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Value, constant
from ...ir.errors import InvalidModel
from ...ir.evaluate.deferred import PackedTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import BF16, F16, F32, F64, U8, DType
from ..needed import needed
from .blocks import FORMS, Form, Part
from .reader import Gguf, Stored

_FLOATS = {"F32": F32, "F16": F16, "BF16": BF16, "F64": F64}


class Weights:
    """The tensors of one file, each made a value once; `used` has the names of those that were asked for."""

    def __init__(self, gguf: Gguf) -> None:
        self.gguf = gguf
        self.used: set[str] = set()
        self._made: dict[str, Value] = {}

    def has(self, name: str) -> bool:
        return name in self.gguf.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises InvalidModel where there is no such tensor."""
        return self._stored(name).shape

    def array(self, name: str, size: int) -> Array:
        """A short vector of floats. Raises InvalidModel where it is missing or of another size."""
        return self._floats(self._checked(name, (size,)), None).array()

    def vector(self, name: str, size: int, order: Array | None = None) -> Value:
        """A constant f32 [size], its elements in another order where one is given."""
        return constant(self._floats(self._checked(name, (size,)), order), name)

    def matrix(self, b: Builder, name: str, rows: int, columns: int, order: Array | None = None) -> Value:
        """f32 [rows, columns]: a constant, or what dequantizes one; `order` is that of the rows.

        Raises InvalidModel where it is missing or of another shape.
        """
        stored = self._checked(name, (rows, columns))
        if name in self._made:
            return self._made[name]
        form = FORMS.get(stored.kind.name)
        if form is None:
            found = constant(self._floats(stored, order), name)
        else:
            found = self._blocks(b, stored, form, order)
        self._made[name] = found
        return found

    def _stored(self, name: str) -> Stored:
        if name not in self.gguf.tensors:
            raise InvalidModel(f"tensor {name!r} is missing", source=self.gguf.file.path)
        return self.gguf.tensors[name]

    def _checked(self, name: str, shape: tuple[int, ...]) -> Stored:
        stored = self._stored(name)
        if stored.shape != shape:
            said = f"tensor {name!r} is {list(stored.shape)}, the metadata need {list(shape)}"
            raise InvalidModel(said, source=self.gguf.file.path)
        self.used.add(name)
        return stored

    def _bytes(self, stored: Stored) -> Tensor:
        """The data as it lies, u8 [rows, bytes of a row]."""
        rows = int(np.prod(stored.shape[:-1], dtype=np.int64))
        return Tensor(U8, (rows, stored.nbytes // rows), file=self.gguf.file, offset=stored.offset)

    def _blocks(self, b: Builder, stored: Stored, form: Form, order: Array | None) -> Value:
        rows, columns = stored.shape
        count = columns // form.size
        source, kind, width = self._bytes(stored), stored.kind, columns // stored.kind.elements
        parts = ("codes", "scales") if form.minima is None else ("codes", "scales", "minima")

        def part(what: str, compute: Part, dtype: DType, shape: tuple[int, ...]) -> Value:
            def made(data: Array) -> Array:
                taken = data if order is None else data[order]
                found = compute(np.ascontiguousarray(taken).reshape(rows * width, kind.bytes))
                return _as(found, dtype)

            tensor = PackedTensor(dtype, shape, source, made, kind.name, what, parts, order)
            return b.const(tensor, hint=f"{stored.name}.{what}")

        codes = part("codes", form.codes, form.dtype, (rows, columns))
        scales = part("scales", form.scales, F32, (rows, count))
        found = b.op("DequantizeLinear", codes, scales, axis=1, block_size=form.size)
        if form.minima is not None:
            minima = part("minima", form.minima, F32, (rows, count, 1))
            apart = b.op("Reshape", found, b.ints((rows, count, form.size)))
            found = b.op("Reshape", b.op("Add", apart, minima), b.ints((rows, columns)))
        found.hint = stored.name
        return found

    def _floats(self, stored: Stored, order: Array | None) -> Tensor:
        """The numbers as f32, along the first axis in another order where one is given."""
        dtype = _FLOATS.get(stored.kind.name)
        if dtype is F32 and order is None:
            return Tensor(F32, stored.shape, file=self.gguf.file, offset=stored.offset)
        if dtype is not None:
            source = Tensor(dtype, stored.shape, file=self.gguf.file, offset=stored.offset)
            numbers: Callable[[Array], Array] = _single
        else:
            source, numbers = self._bytes(stored), self._dequantized(stored)

        def made(data: Array) -> Array:
            return numbers(data).reshape(stored.shape)[... if order is None else order]

        return PackedTensor(F32, stored.shape, source, made, stored.kind.name, "floats", ("floats",), order)

    def _dequantized(self, stored: Stored) -> Callable[[Array], Array]:
        """Types that no operator takes in blocks, by ggml's own package. Raises UsageError where it is missing."""
        gguf: Any = needed("gguf", "gguf", self.gguf.file.path)
        kind = gguf.GGMLQuantizationType[stored.kind.name]
        return lambda data: gguf.dequantize(np.ascontiguousarray(data), kind).astype(np.float32)


def _single(data: Array) -> Array:
    return np.asarray(data, np.float32)


def _as(found: Array, dtype: DType) -> Array:
    """Numbers in a dtype of the IR; codes of a few bits are bytes in numpy and are only called otherwise."""
    if dtype is F32:
        return found.astype(np.float32, copy=False)
    found = np.ascontiguousarray(found)
    return found.view(dtype.numpy) if dtype.bits < 8 else found

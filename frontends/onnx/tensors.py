"""ONNX's TensorProto to `Tensor`: a span of the mapped file wherever the payload is stored as raw bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from ...ir.attributes import SparseTensor
from ...ir.errors import FormatError, InvalidModel
from ...ir.proto.messages import Span, SparseTensorProto, TensorProto
from ...ir.tensor import MappedFile, Tensor
from ...ir.types import STR, DType
from .types import dtype_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXTERNAL = 1
_MAX_RANK = 64
# Which typed field holds each element type (onnx.proto, TensorProto); int32_data holds bit patterns of narrow types.
_FIELD = {
    1: "float_data", 14: "float_data", 11: "double_data", 15: "double_data", 7: "int64_data",
    12: "uint64_data", 13: "uint64_data", 8: "string_data",
}  # fmt: skip


class TensorReader:
    """Reads the tensors of one model file and of the data files beside it.

    `folder` is the model's folder, the only place data files may be in; None when the model came from memory. Where
    the model is a link, as in the caches of model hubs, they may also be in the folder that it leads to. `memory` has
    external data that is no file at all: the bytes of one tensor by its location.
    """

    def __init__(
        self, file: MappedFile, source: str, folder: str | None, memory: Mapping[str, memoryview] | None = None
    ) -> None:
        self.file = file
        self.source = source
        self.folder = folder
        self.memory = memory or {}
        self._files: dict[str, MappedFile] = {}

    def read(self, proto: TensorProto, where: str = "") -> Tensor:
        """The tensor; FormatError or InvalidModel, naming it, when its data cannot be what it says."""
        name = where or f"tensor {proto.name or '?'!r}"
        dtype = dtype_of(proto.data_type or 0, name)
        shape = self._shape(proto, name)
        count = prod(shape)
        if proto.data_location == _EXTERNAL:
            return self._external(proto, dtype, shape, name)
        if dtype is STR:
            if len(proto.string_data) != count:
                raise self._error(f"{name} has {len(proto.string_data)} strings, shape needs {count}")
            return Tensor(STR, shape, data=list(proto.string_data))
        raw = proto.raw_data
        if raw is not None and not (_length(raw) == 0 and count and self._has_typed(proto)):
            expected = dtype.nbytes(count)
            if _length(raw) != expected:
                raise self._error(f"{name} has {_length(raw)} bytes, {dtype}{list(shape)} needs {expected}")
            if isinstance(raw, Span):
                return Tensor(dtype, shape, file=self.file, offset=raw.offset)
            return Tensor(dtype, shape, data=raw)
        return self._typed(proto, dtype, shape, count, name)

    def read_sparse(self, proto: SparseTensorProto, where: str) -> SparseTensor:
        """A sparse constant (values, indices, dense shape)."""
        if proto.values is None or proto.indices is None:
            raise self._error(f"{where} lacks its values or indices")
        dims = tuple(proto.dims)
        values, indices = self.read(proto.values, where), self.read(proto.indices, where)
        nonzero = values.size
        if any(d < 0 for d in dims) or indices.shape not in ((nonzero,), (nonzero, len(dims))):
            raise self._error(f"{where}: indices {list(indices.shape)} do not fit {nonzero} values")
        return SparseTensor(values, indices, dims)

    def _shape(self, proto: TensorProto, name: str) -> tuple[int, ...]:
        shape = tuple(proto.dims)
        if len(shape) > _MAX_RANK or (shape and min(shape) < 0):
            raise self._error(f"{name} has an impossible shape {list(shape[:8])}")
        return shape

    def _has_typed(self, proto: TensorProto) -> bool:
        return any(
            field is not None
            for field in (
                proto.float_data, proto.int32_data, proto.int64_data, proto.double_data, proto.uint64_data,
            )
        )  # fmt: skip

    def _typed(
        self, proto: TensorProto, dtype: DType, shape: tuple[int, ...], count: int, name: str
    ) -> Tensor:
        from ...ir.proto.packed import unpack

        field = _FIELD.get(dtype.onnx, "int32_data")
        payload: Any = getattr(proto, field)
        if payload is None:
            payload = b""
        elif isinstance(payload, Span):
            payload = self.file.view[payload.offset : payload.offset + payload.length]
        array = unpack(field, payload, source=self.source, place=name)
        return Tensor(dtype, shape, data=self._convert(array, dtype, count, name))

    def _convert(self, array: NDArray[Any], dtype: DType, count: int, name: str) -> memoryview:
        """Elements of a typed field as packed bytes."""
        import numpy as np

        if dtype.kind == "c":
            expected = 2 * count
        elif dtype.bits in (2, 4):
            expected = dtype.nbytes(count)  # one packed byte to an element of int32_data
        else:
            expected = count
        if array.size != expected:
            raise self._error(f"{name} has {array.size} elements in its data, its shape needs {expected}")
        if dtype.bits == 6:
            codes = (array & 0x3F).astype(np.uint8)
            return Tensor.from_array(codes.view(dtype.numpy), dtype).data()
        if dtype.kind != "c" and dtype.bits < 32:
            width = np.uint8 if dtype.bits <= 8 else np.uint16
            array = array.astype(np.int64).astype(width)
        elif dtype.name == "u32":
            array = array.astype(np.uint32)
        return np.ascontiguousarray(array).view(np.uint8).data

    def _external(
        self, proto: TensorProto, dtype: DType, shape: tuple[int, ...], name: str
    ) -> Tensor:
        entries = {e.key or "": e.value or "" for e in proto.external_data}
        location = entries.get("location", "")
        if dtype is STR:
            raise self._error(f"{name} stores strings in an external file, which ONNX does not allow")
        held = self.memory.get(location)
        if held is not None:
            if held.nbytes != dtype.nbytes(prod(shape)):
                raise self._error(f"{name} has {held.nbytes} bytes, {dtype}{list(shape)} needs another number")
            return Tensor(dtype, shape, data=held)
        file = self._open(location, name)
        offset, length = self._number(entries, "offset", name), self._number(entries, "length", name)
        tensor = Tensor(dtype, shape, file=file, offset=offset or 0)
        if length is not None and length != tensor.length:
            raise self._error(f"{name}: external data has length {length}, its shape needs {tensor.length}")
        if tensor.offset + tensor.length > file.size:
            raise FormatError(
                f"{name} needs bytes {tensor.offset} to {tensor.offset + tensor.length}, "
                f"the file has {file.size}",
                source=file.path,
            )
        return tensor

    def _number(self, entries: dict[str, str], key: str, name: str) -> int | None:
        text = entries.get(key)
        if text is None or text == "":
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise self._error(f"{name}: external data {key} is {text!r}, not a number")
        return int(text)

    def _open(self, location: str, name: str) -> MappedFile:
        found = self._files.get(location)
        if found is not None:
            return found
        if self.folder is None:
            raise self._error(f"{name} is in the file {location!r}, but the model came from memory")
        if not location or "\0" in location or os.path.isabs(location):
            raise self._error(f"{name}: external data path {location!r} is not a relative path")
        path = os.path.realpath(os.path.join(self.folder, location))
        folders = {os.path.realpath(self.folder), os.path.dirname(os.path.realpath(self.source))}
        if path in folders or not any(os.path.commonpath([f, path]) == f for f in folders):
            raise self._error(f"{name}: external data path {location!r} leaves the model's folder")
        if not os.path.isfile(path):
            raise FormatError(f"{name}: external data file {location!r} is missing", source=self.source)
        try:
            # One map per file, however many spellings of its path a model uses.
            for known in self._files.values():
                if os.path.realpath(known.path) == path:
                    found = known
                    break
            else:
                found = MappedFile(path)
        except OSError as error:
            raise FormatError(
                f"{name}: external data file {location!r}: {error.strerror}", source=self.source
            ) from None
        self._files[location] = found
        return found

    def _error(self, message: str) -> InvalidModel:
        return InvalidModel(message, source=self.source)


def _length(payload: Any) -> int:
    return payload.length if isinstance(payload, Span) else memoryview(payload).nbytes

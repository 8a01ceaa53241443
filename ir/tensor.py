"""Constant data: a dtype, a shape, and bytes that stay where they are until somebody reads them.

A tensor is a span of a mapped file, an array in memory, or a splat: one element repeated over a shape, which takes no
more room than that element. Payloads are little-endian and packed, as in ONNX's raw_data; `array()` gives unpacked
elements.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .errors import FormatError
from .types import DTYPES, I64, STR, DType, TensorType, tensor_type

Array = npt.NDArray[Any]
# Bytes up to which a splat is treated like its elements: small ones are written out.
_SPELLED = 4096


class MappedFile:
    """One read-only map of one file; every tensor inside shares it.

    `is_model` tells a model file, whose spans nobody else may refer to, from a data file.
    """

    __slots__ = ("path", "size", "view", "buffer", "is_model", "_stamp", "_file")

    def __init__(self, path: str | os.PathLike[str], is_model: bool = False) -> None:
        """Map `path`. Raises OSError if it cannot be opened."""
        self.path = os.fspath(path)
        self.is_model = is_model
        self._file: BinaryIO | None = open(self.path, "rb")  # noqa: SIM115  (kept open as long as the map)
        handle = self._file.fileno()
        status = os.fstat(handle)
        self.size = status.st_size
        self._stamp: tuple[int, int, int] | None = (status.st_size, status.st_mtime_ns, status.st_ino)
        self.buffer: mmap.mmap | bytes = (
            mmap.mmap(handle, 0, access=mmap.ACCESS_READ) if self.size else b""
        )
        self.view = memoryview(self.buffer)

    @classmethod
    def in_memory(cls, data: bytes) -> MappedFile:
        """The same interface over bytes that never were a file; `path` is empty."""
        self = object.__new__(cls)
        self.path = ""
        self.buffer = data
        self.size = len(data)
        self.is_model = True
        self._stamp = None
        self._file = None
        self.view = memoryview(data)
        return self

    @classmethod
    def temporary(cls, data: Any) -> MappedFile:
        """Bytes (anything with a buffer) moved out of memory, to a file without a name that goes with this object.

        `path` is empty. It lies where `tempfile` puts files (TMPDIR). Raises OSError where there is no room.
        """
        import tempfile

        self = cls.in_memory(b"")
        file = tempfile.TemporaryFile()  # noqa: SIM115  (kept open as long as the map)
        file.write(data)
        file.flush()
        self._file = file
        self.size = file.tell()
        self.buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        self.view = memoryview(self.buffer)
        return self

    @classmethod
    def taken(cls, path: str | os.PathLike[str]) -> MappedFile:
        """A temporary file, mapped, whose name is removed: its room is free again with this object. `path` is empty.

        Raises OSError where it cannot be opened or removed.
        """
        self = cls(path, is_model=True)
        os.unlink(self.path)
        self.path = ""
        self._stamp = None
        return self

    @property
    def identity(self) -> tuple[object, ...] | None:
        """Equal for all maps of one file in one state of it; None for what has no path."""
        return None if not self.path or self._stamp is None else (self.path, self._stamp)

    @property
    def on_disk(self) -> bool:
        """True if parts of it can be read without being mapped."""
        return self._file is not None

    def descriptor(self) -> int:
        """A file descriptor for copying without touching the map. Only for files on disk."""
        assert self._file is not None, "bytes in memory have no descriptor"
        return self._file.fileno()

    def check_unchanged(self) -> None:
        """Raise FormatError if the file was truncated, replaced or written since it was mapped."""
        if self._stamp is None:
            return
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise FormatError(f"file vanished while in use: {error.strerror}", source=self.path) from None
        if (status.st_size, status.st_mtime_ns, status.st_ino) != self._stamp:
            raise FormatError("file changed while it was in use", source=self.path)


_PAGED = 1 << 16  # bytes from which on payloads of files are read in parts where they are looked at as a whole


class Tensor:
    """Constant data of one dtype and shape; immutable by convention, compared with `same`."""

    __slots__ = ("dtype", "shape", "file", "offset", "length", "splat", "_data", "_array", "_digest")

    def __init__(
        self,
        dtype: DType,
        shape: tuple[int, ...],
        *,
        file: MappedFile | None = None,
        offset: int = 0,
        data: Any = None,
    ) -> None:
        """A span of `file` from `offset`, or packed bytes / a list of byte strings in `data`."""
        self.dtype = dtype
        self.shape = shape
        self.file = file
        self.offset = offset
        self.length = dtype.nbytes(self.size)
        self.splat: Array | None = None  # the one element (rank 0) of a splat
        self._data: Any = data
        self._array: Array | None = None
        self._digest: bytes | None = None

    @classmethod
    def from_array(cls, array: Any, dtype: DType | None = None) -> Tensor:
        """A tensor over a numpy array (kept, not copied, where its layout allows).

        Strings are arrays of str or bytes objects. Raises TypeError for a numpy dtype that ONNX lacks.
        """
        array = np.asarray(array)
        if dtype is None:
            dtype = dtype_of(array.dtype)
        if dtype is STR:
            flat = [s.encode() if isinstance(s, str) else bytes(s) for s in array.reshape(-1)]
            return cls(STR, tuple(array.shape), data=flat)
        array = np.asarray(array, dtype=dtype.numpy)
        tensor = cls(dtype, tuple(array.shape))
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array).reshape(tensor.shape)
        if array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        tensor._array = array
        return tensor

    @classmethod
    def spilled(cls, array: Array) -> Tensor:
        """A copy of an array in a temporary file, read from there when asked for. For whole-byte types of numpy."""
        tensor = cls(dtype_of(array.dtype), tuple(array.shape))
        tensor.file = MappedFile.temporary(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return tensor

    @classmethod
    def of(cls, value: Any, dtype: DType) -> Tensor:
        """A small tensor from Python numbers: ``Tensor.of([1, 2], I64)``."""
        return cls.from_array(np.array(value, dtype=dtype.numpy), dtype)

    @classmethod
    def of_splat(cls, element: Any, shape: tuple[int, ...], dtype: DType) -> Tensor:
        """One element repeated over `shape`. Not for strings or types of less than a byte."""
        tensor = cls(dtype, shape)
        tensor.splat = np.array(element, dtype=dtype.numpy).reshape(())
        return tensor

    @property
    def size(self) -> int:
        """Number of elements."""
        total = 1
        for d in self.shape:
            total *= d
        return total

    @property
    def nbytes(self) -> int:
        """Bytes of the packed payload."""
        if self.dtype is STR:
            return sum(len(s) for s in self.strings())
        return self.length

    @property
    def stored_bytes(self) -> int:
        """Bytes that the payload takes in a file: one element for a splat."""
        return self.splat.nbytes if self.splat is not None else self.nbytes

    @property
    def type(self) -> TensorType:
        return tensor_type(self.dtype, self.shape)

    def data(self) -> memoryview:
        """The packed little-endian payload. Raises TypeError for strings."""
        if self.dtype is STR:
            raise TypeError("strings have no packed payload")
        if self.file is not None:
            return self.file.view[self.offset : self.offset + self.length]
        if self.splat is not None:
            return np.ascontiguousarray(self.array()).reshape(-1).view(np.uint8).data
        if self._data is None:
            assert self._array is not None
            self._data = _pack(self._array, self.dtype)
        return memoryview(self._data).cast("B") if self.length else memoryview(b"")

    def strings(self) -> list[bytes]:
        """The elements of a string tensor, flat."""
        assert self.dtype is STR
        found: list[bytes] = self._data
        return found

    def array(self) -> Array:
        """The elements as a read-only numpy array: zero-copy where the type has whole bytes."""
        if self._array is None:
            if self.splat is not None:
                self._array = np.broadcast_to(self.splat, self.shape)
                return self._array
            if self.dtype is STR:
                flat = np.empty(self.size, dtype=object)
                flat[:] = self._data
                array = flat.reshape(self.shape)
            elif self.dtype.bits < 8:
                array = _unpack(self.data(), self.dtype, self.size).reshape(self.shape)
            else:
                array = np.frombuffer(self.data(), dtype=self.dtype.numpy).reshape(self.shape)
            array.flags.writeable = False
            if self.length > 1 << 16 and self.file is not None:
                return array  # a view costs nothing to make again
            self._array = array
        return self._array

    def pieces(self, count: int = 1 << 22) -> Iterator[Array]:
        """The elements in order, flat, at most `count` at a time.

        Those of a file are read and not mapped, so that its pages do not count as this process's memory.
        """
        if self.file is None or not self.file.on_disk or self.dtype.bits < 8 or self.dtype is STR:
            flat = self.array().reshape(-1)
            for start in range(0, self.size, count):
                yield flat[start : start + count]
            return
        width = self.dtype.bits // 8
        for start in range(0, self.size, count):
            length = min(count, self.size - start) * width
            data = os.pread(self.file.descriptor(), length, self.offset + start * width)
            if len(data) < length:
                self.file.check_unchanged()
                raise OSError(f"{self.file.path} ended early")
            yield np.frombuffer(data, dtype=self.dtype.numpy)

    def read(self) -> Array:
        """The elements as an array that may be the caller's own: those of a file are read and not mapped (`pieces`).

        Their memory is free again with the array. Maps of what is read for a moment would count as this process's.
        """
        is_read = self.file is not None and self.file.on_disk and self.length > _PAGED
        if not is_read or self.dtype.bits < 8 or self.dtype is STR:
            return self.array()
        array = np.empty(self.size, self.dtype.numpy)
        start = 0
        for piece in self.pieces():
            array[start : start + piece.size] = piece
            start += piece.size
        return array.reshape(self.shape)

    def sampled(self, positions: Iterable[int], count: int = 1) -> bytes:
        """The bytes of `count` elements from each of some flat positions on. For whole-byte types.

        What lies around them in a file is not mapped.
        """
        width = self.dtype.bits // 8
        length = count * width
        if self.file is None or not self.file.on_disk or self.length <= _PAGED:
            data = self.data()
            return b"".join([bytes(data[at * width : at * width + length]) for at in positions])
        handle = self.file.descriptor()
        return b"".join([os.pread(handle, length, self.offset + at * width) for at in positions])

    def item(self) -> Any:
        """The only element as a Python value. Raises ValueError when there is not exactly one."""
        return self.array().reshape(-1).item() if self.size == 1 else _not_one(self)

    def ints(self) -> tuple[int, ...]:
        """All elements as Python ints, flat; for small integer tensors such as axes."""
        return tuple(self.array().reshape(-1).tolist())

    def digest(self) -> bytes:
        """BLAKE2b of dtype, shape and payload (a large splat's differs from that of the elements spelled out)."""
        if self._digest is None:
            import hashlib

            state = hashlib.blake2b(f"{self.dtype.name}{self.shape}".encode(), digest_size=20)
            if self.splat is not None and self.length > _SPELLED:
                state.update(b"splat" + self.splat.tobytes())
            elif self.dtype is STR:
                for s in self.strings():
                    state.update(len(s).to_bytes(8, "little") + s)
            elif self.dtype.bits >= 8 and self.length > _PAGED:
                for piece in self.pieces():
                    state.update(np.ascontiguousarray(piece).view(np.uint8).data)
            else:
                state.update(self.data())
            self._digest = state.digest()
        return self._digest

    def same(self, other: Tensor) -> bool:
        """Equal dtype, shape and bytes."""
        if self is other:
            return True
        if self.dtype is not other.dtype or self.shape != other.shape:
            return False
        if self.splat is not None or other.splat is not None:
            return _same_splat(self, other)
        if self.dtype is STR:
            return self.strings() == other.strings()
        if self.file is not None and self.file is other.file and self.offset == other.offset:
            return True
        return self.data() == other.data() if self.length < 4096 else self.digest() == other.digest()

    def __repr__(self) -> str:
        return f"Tensor({self.type})"


def _same_splat(a: Tensor, b: Tensor) -> bool:
    """`same` where at least one is a splat: nothing is spelled out for it."""
    if a.splat is None:
        a, b = b, a
    assert a.splat is not None
    if b.splat is not None:
        return a.splat.tobytes() == b.splat.tobytes()
    element = np.frombuffer(a.splat.tobytes(), dtype=np.uint8)
    return bool((np.frombuffer(b.data(), dtype=np.uint8).reshape(-1, element.size) == element).all())


def _not_one(tensor: Tensor) -> Any:
    raise ValueError(f"{tensor} does not hold exactly one element")


def _pack(array: Array, dtype: DType) -> Any:
    if dtype.bits >= 8:
        little = array if array.dtype.byteorder != ">" else array.astype(array.dtype.newbyteorder("<"))
        return np.ascontiguousarray(little).reshape(-1).view(np.uint8).data
    codes: npt.NDArray[np.uint8] = array.reshape(-1).view(np.uint8) & np.uint8((1 << dtype.bits) - 1)
    if dtype.bits == 6:  # one stream of bits, the lowest first
        bits = np.unpackbits(codes[:, None], axis=1, count=6, bitorder="little")
        return np.packbits(bits, bitorder="little").data
    per_byte = 8 // dtype.bits
    padded = np.zeros(-(-codes.size // per_byte) * per_byte, dtype=np.uint8)
    padded[: codes.size] = codes
    packed = np.zeros(padded.size // per_byte, dtype=np.uint8)
    for lane in range(per_byte):  # the first element sits in the low bits
        packed |= padded[lane::per_byte] << (lane * dtype.bits)
    return packed.data


def _unpack(data: memoryview, dtype: DType, count: int) -> Array:
    packed = np.frombuffer(data, dtype=np.uint8)
    if dtype.bits == 6:
        bits = np.unpackbits(packed, count=6 * count, bitorder="little").reshape(count, 6)
        return np.packbits(bits, axis=1, bitorder="little").reshape(count).view(dtype.numpy)
    per_byte = 8 // dtype.bits
    codes = np.empty(packed.size * per_byte, dtype=np.uint8)
    for lane in range(per_byte):
        codes[lane::per_byte] = (packed >> (lane * dtype.bits)) & ((1 << dtype.bits) - 1)
    codes = codes[:count]
    if dtype.kind == "i":  # sign-extend: ml_dtypes keeps one element per byte as a signed value
        shift = 8 - dtype.bits
        codes = ((codes << shift).view(np.int8) >> shift).view(np.uint8)
    return codes.view(dtype.numpy)


_from_numpy: dict[Any, DType] = {}


def dtype_of(numpy_dtype: Any) -> DType:
    """The DType of a numpy dtype; TypeError where ONNX has none."""
    found = _from_numpy.get(numpy_dtype)
    if found is None:
        if numpy_dtype.kind in "OUS":
            return STR
        name = numpy_dtype.name
        for dtype in DTYPES:
            if dtype._numpy_name.removeprefix("ml_dtypes.") == name:
                found = _from_numpy[numpy_dtype] = dtype
                break
        else:
            raise TypeError(f"ONNX has no element type for numpy's {numpy_dtype}")
    return found


def int_tensor(values: Sequence[int]) -> Tensor:
    """A 1-D i64 tensor: axes, shapes, pads."""
    return Tensor.from_array(np.array(values, dtype=np.int64), I64)



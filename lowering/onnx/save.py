"""Writing ONNX files: atomically, with payloads streamed from where they are.

Nothing of a weight enters a protobuf message or Python's memory: spans of mapped files are copied from file to file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...ir.collector import paused_collector
from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ...ir.evaluate import DeferredTensor
from ...ir.proto.messages import ModelProto, StringStringEntryProto, TensorProto
from ...ir.proto.write import encode_model, total_size
from ...ir.tensor import MappedFile, Tensor
from ...ir.types import STR
from .opset import choose, ir_version
from .writer import Writer

# protobuf's limit is 2 GiB for a whole message; the rest of the model needs room as well.
INLINE_LIMIT = 1_900_000_000
# Tensors this small stay in the model file when the others go to a data file.
_SMALL = 1024
# onnxruntime maps data files; pages start at multiples of this.
_PAGE = 4096
_EXTERNAL = 1
_BLOCK = 1 << 24
_COMPUTED_LATE = 1 << 16  # bytes from which on a computed payload waits for its turn to be written


class FileSpan:
    """A payload to be copied from a mapped file."""

    __slots__ = ("file", "offset", "length")

    def __init__(self, file: MappedFile, offset: int, length: int) -> None:
        self.file = file
        self.offset = offset
        self.length = length


class DeferredPayload:
    """A payload that is computed when it is written."""

    __slots__ = ("tensor", "length")

    def __init__(self, tensor: DeferredTensor) -> None:
        self.tensor = tensor
        self.length = tensor.length

    def blocks(self) -> Iterator[bytes]:
        """The bytes in order, in parts."""
        for piece in self.tensor.pieces():
            yield np.ascontiguousarray(piece).view(np.uint8).tobytes()


class SaveResult:
    """What was written: the opset of the default domain, the files with their sizes in bytes."""

    __slots__ = ("opset", "ir_version", "files")

    def __init__(self, opset: int, ir_version: int, files: dict[str, int]) -> None:
        self.opset = opset
        self.ir_version = ir_version
        self.files = files

    @property
    def bytes(self) -> int:
        """The size of everything written."""
        return sum(self.files.values())


class DataFile:
    """The payloads of one external data file in the making."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.chunks: list[Any] = []
        self.size = 0
        self._placed: dict[Any, int] = {}

    def add(self, payload: Any, length: int, key: Any) -> int:
        """Append a payload (once for each key) and return its offset."""
        found = self._placed.get(key)
        if found is not None:
            return found
        alignment = _PAGE if length >= _PAGE else 64
        padding = -self.size % alignment
        if padding:
            self.chunks.append(bytes(padding))
            self.size += padding
        offset = self._placed[key] = self.size
        self.chunks.append(payload)
        self.size += length
        return offset


class _Placement:
    """Decides for each tensor where its payload goes; remembers the files that payloads are taken from."""

    def __init__(self, folder: str, data: DataFile | None, reuse: bool) -> None:
        self.folder = folder
        self.data = data
        self.reuse = reuse
        self.sources: dict[MappedFile, None] = {}
        self._locations: dict[MappedFile, str | None] = {}

    def __call__(self, proto: TensorProto, tensor: Tensor) -> None:
        if tensor.file is not None:
            self.sources[tensor.file] = None
        if tensor.dtype is STR:
            proto.string_data = tensor.strings()
            return
        location = self._location(tensor.file) if self.reuse and tensor.file and tensor.length else None
        if location is not None:
            self._refer(proto, location, tensor.offset, tensor.length)
            return
        payload = payload_of(tensor)
        if self.data is not None and tensor.length > _SMALL:
            key = (tensor.file, tensor.offset, tensor.length) if tensor.file else id(tensor)
            offset = self.data.add(payload, tensor.length, key)
            self._refer(proto, self.data.location, offset, tensor.length)
            return
        proto.raw_data = payload

    def _location(self, file: MappedFile) -> str | None:
        """The path from the output's folder to a data file in or below it; None for any other file."""
        if file not in self._locations:
            reusable = bool(file.path) and not file.is_model and is_inside(file.path, self.folder)
            path, folder = os.path.realpath(file.path), os.path.realpath(self.folder)
            self._locations[file] = os.path.relpath(path, folder) if reusable else None
        return self._locations[file]

    def _refer(self, proto: TensorProto, location: str, offset: int, length: int) -> None:
        proto.data_location = _EXTERNAL
        entries = {"location": location, "offset": str(offset), "length": str(length)}
        proto.external_data = [StringStringEntryProto(key=k, value=v) for k, v in entries.items()]


def payload_of(tensor: Tensor) -> Any:
    """A span where the tensor lies in a file on disk, what computes it where that takes memory, else its bytes."""
    if tensor.file is not None and tensor.file.on_disk:
        return FileSpan(tensor.file, tensor.offset, tensor.length)
    if isinstance(tensor, DeferredTensor) and tensor.length > _COMPUTED_LATE and tensor.dtype.bits >= 8:
        return DeferredPayload(tensor)
    return tensor.data()


def is_inside(path: str, folder: str) -> bool:
    """True if a file lies in a folder or below it, links resolved."""
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([path, folder]) == folder


def to_message(
    model: Model,
    place: Any,
    *,
    opset: int | None = None,
    max_opset: int | None = None,
    max_ir: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> tuple[ModelProto, int, int]:
    """The model's message, its opset of the default domain and its IR version. Raises UnsupportedModel."""
    choice = choose(model, opset=opset, limit=max_opset)
    version = ir_version(model, choice.opsets[""], max_ir)
    proto = Writer(model, choice, place).run(version, model.metadata if metadata is None else metadata)
    return proto, choice.opsets[""], version


def save_onnx(
    model: Model,
    path: str | os.PathLike[str],
    *,
    opset: int | None = None,
    weights: str = "reuse",
    max_opset: int | None = None,
    max_ir: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> SaveResult:
    """Write a model to `path`, all or nothing.

    `weights`: ``reuse`` refers to the source's data files where they lie beside or below the output and writes what
    was inline inline; ``copy`` writes one data file ``PATH.data`` beside the model; ``inline`` puts everything into
    the model file. A model too large for one file gets a data file under ``reuse`` as well.
    `max_opset`, `max_ir`: the newest that the runtime loads. `metadata` takes the place of the model's.
    Raises UnsupportedModel where the model cannot be held, UsageError if `path` is a file the model is still being read
    from, OSError where writing fails.
    """
    if weights not in ("reuse", "copy", "inline"):
        raise UsageError(f"weights must be reuse, copy or inline, not {weights!r}")
    target = os.path.abspath(os.fspath(path))
    folder = os.path.dirname(target)
    data_path = target + ".data"
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    data = DataFile(os.path.basename(data_path)) if weights == "copy" else None
    options = {"opset": opset, "max_opset": max_opset, "max_ir": max_ir, "metadata": metadata}
    place = _Placement(folder, data, weights == "reuse")
    chunks, proto = _encode(model, place, options)
    if total_size(chunks) > INLINE_LIMIT:
        if weights == "inline":
            raise UnsupportedModel(
                f"{total_size(chunks) / 1e9:.1f} GB do not fit into one ONNX file; use --weights copy"
            )
        data = data or DataFile(os.path.basename(data_path))
        place = _Placement(folder, data, weights == "reuse")
        chunks, proto = _encode(model, place, options)
    written = [target] if data is None or not data.size else [target, data_path]
    _protect(written, [model.source, *(file.path for file in place.sources)])
    for file in place.sources:
        file.check_unchanged()
    files = {target: total_size(chunks)}
    outputs: list[tuple[str, list[Any]]] = []
    if data is not None and data_path in written:
        files = {data_path: data.size, **files}
        outputs.append((data_path, data.chunks))
    outputs.append((target, chunks))
    write_all(outputs)
    return SaveResult(_opset_of(proto), proto.ir_version or 0, files)


def _encode(model: Model, place: _Placement, options: dict[str, Any]) -> tuple[list[Any], ModelProto]:
    with paused_collector():
        proto, _, _ = to_message(model, place, **options)
        return encode_model(proto), proto


def _opset_of(proto: ModelProto) -> int:
    return next(e.version or 0 for e in proto.opset_import if not e.domain)


def _protect(outputs: list[str], sources: list[str]) -> None:
    """Raise UsageError where an output is a file that the model comes from, by whatever name."""
    for output in filter(os.path.exists, outputs):
        for source in filter(os.path.exists, sources):
            if os.path.samefile(source, output):
                raise UsageError(f"{output} is being read: give another output name")


def write_all(outputs: list[tuple[str, list[Any]]]) -> None:
    """Write several files under temporary names, then rename them: none appears before all are whole."""
    with contextlib.ExitStack() as stack:
        temporary: list[tuple[str, str]] = []
        for path, chunks in outputs:
            name = f"{path}.{os.getpid()}.tmp"
            stack.callback(_remove, name)
            with open(name, "wb", buffering=1 << 20) as file:
                for chunk in chunks:
                    _copy(chunk, file)
            temporary.append((name, path))
        for name, path in temporary:
            os.replace(name, path)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def _copy(chunk: Any, file: Any) -> None:
    if isinstance(chunk, DeferredPayload):
        for block in chunk.blocks():
            file.write(block)
        return
    if not isinstance(chunk, FileSpan):
        file.write(chunk)
        return
    if chunk.length < _BLOCK >> 8:
        file.write(chunk.file.view[chunk.offset : chunk.offset + chunk.length])
        return
    file.flush()
    for start, length in _blocks(chunk):
        _copy_block(chunk.file, start, length, file)


def _blocks(span: FileSpan) -> Iterator[tuple[int, int]]:
    done = 0
    while done < span.length:
        step = min(_BLOCK, span.length - done)
        yield span.offset + done, step
        done += step


def _copy_block(source: MappedFile, start: int, length: int, file: Any) -> None:
    """Through the kernel, so that the pages of the map are not counted as this process's memory."""
    handle = source.descriptor()
    while length:
        if sys.platform == "linux":
            copied = os.sendfile(file.fileno(), handle, start, length)
        else:  # elsewhere sendfile writes to sockets only
            copied = os.write(file.fileno(), source.view[start : start + min(length, 1 << 20)])
        if copied == 0:
            source.check_unchanged()
            raise OSError(f"{source.path} ended early")
        start += copied
        length -= copied
    file.seek(0, os.SEEK_END)

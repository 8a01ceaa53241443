"""Large constants of models that are run, in files that onnxruntime maps; each is written once, in however many models.

    with PlacedWeights() as weights:
        weights.place(model)                       # its large constants now lie in files of weights.folder
        write(model, weights.path())               # which a model in that folder refers to

A runtime reads what is inside a model into memory twice, and a model that is run at each depth of its layers would be
written as often. Mapped, weights take the room of one copy, which the system may take back.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from types import TracebackType
from typing import TYPE_CHECKING

from ...ir.core import Model
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import MappedFile, Tensor
from ...ir.types import STR
from ...lowering.onnx.save import DataFile, payload_of, write_all

if TYPE_CHECKING:
    from collections.abc import Hashable

LEAST = 1 << 16  # bytes of a constant that is placed
_KEPT = 3  # models after which a file is taken away of which none of them used anything


class PlacedWeights:
    """A temporary folder of data files; `close` takes it away."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._placed: dict[Hashable, Tensor] = {}
        self._sources: dict[Hashable, Tensor] = {}  # kept, so that no other tensor has their identity
        self._used: dict[str, int] = {}  # the number of the last model that used a file
        self._models = 0

    @property
    def folder(self) -> str:
        """Where the files are, and models that refer to them belong."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="geoc-run-")
        return self._folder.name

    def path(self) -> str:
        """Of a model file that is not there yet."""
        return os.path.join(self.folder, f"model-{self._models}.onnx")

    def place(self, model: Model) -> None:
        """Change the large constants of a model to the same numbers in files. Raises OSError where writing fails."""
        self._models += 1
        values = {
            value: value.const
            for graph in model.graph.graphs()
            for node in [*graph, graph.ret]
            for value in node.inputs
            if value is not None and value.const is not None and _is_large(value.const)
        }
        self._write({_key(tensor): tensor for tensor in values.values()})
        for value, tensor in values.items():
            value.const = placed = self._placed[_key(tensor)]
            assert placed.file is not None
            self._used[placed.file.path] = self._models
        self._drop()

    def _write(self, wanted: dict[Hashable, Tensor]) -> None:
        """Put those that are in no file yet into a new one."""
        new = {key: tensor for key, tensor in wanted.items() if key not in self._placed}
        if not new:
            return
        path = os.path.join(self.folder, f"weights-{self._models}.data")
        data = DataFile(os.path.basename(path))
        offsets = {key: data.add(payload_of(tensor), tensor.length, key) for key, tensor in new.items()}
        write_all([(path, data.chunks)])
        file = MappedFile(path)
        for key, tensor in new.items():
            self._placed[key] = Tensor(tensor.dtype, tensor.shape, file=file, offset=offsets[key])
            self._sources[key] = tensor

    def _drop(self) -> None:
        """Take away the files that the last models did not use."""
        old = {path for path, last in self._used.items() if last <= self._models - _KEPT}
        for key, tensor in list(self._placed.items()):
            assert tensor.file is not None
            if tensor.file.path in old:
                del self._placed[key], self._sources[key]
        for path in old:
            del self._used[path]
            with contextlib.suppress(OSError):  # a system that cannot take away what is mapped does so with the folder
                os.unlink(path)

    def close(self) -> None:
        """Take everything away."""
        self._placed.clear()
        self._sources.clear()
        self._used.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> PlacedWeights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_large(tensor: Tensor) -> bool:
    return tensor.dtype is not STR and tensor.dtype.bits >= 8 and tensor.splat is None and tensor.length >= LEAST


def _key(tensor: Tensor) -> Hashable:
    """Equal for tensors that are known to be equal without reading them."""
    if isinstance(tensor, DeferredTensor):
        return tensor.recipe, tensor.shape, _key(tensor.source)
    if tensor.file is not None:
        return id(tensor.file), tensor.offset, tensor.dtype.name, tensor.shape
    return id(tensor)

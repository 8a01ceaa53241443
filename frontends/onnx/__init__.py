"""ONNX files, bytes and protobuf messages to IR.

    model = load_onnx("model.onnx")

Weights stay in the file: a constant is a span of a read-only map. Training information is carried
through unread; quantization annotations, which name values that passes rename, are not kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...ir.core import Model
from ...ir.errors import FormatError
from ...ir.proto.read import read_model
from ...ir.tensor import MappedFile
from ..reading import reading
from .importer import Importer
from .tensors import TensorReader


def load_onnx(
    source: str | os.PathLike[str] | bytes | MappedFile | Any, memory: Mapping[str, memoryview] | None = None
) -> Model:
    """Import a model from a path, its bytes, a mapped file, an `onnx.ModelProto` or an `onnx_graphsurgeon.Graph`.

    External data is looked for beside the file and nowhere else; a model from memory can have only what `memory` holds,
    the bytes of single tensors by their location. They are not copied.
    Raises FormatError for what is not an ONNX model, InvalidModel for one that breaks ONNX's rules, OSError when
    the file cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        return _load(MappedFile(path, is_model=True), path, os.path.dirname(os.path.abspath(path)))
    if isinstance(source, MappedFile):
        return _load(source, "", None)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _load(MappedFile.in_memory(bytes(source)), "", None, memory)
    # Before the next test: a graphsurgeon Graph takes any attribute for an operator.
    if hasattr(source, "nodes") and hasattr(source, "opset"):
        import onnx_graphsurgeon

        return load_onnx(onnx_graphsurgeon.export_onnx(source))
    if hasattr(source, "SerializeToString"):
        return _load(MappedFile.in_memory(source.SerializeToString()), "", None, memory)
    raise TypeError(f"cannot load a model from {type(source).__name__}")


def _load(
    file: MappedFile, source: str, folder: str | None, memory: Mapping[str, memoryview] | None = None
) -> Model:
    if file.size == 0:
        raise FormatError("the file is empty", source=source)
    with reading(source):
        model = _import(file, source, TensorReader(file, source, folder, memory))
    model.source = source
    return model


def _import(file: MappedFile, source: str, tensors: TensorReader) -> Model:
    """The model; its messages are gone on return, so that the collector never walks over them."""
    return Importer(read_model(file.buffer, source), tensors).run()

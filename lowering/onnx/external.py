"""A copy of an ONNX file whose large weights lie in a data file beside it.

A runtime maps such a file. Weights that are inside the model file it reads into memory, once for the message and once
for itself. The graph is not looked into: message by message, everything but the place of weights stays what it was.
"""

from __future__ import annotations

import os
from typing import Any

from ...ir.proto.messages import Span, StringStringEntryProto, TensorProto, changed
from ...ir.proto.read import read_model
from ...ir.proto.write import encode_model
from ...ir.tensor import MappedFile
from .save import DataFile, FileSpan, write_all

_LEAST = 1 << 16  # bytes of a weight that is moved
_FLOAT, _EXTERNAL = 1, 1  # of onnx.TensorProto.DataType and DataLocation


def with_external_weights(source: str, path: str) -> bool:
    """Write `source` to `path`, its large weights to ``path.data``; False, and nothing written, where it has none.

    A file that refers to data files already is left alone as well: its weights are mapped. Raises FormatError for what
    is no ONNX file, OSError where reading or writing fails.
    """
    file = MappedFile(source, is_model=True)
    model = read_model(file.buffer, source)
    graph = model.graph
    if graph is None or any(tensor.external_data for tensor in graph.initializer):
        return False
    data = DataFile(os.path.basename(path) + ".data")
    moved = [_moved(tensor, file, data) for tensor in graph.initializer]
    if not data.size:
        return False
    chunks = encode_model(changed(model, graph=changed(graph, initializer=moved)))
    rest: list[Any] = [FileSpan(file, c.offset, c.length) if isinstance(c, Span) else c for c in chunks]
    write_all([(path + ".data", data.chunks), (path, rest)])
    file.check_unchanged()
    return True


def _moved(tensor: TensorProto, file: MappedFile, data: DataFile) -> TensorProto:
    """The tensor with its bytes in `data`; the same one where it is small, or written number by number."""
    # Floats in a field of their own lie there as raw data would.
    payload = tensor.raw_data if tensor.data_type != _FLOAT or tensor.float_data is None else tensor.float_data
    if not isinstance(payload, Span) or payload.length < _LEAST:
        return tensor
    offset = data.add(FileSpan(file, payload.offset, payload.length), payload.length, payload.offset)
    entries = {"location": data.location, "offset": str(offset), "length": str(payload.length)}
    external = [StringStringEntryProto(key=k, value=v) for k, v in entries.items()]
    return changed(tensor, raw_data=None, float_data=None, external_data=external, data_location=_EXTERNAL)

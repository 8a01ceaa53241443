"""A copy of an ONNX file whose inputs declare other shapes; nothing else of it is looked into."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.proto.messages import Dimension, Span, TensorShapeProto, ValueInfoProto, changed
from ...ir.proto.read import read_model
from ...ir.proto.write import encode_model
from ...ir.tensor import MappedFile
from .save import FileSpan, write_all


def with_shapes(source: str, path: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Write `source` to `path` with inputs of these sizes, by name.

    False, and nothing written, where it has none of them or refers to data files, which lie beside it. Raises
    FormatError for what is no ONNX file, OSError where reading or writing fails.
    """
    file = MappedFile(source, is_model=True)
    model = read_model(file.buffer, source)
    graph = model.graph
    if graph is None or any(tensor.external_data for tensor in graph.initializer):
        return False
    if not any(value.name in shapes for value in graph.input):
        return False
    inputs = [_declared(value, shapes.get(value.name or "")) for value in graph.input]
    chunks = encode_model(changed(model, graph=changed(graph, input=inputs)))
    write_all([(path, [FileSpan(file, c.offset, c.length) if isinstance(c, Span) else c for c in chunks])])
    file.check_unchanged()
    return True


def _declared(value: ValueInfoProto, shape: tuple[int, ...] | None) -> ValueInfoProto:
    if shape is None or value.type is None or value.type.tensor_type is None:
        return value
    dims = TensorShapeProto(dim=[Dimension(dim_value=size) for size in shape])
    tensor = changed(value.type.tensor_type, shape=dims)
    return changed(value, type=changed(value.type, tensor_type=tensor))

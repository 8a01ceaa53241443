"""ONNX's AttributeProto to the IR's closed set of attribute values."""

from __future__ import annotations

from typing import Any

from ...ir.attributes import AttrRef, EmptyList
from ...ir.builder import float32
from ...ir.errors import InvalidModel
from ...ir.ops import Op
from ...ir.proto.messages import AttributeProto, GraphProto, TensorProto
from .tensors import TensorReader
from .types import TypeReader

# AttributeProto.AttributeType
KINDS = {
    1: "float", 2: "int", 3: "string", 4: "tensor", 5: "graph", 6: "floats", 7: "ints", 8: "strings",
    9: "tensors", 10: "graphs", 11: "sparse_tensor", 12: "sparse_tensors", 13: "type_proto",
    14: "type_protos",
}  # fmt: skip
_FIELDS = {
    "float": "f", "int": "i", "string": "s", "tensor": "t", "graph": "g", "floats": "floats",
    "ints": "ints", "strings": "strings", "tensors": "tensors", "graphs": "graphs",
    "sparse_tensor": "sparse_tensor", "sparse_tensors": "sparse_tensors", "type_proto": "tp",
    "type_protos": "type_protos",
}  # fmt: skip


def text(value: bytes) -> str | bytes:
    """A string attribute: str where the bytes are UTF-8, else the bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


class AttributeReader:
    """Converts attributes; the reader of messages shares equal small ones, so results are memoised."""

    def __init__(self, tensors: TensorReader, types: TypeReader) -> None:
        self.tensors = tensors
        self.types = types
        self._memo: dict[tuple[AttributeProto, Op], Any] = {}

    def kind(self, proto: AttributeProto) -> str:
        """The kind an attribute has, from its type field or, in files of IR version 1, from what is set."""
        if proto.type:
            found = KINDS.get(proto.type)
            if found is None:
                raise InvalidModel(f"attribute {proto.name!r} has the unknown type {proto.type}")
            return found
        for kind, field in _FIELDS.items():
            if getattr(proto, field) not in (None, (), []):
                return kind
        raise InvalidModel(f"attribute {proto.name!r} has no value and no type")

    def read(self, proto: AttributeProto, op: Op) -> Any:
        """The value of a non-graph attribute of a node of `op`; defaults are dropped as None."""
        key = (proto, op)
        if key in self._memo:
            return self._memo[key]
        kind = self.kind(proto)
        name = proto.name or ""
        expected = op.attr_kind(name)
        if proto.ref_attr_name:
            return AttrRef(proto.ref_attr_name, kind)
        value = self.convert(proto, kind)
        if expected is not None and expected != kind:
            value = _coerce(value, kind, expected, name, op)
        elif value == () and expected is None:
            value = EmptyList(kind)
        if expected is not None and value == op.attr_default(name):
            value = None
        self._memo[key] = value
        return value

    def convert(self, proto: AttributeProto, kind: str) -> Any:
        """The Python value of an attribute of this kind."""
        where = f"attribute {proto.name!r}"
        if kind == "int":
            return proto.i or 0
        if kind == "float":
            return float32(proto.f or 0.0)
        if kind == "string":
            return text(proto.s or b"")
        if kind == "ints":
            return tuple(proto.ints)
        if kind == "floats":
            return tuple([float32(f) for f in proto.floats])
        if kind == "strings":
            return tuple([text(s) for s in proto.strings])
        if kind == "tensor":
            return self.tensors.read(proto.t or TensorProto(), where)
        if kind == "tensors":
            return tuple([self.tensors.read(t, where) for t in proto.tensors])
        if kind == "sparse_tensor":
            if proto.sparse_tensor is None:
                raise InvalidModel(f"{where} has no value")
            return self.tensors.read_sparse(proto.sparse_tensor, where)
        if kind == "sparse_tensors":
            return tuple([self.tensors.read_sparse(s, where) for s in proto.sparse_tensors])
        if kind == "type_proto":
            return self.types.read(proto.tp, where)
        if kind == "type_protos":
            return tuple([self.types.read(t, where) for t in proto.type_protos])
        raise InvalidModel(f"{where} cannot be a {kind} here")

    def graphs(self, proto: AttributeProto) -> list[tuple[str, GraphProto]]:
        """The regions an attribute holds with their names; empty for any other attribute.

        Several graphs in one attribute `bodies` become the regions ``bodies[0]``, ``bodies[1]`` and so on.
        """
        if proto.g is not None:
            return [(proto.name or "", proto.g)]
        return [(f"{proto.name}[{i}]", g) for i, g in enumerate(proto.graphs)]


def _coerce(value: Any, kind: str, expected: str, name: str, op: Op) -> Any:
    """Small confusions of old exporters: an int where a float belongs, one int where a list belongs."""
    if kind == "int" and expected == "float":
        return float32(value)
    if kind == "ints" and expected == "floats":
        return tuple(float32(v) for v in value)
    if value == () and kind.endswith("s") and expected.endswith("s"):
        return ()
    if kind + "s" == expected:
        return (value,)
    raise InvalidModel(f"{op.key}: attribute {name!r} is {kind}, must be {expected}")

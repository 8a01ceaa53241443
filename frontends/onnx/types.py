"""ONNX's TypeProto to IR types. Every dimension without a name becomes a fresh unknown."""

from __future__ import annotations

import re

from ...ir.dim_parser import parse
from ...ir.dims import DimLike, fresh, symbol
from ...ir.errors import InvalidModel
from ...ir.proto.messages import Dimension, TensorShapeProto, TypeProto
from ...ir.types import (
    BY_ONNX,
    DType,
    Shape,
    TensorType,
    Type,
    map_type,
    opaque_type,
    optional_type,
    sequence_type,
    sparse_tensor_type,
    tensor_type,
)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_MAX_NESTING = 32


class TypeReader:
    """Converts TypeProtos; equal messages give the same type unless they hold an unknown dimension."""

    def __init__(self) -> None:
        self.known: dict[TypeProto | None, Type | None] = {}
        self._symbols: dict[str, DimLike] = {}

    def read(self, proto: TypeProto | None, where: str = "", depth: int = 0) -> Type | None:
        """The type a TypeProto describes, None where it says nothing.

        Raises InvalidModel (naming `where`) for an element type that ONNX does not define.
        """
        if proto is None:
            return None
        found = self.known.get(proto)
        if found is not None:
            return found
        if depth > _MAX_NESTING:
            raise InvalidModel(f"the type of {where} is nested more than {_MAX_NESTING} deep")
        unknowns: list[DimLike] = []
        result = self._convert(proto, where, depth, unknowns)
        if not unknowns and depth == 0:
            self.known[proto] = result
        return result

    def _convert(
        self, proto: TypeProto, where: str, depth: int, unknowns: list[DimLike]
    ) -> Type | None:
        if proto.tensor_type is not None:
            if not proto.tensor_type.elem_type:
                return None
            dtype = dtype_of(proto.tensor_type.elem_type, where)
            return tensor_type(dtype, self._shape(proto.tensor_type.shape, unknowns))
        if proto.sequence_type is not None:
            unknowns.append(0)
            return sequence_type(self.read(proto.sequence_type.elem_type, where, depth + 1))
        if proto.optional_type is not None:
            unknowns.append(0)
            return optional_type(self.read(proto.optional_type.elem_type, where, depth + 1))
        if proto.map_type is not None:
            key = dtype_of(proto.map_type.key_type or 0, where)
            unknowns.append(0)
            return map_type(key, self.read(proto.map_type.value_type, where, depth + 1))
        if proto.sparse_tensor_type is not None:
            dtype = dtype_of(proto.sparse_tensor_type.elem_type or 0, where)
            return sparse_tensor_type(dtype, self._shape(proto.sparse_tensor_type.shape, unknowns))
        if proto.opaque_type is not None:
            return opaque_type(proto.opaque_type.domain or "", proto.opaque_type.name or "")
        return None

    def _shape(self, shape: TensorShapeProto | None, unknowns: list[DimLike]) -> Shape | None:
        if shape is None:
            return None
        return tuple([self._dim(d, unknowns) for d in shape.dim])

    def _dim(self, dim: Dimension, unknowns: list[DimLike]) -> DimLike:
        if dim.dim_value is not None and dim.dim_value >= 0:
            return dim.dim_value
        if dim.dim_value is None and dim.dim_param and not dim.dim_param.startswith("?"):
            found = self._symbols.get(dim.dim_param)
            if found is None:
                found = self._symbols[dim.dim_param] = _named(dim.dim_param)
            return found
        # Negative sizes and names like "?" mean "unknown" to the exporters that write them.
        unknown = fresh()
        unknowns.append(unknown)
        return unknown


def dtype_of(number: int, where: str) -> DType:
    """The element type with this TensorProto.DataType number; InvalidModel for one ONNX lacks."""
    found = BY_ONNX.get(number)
    if found is None:
        raise InvalidModel(f"{where} has element type {number}, which ONNX does not define")
    return found


def _named(text: str) -> DimLike:
    """A dimension name; sums and products that exporters write (`past + seq`) become arithmetic."""
    if _IDENTIFIER.match(text):
        return symbol(text)
    try:
        found = parse(text.replace("Max(", "max(").replace("Min(", "min("))
    except ValueError:
        return symbol(text)
    # A name that happens to be a number, or arithmetic that cancels, is not what its author meant.
    return symbol(text) if isinstance(found, int) else found


def without_names(type_: Type | None) -> Type | None:
    """A tensor type of which only the dimensions that are numbers are kept."""
    if not isinstance(type_, TensorType) or type_.shape is None:
        return type_
    return tensor_type(type_.dtype, tuple(d if isinstance(d, int) else fresh() for d in type_.shape))

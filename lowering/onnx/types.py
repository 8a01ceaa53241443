"""IR types to ONNX's TypeProto."""

from __future__ import annotations

from ...ir.dims import Dim, DimLike, atoms
from ...ir.proto.messages import (
    Dimension,
    MapTypeProto,
    OpaqueTypeProto,
    OptionalTypeProto,
    SequenceTypeProto,
    SparseTensorTypeProto,
    TensorShapeProto,
    TensorTypeProto,
    TypeProto,
)
from ...ir.types import (
    MapType,
    OpaqueType,
    OptionalType,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
)


class TypeWriter:
    """Converts types; one message each, shared by all values of that type."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Type, TypeProto] = {}

    def write(self, type_: Type | None) -> TypeProto | None:
        """The message of a type; None where nothing is known."""
        if type_ is None:
            return None
        found = self._known.get(type_)
        if found is None:
            found = self._known[type_] = self._make(type_)
        return found

    def _make(self, type_: Type) -> TypeProto:
        if isinstance(type_, TensorType):
            tensor = TensorTypeProto(elem_type=type_.dtype.onnx, shape=_shape(type_.shape))
            return TypeProto(tensor_type=tensor)
        if isinstance(type_, SequenceType):
            return TypeProto(sequence_type=SequenceTypeProto(elem_type=self.write(type_.element)))
        if isinstance(type_, OptionalType):
            return TypeProto(optional_type=OptionalTypeProto(elem_type=self.write(type_.element)))
        if isinstance(type_, MapType):
            value = self.write(type_.value)
            return TypeProto(map_type=MapTypeProto(key_type=type_.key.onnx, value_type=value))
        if isinstance(type_, SparseTensorType):
            sparse = SparseTensorTypeProto(elem_type=type_.dtype.onnx, shape=_shape(type_.shape))
            return TypeProto(sparse_tensor_type=sparse)
        assert isinstance(type_, OpaqueType)
        return TypeProto(opaque_type=OpaqueTypeProto(domain=type_.domain, name=type_.name))


def _shape(shape: tuple[DimLike, ...] | None) -> TensorShapeProto | None:
    if shape is None:
        return None
    return TensorShapeProto(dim=[_dim(d) for d in shape])


def _dim(dim: DimLike) -> Dimension:
    if not isinstance(dim, Dim):
        return Dimension(dim_value=dim)
    # Arithmetic on a dimension nobody named would only invent names.
    atom = dim.atom
    if (atom is not None and atom.is_unknown) or any(a.is_unknown for a in atoms(dim)):
        return Dimension()
    return Dimension(dim_param=atom.name if atom is not None and atom.is_symbol else str(dim))

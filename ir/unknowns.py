"""Unknown dimensions inside types: which there are, and types with other symbols in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .dims import Atom, Dim, DimLike, substitute
from .types import (
    MapType,
    OptionalType,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
    map_type,
    optional_type,
    sequence_type,
    sparse_tensor_type,
    tensor_type,
)


def dims_of(type: Type | None) -> Iterator[DimLike]:
    """Every dimension of a type, those of element types included, in the order of its text."""
    while type is not None:
        if isinstance(type, (TensorType, SparseTensorType)):
            yield from type.shape or ()
            return
        if isinstance(type, (SequenceType, OptionalType)):
            type = type.element
        elif isinstance(type, MapType):
            type = type.value
        else:
            return


def unknowns_of(type: Type | None) -> list[tuple[str, bool]]:
    """The name of each unknown in a type, as often as it occurs, and whether it is a dimension by itself."""
    found: list[tuple[str, bool]] = []
    for dim in dims_of(type):
        if not isinstance(dim, int):
            alone = dim.is_unknown
            found.extend((a.name, alone) for a in _atoms(dim) if a.is_unknown)
    return found


def _atoms(dim: DimLike) -> Iterator[Atom]:
    """Every atom of a dimension from left to right, as its text shows them."""
    stack: list[DimLike | Atom] = [dim]
    while stack:
        item = stack.pop()
        if isinstance(item, Dim):
            stack += [atom for monomial, _ in reversed(item.terms) for atom in reversed(monomial)]
        elif isinstance(item, Atom):
            yield item
            stack += reversed(item.args)


def substitute_type(type: Type | None, of: Callable[[str], DimLike | None]) -> Type | None:
    """The type with each symbol replaced for whose name `of` gives a dimension."""
    if isinstance(type, (TensorType, SparseTensorType)):
        if type.shape is None:
            return type
        shape = tuple([d if d.__class__ is int else substitute(d, of) for d in type.shape])
        if isinstance(type, TensorType):
            return tensor_type(type.dtype, shape)
        return sparse_tensor_type(type.dtype, shape)
    if isinstance(type, SequenceType):
        return sequence_type(substitute_type(type.element, of))
    if isinstance(type, OptionalType):
        return optional_type(substitute_type(type.element, of))
    if isinstance(type, MapType):
        return map_type(type.key, substitute_type(type.value, of))
    return type

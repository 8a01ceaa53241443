"""Attribute values of kinds that Python has no type for.

Others are plain: int, float, str, bytes, tuples of these, tensors, graphs and types.
"""

from __future__ import annotations

from .tensor import Tensor


class AttrRef:
    """Inside a function: the value of the function's attribute parameter `name`, of a given kind."""

    __slots__ = ("name", "kind")

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AttrRef) and (self.name, self.kind) == (other.name, other.kind)

    def __hash__(self) -> int:
        return hash((self.name, self.kind))

    def __repr__(self) -> str:
        return f"@{self.name}"


class EmptyList:
    """An empty list attribute of an op without schema, whose kind would be lost in ``()``."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EmptyList) and self.kind == other.kind

    def __hash__(self) -> int:
        return hash(self.kind)

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"[]:{self.kind}"


class SparseTensor:
    """A sparse constant: values [NNZ] and indices [NNZ] or [NNZ, rank] of a dense shape."""

    __slots__ = ("values", "indices", "shape")

    def __init__(self, values: Tensor, indices: Tensor, shape: tuple[int, ...]) -> None:
        self.values = values
        self.indices = indices
        self.shape = shape

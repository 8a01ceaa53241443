"""Types as `.gir` writes them, read back; each distinct text is read once."""

from __future__ import annotations

from ..dim_parser import parse
from ..dims import Dim, DimLike, fresh
from ..types import BY_NAME, DType, Shape, Type, sparse_tensor_type, tensor_type

_MAX_DIM = 1 << 63


class Fault(Exception):
    """Something wrong in a line; `needle` is the part of the line to point at, or `column` the place.

    A needle that is a token of lark knows its place.
    """

    def __init__(self, message: str, needle: str = "", column: int = -1) -> None:
        super().__init__(message)
        self.needle = str(needle)
        self.column = column if column >= 0 else getattr(needle, "column", 0) - 1


class TypeTexts:
    """Reads types of one model, in which `?a` is the same unknown everywhere and each bare `?` another."""

    def __init__(self) -> None:
        self._tensors: dict[str, Type] = {}
        self._dims: dict[str, DimLike] = {}
        self._unknown: dict[str, Dim] = {}

    def tensor(self, text: str) -> Type:
        """The type that ``f32[B,S]`` and the like denote."""
        found = self._tensors.get(text)
        if found is None:
            name, bracket, dims = text.partition("[")
            found = tensor_type(self.dtype(name), self.shape(bracket + dims))
            if "?" not in dims:
                self._tensors[text] = found
        return found

    def sparse(self, name: str, dims: str) -> Type:
        """The type of a sparse tensor."""
        return sparse_tensor_type(self.dtype(name), self.shape(dims))

    def dtype(self, name: str) -> DType:
        found = BY_NAME.get(name)
        if found is None:
            raise Fault(f"unknown element type {name}", name)
        return found

    def shape(self, text: str) -> Shape | None:
        """The shape that ``[B,S]`` denotes; None for ``[*]``."""
        body = text[1:-1].strip()
        if body == "*":
            return None
        return tuple([self._dim(part) for part in _split(body)]) if body else ()

    def _dim(self, text: str) -> DimLike:
        found = self._dims.get(text)
        if found is None:
            try:
                found = parse(text, self._unknown_dim)
            except ValueError as error:
                raise Fault(str(error), text) from None
            if isinstance(found, int) and not 0 <= found < _MAX_DIM:
                raise Fault(f"{found} is no size of a dimension", text)
            if "?" not in text:
                self._dims[text] = found
        return found

    def _unknown_dim(self, text: str) -> Dim:
        if text == "?":
            return fresh()
        found = self._unknown.get(text)
        if found is None:
            found = self._unknown[text] = fresh()
        return found


def _split(body: str) -> list[str]:
    """Split at the commas that stand in no quotes and no parentheses."""
    if '"' not in body and "(" not in body:
        return body.split(",")
    parts: list[str] = []
    start = depth = position = 0
    while position < len(body):
        character = body[position]
        if character == '"':
            position += 1
            while position < len(body) and body[position] != '"':
                position += 2 if body[position] == "\\" else 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(body[start:position])
            start = position + 1
        position += 1
    parts.append(body[start:])
    return parts

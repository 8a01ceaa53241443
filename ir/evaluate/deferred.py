"""Constants that share or compute their payload, so that folding a large weight needs no memory for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..tensor import Array, Tensor, _pack
from ..types import DType


class DeferredTensor(Tensor):
    """A constant whose elements are computed from another one each time somebody reads them.

    `compute` maps the elements of `source` to those of this tensor (in any shape of as many elements) and must not
    fail; `elementwise` says that it does so one by one, so that it can be given a part of them. `recipe` names that
    function: two tensors with equal recipes and equal sources are equal. The digest is kept once computed, the
    elements never are.
    """

    __slots__ = ("source", "recipe", "compute", "elementwise")

    def __init__(
        self,
        dtype: DType,
        shape: tuple[int, ...],
        source: Tensor,
        recipe: str,
        compute: Callable[[Array], Array],
        elementwise: bool = False,
    ) -> None:
        super().__init__(dtype, shape)
        self.source = source
        self.recipe = recipe
        self.compute = compute
        self.elementwise = elementwise

    def array(self) -> Array:
        """The elements, computed anew."""
        array = self.compute(self.source.read()).reshape(self.shape)
        if array.flags.writeable:
            array.flags.writeable = False
        return array

    def pieces(self, count: int = 1 << 22) -> Iterator[Array]:
        """The elements in order, flat, at most `count` at a time; computed in parts where that is possible."""
        if not self.elementwise:
            yield from super().pieces(count)
            return
        for piece in self.source.pieces(count):
            yield self.compute(piece).reshape(-1)

    def data(self) -> memoryview:
        """The packed payload, computed anew."""
        return memoryview(_pack(self.array(), self.dtype)).cast("B") if self.length else memoryview(b"")


class PackedTensor(DeferredTensor):
    """A part of a matrix that a file holds in a format of its own: who writes the same format can copy its rows.

    `source` is u8 [rows, bytes of a row] as it lies in the file, in the format `kind`. `part` is what of the matrix
    this tensor is, one of `parts`, which are all of it. `order`: which row of the file each row is; None as they lie.
    """

    __slots__ = ("kind", "part", "parts", "order")

    def __init__(
        self,
        dtype: DType,
        shape: tuple[int, ...],
        source: Tensor,
        compute: Callable[[Array], Array],
        kind: str,
        part: str,
        parts: tuple[str, ...],
        order: Array | None = None,
    ) -> None:
        super().__init__(dtype, shape, source, f"{kind} {part}{_in_order(order)}", compute)
        self.kind = kind
        self.part = part
        self.parts = parts
        self.order = order


def _in_order(order: Array | None) -> str:
    """Rows in another order are other numbers."""
    if order is None:
        return ""
    import hashlib

    return f" in order {hashlib.blake2b(np.ascontiguousarray(order).tobytes(), digest_size=8).hexdigest()}"


def reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same elements in another shape: a view of the same span of file or memory.

    Raises ValueError if the number of elements differs.
    """
    if shape == tensor.shape:
        return tensor
    view: Tensor
    if tensor.splat is not None:
        view = Tensor.of_splat(tensor.splat, shape, tensor.dtype)
    elif isinstance(tensor, DeferredTensor):
        view = DeferredTensor(
            tensor.dtype, shape, tensor.source, tensor.recipe, tensor.compute, tensor.elementwise
        )
    else:
        data: Any = tensor._data
        if tensor.file is None and tensor._data is None:
            return Tensor.from_array(tensor.array().reshape(shape), tensor.dtype)
        view = Tensor(tensor.dtype, shape, file=tensor.file, offset=tensor.offset, data=data)
    if view.size != tensor.size:
        raise ValueError(f"{tensor} cannot take the shape {list(shape)}")
    return view

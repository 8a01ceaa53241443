"""Sparse weights (SparsityParameters): compressed dimensions and blocks, and their dense form.

The form is that of TACO (Kjolstad et al., OOPSLA 2017) as tensorflow/lite/tools/optimize/sparsity describes it: the
dimensions in the order of `traversal_order`, those of blocks last; each either dense or compressed to segments of
indices (CSR).
"""

from __future__ import annotations

from math import prod

import numpy as np

from ...ir.errors import FormatError, UnsupportedModel
from ...ir.tensor import Array, Tensor
from .flatbuffer import Table

_VECTORS = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}
_CSR = 1
# Dense bytes for each stored one, and bytes that are always fine. Weights of models are 50 to 95 % zeros.
_MAX_GROWTH = 64
_FREE = 1 << 20


class Sparsity:
    """Where the stored numbers of one tensor belong: `stored` many, of a dense `shape`."""

    def __init__(self, table: Table, shape: tuple[int, ...], label: str) -> None:
        self.shape = shape
        self.label = label
        self.source = table.source.name
        order, blocks, dims = table["traversal_order"], table["block_map"], table["dim_metadata"]
        self.order = [] if order is None else order.tolist()
        self.blocks = [] if blocks is None else blocks.tolist()
        rank = len(shape)
        if sorted(self.order) != list(range(rank + len(self.blocks))) or len(dims) != len(self.order):
            raise self._error("has an order of dimensions that is none")
        if len(set(self.blocks)) != len(self.blocks) or any(not 0 <= b < rank for b in self.blocks):
            raise self._error("has blocks of dimensions that it lacks")
        self.levels: list[int | tuple[Array, Array]] = [self._level(d) for d in dims]
        self.sizes = self._sizes()
        self.stored = self._count()

    def _level(self, table: Table) -> int | tuple[Array, Array]:
        """A dense size, or the segments and indices of a compressed dimension."""
        if table["format"] != _CSR:
            size: int = table["dense_size"]
            if size <= 0:
                raise self._error(f"has a dense dimension of {size}")
            return size
        found = []
        for name in ("array_segments", "array_indices"):
            layout = _VECTORS.get(table[f"{name}_type"])
            vector = table.union(name, layout) if layout is not None else None
            values = vector["values"] if vector is not None else None
            if values is None:
                raise self._error("has a compressed dimension without its indices")
            found.append(values.astype(np.int64))
        segments, indices = found
        if not segments.size or segments[0] != 0 or segments[-1] != indices.size or (np.diff(segments) < 0).any():
            raise self._error("has segments that do not fit its indices")
        if indices.size and int(indices.min()) < 0:
            raise self._error("has indices below zero")
        return segments, indices

    def _sizes(self) -> list[int]:
        """Of every dimension in the order of storage: the blocks that a dimension has, and what is in a block."""
        rank = len(self.shape)
        block = {}
        for level, dim in zip(self.levels, self.order):
            if dim >= rank:
                if not isinstance(level, int):
                    raise self._error("has a compressed block")
                block[self.blocks[dim - rank]] = level
        sizes = []
        for level, dim in zip(self.levels, self.order):
            whole = self.shape[dim] if dim < rank else 0
            step = block.get(dim, 1)
            size = whole // step if dim < rank else block[self.blocks[dim - rank]]
            if (dim < rank and whole % step) or (isinstance(level, int) and level != size):
                raise self._error(f"has dimensions that do not multiply to {list(self.shape)}")
            sizes.append(size)
        return sizes

    def _count(self) -> int:
        count = 1
        for level in self.levels:
            if isinstance(level, int):
                count *= level
            elif level[0].size != count + 1:
                raise self._error(f"has {level[0].size} segments for {count} rows")
            else:
                count = level[1].size
        return count

    def dense(self, stored: Tensor) -> Array:
        """The tensor with its zeros. Raises UnsupportedModel where nearly all of it would be zeros."""
        size = prod(self.shape) * stored.dtype.numpy.itemsize
        if size > _MAX_GROWTH * stored.nbytes + _FREE:
            raise UnsupportedModel(f"{self.label} would grow from {stored.nbytes} to {size} bytes", source=self.source)
        flat = np.zeros(1, np.int64)  # positions in the order of storage, as far as the levels say them
        for level, extent in zip(self.levels, self.sizes):
            if isinstance(level, int):
                flat = (flat[:, None] * extent + np.arange(extent)).reshape(-1)
                continue
            segments, indices = level
            if indices.size and int(indices.max()) >= extent:
                raise self._error(f"has an index beyond {extent}")
            flat = np.repeat(flat, np.diff(segments)) * extent + indices
        ordered = np.zeros(prod(self.sizes), stored.dtype.numpy)
        ordered[flat] = stored.array()
        return self._unblocked(ordered.reshape(self.sizes))

    def _unblocked(self, ordered: Array) -> Array:
        """Dimensions back in their order, each with its block behind it, merged."""
        rank = len(self.shape)
        wanted = []
        for dim in range(rank):
            wanted.append(self.order.index(dim))
            if dim in self.blocks:
                wanted.append(self.order.index(rank + self.blocks.index(dim)))
        return np.ascontiguousarray(ordered.transpose(wanted)).reshape(self.shape)

    def _error(self, message: str) -> FormatError:
        return FormatError(f"sparse {self.label} {message}", source=self.source)

"""Kernels of convolutions as chains of smaller ones: by channels (Tucker-2) and by rows and columns (spatial).

    form = Tucker(weights)                      # f32 [outputs, inputs, height, width]
    for kernel in form.kernels((16, 24)): ...   # of the chain, one after the other
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from ...ir.tensor import Array
from .factors import roots

Ranks = tuple[int, ...]


class Link(NamedTuple):
    """One convolution of a chain: the shape [outputs, inputs of a group, height, width] of its kernel.

    `axes`: the spatial axes along which it has the stride, padding and dilation.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...] = ()
    groups: int = 1

    @property
    def inputs(self) -> int:
        """The channels that it reads."""
        return self.shape[1] * self.groups


class Form(Protocol):
    """One way to take a kernel apart."""

    def candidates(self, multiple: int) -> Iterator[Ranks]:
        """Ranks from low to high."""

    def links(self, ranks: Ranks) -> list[Link]:
        """What the chain is made of, from first to last."""

    def loss(self, ranks: Ranks) -> float:
        """The share of the squares of the (whitened) weights that is lost."""

    def kernels(self, ranks: Ranks) -> list[Array]:
        """The kernels of the links, f32."""


class Tucker:
    """1 x 1 to fewer channels, the kernel between fewer channels, 1 x 1 to all channels.

    By the principal directions of inputs and outputs (L. De Lathauwer et al., A Multilinear Singular Value
    Decomposition, 2000; for convolutions Y.-D. Kim et al., arXiv 1511.06530).
    """

    def __init__(self, weights: Array, covariance: Array | None = None) -> None:
        """`covariance` f64 [inputs, inputs] of the channels that are read weighs the inputs; None: the identity."""
        self.weights = weights.astype(np.float64)
        root: Array = np.eye(weights.shape[1])
        self._inverse = root
        if covariance is not None:
            root, self._inverse = roots(covariance)
        whitened = np.einsum("oihw,ij->ojhw", self.weights, root)
        self._inputs = _directions(np.einsum("oihw,ojhw->ij", whitened, whitened))
        self._outputs = _directions(np.einsum("oihw,pihw->op", whitened, whitened))
        self._core = np.einsum("oihw,ip,oq->qphw", whitened, self._inputs, self._outputs, optimize=True)
        # What a corner of the core holds is what the ranks of its sides keep.
        self._kept = (self._core**2).sum((2, 3)).cumsum(0).cumsum(1)

    def candidates(self, multiple: int) -> Iterator[Ranks]:
        outputs, inputs = int(self.weights.shape[0]), int(self.weights.shape[1])
        steps = max(1, max(inputs, outputs) // multiple)

        def rounded(side: int, step: int) -> int:
            return min(side, max(multiple, round(side * step / steps / multiple) * multiple))

        yield from sorted({(rounded(inputs, step), rounded(outputs, step)) for step in range(1, steps + 1)})

    def links(self, ranks: Ranks) -> list[Link]:
        outputs, inputs, height, width = self.weights.shape
        low, high = ranks
        return [Link((low, inputs, 1, 1)), Link((high, low, height, width), (0, 1)), Link((outputs, high, 1, 1))]

    def loss(self, ranks: Ranks) -> float:
        low, high = ranks
        return 1.0 - float(self._kept[high - 1, low - 1] / (self._kept[-1, -1] or 1.0))

    def kernels(self, ranks: Ranks) -> list[Array]:
        low, high = ranks
        left, right, core = self._inputs[:, :low], self._outputs[:, :high], self._core[:high, :low]
        kernels = ((self._inverse @ left).T[:, :, None, None], core, right[:, :, None, None])
        return [kernel.astype(np.float32) for kernel in kernels]


class Spatial:
    """Columns of the kernel, then rows: 3 x 3 becomes 3 x 1 and 1 x 3.

    The closed form of C. Tai et al., arXiv 1511.06067, for the scheme of M. Jaderberg et al., arXiv 1405.3866.
    """

    def __init__(self, weights: Array) -> None:
        self.weights = weights.astype(np.float64)
        outputs, inputs, height, width = weights.shape
        matrix = self.weights.transpose(1, 2, 0, 3).reshape(inputs * height, outputs * width)
        self._left, self._values, self._right = np.linalg.svd(matrix, full_matrices=False)

    def candidates(self, multiple: int) -> Iterator[Ranks]:
        yield from ((rank,) for rank in range(multiple, len(self._values) + 1, multiple))

    def links(self, ranks: Ranks) -> list[Link]:
        outputs, inputs, height, width = self.weights.shape
        return [Link((ranks[0], inputs, height, 1), (0,)), Link((outputs, ranks[0], 1, width), (1,))]

    def loss(self, ranks: Ranks) -> float:
        squares = self._values**2
        return float(squares[ranks[0] :].sum() / (squares.sum() or 1.0))

    def kernels(self, ranks: Ranks) -> list[Array]:
        outputs, inputs, height, width = self.weights.shape
        (rank,) = ranks
        sizes = np.sqrt(self._values[:rank])
        first = (self._left[:, :rank] * sizes).T.reshape(rank, inputs, height, 1)
        second = (sizes[:, None] * self._right[:rank]).reshape(rank, outputs, 1, width).transpose(1, 0, 2, 3)
        return [first.astype(np.float32), np.ascontiguousarray(second, np.float32)]


def _directions(square: Array) -> Array:
    """Eigenvectors as columns, that of the largest eigenvalue first."""
    return np.asarray(np.linalg.eigh(square)[1][:, ::-1])


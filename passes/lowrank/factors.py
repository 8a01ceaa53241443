"""The two factors of a matrix, from what its layer reads: the least squared error of the layer's outputs.

    seen = Moments(768)                        # an observer of the layer's input
    spectrum = Spectrum.of(w, square_of(w, seen.covariance()))
    a, b = spectrum.factors(192)               # f32 [inputs, 192] and [192, outputs]
    shift = seen.mean @ (w - a @ b)            # for the bias

With C = S^T S the covariance of the inputs, the mean of ||x (W - A B)||^2 is the squared Frobenius norm of S (W - A B),
up to the mean, which the bias takes. Its least value for a rank r is that of the truncated singular value decomposition
of S W (Eckart, Young, 1936): the whitening of SVD-LLM (Wang et al., arXiv 2403.07378), centered. In terms of the
outputs it is a projection on the principal components of x W. Without samples C is the identity, and that plain SVD.
Of large matrices only the directions that could pay are found, by subspace iteration from random vectors (Halko,
Martinsson, Tropp, arXiv 0909.4061, algorithm 4.4).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...ir.tensor import Array
from ..quantize.observers import Statistics

LARGE = 4096  # directions from which on they are not all found
_STRIP = 2048  # columns that are in f64 at a time
_ITERATIONS = 3
_DAMPING = 1e-8  # of the mean variance of the inputs, added to each: directions that were never seen are not lost


class Moments(Statistics):
    """The mean and the covariance of vectors along `axis`, f64: an `Observer` of what layers read."""

    grows = ("total", "products", "rows")

    def __init__(self, inputs: int, axis: int = -1) -> None:
        self.inputs = inputs
        self.axis = axis
        self.total: Array = np.zeros(inputs)
        self.products: Array = np.zeros((inputs, inputs))
        self.rows = 0

    def add(self, array: Array) -> None:
        """Vectors [..., inputs], for axis 1 [batch, inputs, ...]. Raises ValueError for NaN and infinity."""
        rows = np.moveaxis(array, self.axis, -1).reshape(-1, self.inputs).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            product = rows.T @ rows
        if not np.isfinite(product).all():
            raise ValueError("it holds NaN, infinity, or numbers whose squares are none")
        self.total = self.total + rows.sum(0)
        self.products = self.products + product
        self.rows += len(rows)

    @property
    def mean(self) -> Array:
        """f64 [inputs]."""
        return np.asarray(self.total / max(1, self.rows))

    def covariance(self) -> Array:
        """f64 [inputs, inputs]."""
        found = self.products / max(1, self.rows)
        return np.asarray(found - np.outer(self.mean, self.mean))


class Spectrum(NamedTuple):
    """A matrix by the directions that matter.

    `energies` f64 are the squared singular values of S W, falling: the mean squared error of the outputs that a rank r
    leaves is the sum of those from r on. `basis`: their directions, columns f64 of the inputs where those are fewer,
    else of the outputs. Of a large matrix the last energy is the sum of all that have no direction here.
    """

    matrix: Array
    square: Array | None
    energies: Array
    basis: Array

    @classmethod
    def of(cls, matrix: Array, square: Array | None) -> Spectrum:
        """Of f32 [inputs, outputs] and what `square_of` keeps of its inputs; None for plain singular values."""
        inputs, outputs = matrix.shape
        if inputs > outputs:
            found = _square(matrix.T) if square is None else square
        else:
            found = _square(matrix)
            if square is not None:
                root = roots(square)[0]
                found = root @ found @ root
        side = len(found)
        if side <= LARGE:
            energies, basis = np.linalg.eigh(found)
            return cls(matrix, square, np.maximum(energies[::-1], 0.0), basis[:, ::-1])
        count = min(side, -(-inputs * outputs // (inputs + outputs)))  # beyond it two factors are no smaller
        energies, basis = _largest(found, count)
        rest = max(float(np.trace(found)) - float(energies.sum()), 0.0)
        return cls(matrix, square, np.append(energies, rest), basis)

    @property
    def most(self) -> int:
        """The highest rank that there are factors of."""
        return int(self.basis.shape[1])

    def factors(self, rank: int) -> tuple[Array, Array]:
        """A f32 [inputs, rank] and B f32 [rank, outputs], the columns of one as long as the rows of the other."""
        w, basis = self.matrix, self.basis[:, :rank]
        if w.shape[0] > w.shape[1]:
            left, right = _product(basis.T, w.T).T, basis.T
        elif self.square is None:
            left, right = basis, _product(basis.T, w)
        else:
            root, inverse = roots(self.square)
            left, right = inverse @ basis, _product(basis.T @ root, w)
        sizes = np.sqrt(np.linalg.norm(right, axis=1) / np.maximum(np.linalg.norm(left, axis=0), 1e-30))
        sizes[sizes == 0] = 1.0
        right = right.astype(np.float32, copy=False)  # and never a view of something else: the basis is f64
        right /= sizes[:, None].astype(np.float32)
        return (left * sizes).astype(np.float32), right


def _square(matrix: Array) -> Array:
    """A A^T in f64 of an f32 [rows, columns], which is never in f64 as a whole."""
    found = np.zeros((len(matrix),) * 2)
    for start in range(0, matrix.shape[1], _STRIP):
        part = matrix[:, start : start + _STRIP].astype(np.float64)
        found += part @ part.T
    return found


def _product(left: Array, matrix: Array) -> Array:
    """f64 [rank, rows] times f32 [rows, columns], in the same way: f32, as the factors are."""
    found = np.empty((len(left), matrix.shape[1]), np.float32)
    for start in range(0, matrix.shape[1], _STRIP):
        found[:, start : start + _STRIP] = left @ matrix[:, start : start + _STRIP].astype(np.float64)
    return found


def _largest(square: Array, count: int) -> tuple[Array, Array]:
    """The largest eigenvalues of a positive matrix, falling, and their vectors, about."""
    vectors = np.random.default_rng(0).standard_normal((len(square), min(len(square), count + count // 16)))
    for _ in range(_ITERATIONS):
        vectors, _ = np.linalg.qr(square @ vectors)
    energies, inner = np.linalg.eigh(vectors.T @ square @ vectors)
    return np.maximum(energies[::-1][:count], 0.0), vectors @ inner[:, ::-1][:, :count]


def square_of(matrix: Array, covariance: Array) -> Array:
    """What a spectrum needs of the inputs: their covariance C, or W^T C W where the outputs are fewer."""
    c = damped(covariance)
    return c if matrix.shape[0] <= matrix.shape[1] else np.asarray(matrix.T.astype(np.float64) @ c @ matrix)


def damped(covariance: Array) -> Array:
    """A covariance with a little of the mean variance in every direction; the identity for inputs that never vary."""
    mean = float(np.trace(covariance)) / len(covariance)
    if mean <= 0:
        return np.eye(len(covariance))
    return covariance + _DAMPING * mean * np.eye(len(covariance))


def roots(covariance: Array) -> tuple[Array, Array]:
    """The symmetric S with S S = C, and its inverse."""
    squares, axes = np.linalg.eigh(covariance)
    sizes = np.sqrt(np.maximum(squares, _DAMPING * max(float(squares.mean()), 1e-300)))
    return (axes * sizes) @ axes.T, (axes / sizes) @ axes.T

"""Kernels of convolutions as sums of products of four vectors: canonical polyadic decomposition (CP).

    form = CP(weights)                      # f32 [outputs, inputs, height, width]
    for kernel in form.kernels((64,)): ...  # 1 x 1, 3 x 1 and 1 x 3 channel by channel, 1 x 1

The scheme of V. Lebedev et al., arXiv 1412.6553. The vectors are found by alternating least squares: each side in turn
is the best one for the others (T. Kolda, B. Bader, Tensor Decompositions and Applications, SIAM Review 51(3), 2009,
section 3.4). Where the rank is at most the number of inputs and of outputs they start from the eigenvectors of two
mixtures of the kernel's places, which are the answer where the kernel has that rank (S. Leurgans, R. Ross, R. Abel, A
Decomposition for Three-Way Arrays, 1993), else from random ones, always the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...ir.tensor import Array
from .factors import roots
from .tensors import Link, Ranks

_CANDIDATES = 5  # ranks that are tried: each takes a fit of its own
_SWEEPS, _MORE = 10, 40  # over all sides, to judge a rank, and more for that which is taken
_STILL = 1e-5  # of what is lost: a sweep that gains less is the last
_RIDGE = 1e-9  # of the mean square: what keeps terms from growing against each other


class CP:
    """1 x 1 to `rank` channels, 3 x 1 and 1 x 3 of each by itself, 1 x 1 to all channels."""

    def __init__(self, weights: Array, covariance: Array | None = None) -> None:
        """`covariance` f64 [inputs, inputs] of the channels that are read weighs the inputs; None: the identity."""
        self.weights = weights
        whitened = weights.astype(np.float64)
        self._inverse: Array | None = None
        if covariance is not None:
            root, self._inverse = roots(covariance)
            whitened = np.einsum("oihw,ij->ojhw", whitened, root)
        self._size = float(np.linalg.norm(whitened)) or 1.0
        self._target = whitened / self._size
        self._turned = np.ascontiguousarray(self._target.swapaxes(0, 1)).reshape(weights.shape[1], -1)
        self._fits: dict[int, tuple[list[Array], float, int]] = {}  # with the sweeps that were made

    def candidates(self, multiple: int) -> Iterator[Ranks]:
        outputs, inputs, height, width = self.weights.shape
        most = self.weights.size // (outputs + inputs + height + width)  # beyond it the chain is no smaller
        steps = np.geomspace(max(1, most // 2**_CANDIDATES), max(1, most), _CANDIDATES + 1)[:-1]
        yield from sorted({(max(multiple, round(step / multiple) * multiple),) for step in steps})

    def links(self, ranks: Ranks) -> list[Link]:
        outputs, inputs, height, width = self.weights.shape
        (rank,) = ranks
        rows, columns = Link((rank, 1, height, 1), (0,), rank), Link((rank, 1, 1, width), (1,), rank)
        return [Link((rank, inputs, 1, 1)), rows, columns, Link((outputs, rank, 1, 1))]

    def loss(self, ranks: Ranks) -> float:
        return self._fit(ranks[0], _SWEEPS)[1]

    def kernels(self, ranks: Ranks) -> list[Array]:
        outputs, inputs, rows, columns = self._fit(ranks[0], _SWEEPS + _MORE)[0]
        if self._inverse is not None:
            inputs = self._inverse @ inputs
        found = (inputs.T[:, :, None, None], rows.T[:, None, :, None], columns.T[:, None, None, :])
        return [np.ascontiguousarray(k, np.float32) for k in (*found, outputs[:, :, None, None] * self._size)]

    def _fit(self, rank: int, sweeps: int) -> tuple[list[Array], float]:
        """Factors [side, rank] of outputs, inputs, rows and columns, and the share of the squares that they lose."""
        factors, lost, done = self._fits.get(rank) or (self._start(rank), np.inf, 0)
        for _ in range(done, sweeps):
            before, lost = lost, self._sweep(factors)
            if lost >= (1 - _STILL) * before:
                sweeps = _SWEEPS + _MORE  # no more of them
                break
        self._fits[rank] = factors, lost, max(done, sweeps)
        return factors, lost

    def _sweep(self, factors: list[Array]) -> float:
        """Make each side the best one for the others; what is lost then."""
        outputs, inputs, rows, columns = factors
        places = _products(rows, columns)
        cross = self._target.reshape(len(outputs), -1) @ _products(inputs, places)
        factors[0] = outputs = self._solved(cross, inputs, rows, columns)
        cross = self._turned @ _products(outputs, places)
        factors[1] = inputs = self._solved(cross, outputs, rows, columns)
        seen = (outputs.T @ self._target.reshape(len(outputs), -1)).reshape(-1, *self._target.shape[1:])
        seen = np.einsum("rihw,ir->rhw", seen, inputs)
        factors[2] = rows = self._solved(np.einsum("rhw,wr->hr", seen, columns), outputs, inputs, columns)
        cross = np.einsum("rhw,hr->wr", seen, rows)
        factors[3] = columns = self._solved(cross, outputs, inputs, rows)
        for number in (1, 2, 3):  # all sizes are in the outputs
            sizes = np.linalg.norm(factors[number], axis=0)
            sizes[sizes == 0] = 1.0
            factors[number] = factors[number] / sizes
            factors[0] = factors[0] * sizes
        gram = _gram(*factors)
        return max(1.0 - 2 * float(np.sum(cross * columns)) + float(gram.sum()), 0.0)

    @staticmethod
    def _solved(cross: Array, *others: Array) -> Array:
        """The side with the least squared error, for the products of the target with all other sides."""
        gram = _gram(*others)
        gram[np.diag_indices_from(gram)] += _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-30)
        return np.linalg.solve(gram, cross.T).T

    def _start(self, rank: int) -> list[Array]:
        random = np.random.default_rng(0)
        drawn = [random.standard_normal((side, rank)) / np.sqrt(side) for side in self._target.shape]
        found = self._by_eigenvectors(rank, random)
        if found is None:
            return drawn
        drawn[0][:] = 0  # what the eigenvectors leave is for the terms behind them
        for side, known in zip(drawn, found):
            side[:, : known.shape[1]] = known
        return drawn

    def _by_eigenvectors(self, rank: int, random: np.random.Generator) -> list[Array] | None:
        """The factors of a kernel of at most this rank, and as many channels; None where they are not real ones."""
        target = self._target
        height, width = target.shape[2:]
        left = _span(np.einsum("oihw,pihw->op", target, target, optimize=True))
        right = _span(np.einsum("oihw,ojhw->ij", target, target, optimize=True))
        rank = min(rank, left.shape[1], right.shape[1])
        left, right = left[:, :rank], right[:, :rank]
        core = np.einsum("oihw,op,iq->pqhw", target, left, right, optimize=True)
        one, other = (np.einsum("pqhw,hw->pq", core, random.standard_normal((height, width))) for _ in range(2))
        try:
            values, vectors = np.linalg.eig(one @ np.linalg.inv(other))
            if np.iscomplexobj(values) and float(np.abs(values.imag).max()) > 1e-6 * float(np.abs(values).max()):
                return None
            first = vectors.real
            places = np.einsum("pqhw,rp->rqhw", core, np.linalg.inv(first), optimize=True)
        except np.linalg.LinAlgError:
            return None
        factors: list[list[Array]] = [[], [], []]
        for term in places:  # each is one product of three vectors where the kernel has the rank
            u, s, v = np.linalg.svd(term.reshape(rank, -1), full_matrices=False)
            a, b, c = np.linalg.svd(v[0].reshape(height, width))
            for side, vector in zip(factors, (right @ u[:, 0] * s[0], a[:, 0], c[0] * b[0])):
                side.append(vector)
        return [left @ first, *(np.stack(side, axis=1) for side in factors)]


def _span(square: Array) -> Array:
    """The directions along which a positive matrix is not about zero, as columns, the largest first."""
    sizes, axes = np.linalg.eigh(square)
    return np.asarray(axes[:, sizes > 1e-10 * sizes[-1]][:, ::-1])


def _products(one: Array, other: Array) -> Array:
    """Of [m, rank] and [n, rank] the products [m n, rank] of all pairs of a term (Khatri, Rao)."""
    return (one[:, None] * other[None]).reshape(-1, one.shape[1])


def _gram(*sides: Array) -> Array:
    """The scalar products of all pairs of terms, from those of their vectors."""
    found = np.ones((sides[0].shape[1],) * 2)
    for side in sides:
        found = found * (side.T @ side)
    return found

"""GPTQ: codes chosen column by column, each error made up for by the columns that are still to come.

Frantar, Ashkboos, Hoefler, Alistarh: GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers
(arXiv 2210.17323), which has the blocked form by a Cholesky factor of the inverse that is used here; the step for one
column is that of Optimal Brain Surgeon (Hassibi, Stork, 1993). Minimizes ||X (W - W')|| for the inputs X that were
seen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...ir.tensor import Array
from .blocks import MINIMUM, Blocks, Scheme, apart, decode, encode, ranges, to_half
from .observers import Statistics
from .rtn import fitted, rtn

DAMPING = 0.01  # of the mean square of an input, added to all: the matrix must not be singular
_LAZY = 128  # columns whose errors reach the columns behind them at once


class Gram(Statistics):
    """X^T X of the rows that were seen, f64 [inputs, inputs]: an `Observer` of what a weight is multiplied with."""

    grows = ("matrix", "rows")

    def __init__(self, inputs: int) -> None:
        self.matrix = np.zeros((inputs, inputs))
        self.rows = 0

    def add(self, array: Array) -> None:
        """Rows [..., inputs]. Raises ValueError for NaN and infinity."""
        rows = array.reshape(-1, array.shape[-1]).astype(np.float32, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            product = rows.T @ rows
        if not np.isfinite(product).all():
            raise ValueError("it holds NaN, infinity, or numbers whose squares are none")
        self.matrix += product
        self.rows += len(rows)

    def mean_squares(self) -> Array:
        """Of each input, f64 [inputs]."""
        found: Array = np.diag(self.matrix) / max(1, self.rows)
        return found


def gptq(
    matrix: Array, gram: Array, scheme: Scheme, *, half: bool = False, order: bool = False, clip: bool = True
) -> Blocks:
    """f32 [outputs, inputs] in blocks, for inputs with the Gram matrix `gram` f64 [inputs, inputs].

    `half`: scales and minima of f16. `order`: columns of large inputs first ("act-order"), with scales that are set
    before the first error is made up for. `clip`: scales by the smallest squared error, weighed by the mean squares of
    the inputs. What is worse than rounding to nearest by that measure, as can be with few samples, is rounded to
    nearest.
    """
    weights = np.array(matrix, np.float32)
    columns = weights.shape[1]
    squares = np.diag(gram).copy()
    dead = squares == 0
    factor = inverse_factor(gram, dead)
    sequence = np.argsort(-squares, kind="stable") if order else np.arange(columns)
    if order:
        factor = inverse_factor(gram[np.ix_(sequence, sequence)], dead[sequence])
    importance = squares.astype(np.float32) if clip else None
    blocks = _Scales(weights, scheme, importance, half, every=order)
    work = np.ascontiguousarray(weights[:, sequence])
    codes = np.zeros(work.shape, np.uint8)

    def choose(at: int, stop: int) -> Array:
        column = sequence[at]
        if not order and column % scheme.block == 0:
            blocks.set(column // scheme.block, work[:, at : at + scheme.block], stop - at)
        codes[:, column], made = blocks.nearest(column, work[:, at])
        return made[None]

    compensate(work[None], factor[None], choose)
    found = Blocks(scheme, codes, blocks.scale, blocks.offset, half)
    plain = rtn(matrix, scheme, clip=False)
    return found if _loss(matrix, found, gram) <= _loss(matrix, plain, gram) else (plain.rounded() if half else plain)


def compensate(work: Array, factor: Array, choose: Callable[[int, int], Array]) -> None:
    """Let each column of weights in turn become what `choose` makes of it, and those behind it make up for the error.

    `work` f32 [groups, outputs, inputs] is changed; `factor` f32 [groups, inputs, inputs] is `inverse_factor` of each
    group. `choose(at, stop)` gives f32 [groups, outputs] for column `at`; columns up to `stop` know of all errors.
    """
    columns = work.shape[2]
    for start in range(0, columns, _LAZY):
        stop = min(start + _LAZY, columns)
        errors = np.zeros((*work.shape[:2], stop - start), np.float32)
        for at in range(start, stop):
            error = (work[:, :, at] - choose(at, stop)) / factor[:, at, at, None]
            work[:, :, at:stop] -= error[:, :, None] * factor[:, at, None, at:stop]
            errors[:, :, at - start] = error
        work[:, :, stop:] -= errors @ factor[:, start:stop, stop:]


def inverse_factor(gram: Array, dead: Array) -> Array:
    """The upper Cholesky factor of the inverse of a Gram matrix, f32; inputs that are always 0 stand alone."""
    h = gram.copy()
    h[dead, dead] = 1.0
    h[np.diag_indices_from(h)] += DAMPING * float(np.mean(np.diag(h)))
    # inv(h) = U^T U: with the rows and columns turned round, the factor of h itself is lower, and its inverse is U.
    lower = np.linalg.cholesky(h[::-1, ::-1])
    return np.ascontiguousarray(np.linalg.inv(lower)[::-1, ::-1]).astype(np.float32)


def _loss(matrix: Array, blocks: Blocks, gram: Array) -> float:
    """||X (W - W')||^2."""
    error = (matrix - blocks.dequantized()).astype(np.float64)
    return float(np.sum((error @ gram) * error))


class _Scales:
    """Scales and offsets of a matrix, set block by block, and the nearest codes by them."""

    def __init__(self, weights: Array, scheme: Scheme, importance: Array | None, half: bool, every: bool) -> None:
        self.scheme, self.half = scheme, half
        shape = (len(weights), scheme.count(weights.shape[1]))
        self.scale = np.zeros(shape, np.float32)
        kind = np.float32 if scheme.kind == MINIMUM else np.uint8
        self.offset = None if ranges(weights[:1, None, :1], scheme)[1] is None else np.zeros(shape, kind)
        self.importance = None if importance is None else apart(importance[None], scheme.block)
        if every:
            for number, block in enumerate(np.moveaxis(apart(weights, scheme.block), 1, 0)):
                self.set(number, block, scheme.block)

    def set(self, number: int, block: Array, known: int) -> None:
        """The scale of a block, from its weights as they are now."""
        blocked = np.ascontiguousarray(block)[:, None]
        scale, offset = ranges(blocked, self.scheme)
        if self.importance is not None and self.scheme.bits < 8:
            weight = self.importance[:, number : number + 1, : blocked.shape[2]]
            codes = encode(blocked, scale, offset, self.scheme)
            _, scale, offset = fitted(blocked, codes, scale, offset, self.scheme, weight)
        self.scale[:, number] = (to_half(scale) if self.half else scale)[:, 0]
        if self.offset is not None and offset is not None:
            rounded = to_half(offset) if self.half and self.scheme.kind == MINIMUM else offset
            self.offset[:, number] = rounded[:, 0]

    def nearest(self, column: int, numbers: Array) -> tuple[Array, Array]:
        """Codes u8 and the numbers f32 that they stand for, of a column."""
        number = column // self.scheme.block
        scale = self.scale[:, number : number + 1]
        offset = None if self.offset is None else self.offset[:, number : number + 1]
        codes = encode(numbers[:, None, None], scale, offset, self.scheme)
        return codes[:, 0, 0], decode(codes, scale, offset, self.scheme)[:, 0, 0]

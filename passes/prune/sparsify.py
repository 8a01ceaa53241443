"""sparsify: single weights become zero, as many as asked for or in N:M patterns, and the others make up for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.core import Model, Node, constant
from ...ir.errors import UsageError
from ...ir.tensor import Array, Tensor
from ...ir.types import F32
from ..base import Context, Pass
from ..naming import choose_layers
from ..portions import within
from ..quantize.gptq import compensate, inverse_factor
from ..repair.bias import shift_bias
from ..repair.products import Moment, covariance_bytes, matrices, moments, weights_of
from ..settings import AUTO, by_samples, check_least, check_share, check_word
from .patterns import Pattern, summed_axis

MAGNITUDE, WANDA, SPARSEGPT = "magnitude", "wanda", "sparsegpt"
_COLUMNS = 128  # among which SparseGPT chooses at a time


@dataclass(frozen=True)
class Sparsify(Pass):
    """Weights of MatMul, Gemm and Conv become zero: `share` of each layer, or all but N in M with `pattern` "N:M".

    Zeros save time only where kernels skip them: "2:4" is what tensor cores of compute capability 8.0 and later do, and
    a build with SPARSE_WEIGHTS looks for. It lies along the axis that is summed over, channel by channel for each place
    of a convolution's kernel; layers whose channels are no multiple of M stay whole, and so do depthwise ones.

    `method`: magnitude (the smallest go), wanda (the smallest by weight times the norm of what it meets, output by
    output; Sun et al., arXiv 2306.11695), sparsegpt (columns in turn, and those that follow make up for the error;
    Frantar, Alistarh, arXiv 2301.00774), auto: the last where there are samples (--calib), else the first. With samples
    biases take what the mean loses. `layers`, if given, names the only ones, and `keep` those that stay whole (nodes or
    weights, with * and ?); so do weights of fewer than `least` numbers. At most `samples` are looked at.
    """

    name: ClassVar[str] = "sparsify"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    share: float = 0.5
    pattern: str = ""
    method: str = AUTO
    samples: int = 64
    layers: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    least: int = 1 << 12
    memory: int = 512 << 20

    def run(self, model: Model, ctx: Context) -> bool:
        """True if a weight became zero. Raises UsageError for bad options, and for methods that need samples."""
        pattern = self._checked()
        method = by_samples(self, "method", ctx, MAGNITUDE, SPARSEGPT)
        layers = self._chosen(model, pattern, ctx)
        changed = False
        for part in within(layers, covariance_bytes, self.memory):
            seen = moments(model, part, ctx, self.samples) if ctx.observe is not None else {}
            for node in part:
                if ctx.allow(self.name, "", node):
                    with ctx.rewrite(self.name, "", [node], []):
                        self._sparse(node, pattern, method, seen.get(node), ctx)
                    changed = True
        return changed

    def _checked(self) -> Pattern | None:
        check_share(self, "share", whole=False)
        check_word(self, "method", (AUTO, MAGNITUDE, WANDA, SPARSEGPT))
        check_least(self, 1, "samples", "memory")
        check_least(self, 0, "least")
        try:
            return Pattern.parse(self.pattern) if self.pattern else None
        except ValueError as error:
            raise UsageError(f"pattern of {self.name}: {error}", source="--passes") from None

    def _chosen(self, model: Model, pattern: Pattern | None, ctx: Context) -> list[Node]:
        found = [node for node in model.graph if _can_be_sparse(node, self.least)]
        chosen = []
        for node in choose_layers(self, found, lambda node: [node], ctx):
            axis, weight = summed_axis(node), node.inputs[1]
            assert axis is not None and weight is not None and weight.const is not None
            if pattern is not None and weight.const.shape[axis] % pattern.block:
                said = f"it stays whole: {weight.const.shape[axis]} channels are no multiple of {pattern.block}"
                ctx.decline("missed", self.name, "", node, said)
            else:
                chosen.append(node)
        return chosen

    def _sparse(self, node: Node, pattern: Pattern | None, method: str, seen: Moment | None, ctx: Context) -> None:
        order = _order(node)
        old = matrices(node)[:, order].transpose(0, 2, 1)  # [groups, outputs, inputs], channels innermost
        if seen is not None:
            seen = Moment(seen.covariance[:, order][:, :, order], seen.mean[:, order])
        if method == SPARSEGPT and seen is not None:
            new = self._compensated(old, pattern, seen)
        else:
            scores = np.abs(old)
            if method == WANDA and seen is not None:
                squares = np.diagonal(seen.covariance, axis1=1, axis2=2) + seen.mean**2
                scores = scores * np.sqrt(squares)[:, None, :]
            new = np.where(self._zeros(scores, pattern, method == WANDA), 0.0, old)
        found = np.empty_like(new)
        found[:, :, order] = new
        weight = node.inputs[1]
        assert weight is not None
        made = weights_of(node, found.transpose(0, 2, 1))
        node.set_input(1, constant(Tensor.from_array(made, F32), weight.hint))
        if seen is not None:
            shift_bias(node, np.einsum("goi,gi->go", old - new, seen.mean).reshape(-1))
        axis = summed_axis(node)
        assert axis is not None and (pattern is None or pattern.violations(made, axis) == 0)
        if ctx.wants_remarks:
            ctx.remark("applied", self.name, f"%{weight.hint}: {np.mean(made == 0):.1%} are zero", node=node)

    def _zeros(self, scores: Array, pattern: Pattern | None, by_output: bool) -> Array:
        """Which weights go, bool, by scores [groups, outputs, inputs]: the least of a block, an output or the layer."""
        if pattern is not None:
            blocks = scores.reshape(*scores.shape[:2], -1, pattern.block)
            found = _least(blocks, pattern.block - pattern.most)
        elif by_output:
            found = _least(scores, round(self.share * scores.shape[-1]))
        else:
            found = _least(scores.reshape(-1), round(self.share * scores.size))
        return found.reshape(scores.shape)

    def _compensated(self, old: Array, pattern: Pattern | None, seen: Moment) -> Array:
        work = old.astype(np.float32)
        diagonals = np.diagonal(seen.covariance, axis1=1, axis2=2)
        factor = np.stack([inverse_factor(gram, dead <= 0) for gram, dead in zip(seen.covariance, diagonals)])
        strength = np.diagonal(factor, axis1=1, axis2=2)[:, None, :]
        zeros = np.zeros(work.shape, bool)
        width = _COLUMNS if pattern is None else pattern.block

        def choose(at: int, stop: int) -> Array:
            if at % width == 0:
                end = min(at + width, work.shape[2])
                scores = np.abs(work[:, :, at:end]) / strength[:, :, at:end]
                if pattern is not None:
                    found = _least(scores, pattern.block - pattern.most)
                else:
                    found = _least(scores.reshape(len(work), -1), round(self.share * scores[0].size))
                zeros[:, :, at:end] = found.reshape(scores.shape)
            return np.where(zeros[:, :, at], np.float32(0), work[:, :, at])

        compensate(work, factor, choose)
        return np.where(zeros, 0.0, work)


def _least(scores: Array, count: int) -> Array:
    """bool like `scores`: the `count` least along the last axis, the first of equals."""
    found = np.zeros(scores.shape, bool)
    np.put_along_axis(found, np.argsort(scores, axis=-1, kind="stable")[..., :count], True, -1)
    return found


def _can_be_sparse(node: Node, least: int) -> bool:
    axis, weight = summed_axis(node), node.input(1)
    if axis is None or weight is None or weight.const is None or weight.dtype is not F32:
        return False
    tensor = weight.const
    if tensor.size < least or tensor.splat is not None or (node.op.key == "MatMul" and len(tensor.shape) != 2):
        return False
    if node.op.key == "Gemm" and node.attr("transA"):
        return False
    return tensor.shape[axis] > 1 and (node.inputs[0] is not None and node.inputs[0].const is None)


def _order(node: Node) -> Array:
    """The inputs of a matrix with the channels innermost: a pattern runs along them, for each place of a kernel."""
    weight = node.inputs[1]
    assert weight is not None and weight.const is not None
    if node.op.key != "Conv":
        return np.arange(matrices(node).shape[1])
    channels, places = weight.const.shape[1], int(np.prod(weight.const.shape[2:]))
    return np.arange(channels * places).reshape(channels, places).T.reshape(-1)

"""Weights whose codes depend on what they are multiplied with: the model runs on samples, group by group of weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ...ir.core import Graph, Model, Value
from ...ir.errors import UsageError
from ...ir.tensor import Array
from ..base import Context
from .awq import factors, fold, foldable
from .blocks import Blocks, Scheme
from .gptq import Gram, gptq
from .rtn import in_half, rtn
from .sites import Site, strips

if TYPE_CHECKING:
    from .weight_only import QuantizeWeights


def quantize_calibrated(step: QuantizeWeights, model: Model, root: Graph, sites: list[Site], ctx: Context) -> None:
    """Quantize weights by what multiplies them. Raises UsageError without samples, or for the body of a function."""
    if ctx.observe is None or root is not model.graph:
        text = f"method={step.method} of {step.name} needs samples (--calib); rtn and hqq need none"
        raise UsageError(text, source="--passes")
    for group in _groups(_in_order(root, sites), step.stages, step.memory):
        grams = {left: Gram(site.inputs) for site in group for left in site.left_operands()}
        ctx.observe(model, grams)
        for together in _by_left(group):
            left = together[0].left_operands()
            gram: Array = np.sum([grams[value].matrix for value in left], axis=0)
            if step.method == "awq":
                _scaled(step, root, together, left, gram, ctx)
            else:
                for site in together:
                    step.replace(root, site, _gptq(step, site, gram), ctx)


def _in_order(root: Graph, sites: list[Site]) -> list[Site]:
    place = {node: number for number, node in enumerate(root)}
    return sorted(sites, key=lambda site: min(place[node] for node in site.product_nodes()))


def _groups(sites: list[Site], stages: int, memory: int) -> Iterator[list[Site]]:
    """Sites in groups whose Gram matrices take about `memory` bytes at most; at least `stages` groups.

    Those that read the same value stay together.
    """
    most = -(-len(sites) // max(1, stages))
    group: list[Site] = []
    taken, known = 0, set[Value]()
    for site in sites:
        new = [value for value in site.left_operands() if value not in known]
        size = len(new) * site.inputs**2 * 8
        if group and new and (taken + size > memory or len(group) >= most):
            yield group
            group, taken, known = [], 0, set()
        group.append(site)
        known.update(site.left_operands())
        taken += size
    yield group


def _by_left(group: list[Site]) -> list[list[Site]]:
    """The sites of a group by what they are multiplied with."""
    found: dict[tuple[Value, ...], list[Site]] = {}
    for site in group:
        found.setdefault(tuple(site.left_operands()), []).append(site)
    return list(found.values())


def _matrix(site: Site) -> Array:
    return np.concatenate(list(strips(site)))


def _gptq(step: QuantizeWeights, site: Site, gram: Array) -> Blocks:
    return gptq(_matrix(site), gram, step.scheme(site), half=step.half, order=step.order)


def _scaled(
    step: QuantizeWeights, root: Graph, sites: list[Site], left: list[Value], gram: Array, ctx: Context
) -> None:
    """AWQ of all weights that one value is multiplied with."""
    importance = np.diag(gram).astype(np.float32)

    def quantized(matrix: Array, scheme: Scheme) -> Blocks:
        made = rtn(matrix, scheme, True, importance)
        return in_half(made, matrix) if step.half else made

    matrices = [_matrix(site) for site in sites]
    schemes = [step.scheme(site) for site in sites]
    f = None
    readers = sum(len(site.product_nodes()) for site in sites)
    if len(left) == 1 and foldable(left[0], readers) and len(set(schemes)) == 1:
        f = factors(matrices, gram, lambda matrix: quantized(matrix, schemes[0]))
    if f is not None:
        importance = importance / f**2
        producer = left[0].producer
        assert producer is not None
        fold(producer, f)
    for site, matrix, scheme in zip(sites, matrices, schemes):
        step.replace(root, site, quantized(matrix if f is None else matrix * f, scheme), ctx)

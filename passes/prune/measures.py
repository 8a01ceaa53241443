"""What each family loses when its units go, measured by weights, by what layers read, and by the model's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...ir.clone import clone_model
from ...ir.core import Model, Node
from ...ir.tensor import Array
from ...ir.types import F32
from ..base import Context
from ..portions import within
from ..quantize.difference import differences
from ..repair.products import covariance_bytes, groups_of, matrices, moments
from .cut import apply_cut
from .families import Family
from .follow import Following, Read, follow
from .scores import Curve, Reader, by_activations, by_magnitude, by_reconstruction

MAGNITUDE, ACTIVATIONS, RECONSTRUCTION = "magnitude", "activations", "reconstruction"
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Gather"})


class Measures:
    """Measures of one model, on at most `limit` samples where they need any, with `memory` bytes of covariances."""

    def __init__(self, model: Model, found: Following, ctx: Context, limit: int, memory: int) -> None:
        self.model = model
        self.found = found
        self.ctx = ctx
        self.limit = limit
        self.memory = memory
        self.roots = found.labels.roots

    def curves(self, families: list[Family], importance: str) -> list[Curve]:
        """What each family loses by how many of its units go; by weights where no layer reads them that is known."""
        squares: Array = np.zeros(len(self.roots))
        for node, operand, axis, labels in self.found.cuts:
            value = node.inputs[operand]
            if node.op.key in _WEIGHTED and operand < 2 and value is not None and value.const is not None:
                array = np.moveaxis(value.const.read(), axis, 0).reshape(len(labels), -1)
                np.add.at(squares, self.roots[labels], np.square(array, dtype=np.float64).sum(1))
        curves = [by_magnitude(squares[family.units]) for family in families]
        if importance != MAGNITUDE:
            measure = by_activations if importance == ACTIVATIONS else by_reconstruction
            for number, readers in self._readers(families):
                if readers:
                    curves[number] = measure(readers, len(families[number].units))
        return curves

    def weighed(self, family: Family, curve: Curve, count: int, samples: int) -> Curve:
        """A curve in squared relative errors of the model's outputs, by what they are with `count` units left.

        Nothing is repaired for that: what is fitted to few samples says little of others. Needs samples.
        """
        assert self.ctx.observe is not None
        lost = curve.losses[len(family.units) - count]
        if lost <= 0:
            return curve
        copy, _ = clone_model(self.model)
        # Following the same graph gives the same labels.
        apply_cut(follow(copy.graph), left_of(self.found, [family], [curve], [count]))
        errors = differences(self.model, copy, self.ctx.observe, samples)
        error = float(np.mean(errors)) if errors else 0.0
        return Curve(curve.order, curve.losses * (error**2 / lost))

    def _readers(self, families: list[Family]) -> Iterator[tuple[int, list[Reader]]]:
        """For the number of each family what reads it, part by part as memory allows."""
        of = np.full(len(self.roots), -1)
        for number, family in enumerate(families):
            of[family.units] = number
        reads: dict[int, list[Read]] = {number: [] for number in range(len(families))}
        for read in self.found.reads:
            if _is_float(read.node):
                for number in np.unique(of[self.roots[read.labels]]).tolist():
                    if number >= 0:
                        reads[number].append(read)

        def size(number: int) -> int:
            return sum(covariance_bytes(read.node) for read in reads[number])

        for part in within(reads, size, self.memory):
            nodes = list(dict.fromkeys(read.node for number in part for read in reads[number]))
            seen = moments(self.model, nodes, self.ctx, self.limit) if nodes else {}
            for number in part:
                unit = np.full(len(self.roots), -1)
                unit[families[number].units] = np.arange(len(families[number].units))
                found = ((read, unit[self.roots[read.labels]], seen[read.node].covariance) for read in reads[number])
                yield number, [reader for each in found for reader in _readers_of(*each)]


def left_of(found: Following, families: Sequence[Family], curves: Sequence[Curve], counts: Sequence[int]) -> Array:
    """Which labels are left, bool [labels], when each family has so many units."""
    roots = found.labels.roots
    alive = np.ones(len(roots), bool)
    for family, curve, count in zip(families, curves, counts):
        alive[family.units[curve.order[: len(family.units) - count]]] = False
    return alive[roots]


def repaired(found: Following, alive: Array, through: bool) -> tuple[list[Node], dict[Node, Array]]:
    """The layers that read what was cut, and which outputs layers still have that lost some.

    `through`: also all layers behind the first of them.
    """
    layers = [read.node for read in found.reads if not alive[read.labels].all() and _is_float(read.node)]
    if through and layers:
        first, *_ = (node for node in found.graph if node in set(layers))
        behind = (node for node in found.made if first.is_before(node) and _is_float(node) and _is_matrix(node))
        layers = list(dict.fromkeys([*layers, *behind]))
    cut = ((node, alive[labels]) for node, labels in found.made.items())
    return layers, {node: np.flatnonzero(left) for node, left in cut if not left.all()}


def _is_float(node: Node) -> bool:
    weight = node.inputs[1]
    return weight is not None and weight.dtype is F32


def _is_matrix(node: Node) -> bool:
    """True for weights that `matrices` knows."""
    weight = node.inputs[1]
    return node.op.key == "Conv" or (weight is not None and weight.rank == 2)


def _readers_of(read: Read, units: Array, covariance: Array) -> Iterator[Reader]:
    """A problem for each group of a layer; `units` i64 [channels]."""
    weights, groups = matrices(read.node), groups_of(read.node)
    size = max(float(np.einsum("gio,gij,gjo->", weights, covariance, weights, optimize=True)), 1e-300)
    width = len(units) // groups
    places = weights.shape[1] // width
    for group in range(groups):
        of_input = np.repeat(units[group * width : (group + 1) * width], places)
        yield Reader(covariance[group], weights[group], of_input, size)

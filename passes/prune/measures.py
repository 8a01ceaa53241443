"""What each family loses when its units go, measured by weights, by what layers read, and by the model's outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...ir.clone import clone_model
from ...ir.core import Model, Node
from ...ir.tensor import Array
from ..base import Context
from ..portions import within
from ..quantize.difference import differences
from ..repair.products import Moment, covariance_bytes, groups_of, is_float, matrices, moments
from .compensate import compensations, shift_biases
from .cut import apply_cut
from .families import Family
from .follow import Following, Read, follow
from .scores import Curve, Reader, by_activations, by_magnitude, by_reconstruction

MAGNITUDE, ACTIVATIONS, RECONSTRUCTION = "magnitude", "activations", "reconstruction"
_MEASURES = {ACTIVATIONS: by_activations, RECONSTRUCTION: by_reconstruction}
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Gather"})


class Measures:
    """Measures of one model, on at most `limit` samples behind the first `held`, with `memory` bytes of covariances."""

    def __init__(self, model: Model, found: Following, ctx: Context, limit: int, memory: int, held: int = 0) -> None:
        self.model = model
        self.found = found
        self.ctx = ctx
        self.limit = limit
        self.memory = memory
        self.held = held
        self.roots = found.labels.roots

    def curves(self, families: list[Family], importance: str) -> list[Curve]:
        """What each family loses by how many of its units go; by weights where no layer reads them that is known."""
        curves = self._by_weights(families)
        if importance != MAGNITUDE:
            for number, readers, _ in self._readers(families):
                if readers:
                    curves[number] = _MEASURES[importance](readers, len(families[number].units))
        return curves

    def by_harm(
        self, families: list[Family], importances: Sequence[str], counts: Sequence[int], samples: int, fitted: bool
    ) -> list[Curve]:
        """Curves in squared relative errors of the model's outputs on the first `samples` samples.

        Each family is cut to its count, alone and by each of the importances, `fitted`: with what makes up for it; the
        one is taken that loses the least there. That takes long, and does not depend on how much is to go in the end:
        it is recalled (`Context.recall`).
        """
        units = [hashlib.blake2b(family.units.tobytes(), digest_size=20).hexdigest() for family in families]
        given = (self.held, self.limit, units, tuple(importances), tuple(counts), samples, fitted)
        found = self.ctx.recall(
            "prune by harm", self.model, given,
            lambda: _arrays(self._by_harm(families, importances, counts, samples, fitted)),
        )  # fmt: skip
        return [Curve(found[f"order {number}"], found[f"losses {number}"]) for number in range(len(families))]

    def _by_harm(
        self, families: list[Family], importances: Sequence[str], counts: Sequence[int], samples: int, fitted: bool
    ) -> list[Curve]:
        by_weights = self._by_weights(families)
        result = list(by_weights)
        for number, readers, seen in self._readers(families):
            family, count = families[number], counts[number]
            found: list[tuple[float, Curve]] = []
            for importance in importances if readers else (MAGNITUDE,):
                measure = _MEASURES.get(importance)
                curve = by_weights[number] if measure is None else measure(readers, len(family.units))
                lost = float(curve.losses[len(family.units) - count])
                if lost <= 0:  # nothing reads what goes, or nothing goes
                    found.append((0.0, curve))
                    continue
                error = self._harm(family, curve, count, samples, seen if fitted else {})
                found.append((error, Curve(curve.order, curve.losses * (error**2 / lost))))
            result[number] = min(found, key=lambda each: each[0])[1]
        return result

    def _by_weights(self, families: list[Family]) -> list[Curve]:
        squares: Array = np.zeros(len(self.roots))
        for node, operand, axis, labels in self.found.cuts:
            value = node.inputs[operand]
            if node.op.key in _WEIGHTED and operand < 2 and value is not None and value.const is not None:
                array = np.moveaxis(value.const.read(), axis, 0).reshape(len(labels), -1)
                np.add.at(squares, self.roots[labels], np.square(array, dtype=np.float64).sum(1))
        return [by_magnitude(squares[family.units]) for family in families]

    def _harm(self, family: Family, curve: Curve, count: int, samples: int, seen: Mapping[Node, Moment]) -> float:
        """The mean relative error of the outputs with `count` units left, fitted where moments are given."""
        assert self.ctx.observe is not None
        copy, of = clone_model(self.model)
        followed = follow(copy.graph)  # the same graph gives the same labels
        alive = left_of(self.found, [family], [curve], [count])
        shifts: dict[Node, Array] = {}
        if seen:
            copies = {of[node.output].producer: moment for node, moment in seen.items()}
            known = [read for read in followed.reads if read.node in copies]
            shifts = compensations(known, alive, {node: m for node, m in copies.items() if node is not None})
        apply_cut(followed, alive)
        shift_biases(shifts, followed, alive)
        errors = differences(self.model, copy, self.ctx.observe, samples)
        return float(np.mean(errors)) if errors else 0.0

    def _readers(self, families: list[Family]) -> Iterator[tuple[int, list[Reader], Mapping[Node, Moment]]]:
        """For the number of each family what reads it and moments of that, part by part as memory allows."""
        of = np.full(len(self.roots), -1)
        for number, family in enumerate(families):
            of[family.units] = number
        reads: dict[int, list[Read]] = {number: [] for number in range(len(families))}
        for read in self.found.reads:
            if is_float(read.node):
                for number in np.unique(of[self.roots[read.labels]]).tolist():
                    if number >= 0:
                        reads[number].append(read)

        def size(number: int) -> int:
            return sum(covariance_bytes(read.node) for read in reads[number])

        for part in within(reads, size, self.memory):
            nodes = list(dict.fromkeys(read.node for number in part for read in reads[number]))
            seen = moments(self.model, nodes, self.ctx, self.limit, self.held) if nodes else {}
            for number in part:
                unit = np.full(len(self.roots), -1)
                unit[families[number].units] = np.arange(len(families[number].units))
                found = ((read, unit[self.roots[read.labels]], seen[read.node].covariance) for read in reads[number])
                readers = [reader for each in found for reader in _readers_of(*each)]
                yield number, readers, {read.node: seen[read.node] for read in reads[number]}


def _arrays(curves: Sequence[Curve]) -> dict[str, Array]:
    found = {f"order {number}": curve.order for number, curve in enumerate(curves)}
    return found | {f"losses {number}": curve.losses for number, curve in enumerate(curves)}


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
    layers = [read.node for read in found.reads if not alive[read.labels].all() and is_float(read.node)]
    if through and layers:
        first, *_ = (node for node in found.graph if node in set(layers))
        behind = (node for node in found.made if first.is_before(node) and is_float(node) and _is_matrix(node))
        layers = list(dict.fromkeys([*layers, *behind]))
    cut = ((node, alive[labels]) for node, labels in found.made.items())
    return layers, {node: np.flatnonzero(left) for node, left in cut if not left.all()}


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

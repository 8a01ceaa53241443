"""smooth: channels of activations that are much larger than the others become smaller, and their weights larger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value
from ...ir.errors import UsageError
from ...ir.tensor import Array, Tensor
from ..base import Context, Pass, place_of
from .gemms import is_turned
from .kernels import integers_of
from .observers import Channels
from .placement import Keep, layers_of
from .scheme import WEIGHTS
from .weights import multiplied

_SHARES = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the size of a channel that goes over to its weights
_MOST = 2.0**20  # what a channel is divided by at most
_STRIP = 256  # columns of weights
_ROWS_RANK = 3  # of [samples, rows, channels]
QUANTIZE = "quantize"  # the pass that this one is for
_NORMS = ("LayerNormalization", "RMSNormalization")


@dataclass(frozen=True)
class Smooth(Pass):
    """Before ``quantize``: each input channel of a product is divided by a constant, and its weights are multiplied.

    Activations of transformers have channels that are up to a hundred times larger than the others, which take all the
    codes of a tensor (G. Xiao et al., SmoothQuant). The constants are chosen between the sizes of a channel and of its
    weights so that the error expected of both, from the samples, is least; a tensor is left alone where it would not
    fall to ``least`` of what it is. The division goes into the scale of a normalization, or the weights of a product in
    front where nothing else reads that, and is one multiplication otherwise. ``keep``: as for quantize; what is read by
    such layers alone is left alone.
    """

    name: ClassVar[str] = "smooth"
    lossy: ClassVar[bool] = True  # computes the same, but a wrong sample could take precision from it
    least: float = 0.5
    keep: Keep = ()

    def run(self, model: Model, ctx: Context) -> bool:
        """True if anything was scaled. Raises UsageError without samples."""
        kernels = integers_of(ctx.capabilities)
        wanted = {n for n in layers_of(model.graph, kernels, self.keep) if place_of(QUANTIZE, "", n) not in ctx.kept}
        groups = _readers(model.graph, layers_of(model.graph, kernels))
        groups = {value: layers for value, layers in groups.items() if not wanted.isdisjoint(layers)}
        if not groups:
            return False
        if ctx.observe is None:
            raise UsageError("smooth needs samples: give --calib", source="--passes")
        seen = {value: Channels(-1) for value in groups}
        ctx.observe(model, seen)
        changed = False
        for value, layers in groups.items():
            factors, ratio = smoothing(seen[value], [_matrix(node) for node in layers])
            if ratio > self.least or not ctx.allow(self.name, "", layers[0]):
                continue
            if ctx.wants_remarks:
                message = f"{len(layers)} products: expected error falls to {ratio:.0%} of what it was"
                ctx.remark("applied", self.name, message, node=layers[0])
            created: list[Node] = []
            with ctx.rewrite(self.name, "", layers, created):
                created += divide(value, factors, layers)
            changed = True
        return changed


def _readers(graph: Graph, layers: list[Node]) -> dict[Value, list[Node]]:
    """The products that read each value, those of a single row for each sample left out.

    Such a row, a picture's mean for a classifier, shows a channel once a sample: the sizes that were seen say too
    little, and what is larger in another sample is cut off.
    """
    found: dict[Value, list[Node]] = {}
    for node in layers:
        if node.op.key in ("MatMul", "Gemm"):
            x = node.inputs[0]
            assert x is not None
            if x.rank is None or x.rank < _ROWS_RANK:
                continue
            found.setdefault(x, []).append(node)
    return found


def _matrix(node: Node) -> Array:
    """The weights as [input channels, output channels]."""
    w = node.inputs[1]
    assert w is not None and w.const is not None
    array = w.const.read()
    return array.T if is_turned(node) else array


def smoothing(seen: Channels, matrices: list[Array]) -> tuple[Array, float]:
    """What to divide each channel by, and the expected squared error as a share of what it is without.

    With a step d of the activations and steps e[j] of the weights, an output j is off by d^2/12 sum W[c,j]^2 for the
    one and e[j]^2/12 sum mean(x[c]^2) for the other.
    """
    size, square = seen.magnitude, seen.square
    w = np.concatenate(matrices, axis=1)
    weight = np.abs(w).max(1).astype(np.float64)
    used = (size > 0) & (weight > 0)
    strips = [slice(start, start + _STRIP) for start in range(0, w.shape[1], _STRIP)]  # of what is widened at a time
    power = sum((np.square(w[:, strip], dtype=np.float64).sum(1) for strip in strips), np.zeros_like(weight))

    def error(factors: Array) -> float:
        step = (size / factors).max() / 127.5
        largest = [np.abs(w[:, strip] * factors[:, None]).max(0) for strip in strips]
        steps = np.concatenate(largest) / WEIGHTS.high
        by_activations = step**2 * (power * factors**2).sum()
        return float(by_activations + (steps**2).sum() * (square / factors**2).sum())

    ones = np.ones_like(size)
    best, least = ones, error(ones)
    whole = least
    for share in _SHARES:
        factors = ones.copy()
        factors[used] = size[used] ** share / weight[used] ** (1 - share)
        factors[used] /= np.exp(np.log(factors[used]).mean()) if used.any() else 1.0
        factors = np.clip(factors, 1 / _MOST, _MOST)
        found = error(factors)
        if found < least:
            best, least = factors, found
    return best, 1.0 if not whole else least / whole


def divide(value: Value, factors: Array, layers: list[Node]) -> list[Node]:
    """Divide what `layers` read by `factors` and multiply their weights; the new nodes."""
    new: dict[Value, Value] = {}
    for node in layers:
        w = node.inputs[1]
        assert w is not None
        if w not in new:
            new[w] = multiplied(w, factors, axis=1 if is_turned(node) else 0)
        node.set_input(1, new[w])
    parts = parameters_of(value, factors.shape, layers)
    if parts is not None:
        for node, index in parts:
            number = node.inputs[index]
            assert number is not None and number.const is not None
            node.set_input(index, multiplied(number, 1.0 / factors, axis=len(number.const.shape) - 1))
        return []
    graph = value.scope
    assert graph is not None
    b = Builder.behind(value, graph)
    inverse = b.const(Tensor.from_array((1.0 / factors).astype(np.float32)))
    divided = b.node("Mul", [value, inverse], outputs=[f"{value.hint}.smooth"], types=[value.type]).output
    for node in layers:
        node.set_input(0, divided)
    return b.created


def parameters_of(value: Value, shape: tuple[int, ...], readers: list[Node]) -> list[tuple[Node, int]] | None:
    """Operands whose last axis, divided, divides the channels of a value that nobody but `readers` reads.

    None where it is not made of such constants: a normalization, a product, sums with a bias, a Relu or a factor of
    these, the values of an attention (whose result is a mean of their rows, the columns of each head by themselves).
    """
    node = value.producer
    if node is None or any(user not in readers for user in value.users) or value.index:
        return None
    key = node.op.key
    if key in _NORMS:
        found = [(node, index) for index in range(1, len(node.inputs))]
        return found if all(_is_vector(node.inputs[i], shape) for _, i in found) else None
    if key == "MatMul":
        w = node.inputs[1]
        fits = w is not None and w.const is not None and len(w.const.shape) > 1 and w.const.shape[-1:] == shape
        return [(node, 1)] if fits else None
    if key == "Add":
        biases = [index for index, operand in enumerate(node.inputs) if _is_vector(operand, shape)]
        if len(biases) != 1:
            return None
        inner = parameters_of(_operand(node, 1 - biases[0]), shape, [node])
        return None if inner is None else [(node, biases[0]), *inner]
    if key == "Relu":
        return parameters_of(_operand(node, 0), shape, [node])
    if key == "Mul" and node.inputs[0] is not node.inputs[1]:
        return parameters_of(_operand(node, 1), shape, [node]) or parameters_of(_operand(node, 0), shape, [node])
    if key == "Attention" and _is_mean_of_columns(node):
        return parameters_of(_operand(node, 2), shape, [node])
    return None


def _operand(node: Node, index: int) -> Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _is_vector(value: Value | None, shape: tuple[int, ...]) -> bool:
    return value is not None and value.const is not None and value.const.shape == shape


def _is_mean_of_columns(attention: Node) -> bool:
    """True for rows [batch, length, heads * size] with as many heads of values as of results, and no past."""
    heads = attention.attr("q_num_heads")
    values = attention.input(2)
    same = heads is not None and heads == attention.attr("kv_num_heads")
    only = [v for v in attention.inputs[:2] if v is values] == []
    return same and only and len(attention.inputs) <= 4 and len(attention.outputs) == 1

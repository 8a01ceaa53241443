"""smooth: channels of activations that are much larger than the others become smaller, and their weights larger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.errors import UsageError
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import F32
from ..base import Context, Pass
from .kernels import integers_of
from .observers import Channels
from .placement import layers_of
from .scheme import WEIGHTS

_SHARES = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the size of a channel that goes over to its weights
_MOST = 2.0**20  # what a channel is divided by at most
_NORMS = ("LayerNormalization", "RMSNormalization")


@dataclass(frozen=True)
class Smooth(Pass):
    """Before ``quantize``: each input channel of a product is divided by a constant, and the rows of its weights multiplied.

    Activations of transformers have channels that are up to a hundred times larger than the others, which take all the
    codes of a tensor (G. Xiao et al., SmoothQuant). The constants are chosen between the sizes of a channel and of its
    weights so that the error expected of both, from the samples, is least; a tensor is left alone where it would not
    fall to ``least`` of what it is. The division goes into the scale of a LayerNormalization in front if only such
    products read that, into the values of an attention, and is one multiplication otherwise. ``keep``: as for quantize.
    """

    name: ClassVar[str] = "smooth"
    lossy: ClassVar[bool] = True  # computes the same, but a wrong sample could take precision from it
    least: float = 0.5
    keep: tuple[str, ...] = ()

    def run(self, model: Model, ctx: Context) -> bool:
        """True if anything was scaled. Raises UsageError without samples."""
        groups = _readers(model.graph, layers_of(model.graph, integers_of(ctx.capabilities), self.keep))
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
    """The products that read each value."""
    found: dict[Value, list[Node]] = {}
    for node in layers:
        if node.op.key in ("MatMul", "Gemm"):
            x = node.inputs[0]
            assert x is not None
            found.setdefault(x, []).append(node)
    return found


def _matrix(node: Node) -> Array:
    """The weights as [input channels, output channels]."""
    w = node.inputs[1]
    assert w is not None and w.const is not None
    array = w.const.array()
    return array.T if node.op.key == "Gemm" and node.attr("transB") else array


def smoothing(seen: Channels, matrices: list[Array]) -> tuple[Array, float]:
    """What to divide each channel by, and the expected squared error as a share of what it is without.

    With a step d of the activations and steps e[j] of the weights, an output j is off by d^2/12 sum W[c,j]^2 for the one
    and e[j]^2/12 sum mean(x[c]^2) for the other.
    """
    size, square = seen.largest, seen.square
    w = np.concatenate(matrices, axis=1).astype(np.float64)
    weight = np.abs(w).max(1)
    used = (size > 0) & (weight > 0)
    power = (w**2).sum(1)

    def error(factors: Array) -> float:
        step = (size / factors).max() / 127.5
        steps = np.abs(w * factors[:, None]).max(0) / WEIGHTS.high
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
    multiplied: dict[Value, Value] = {}
    for node in layers:
        w = node.inputs[1]
        assert w is not None
        rows = not (node.op.key == "Gemm" and node.attr("transB"))
        if w not in multiplied:
            multiplied[w] = _scaled(w, factors, axis=0 if rows else 1)
        node.set_input(1, multiplied[w])
    if _into_norm(value, factors, layers) or _into_values(value, factors, layers):
        return []
    graph, maker = value.scope, value.producer
    assert graph is not None
    b = Builder(graph, graph.first) if maker is None else Builder(graph, maker.next, maker.loc)
    inverse = b.const(Tensor.from_array((1.0 / factors).astype(np.float32)))
    divided = b.node("Mul", [value, inverse], outputs=[f"{value.hint}.smooth"], types=[value.type]).output
    for node in layers:
        node.set_input(0, divided)
    return b.created


def _scaled(w: Value, factors: Array, axis: int) -> Value:
    assert w.const is not None
    shape = [1] * len(w.const.shape)
    shape[axis] = -1
    by = factors.astype(np.float32).reshape(shape)
    recipe = f"times {Tensor.from_array(by).digest().hex()}"
    return constant(DeferredTensor(F32, w.const.shape, w.const, recipe, lambda array: array * by), w.hint)


def _read_by_all(value: Value, layers: list[Node]) -> bool:
    """True if nothing else reads the value."""
    return all(index == 0 and node in layers for node, index in value.uses)


def _into_norm(value: Value, factors: Array, layers: list[Node]) -> bool:
    """Divide the scale and the bias of a normalization whose result nothing else reads; False if it is none."""
    norm = value.producer
    if norm is None or norm.op.key not in _NORMS or not _read_by_all(value, layers) or norm.output is not value:
        return False
    parameters = norm.inputs[1:]
    if any(p is None or p.const is None or p.const.shape != factors.shape for p in parameters):
        return False
    for index, p in enumerate(parameters, 1):
        assert p is not None and p.const is not None
        numbers = (p.const.array().astype(np.float64) / factors).astype(np.float32)
        norm.set_input(index, constant(Tensor.from_array(numbers), p.hint))
    return True


def _into_values(value: Value, factors: Array, layers: list[Node]) -> bool:
    """Divide the columns of the product that makes the values of an attention; False if there is none.

    Attention's result is a mean of rows of its values, each head's columns by themselves.
    """
    attention = value.producer
    if attention is None or attention.op.key != "Attention" or not _read_by_all(value, layers):
        return False
    values = attention.input(2)
    heads = (attention.attr("q_num_heads"), attention.attr("kv_num_heads"))
    if values is None or values.rank != 3 or heads[0] is None or heads[0] != heads[1] or len(attention.inputs) > 4:
        return False
    if len(values.uses) != 1 or values.producer is None:
        return False
    add = values.producer if values.producer.op.key == "Add" else None
    product = values.producer
    bias = None
    if add is not None:
        bias = next((v for v in add.inputs if v is not None and v.const is not None), None)
        other = next((v for v in add.inputs if v is not bias), None)
        if bias is None or bias.const is None or bias.const.shape != factors.shape or other is None or len(other.uses) != 1:
            return False
        if other.producer is None:
            return False
        product = other.producer
    matrix = product.input(1)
    if product.op.key != "MatMul" or matrix is None or matrix.const is None or matrix.const.shape[-1:] != factors.shape:
        return False
    product.set_input(1, _scaled(matrix, 1.0 / factors, axis=len(matrix.const.shape) - 1))
    if add is not None and bias is not None and bias.const is not None:
        numbers = (bias.const.array().astype(np.float64) / factors).astype(np.float32)
        add.set_input(add.inputs.index(bias), constant(Tensor.from_array(numbers), bias.hint))
    return True

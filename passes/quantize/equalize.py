"""equalize: channels between two layers get weights of one size on both sides, without samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...ir.core import Graph, Model, Node, Value
from ...ir.tensor import Array
from ...ir.types import F32
from ..base import Context, Pass
from .gemms import is_turned
from .weights import multiplied

_ROUNDS = 40  # over all pairs, because each layer is in two of them
_SETTLED = 0.05  # binary logarithm of a factor that changes nothing worth another round
_EVEN = 4.0  # the largest factor of a pair by its smallest one, up to which there is nothing to gain
_MOST = 20.0  # binary logarithm of what a channel is divided by at most
_LAYERS = frozenset({"Conv", "MatMul", "Gemm"})
# f(x / s) = f(x) / s for every s > 0.
_HOMOGENEOUS = frozenset(
    {"Identity", "Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
)


@dataclass(frozen=True)
class Equalize(Pass):
    """Before ``quantize``: each channel between two layers is divided by a constant that evens out their weights.

    A channel i that one layer makes with weights up to r1 and the next one reads with weights up to r2 is divided by
    sqrt(r1 / r2), so that both become sqrt(r1 r2), and pair by pair until nothing moves (M. Nagel et al., Data-Free
    Quantization Through Weight Equalization and Bias Correction, section 4.1). It is for weights that share one scale
    (``per_channel=false``), of which small channels get too few codes. Between the layers there may be what lets
    positive factors through: Relu, LeakyRelu, PRelu, pools, biases; not a Clip with an upper bound. Factors are
    rounded to powers of two, so that the model computes exactly the same as before; pairs that are even within a factor
    of four are left alone.
    """

    name: ClassVar[str] = "equalize"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if a channel was scaled."""
        changed = False
        for graph in model.graphs():
            pairs = list(_pairs(graph))
            for pair, factors in zip(pairs, equalizing([(p.made, p.read) for p in pairs])):
                if factors.max() <= _EVEN * factors.min() or not ctx.allow(self.name, "", pair.first):
                    continue
                if ctx.wants_remarks:
                    message = f"{(factors != 1.0).sum()} channels scaled by {factors.min():g} to {factors.max():g}"
                    ctx.remark("applied", self.name, message, node=pair.first)
                with ctx.rewrite(self.name, "", [pair.first, *pair.readers], []):
                    _scale(pair, factors)
                changed = True
        return changed


class Magnitudes:
    """The largest weight of each output from each input, f64 [groups, outputs of a group, inputs of a group]."""

    def __init__(self, largest: Array) -> None:
        self.largest = largest

    def by_output(self) -> Array:
        """The largest weight of each output channel."""
        return np.asarray(self.largest.max(2).reshape(-1))

    def by_input(self) -> Array:
        """The largest weight of each input channel."""
        return np.asarray(self.largest.max(1).reshape(-1))

    def divide_outputs(self, factors: Array) -> None:
        """Divide the weights of each output channel."""
        self.largest /= factors.reshape(self.largest.shape[0], -1, 1)

    def multiply_inputs(self, factors: Array) -> None:
        """Multiply the weights of each input channel."""
        self.largest *= factors.reshape(self.largest.shape[0], 1, -1)


def equalizing(pairs: list[tuple[Magnitudes, list[Magnitudes]]]) -> list[Array]:
    """What to divide the channels between each layer and its readers by, powers of two; changes the magnitudes.

    1 where a channel has no weights on one side.
    """
    logs = [np.zeros(len(made.by_output())) for made, _ in pairs]
    for _ in range(_ROUNDS):
        most = 0.0
        for log, (made, readers) in zip(logs, pairs):
            out, into = made.by_output(), np.max([reader.by_input() for reader in readers], axis=0)
            used = (out > 0) & (into > 0)
            step = np.zeros_like(log)
            step[used] = np.log2(out[used] / into[used]) / 2
            step = np.clip(log + step, -_MOST, _MOST) - log
            made.divide_outputs(2.0**step)
            for reader in readers:
                reader.multiply_inputs(2.0**step)
            log += step
            most = max(most, float(np.abs(step).max(initial=0.0)))
        if most < _SETTLED:
            break
    return [2.0 ** np.rint(log) for log in logs]


class _Pair(NamedTuple):
    """A layer, the layers that alone read what it makes, and constants between them that are in its units."""

    first: Node
    readers: list[Node]
    constants: list[tuple[Node, int, int]]  # a node, which operand, and its axis of channels
    made: Magnitudes
    read: list[Magnitudes]


def _pairs(graph: Graph) -> Iterator[_Pair]:
    known: dict[Node, Magnitudes] = {}
    for node in graph:
        if _is_layer(node):
            found = _behind(node)
            if found is not None:
                readers, constants = found
                magnitudes = [known.setdefault(n, _magnitudes(n)) for n in (node, *readers)]
                if all(len(m.by_input()) == len(magnitudes[0].by_output()) for m in magnitudes[1:]):
                    yield _Pair(node, readers, constants, magnitudes[0], magnitudes[1:])


def _is_layer(node: Node) -> bool:
    w = node.input(1)
    if node.op.key not in _LAYERS or w is None or w.const is None or w.dtype is not F32 or not w.const.size:
        return False
    rank = len(w.const.shape)
    if node.op.key == "Conv":
        return rank > 2
    return rank == 2 and not (node.op.key == "Gemm" and node.attr("transA"))


def _magnitudes(node: Node) -> Magnitudes:
    w = node.inputs[1]
    assert w is not None and w.const is not None
    largest = np.abs(w.const.array()).astype(np.float64)
    if node.op.key != "Conv":
        return Magnitudes((largest if is_turned(node) else largest.T)[None].copy())
    groups = node.attr("group")
    assert isinstance(groups, int)
    flat = largest.reshape(*largest.shape[:2], -1).max(2)
    return Magnitudes(flat.reshape(groups, flat.shape[0] // groups, flat.shape[1]))


def _behind(node: Node) -> tuple[list[Node], list[tuple[Node, int, int]]] | None:
    """The layers that read what `node` makes, and the constants on the way; None where something else reads it."""
    graph, value, constants = node.graph, node.output, list[tuple[Node, int, int]]()
    channels = 1 if node.op.key == "Conv" else -1
    bias = node.input(2)
    if bias is not None:
        if bias.const is None or bias.const.size != bias.const.shape[-1] or bias.const.size == 1:
            return None
        constants.append((node, 2, len(bias.const.shape) - 1))
    while True:
        users = list(value.users)
        if users and all(_reads(user, value, channels) and user.graph is graph for user in users):
            return users, constants
        use = value.sole_use
        if use is None or use[0].graph is not graph or len(use[0].outputs) != 1:
            return None
        user, index = use
        if user.op.key == "Add":
            axis = _vector_axis(user.inputs[1 - index], value, channels)
            if axis is None:
                return None
            constants.append((user, 1 - index, axis))
        elif user.op.key in ("Flatten", "Reshape") and _keeps_channels(user, value, channels):
            channels = -1
        elif user.op.key not in _HOMOGENEOUS or index:
            return None
        value = user.output


def _reads(node: Node, value: Value, channels: int) -> bool:
    """True for a layer that multiplies the channels of this value, and reads it in no other way."""
    if not _is_layer(node) or list(node.inputs).count(value) != 1 or node.inputs[0] is not value:
        return False
    return (node.op.key == "Conv") == (channels == 1)


def _vector_axis(other: Value | None, value: Value, channels: int) -> int | None:
    """The axis of a constant along which it has a number for each channel; None where it is anything else."""
    if other is None or other.const is None or other.dtype is not F32 or value.shape is None:
        return None
    rank = len(value.shape)
    count, shape = value.shape[channels], other.const.shape
    axis = len(shape) - rank + channels % rank
    fits = 0 <= axis < len(shape) and shape[axis] == count and other.const.size == count
    return axis if fits and len(shape) <= rank else None


def _keeps_channels(node: Node, value: Value, channels: int) -> bool:
    """True for [batch, channels, 1, 1] that becomes [batch, channels]."""
    before, after = value.shape, node.output.shape
    if channels != 1 or before is None or after is None or len(after) != 2:
        return False
    return before[1] == after[1] and isinstance(after[1], int) and all(size == 1 for size in before[2:])


def _scale(pair: _Pair, factors: Array) -> None:
    first = pair.first
    axis = 0 if first.op.key == "Conv" or is_turned(first) else 1
    for node, index, place in [(first, 1, axis), *pair.constants]:
        node.set_input(index, multiplied(_constant(node, index), 1.0 / factors, place))
    for reader, magnitudes in zip(pair.readers, pair.read):
        if reader.op.key != "Conv":
            reader.set_input(1, multiplied(_constant(reader, 1), factors, 1 if is_turned(reader) else 0))
            continue
        # Output channels of one group read the same inputs: a row of factors for each.
        groups, outputs, inputs = magnitudes.largest.shape
        rows = np.repeat(factors.reshape(groups, 1, inputs), outputs, axis=1).reshape(groups * outputs, inputs)
        reader.set_input(1, multiplied(_constant(reader, 1), rows, 0))


def _constant(node: Node, index: int) -> Value:
    value = node.inputs[index]
    assert value is not None and value.const is not None
    return value

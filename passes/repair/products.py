"""What layers read, as rows of numbers in the runtime: a convolution is a product with patches of its input.

    rows = read_rows(b, node, value)          # f32 [groups, rows, inputs]
    seen = moments(model, nodes, ctx, limit)  # of those rows, for each node

Inputs are in the order of the weights: channel of the group, then place in the kernel. Nothing but sums of products
leaves the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Graph, Model, Node, Value
from ...ir.tensor import Array
from ...ir.types import F32
from ..base import Context
from ..clean.cse import Cse
from ..quantize.difference import drop_dead
from ..quantize.observers import Statistics

_PLACING = ("auto_pad", "pads", "strides", "dilations", "kernel_shape")


def is_convolution(node: Node) -> bool:
    """True for a Conv."""
    return bool(node.op.key == "Conv")


def is_float(node: Node) -> bool:
    """True for a layer with weights in single precision."""
    weight = node.inputs[1]
    return weight is not None and weight.dtype is F32


def groups_of(node: Node) -> int:
    """How many groups of channels a layer has, 1 for a product."""
    return int(node.attr("group")) if is_convolution(node) else 1


def covariance_bytes(node: Node) -> int:
    """What the covariance of what a layer reads takes, with what is made of it."""
    weight = node.inputs[1]
    assert weight is not None and weight.const is not None
    shape = weight.const.shape
    if is_convolution(node):
        inputs = int(np.prod(shape[1:]))
    else:
        inputs = shape[1] if node.op.key == "Gemm" and node.attr("transB") else shape[0]
    return groups_of(node) * inputs**2 * 32


def matrices(node: Node, numbers: Array | None = None) -> Array:
    """Its weights, or other `numbers` of their shape, f64 [groups, inputs, outputs of a group]."""
    weight = node.inputs[1]
    assert weight is not None and weight.const is not None
    array = (weight.const.read() if numbers is None else numbers).astype(np.float64)
    if is_convolution(node):
        groups = groups_of(node)
        return np.ascontiguousarray(array.reshape(groups, array.shape[0] // groups, -1).transpose(0, 2, 1))
    return (array.T if node.attr("transB") else array)[None]


def weights_of(node: Node, found: Array) -> Array:
    """The inverse of `matrices`, f32 in the shape of the layer's weights."""
    weight = node.inputs[1]
    assert weight is not None and weight.const is not None
    if is_convolution(node):
        found = found.transpose(0, 2, 1)
    elif node.attr("transB"):
        found = found[0].T
    return np.ascontiguousarray(found.reshape(weight.const.shape), dtype=np.float32)


def read_rows(b: Builder, node: Node, value: Value) -> Value:
    """f32 [groups, rows, inputs] of what a layer reads."""
    if not is_convolution(node):
        return _as_rows(b, value, 1, -1)
    weight, groups = node.inputs[1], groups_of(node)
    assert weight is not None and weight.const is not None
    kernel = weight.const.shape[2:]
    channels, places = weight.const.shape[1] * groups, int(np.prod(kernel))
    is_plain = places == 1 and not any(node.attr("pads") or ()) and set(node.attr("strides") or (1,)) == {1}
    if not is_plain or node.attr("auto_pad") not in ("NOTSET", "VALID"):
        # One output for each place under the kernel, of the number there.
        picks = np.tile(np.eye(places, dtype=np.float32), (channels, 1)).reshape(-1, 1, *kernel)
        attrs = {name: node.attrs.get(name) for name in _PLACING}
        value = b.op("Conv", value, b.const(picks), group=channels, **attrs)
    return _as_rows(b, value, groups, 1)


def result_rows(b: Builder, node: Node, value: Value) -> Value:
    """f32 [groups, rows, outputs of a group] of what a layer gives."""
    return _as_rows(b, value, groups_of(node), 1 if is_convolution(node) else -1)


def _as_rows(b: Builder, value: Value, groups: int, axis: int) -> Value:
    assert value.rank is not None and value.shape is not None
    width = value.shape[axis]
    assert isinstance(width, int)
    if axis == 1:
        value = b.op("Transpose", value, perm=(0, *range(2, value.rank), 1))
    if groups == 1:
        return b.op("Reshape", value, b.ints([1, -1, width]))
    return b.op("Transpose", b.op("Reshape", value, b.ints([-1, groups, width // groups])), perm=(1, 0, 2))


def products(b: Builder, a: Value, c: Value) -> Value:
    """a^T c of each group, of rows [groups, rows, ...]."""
    return b.op("MatMul", b.op("Transpose", a, perm=(0, 2, 1)), c)


def row_sum(b: Builder, rows: Value) -> Value:
    """The sum over rows, [groups, ...]."""
    return b.op("ReduceSum", rows, b.ints([1]), keepdims=0)


def row_count(b: Builder, rows: Value) -> Value:
    """How many rows there are."""
    return b.op("Gather", b.op("Shape", rows), b.const(np.array(1, np.int64)))


class Halves(Statistics):
    """The sum of a value over every second sample, and over the others: fitted to one half, judged by the other.

    Without the first `skip` samples.
    """

    grows = ("even", "odd", "count")

    def __init__(self, skip: int = 0) -> None:
        self.skip = skip
        self.even: Array = np.zeros(())
        self.odd: Array = np.zeros(())
        self.count = 0

    def add(self, array: Array) -> None:
        """Take in the value on one sample. Raises ValueError for NaN and infinity."""
        if not np.isfinite(array).all():
            raise ValueError("it holds NaN or infinity")
        if self.count < self.skip:
            pass
        elif self.count % 2:
            self.odd = self.odd + array.astype(np.float64)
        else:
            self.even = self.even + array.astype(np.float64)
        self.count += 1


def summed(model: Model, wanted: Sequence[Value], ctx: Context, limit: int, skip: int = 0) -> list[Halves]:
    """Sums of values that were put into a model, which ends with them, over at most `limit` samples behind `skip`.

    Raises UsageError where a sample does not run.
    """
    graph: Graph = model.graph
    graph.set_outputs(wanted, [f"sum.{number}" for number in range(len(wanted))])
    drop_dead(graph)
    Cse().run(model, Context())
    sums = {value: Halves(skip) for value in graph.outputs}  # equal ones are one by now
    assert ctx.observe is not None
    ctx.observe(model, sums, skip + limit)
    return [sums[value] for value in graph.outputs]


class Moment(NamedTuple):
    """Of the rows that a layer reads: their covariance f64 [groups, inputs, inputs], mean f64 [groups, inputs].

    `halves`: the same of every second sample and of the others, where there are both.
    """

    covariance: Array
    mean: Array
    halves: tuple[Moment, ...] = ()


def moments(model: Model, nodes: Sequence[Node], ctx: Context, limit: int, skip: int = 0) -> dict[Node, Moment]:
    """What is read by layers (MatMul and Gemm with a constant, Conv) of the main graph.

    On at most `limit` samples, without the first `skip`.
    """
    copy, of = clone_model(model)
    b = Builder(copy.graph)
    wanted: list[Value] = []
    for node in nodes:
        read = node.inputs[0]
        assert read is not None
        rows = read_rows(b, node, of[read])
        wanted += [products(b, rows, rows), row_sum(b, rows), row_count(b, rows)]
    sums = summed(copy, wanted, ctx, limit, skip)
    found = {}
    for number, node in enumerate(nodes):
        parts = sums[3 * number : 3 * number + 3]
        even, odd = [half.even for half in parts], [half.odd for half in parts]
        halves = (_moment(*even), _moment(*odd)) if even[2] and odd[2] else ()
        found[node] = _moment(*(a + b for a, b in zip(even, odd)))._replace(halves=halves)
    return found


def _moment(square: Array, total: Array, count: Array) -> Moment:
    mean = total / count
    return Moment(square / count - mean[:, :, None] * mean[:, None, :], mean)

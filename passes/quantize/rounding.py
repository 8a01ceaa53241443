"""Codes of weights that make up for each other's rounding, by what quantized layers read: GPTQ at fixed scales.

Frantar, Ashkboos, Hoefler, Alistarh (arXiv 2210.17323), with the scales that the layers have. What a layer reads is
measured in the quantized model, so that the codes fit what it will read; a convolution is a product with patches of its
input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...ir.core import Model, Node, Value, constant
from ...ir.tensor import Array, Tensor
from ...ir.types import I8
from ..base import Observe
from ..portions import within
from .gptq import Gram, compensate, inverse_factor
from .insert import Reference
from .observers import Several, Statistics
from .scheme import WEIGHTS, Scheme

_MEMORY = 64 * 2**20  # bytes of Gram matrices that are held at a time
_POSITIONS = 1024  # patches of each sample at most: neighbours say much the same
_ELEMENTS = 1 << 20  # of patches that are held at a time: depthwise convolutions have many small ones
_LARGEST = 1e15  # of what is read: its squares are summed in single precision
_WIDEST = 2048  # inputs of one output: a Gram matrix takes 32 MB, and what is made of it three times that


def round_weights(model: Model, layers: list[Node], reference: Reference, observe: Observe, scheme: Scheme) -> None:
    """Choose the codes of `layers` of `model` anew; `reference` is the model before quantization.

    A layer keeps its codes where the new ones would not be nearer by the products of the samples.
    """
    _, of = reference
    for group in within(_wanted(layers, of), lambda layer: layer.groups * layer.inputs**2 * 8, _MEMORY):
        grams = _seen(model, group, observe)
        for layer in group:
            scales = layer.maker.inputs[1]
            assert scales is not None and scales.const is not None
            seen = grams[layer.node]
            gram = seen.matrix[None] if isinstance(seen, Gram) else seen.matrix
            codes = rounded(layer.weights(), gram, scales.const.array(), scheme)
            _set_codes(layer, codes)


def rounded(weights: Array, gram: Array, scale: Array, scheme: Scheme = WEIGHTS) -> Array:
    """Codes i8 [groups, outputs, inputs] of weights f32 of the same shape.

    `gram`: f64 [groups, inputs, inputs], X^T X of what each group reads; `scale`: f32, one number or one for each
    output of all groups. Groups whose plain rounding is nearer keep that.
    """
    groups, outputs, _ = weights.shape
    steps = np.broadcast_to(scale.reshape(-1), (groups * outputs,)).reshape(groups, outputs, 1)
    low, high = scheme.low, scheme.high
    plain = np.clip(np.rint(weights / steps), low, high)
    codes = np.empty_like(plain)
    work = np.array(weights, np.float32)
    factor = np.stack([inverse_factor(g, np.diag(g) == 0) for g in gram])

    def choose(at: int, stop: int) -> Array:
        codes[:, :, at] = np.clip(np.rint(work[:, :, at] / steps[:, :, 0]), low, high)
        return np.asarray(codes[:, :, at] * steps[:, :, 0])

    compensate(work, factor, choose)
    is_worse = _loss(weights - codes * steps, gram) > _loss(weights - plain * steps, gram)
    codes[is_worse] = plain[is_worse]
    return np.asarray(codes, np.int8)


def _loss(error: Array, gram: Array) -> Array:
    """||X (W - W')||^2 of each group."""
    exact = error.astype(np.float64)
    return np.asarray(((exact @ gram) * exact).sum((1, 2)))


class Patches(Statistics):
    """X^T X of the patches that a convolution reads, f64 [groups, inputs, inputs]: an `Observer` of its input.

    Of each sample at most 1,024 patches, evenly apart, and 4 MB of them. The columns are in the order of the weights:
    channel of the group, then place in the kernel.
    """

    grows = ("_sum", "_pending")

    def __init__(self, convolution: Node, kernel: tuple[int, ...]) -> None:
        spatial = len(kernel)
        groups = convolution.attr("group")
        strides = convolution.attr("strides") or (1,) * spatial
        dilations = convolution.attr("dilations") or (1,) * spatial
        pads = convolution.attr("pads") or (0,) * (2 * spatial)
        assert isinstance(groups, int) and isinstance(pads, tuple)
        assert isinstance(strides, tuple) and isinstance(dilations, tuple)
        self.groups = groups
        self.kernel = kernel
        self.strides = [slice(None, None, step) for step in strides]
        self.dilations = [slice(None, None, step) for step in dilations]
        self.extent = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations))
        self.pads = [(0, 0), (0, 0), *zip(pads[:spatial], pads[spatial:])]
        self._sum: Array = np.zeros(())
        self._pending: list[Array] = []

    def add(self, array: Array) -> None:
        """Pictures [batch, channels, ...]. Raises ValueError for NaN and infinity."""
        rows = self._rows(array.astype(np.float32, copy=False))
        if not (np.abs(rows) < _LARGEST).all():
            raise ValueError("it holds NaN, infinity, or numbers whose squares are none")
        self._pending.append(rows)
        if len(self._pending) * rows.size >= _ELEMENTS or sum(part.shape[1] for part in self._pending) >= _POSITIONS:
            self._multiply()

    def state(self) -> dict[str, Array]:
        """The sum, and the patches that wait for more."""
        return {"sum": self._sum, **{f"pending{number}": part for number, part in enumerate(self._pending)}}

    def restore(self, state: dict[str, Array]) -> None:
        """Go on from a `state`."""
        self._sum = state["sum"]
        self._pending = [state[f"pending{number}"] for number in range(len(state) - 1)]

    @property
    def matrix(self) -> Array:
        """X^T X of all that was seen."""
        if self._pending:
            self._multiply()
        return self._sum

    def _multiply(self) -> None:
        """Many patches at once: the sum of matrices is as large for few."""
        rows = np.concatenate(self._pending, axis=1)
        self._pending.clear()
        self._sum = self._sum + (rows.transpose(0, 2, 1) @ rows)

    def _rows(self, array: Array) -> Array:
        """Patches [groups, patches, inputs]."""
        spatial = len(self.kernel)
        axes = tuple(range(2, 2 + spatial))
        windows = sliding_window_view(np.pad(array, self.pads), self.extent, axes)
        windows = windows[(slice(None), slice(None), *self.strides, *self.dilations)]
        places = (windows.shape[0], *windows.shape[2 : 2 + spatial])
        count = int(np.prod(places))
        most = max(1, min(_POSITIONS, _ELEMENTS // (array.shape[1] * int(np.prod(self.kernel)))))
        chosen = np.linspace(0, count - 1, min(count, most)).astype(np.int64)
        batch, *where = np.unravel_index(chosen, places)
        patches = np.moveaxis(windows, 1, 1 + spatial)[(batch, *where)]
        grouped = patches.reshape(len(chosen), self.groups, -1)
        return np.ascontiguousarray(grouped.transpose(1, 0, 2))


class _Layer(NamedTuple):
    """A layer, what makes its weights of codes, and the weights before quantization."""

    node: Node
    maker: Node
    original: Tensor

    @property
    def groups(self) -> int:
        groups = self.node.attr("group") if self.node.op.key == "Conv" else 1
        assert isinstance(groups, int)
        return groups

    @property
    def inputs(self) -> int:
        """How many numbers one output is made of."""
        shape = self.original.shape
        return int(np.prod(shape[1:])) if self.node.op.key == "Conv" else shape[0]

    def observer(self) -> Gram | Patches:
        return Patches(self.node, self.original.shape[2:]) if self.node.op.key == "Conv" else Gram(self.inputs)

    def weights(self) -> Array:
        """f32 [groups, outputs, inputs]."""
        array = self.original.read()
        if self.node.op.key != "Conv":
            return np.ascontiguousarray(array.T)[None]
        return array.reshape(self.groups, array.shape[0] // self.groups, -1)


def _wanted(layers: list[Node], of: dict[Value, Value]) -> Iterator[_Layer]:
    for node in layers:
        copy, w = of.get(node.output), node.inputs[1]
        maker = None if w is None else w.producer
        if copy is None or copy.producer is None or maker is None or maker.op.key != "DequantizeLinear":
            continue
        before = copy.producer.inputs[1]
        is_placed = node.op.key != "Conv" or node.attr("auto_pad") == "NOTSET"
        if before is not None and before.const is not None and is_placed:
            layer = _Layer(node, maker, before.const)
            if layer.inputs <= _WIDEST:
                yield layer


def _seen(model: Model, layers: list[_Layer], observe: Observe) -> dict[Node, Gram | Patches]:
    """What each layer reads. Products of one value share what is known of it."""
    found: dict[Node, Gram | Patches] = {}
    readers: dict[Value, list[Gram | Patches]] = {}
    for layer in layers:
        x = layer.node.inputs[0]
        assert x is not None
        others = readers.setdefault(x, [])
        same = [other for other in others if isinstance(other, Gram) and layer.node.op.key != "Conv"]
        found[layer.node] = same[0] if same else layer.observer()
        if not same:
            others.append(found[layer.node])
    observe(model, {value: Several(observers) for value, observers in readers.items()})
    return found


def _set_codes(layer: _Layer, codes: Array) -> None:
    old = layer.maker.inputs[0]
    assert old is not None
    shape = layer.original.shape
    array = codes.reshape(shape) if layer.node.op.key == "Conv" else np.ascontiguousarray(codes[0].T)
    layer.maker.set_input(0, constant(Tensor.from_array(array, I8), old.hint))

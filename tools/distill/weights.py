"""Which constants of a graph are weights that can be trained, and how what was learned goes back into the graph.

    weights = trainable(model)
    weights[0].start()                      # float32, what training begins with
    weights[0].put(array)                   # into the graph, in the type that the graph has it in

A constant is a weight by what reads it: the matrix of a product, a kernel, the scale of a normalization, a table whose
rows are picked, an added bias. It is none where it is part of the structure: shapes, masks, angles of rotary and
sinusoidal positions, scales of quantization, single numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.core import Model, Node, Value
from ...ir.errors import UsageError
from ...ir.tensor import Array, Tensor
from ...ir.types import BF16, F16, F32, F64, DType
from ...passes.naming import is_named

_FLOATS = (F16, F32, F64, BF16)
_LAYER: dict[str, tuple[int, ...]] = {
    "MatMul": (0, 1), "Gemm": (0, 1, 2), "Einsum": (0, 1, 2, 3), "Conv": (1, 2), "ConvTranspose": (1, 2),
    "BatchNormalization": (1, 2), "LayerNormalization": (1, 2), "RMSNormalization": (1,),
    "InstanceNormalization": (1, 2), "GroupNormalization": (1, 2), "PRelu": (1,), "LSTM": (1, 2, 3, 7),
    "GRU": (1, 2, 3), "RNN": (1, 2, 3), "SimplifiedLayerNormalization": (1,),
    "com.microsoft::FusedMatMul": (0, 1), "com.microsoft::BiasGelu": (1,), "com.microsoft::FastGelu": (1,),
    "com.microsoft::SkipLayerNormalization": (2, 3, 4), "com.microsoft::SkipSimplifiedLayerNormalization": (2, 3),
}  # fmt: skip
"""Operands that are weights wherever they are constant."""
_LOOSE: dict[str, tuple[int, ...]] = {"Gather": (0,), "Add": (0, 1), "Mul": (0, 1), "Sum": (0, 1)}
"""Operands that are weights unless what they hold says otherwise."""
_THROUGH = frozenset((
    "Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Expand", "Concat",
    "QuantizeLinear", "DequantizeLinear",
))  # fmt: skip
"""What a weight may pass on its way to the layer that reads it."""
_HIDING = -1e4  # numbers from here on down hide positions
_SPARSE = 0.1  # of a matrix zero, from which on its zeros are taken to be meant


@dataclass(eq=False)
class Grid:
    """Where the codes of a quantized weight lie: weight = (code - zero) * scale; both broadcast to the codes."""

    scale: Array
    zero: Array


@dataclass(eq=False)
class Weight:
    """One parameter: a tensor, and every constant of the graph, or default of an input, that is this tensor."""

    tensor: Tensor
    values: list[Value]
    name: str
    grid: Grid | None = None

    def start(self) -> Array:
        """What training begins with, float32; of codes the numbers that they stand for."""
        array = np.array(self.tensor.read()).astype(np.float32)
        return array if self.grid is None else ((array - self.grid.zero) * self.grid.scale).astype(np.float32)

    def zeros(self) -> Array | None:
        """Where a sparse weight is zero and has to stay so; None for one that is dense."""
        array = self.start()
        empty = array == 0
        return empty if array.ndim > 1 and empty.mean() >= _SPARSE else None

    def put(self, array: Array) -> None:
        """Make `array`, float32, the constant: rounded to the type, or to codes, that the graph has it in."""
        dtype = self.tensor.dtype
        if self.grid is not None:
            array = np.clip(np.rint(array / self.grid.scale) + self.grid.zero, *code_range(dtype))
        self.tensor = Tensor.from_array(array.astype(dtype.numpy), dtype)
        for value in self.values:
            if value.graph is None:
                value.const = self.tensor
            else:
                value.graph.defaults[value] = self.tensor


def code_range(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest whole number of an integer type."""
    return (-(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1) if dtype.kind == "i" else (0, (1 << dtype.bits) - 1)


def trainable(model: Model, freeze: Sequence[str] = ()) -> list[Weight]:
    """The weights in the order of the graph, those left out that `freeze` names: weights or nodes, with * and ?.

    Raises UsageError for a name that fits none, and where there is nothing to train.
    """
    found: dict[Any, Weight] = {}
    names: dict[Any, set[str]] = {}
    for node in model.walk():
        for operand, loose in _operands(node):
            for value, scaler in _constants(operand):
                tensor = value.const if value.graph is None else value.graph.defaults.get(value)
                assert tensor is not None
                if not _is_weight(tensor, loose, scaler) or (node.op.key == "Gather" and len(tensor.shape) < 2):
                    continue
                key = _identity(tensor)
                if key not in found:
                    coded = scaler is not None and tensor.dtype.is_int
                    found[key] = Weight(tensor, [], value.hint, _grid(scaler, tensor) if coded else None)
                if value not in found[key].values:
                    found[key].values.append(value)
                names.setdefault(key, set()).update((value.hint, *node.loc))
    for pattern in freeze:
        if not any(is_named(each, (pattern,)) for each in names.values()):
            raise UsageError(f"{pattern!r} names no weight that would be trained", source="--freeze")
    kept = [weight for key, weight in found.items() if not is_named(names[key], tuple(freeze))]
    if not kept:
        raise UsageError("the student has no weight to train", source=model.source)
    return kept


def _operands(node: Node) -> Iterator[tuple[Value, bool]]:
    """Operands that may be weights, and whether what they hold decides."""
    for table, loose in ((_LAYER, False), (_LOOSE, True)):
        for index in table.get(node.op.key, ()):
            value = node.input(index)
            if value is not None:
                yield value, loose


def _constants(value: Value) -> Iterable[tuple[Value, Node | None]]:
    """The constants that an operand is made of by moving them about, each with the DequantizeLinear it passes."""
    work: list[tuple[Value, Node | None]] = [(value, None)]
    while work:
        current, scaler = work.pop()
        if current.const is not None or (current.graph is not None and current in current.graph.defaults):
            yield current, scaler
            continue
        node = current.producer
        if node is None or node.op.key not in _THROUGH:
            continue
        if node.op.key == "DequantizeLinear":
            scaler = node
        several = node.inputs if node.op.key == "Concat" else node.inputs[:1]
        work += [(each, scaler) for each in several if each is not None]


def _identity(tensor: Tensor) -> Any:
    """The same for tensors that are one payload."""
    if tensor.file is None:
        return id(tensor)
    return id(tensor.file), tensor.offset, tensor.dtype, tensor.shape


def _is_weight(tensor: Tensor, loose: bool, scaler: Node | None) -> bool:
    if scaler is not None and tensor.dtype.is_int:  # of more bits only biases are, too fine a grid for float32
        own = scaler.inputs[0] is not None and scaler.inputs[0].const is tensor
        return own and tensor.size > 1 and tensor.dtype.bits <= 8 and _constant(scaler.input(1)) is not None
    if tensor.dtype not in _FLOATS or tensor.size == 0:
        return False
    return not loose or (tensor.size > 1 and not is_structure(tensor.read()))


def is_structure(array: Array) -> bool:
    """True for what is added, multiplied or picked from and is no weight: masks, and angles of positions.

    A vector is a bias or a scale. A table is a mask where it hides positions, or holds two different numbers at most;
    it holds angles where all are sines and cosines and the first position has those of zero.
    """
    if not np.isfinite(array.astype(np.float32)).all() or float(array.min()) <= _HIDING:
        return True
    axes = [axis for axis, size in enumerate(array.shape) if size > 1]
    if len(axes) < 2:
        return False
    low, high = array.min(), array.max()
    if ((array == low) | (array == high)).all():
        return True
    first = np.take(array, 0, axis=axes[-2]).astype(np.float32)
    angles = 0.9 <= max(abs(float(low)), abs(float(high))) <= 1.001
    return angles and bool(np.isin(first, (0.0, 1.0)).all())


def _grid(scaler: Node | None, tensor: Tensor) -> Grid:
    """The scales and zero points of a DequantizeLinear, spread over the codes that it reads as a constant."""
    assert scaler is not None
    scale, zero = _constant(scaler.input(1)), _constant(scaler.input(2))
    assert scale is not None
    zero = np.zeros_like(scale) if zero is None else zero
    axis, block = scaler.attr("axis"), scaler.attr("block_size") or 0
    both = [_spread(part.astype(np.float32), tensor.shape, axis, block) for part in (scale, zero)]
    return Grid(*both)


def _spread(part: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    if part.size == 1:
        return part.reshape(())
    axis %= len(shape)
    if block:
        return np.take(np.repeat(part, block, axis), range(shape[axis]), axis)
    return part.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _constant(value: Value | None) -> Array | None:
    return None if value is None or value.const is None else value.const.array()

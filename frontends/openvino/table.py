"""The table from layer types to functions that read them, and what those functions work with.

    @reads("ReLU")
    def relu(r: Reading, layer: Layer) -> Value:
        return r.b.op("Relu", r.arg(layer, 0))

A function returns one value, or a list of them in the order of the layer's output ports (None for one that nobody
may use). It raises UnsupportedModel, naming the layer, for what there is no form for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Value
from ...ir.dims import DimLike
from ...ir.errors import FormatError, InvalidModel, UnsupportedModel
from ...ir.tensor import MappedFile, Tensor
from ...ir.types import I64, DType, TensorType
from .xml import Layer, Net

Made = Value | Sequence[Value | None]
Reader = Callable[["Reading", Layer], Made]
TABLE: dict[str, Reader] = {}
_INLINE = 1024  # bytes
_SMALL = 1 << 16  # elements up to which a constant is converted where it stands


def reads(*types: str) -> Callable[[Reader], Reader]:
    """Register a function for layers by their types."""

    def register(function: Reader) -> Reader:
        for type in types:
            assert type not in TABLE, type
            TABLE[type] = function
        return function

    return register


def refused(layer: Layer, reason: str) -> UnsupportedModel:
    return UnsupportedModel(f"{layer}: {reason}")


class Weights:
    """The .bin file, mapped once, and the tensors in it."""

    def __init__(self, file: MappedFile | None) -> None:
        self.file = file
        self._known: dict[tuple[int, DType, tuple[int, ...]], Tensor] = {}

    def read(self, layer: Layer) -> Tensor:
        """The tensor of a Const. FormatError where the file does not hold what the layer says."""
        dtype, shape = layer.dtype("element_type"), layer.ints("shape")
        if any(size < 0 for size in shape) or len(shape) > 64:
            raise FormatError(f"{layer} has an impossible shape {list(shape[:8])}")
        offset, size = layer.int("offset"), layer.int("size")
        tensor = Tensor(dtype, shape, file=self.file, offset=offset)
        if size != tensor.length and not (size == 1 and not tensor.size):  # openvino writes a byte for no elements
            raise FormatError(f"{layer} has {size} bytes, {dtype}{list(shape[:8])} needs {tensor.length}")
        if self.file is None or offset < 0 or offset + size > self.file.size:
            held = 0 if self.file is None else self.file.size
            raise FormatError(f"{layer} needs bytes {offset} to {offset + size}, the .bin file has {held}")
        if size <= _INLINE:  # shapes and axes, which a writer must not leave in another file
            tensor = Tensor(dtype, shape, data=bytes(tensor.data()))
        return self._known.setdefault((offset, dtype, shape), tensor)


class Reading:
    """One graph on its way: which value stands for which output port.

    `variables` collects what ReadValue and Assign name, for the whole model.
    """

    def __init__(self, net: Net, graph: Graph, weights: Weights, root: Reading | None = None) -> None:
        self.net = net
        self.graph = graph
        self.weights = weights
        self.b = Builder(graph)
        self.root = root or self
        self.values: dict[tuple[int, int], Value | None] = {}
        self.used: set[tuple[int, int]] = set(net.sources.values())

    # Operands

    def arg(self, layer: Layer, index: int) -> Value:
        """Operand `index`. InvalidModel where the layer has none."""
        found = self.option(layer, index)
        if found is None:
            raise InvalidModel(f"{layer} has no operand {index}")
        return found

    def option(self, layer: Layer, index: int) -> Value | None:
        """Operand `index`, None where the layer has fewer."""
        if index >= len(layer.inputs):
            return None
        source = self.net.sources.get((layer.id, layer.inputs[index]))
        if source is None:
            raise InvalidModel(f"nothing leads to port {layer.inputs[index]} of {layer}")
        if source not in self.values:
            raise InvalidModel(f"{layer} uses port {source[1]} of {self.net.layers[source[0]]}, which it does not have")
        found = self.values[source]
        if found is None:
            raise refused(self.net.layers[source[0]], f"its output {source[1]} has no form")
        return found

    def args(self, layer: Layer) -> list[Value]:
        return [self.arg(layer, index) for index in range(len(layer.inputs))]

    def is_used(self, layer: Layer, index: int) -> bool:
        """True if somebody reads output `index`."""
        return index < len(layer.outputs) and (layer.id, layer.outputs[index].id) in self.used

    def rank(self, layer: Layer, value: Value) -> int:
        """UnsupportedModel where it is unknown."""
        if value.rank is None:
            raise refused(layer, "the number of its dimensions is unknown")
        return value.rank

    def dims(self, layer: Layer, value: Value) -> tuple[DimLike, ...]:
        self.rank(layer, value)
        assert value.shape is not None
        return value.shape

    def axis(self, layer: Layer, axis: int, rank: int) -> int:
        """The axis counted from the start. InvalidModel for one outside."""
        if not -rank <= axis < rank:
            raise InvalidModel(f"{layer} has axis {axis}, its operand {rank} dimensions")
        return axis % rank if rank else 0

    # Constants

    def fixed(self, value: Value | None) -> Tensor | None:
        """The constant that a value is, or that its Cast makes of a small one; None for others."""
        if value is None or value.const is not None:
            return None if value is None else value.const
        node = value.producer
        source = node.inputs[0] if node is not None and node.op.key == "Cast" else None
        if source is None or source.const is None or source.const.size > _SMALL:
            return None
        assert isinstance(value.type, TensorType)
        return Tensor.from_array(source.const.array().astype(value.type.dtype.numpy), value.type.dtype)

    def known(self, layer: Layer, index: int) -> Tensor:
        """The constant that operand `index` is. UnsupportedModel where it is none."""
        found = self.fixed(self.arg(layer, index))
        if found is None:
            raise refused(layer, f"its operand {index} is not constant")
        return found

    def known_ints(self, layer: Layer, index: int) -> tuple[int, ...]:
        found = self.known(layer, index)
        if not found.dtype.is_int or found.size > _SMALL:
            raise InvalidModel(f"operand {index} of {layer} are no integers")
        return found.ints()

    def known_number(self, layer: Layer, index: int) -> float:
        """The only element of operand `index`."""
        found = self.known(layer, index)
        if found.size != 1:
            raise InvalidModel(f"operand {index} of {layer} is not one number")
        return float(found.item())

    def known_axis(self, layer: Layer, index: int, rank: int) -> int:
        axes = self.known_ints(layer, index)
        if len(axes) != 1:
            raise InvalidModel(f"operand {index} of {layer} is not one axis")
        return self.axis(layer, axes[0], rank)

    def number(self, value: float, like: Value) -> Value:
        return self.b.const(value, like=like)

    # Conversions

    def cast(self, value: Value, dtype: DType) -> Value:
        """The value in an element type; a small constant stays one."""
        if value.dtype is dtype:
            return value
        if value.const is not None and value.const.size <= 1024 and (value.const.dtype.is_int and dtype.is_int):
            return self.b.const(Tensor.from_array(value.const.array().astype(dtype.numpy), dtype), hint=value.hint)
        return self.b.op("Cast", value, to=dtype.onnx)

    def vector(self, value: Value) -> Value:
        """Sizes, axes and the like as i64 [N]."""
        made = self.cast(value, I64)
        if made.rank == 1:
            return made
        if made.const is not None:
            return self.b.ints(made.const.ints())
        return self.b.op("Reshape", made, self.b.ints([-1]))

    def scalar(self, value: Value) -> Value:
        """The only element as []."""
        if value.rank == 0:
            return value
        if value.const is not None and value.const.size == 1:
            return self.b.const(Tensor.from_array(value.const.array().reshape(()), value.const.dtype), hint=value.hint)
        return self.b.op("Reshape", value, self.b.const(np.zeros(0, np.int64)))

    def transpose(self, value: Value, perm: Sequence[int]) -> Value:
        return value if list(perm) == sorted(perm) else self.b.op("Transpose", value, perm=tuple(perm))

    def shape_of(self, value: Value) -> Value:
        return self.b.op("Shape", value)

    def size_at(self, value: Value, axis: int) -> Value:
        """The size of an axis as i64 [1]."""
        size = None if value.shape is None else value.shape[axis]
        if isinstance(size, int):
            return self.b.ints([size])
        return self.b.op("Shape", value, start=axis, end=axis + 1)

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """0 keeps an axis, -1 takes the rest."""
        return self.b.op("Reshape", value, self.b.ints(shape))

    def unsqueeze(self, value: Value, axes: Sequence[int]) -> Value:
        return self.b.op("Unsqueeze", value, self.b.ints(axes)) if axes else value


def outputs(made: Any) -> list[Value | None]:
    """What a reader returned, as a list."""
    return [made] if isinstance(made, Value) else list(made)

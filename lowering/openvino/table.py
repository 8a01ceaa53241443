"""The table from operators to functions that write them, and what those functions work with.

    @maps("Relu")
    def relu(t: Translation, node: Node) -> Any:
        return t.o.relu(t.arg(node, 0))

A function returns one openvino node, or a list of outputs in the order of the operator's. It raises `NoMapping` for
what openvino has no operators for: then the model goes through openvino's own reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir.core import Node, Value
from ...ir.tensor import Tensor
from ...ir.types import STR, DType, TensorType
from .constants import CONSTANT_NAMES, DTYPE_OF, TYPE_NAMES, reshaped, shared_constant
from .package import openvino, operators

LARGE = 1 << 20  # bytes
Ends = tuple[tuple[int, ...], tuple[int, ...]]
Mapper = Callable[["Translation", Node], Any]
TABLE: dict[str, Mapper] = {}


class NoMapping(Exception):
    """openvino's operators cannot say this; the message is the reason."""


def maps(*keys: str) -> Callable[[Mapper], Mapper]:
    """Register a function for operators by their keys: ``Relu``, ``com.microsoft::Gelu``, ``GroupNormalization@18``."""

    def register(function: Mapper) -> Mapper:
        for key in keys:
            assert key not in TABLE, key
            TABLE[key] = function
        return function

    return register


class Translation:
    """One graph on its way: which openvino output stands for which of our values.

    `parent` is the translation of the graph around a region; `captured` collects the parameters that stand for outer
    values inside this one.
    """

    def __init__(self, parent: Translation | None = None) -> None:
        self.ov = openvino()
        self.o = operators()
        self.parent = parent
        self.keep: list[Any] = parent.keep if parent is not None else []
        self.values: dict[Value, Any] = {}
        self.captured: dict[Value, Any] = {}

    # Values

    def value(self, value: Value) -> Any:
        """The openvino output that stands for a value."""
        found = self.values.get(value)
        if found is not None:
            return found
        if value.const is not None:
            made = self.constant(value.const)
            made.friendly_name = value.hint or made.friendly_name
            found = made.output(0)
        else:
            assert self.parent is not None, f"{value!r} is used before it is made"
            outer = self.parent.value(value)
            parameter = self.o.parameter(outer.get_partial_shape(), outer.get_element_type())
            self.captured[value] = parameter
            found = parameter.output(0)
        self.values[value] = found
        return found

    def arg(self, node: Node, index: int) -> Any:
        """Operand `index` as an openvino output. NoMapping where it is absent."""
        found = self.option(node, index)
        if found is None:
            raise NoMapping(f"operand {index} is absent")
        return found

    def option(self, node: Node, index: int) -> Any:
        """Operand `index` as an openvino output, None where it is absent."""
        value = node.input(index)
        return None if value is None else self.value(value)

    def known(self, node: Node, index: int) -> Tensor | None:
        """The constant that operand `index` is; None where it is none or absent."""
        value = node.input(index)
        return None if value is None else value.const

    def ints(self, node: Node, index: int) -> tuple[int, ...] | None:
        """The constant integers of operand `index`; None where they are not constant or it is absent."""
        found = self.known(node, index)
        return None if found is None else found.ints()

    # Constants

    def type_of(self, dtype: DType) -> Any:
        """openvino's element type. NoMapping where it has none."""
        name = TYPE_NAMES.get(dtype)
        if name is None:
            raise NoMapping(f"there is no element type {dtype}")
        return getattr(self.ov.Type, name)

    def constant(self, tensor: Tensor) -> Any:
        """A Constant over a tensor's bytes; for a large tensor of equal elements the Broadcast of one of them."""
        if tensor.dtype not in CONSTANT_NAMES:
            raise NoMapping(f"there is no element type {tensor.dtype}")
        if tensor.splat is not None and tensor.nbytes > LARGE:
            one = shared_constant(self.ov, Tensor.of(tensor.splat, tensor.dtype), self.keep)
            return self.o.broadcast(one, self.i64(tensor.shape))
        return shared_constant(self.ov, tensor, self.keep)

    def i64(self, values: int | Sequence[int]) -> Any:
        """A Constant of one integer [] or several [N]."""
        return self.ov.op.Constant(np.array(values, dtype=np.int64), shared_memory=False)

    def number(self, value: float, like: Any) -> Any:
        """A scalar of the element type of `like`."""
        return self.constant(Tensor.of(value, DTYPE_OF[like.get_element_type().get_type_name()]))

    # Types; each takes an output, or a node that has one

    def out(self, made: Any) -> Any:
        """The output of a node that has one; an output as it is."""
        return made.output(0) if hasattr(made, "outputs") else made

    def rank(self, made: Any) -> int:
        """NoMapping where it is unknown."""
        rank = self.out(made).get_partial_shape().rank
        if rank.is_dynamic:
            raise NoMapping("the number of dimensions is unknown")
        return int(rank.get_length())

    def dims(self, made: Any) -> list[int | None]:
        """Sizes by axis, None where they are not fixed. NoMapping where the rank is unknown."""
        self.rank(made)
        return [d.get_length() if d.is_static else None for d in self.out(made).get_partial_shape()]

    def static(self, made: Any, axis: int, what: str) -> int:
        """The size of an axis. NoMapping where it is not fixed."""
        size = self.dims(made)[axis]
        if size is None:
            raise NoMapping(f"{what} is not fixed")
        return size

    def is_float(self, made: Any) -> bool:
        return bool(made.get_element_type().is_real())

    def same_type(self, made: Any, like: Any) -> Any:
        """`made` in the element type of `like`."""
        wanted = like.get_element_type()
        return made if made.get_element_type() == wanted else self.o.convert(made, wanted)

    def partial_shape(self, type: TensorType, ends: Ends | None = None) -> Any:
        """Fixed sizes as they are, all others open, or from the smallest to the largest shape of `ends`."""
        if type.shape is None:
            return self.ov.PartialShape.dynamic()
        low, high = ends or ((0,) * len(type.shape), (-1,) * len(type.shape))
        pairs = [(d, d) if isinstance(d, int) else (least, most) for d, least, most in zip(type.shape, low, high)]
        return self.ov.PartialShape([self.ov.Dimension(*pair) for pair in pairs])

    def parameter(self, value: Value, ends: Ends | None = None) -> Any:
        """A Parameter for an input of ours. NoMapping for what is no tensor of numbers."""
        type = value.type
        if not isinstance(type, TensorType) or type.dtype is STR:
            raise NoMapping(f"there is no type {type}")
        return self.o.parameter(self.partial_shape(type, ends), self.type_of(type.dtype))

    # Pieces that several operators need

    def shape_of(self, made: Any) -> Any:
        return self.o.shape_of(made, "i64")

    def size_at(self, made: Any, axis: int) -> Any:
        """The size of an axis as i64[1]."""
        size = self.dims(made)[axis]
        if size is not None:
            return self.i64([size])
        return self.o.gather(self.shape_of(made), self.i64([axis]), self.i64(0))

    def reshape(self, made: Any, shape: Sequence[int]) -> Any:
        """0 keeps an axis, -1 takes the rest."""
        return self.o.reshape(made, self.i64(list(shape)), True)

    def shaped(self, node: Node, index: int, shape: Sequence[int]) -> Any:
        """Operand `index` in a shape of fixed sizes, one of which may be -1: a constant stays one."""
        tensor = self.known(node, index)
        if tensor is None:
            return self.o.reshape(self.arg(node, index), self.i64(list(shape)), False).output(0)
        rest = tensor.size // math.prod(size for size in shape if size != -1)
        fixed = tuple(rest if size == -1 else size for size in shape)
        return self.constant(reshaped(tensor, fixed)).output(0)

    def transpose(self, made: Any, perm: Sequence[int]) -> Any:
        return self.o.transpose(made, self.i64(list(perm)))

    def unsqueeze(self, made: Any, axes: Sequence[int]) -> Any:
        return self.o.unsqueeze(made, self.i64(list(axes))) if axes else made

    def scalar(self, made: Any) -> Any:
        """The element of a tensor [1] as []."""
        return self.o.squeeze(made, self.i64([0]))

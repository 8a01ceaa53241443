"""One application of a TFLite operator while it is imported: its operands as values, and where its results go.

A converter is a function of a `Call`, registered by the operator's name:

    @converts("RELU")
    def _relu(call: Call) -> None:
        call.give_real(call.builder.op("Relu", call.real(0)))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...ir.builder import Builder
from ...ir.core import Graph, Value, constant
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.ops import op
from ...ir.tensor import Array, MappedFile, Tensor
from ...ir.types import F32, I64, DType
from .flatbuffer import Span, Table
from .tensors import Quantization, TensorInfo, stored_zero

if TYPE_CHECKING:
    from .dilated import Dilation
    from .variables import Variables

Converter = Callable[["Call"], None]
Body = Callable[[int, Graph, Sequence[Value]], "list[Value]"]
Inputs = Callable[[int], "list[TensorInfo]"]
CONVERTERS: dict[str, Converter] = {}
_CAST = op("Cast")
TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # NHWC to NCHW and back
# Constants larger than this say nothing about shapes, axes or amounts.
_MAX_SMALL = 1 << 16


def constant_of(info: TensorInfo) -> Tensor | None:
    """The data of a tensor that nothing computes. One without elements has an empty buffer, like what is computed."""
    if info.const is None and 0 in info.shape and info.dtype is not None:
        return Tensor(info.dtype, info.shape, data=b"")
    return info.const


def converts(*names: str) -> Callable[[Converter], Converter]:
    """Registers a converter for operators (builtin names, or the names of custom ones)."""

    def register(function: Converter) -> Converter:
        for name in names:
            CONVERTERS[name] = function
        return function

    return register


class Scope:
    """What is known while the operators of one subgraph become nodes of one graph.

    `body(index, graph, operands)` converts another subgraph into `graph` and gives its results, `inputs_of(index)` is
    what it says of its inputs. `variables` is None in regions, where nothing keeps numbers.
    """

    def __init__(self, graph: Graph, file: MappedFile, body: Body, inputs_of: Inputs) -> None:
        self.graph = graph
        self.file = file
        self.body = body
        self.inputs_of = inputs_of
        self.variables: Variables | None = None
        self.values: dict[int, Value] = {}  # of tensors by their numbers, as they are stored
        self.first: dict[Value, Value] = {}  # of values that are channels last, the same channels first
        self.complex: set[Value] = set()  # those that have real and imaginary parts along a last axis


class Call:
    """An operator, the values of its operands, and the values that it gives."""

    def __init__(
        self,
        name: str,
        builder: Builder,
        inputs: Sequence[TensorInfo | None],
        outputs: Sequence[TensorInfo],
        scope: Scope,
    ) -> None:
        self.name = name
        self.builder = builder
        self.inputs = inputs
        self.outputs = outputs
        self.scope = scope
        self.values = scope.values
        self.options: Table | None = None
        self.dilation: Dilation | None = None  # of convolutions that operators around them dilate
        self.custom: Span | None = None

    # Operands

    def option(self, name: str) -> Any:
        """A field of the options. Raises InvalidModel where the operator has none."""
        if self.options is None:
            raise InvalidModel("has no options")
        return self.options[name]

    def payload(self) -> bytes:
        """The options of a custom operator as they lie in the file."""
        if self.custom is None:
            return b""
        return bytes(self.scope.file.view[self.custom.offset : self.custom.offset + self.custom.length])

    def info(self, index: int) -> TensorInfo:
        """What is known of an operand. Raises InvalidModel where it is absent."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise InvalidModel(f"lacks operand {index}")
        return found

    def has(self, index: int) -> bool:
        """True if an optional operand is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """An operand as it is stored: integers where it is quantized."""
        info = self.info(index)
        found = self.values.get(info.index)
        if found is None:
            const = constant_of(info)
            if const is None:
                raise InvalidModel(f"reads {info.label}, which nothing has computed")
            if info.sparsity is not None:
                raise InvalidModel(f"reads the sparse {info.label} as if it were dense")
            found = self.values[info.index] = constant(const, info.name)
        if found in self.scope.complex:
            raise UnsupportedModel(f"reads the complex {info.label}")
        return found

    def complex(self, index: int) -> Value | None:
        """The parts of a complex operand along a last axis; None for one that is not complex."""
        found = self.values.get(self.info(index).index)
        return found if found in self.scope.complex else None

    def give_complex(self, value: Value) -> None:
        """A complex result, of its parts along a last axis."""
        self.scope.complex.add(value)
        self.give(value)

    def real(self, index: int) -> Value:
        """An operand as the numbers that it means: DequantizeLinear of a quantized one."""
        return self.dequantized(self.value(index), self.info(index))

    def real_first(self, index: int) -> Value:
        """The same for images, channels first."""
        return self.dequantized(self.value_first(index), self.info(index))

    def value_first(self, index: int) -> Value:
        """An operand of four dimensions as it is stored, channels first."""
        return self.channels_first(self.value(index))

    def weights(self, index: int, perm: Sequence[int]) -> Value:
        """The numbers of weights with their axes in another order: codes are moved before they are dequantized."""
        info = self.info(index)
        if info.dtype is None or len(info.shape) != len(perm):
            raise InvalidModel(f"has weights of {len(info.shape)} dimensions, not {len(perm)}")
        value = self.value(index)
        cast = value.producer if value.producer is not None and value.producer.op is _CAST else None
        if cast is not None and cast.inputs[0] is not None and cast.inputs[0].const is not None:
            # Weights in half precision, which folding moves but leaves half precision, since files must not grow.
            half = self.builder.op("Transpose", cast.inputs[0], perm=tuple(perm))
            return self.builder.op("Cast", half, to=cast.attrs["to"])
        moved = self.builder.op("Transpose", value, perm=tuple(perm))
        quantization = info.quantization
        if quantization is not None and not quantization.per_tensor:
            quantization = Quantization(quantization.scale, quantization.zero, list(perm).index(quantization.axis))
        return self.dequantized(moved, info, quantization)

    def is_const(self, index: int) -> bool:
        """True if an operand's numbers are in the file."""
        info = self.info(index)
        found = self.values.get(info.index)
        return (constant_of(info) if found is None else found.const) is not None

    def const(self, index: int) -> Array:
        """A small constant operand: axes, shapes, amounts. Raises UnsupportedModel for one that is computed."""
        info = self.info(index)
        found = self.values.get(info.index)
        tensor = constant_of(info) if found is None else found.const
        if tensor is None or info.sparsity is not None:
            raise UnsupportedModel(f"needs operand {index} as a constant")
        if tensor.size > _MAX_SMALL:
            raise InvalidModel(f"has {tensor.size} numbers as operand {index}")
        return tensor.array()

    def ints(self, index: int) -> list[int]:
        """The same as integers, flat. Raises InvalidModel for others."""
        array = self.const(index)
        if array.dtype.kind not in "iu":
            raise InvalidModel(f"has {array.dtype} as operand {index}, not integers")
        found: list[int] = array.reshape(-1).tolist()
        return found

    def wide(self, index: int) -> Value:
        """An operand of integers as i64, the type that ONNX has for shapes and indices."""
        info, value = self.info(index), self.value(index)
        if info.dtype is I64:
            return value
        if value.const is not None:
            return self.builder.const(self.const(index), I64)
        return self.builder.op("Cast", value, to=I64.onnx)

    def scalar(self, value: Value, builder: Builder | None = None) -> Value:
        """One element without its dimensions."""
        builder = builder or self.builder
        return value if value.rank == 0 else builder.op("Reshape", value, builder.ints([]))

    def rank(self, index: int) -> int:
        """The rank of an operand. Raises UnsupportedModel where it is open."""
        rank = self.value(index).rank
        if rank is None:
            raise UnsupportedModel(f"reads operand {index} of unknown rank")
        return rank

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front. Raises InvalidModel for one that is not there."""
        if not -rank <= axis < rank:
            raise InvalidModel(f"has axis {axis} of {rank} dimensions")
        return axis % rank

    def extent(self, value: Value, axis: int) -> int | None:
        """A dimension of a value, or None where it is open."""
        shape = value.shape
        found = shape[axis] if shape is not None and axis < len(shape) else None
        return found if isinstance(found, int) else None

    def channels_first(self, value: Value) -> Value:
        """NHWC to NCHW, without an operator where the value came from there."""
        found = self.scope.first.get(value)
        if found is None:
            if value.rank not in (4, None):
                raise InvalidModel(f"takes an image of 4 dimensions, not {value.rank}")
            found = self.scope.first[value] = self.builder.op("Transpose", value, perm=TO_FIRST)
        return found

    def channels_last(self, value: Value) -> Value:
        """NCHW to NHWC."""
        result = self.builder.op("Transpose", value, perm=TO_LAST)
        self.scope.first[result] = value
        return result

    def dilate(self, dilation: Dilation, infos: Sequence[TensorInfo]) -> None:
        """Make a convolution of what operators around it read and give, an image, or a sequence as one of one row."""
        self.dilation = dilation
        inputs = [infos[dilation.image], *self.inputs[1:]]
        if not dilation.is_sequence:
            self.inputs, self.outputs = inputs, [infos[dilation.result]]
            return
        row, self.inputs = self.info(0).index, inputs
        self.values[row] = self.builder.op("Unsqueeze", self.value(0), self.builder.ints([1]))
        self.inputs = [infos[row], *self.inputs[1:]]

    # Numbers that are kept from one run to the next

    def state(self, index: int) -> Value:
        """What an operand that is a variable holds: an input of the graph where nothing has assigned it."""
        if self.scope.variables is None:
            raise UnsupportedModel("keeps numbers inside IF or WHILE")
        return self.scope.variables.held(self.info(index), self)

    def keep(self, index: int, value: Value) -> None:
        """What that operand holds from here on."""
        assert self.scope.variables is not None
        self.scope.variables.assign(self.info(index), value)

    # Quantization

    def as_stored(self, narrow: bool = False) -> bool:
        """True if the operands mean what the result means, so that elements can move without being computed.

        `narrow` is for operators that runtimes have for codes of 8 bits and no wider ones.
        """
        wanted = self.outputs[0].quantization
        dtype = self.outputs[0].dtype
        if narrow and wanted is not None and dtype is not None and dtype.bits > 8:
            return False
        for info in self.inputs:
            if info is None or info.dtype is not self.outputs[0].dtype:
                continue
            found = info.quantization
            if not (wanted is None and found is None) and not (wanted is not None and wanted.same(found)):
                return False
        return True

    def dequantized(self, value: Value, info: TensorInfo, quantization: Quantization | None = None) -> Value:
        """What a tensor's codes mean; another value of the same codes may stand for it."""
        quantization = quantization or info.quantization
        if quantization is None or info.dtype is None or info.dtype.is_float:
            return value
        scale, zero = self._scale(quantization), stored_zero(quantization, info.dtype, info.label)
        if info.dtype is I64:  # biases of 16-bit activations; DequantizeLinear lacks the type
            wide = self.builder.op("Cast", value, to=F32.onnx)
            return self.builder.op("Mul", wide, scale)
        zeros = constant(Tensor.from_array(zero.reshape(() if quantization.per_tensor else -1), info.dtype))
        axis = {} if quantization.per_tensor else {"axis": quantization.axis}
        return self.builder.op("DequantizeLinear", value, scale, zeros, **axis)

    def quantized(self, value: Value, info: TensorInfo) -> Value:
        """Numbers as the integers that a quantized tensor stores."""
        quantization, dtype = info.quantization, info.dtype
        if quantization is None or dtype is None or dtype.is_float:
            return value
        zero = stored_zero(quantization, dtype, info.label)
        if not quantization.per_tensor:
            raise UnsupportedModel(f"gives {info.label} with a scale for each channel")
        zeros = constant(Tensor.from_array(zero.reshape(()), dtype))
        return self.builder.op("QuantizeLinear", value, self._scale(quantization), zeros)

    def _scale(self, quantization: Quantization) -> Value:
        scale = quantization.scale.astype("float32")
        return constant(Tensor.from_array(scale.reshape(() if quantization.per_tensor else -1), F32))

    # Results

    def give(self, value: Value, index: int = 0) -> None:
        """A result as it is stored."""
        if index >= len(self.outputs):
            raise InvalidModel(f"gives result {index}, the model has {len(self.outputs)}")
        info = self.outputs[index]
        if info.index in self.values:
            raise InvalidModel(f"gives {info.label} once more")
        if value.producer is not None and not value.hint:
            value.hint = info.name
        self.values[info.index] = value

    def give_real(self, value: Value, index: int = 0, activation: int = 0) -> None:
        """A result as numbers, behind the activation that the options name, quantized where the tensor is."""
        if index >= len(self.outputs):
            raise InvalidModel(f"gives result {index}, the model has {len(self.outputs)}")
        self.give(self.quantized(self.activated(value, activation), self.outputs[index]), index)

    def give_first(self, value: Value, activation: int = 0) -> None:
        """The same for an image that is channels first."""
        self.give(self.channels_last(self.quantized(self.activated(value, activation), self.outputs[0])))

    def activated(self, value: Value, activation: int) -> Value:
        """The activation of a number of ActivationFunctionType."""
        if activation == 0:
            return value
        if activation in _CLIPS:
            low, high = _CLIPS[activation]
            b = self.builder
            return b.op("Clip", value, b.const(low, like=value), b.const(high, like=value))
        if activation not in _ACTIVATIONS:
            raise UnsupportedModel(f"has activation {activation}")
        return self.builder.op(_ACTIVATIONS[activation], value)

    def cast(self, value: Value, dtype: DType | None) -> Value:
        """Another element type, where it is another."""
        if dtype is None:
            raise InvalidModel("gives handles of variables")
        return value if value.dtype is dtype else self.builder.op("Cast", value, to=dtype.onnx)


_ACTIVATIONS = {1: "Relu", 4: "Tanh"}
_CLIPS = {2: (-1.0, 1.0), 3: (0.0, 6.0)}

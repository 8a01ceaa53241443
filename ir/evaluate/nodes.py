"""One node: the choice between numpy and the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..attributes import AttrRef
from ..core import Node, Value
from ..tensor import Array, Tensor
from ..types import BF16, BOOL, BY_ONNX, F16, F32, F64, DType
from . import movement, numeric
from .deferred import DeferredTensor, reshaped
from .errors import CannotEvaluate
from .splats import repeated, stays_splat

# A payload from here on is not copied by operators that can compute it again when it is written.
DEFER_BYTES = 1 << 20
_FLOATS = (F16, F32, F64, BF16)


def is_absent(node: Node, index: int) -> bool:
    """True for an optional output that the node does not produce: unnamed and unused."""
    value = node.outputs[index]
    if value.uses or value.hint or node.op.schema is None:
        return False
    params = node.op.schema.outputs
    return bool(params) and params[min(index, len(params) - 1)].option == "optional"


def evaluate_node(
    node: Node, inputs: Sequence[Tensor | None], *, runtime: bool = True
) -> list[Tensor | None]:
    """The outputs of a node without regions for these operands; None for absent optional outputs.

    Shapes and dtypes are those that the operator defines for the operands; the node's own types are used where
    the runtime must be told the dtype of an output. Large transposes and float casts give tensors that are
    computed when read. With `runtime` false only numpy is used.
    Raises CannotEvaluate, with the reason, when nothing can run the node or the operands are outside the
    operator's domain.
    """
    if node.regions:
        raise CannotEvaluate(f"{node.op.key} has regions")
    if any(isinstance(value, AttrRef) for value in node.attrs.values()):
        raise CannotEvaluate("an attribute is a parameter of the function around it")
    quick = repeated(node, inputs) or _without_computing(node, inputs)
    if quick is not None:
        return [quick]
    found = _in_numpy(node, inputs)
    if found is not None:
        return found
    if not runtime:
        raise CannotEvaluate(f"{node.op.key} needs the runtime")
    from .runtime import run_node

    return run_node(node, inputs)


def reads_nothing(node: Node, inputs: Sequence[Tensor | None]) -> bool:
    """True if `evaluate_node` gives a view of the first operand, or a tensor that is computed when read."""
    x = inputs[0] if inputs else None
    if x is None:
        return False
    return stays_splat(node, inputs) or _needs_no_computing(node, x)


def _needs_no_computing(node: Node, x: Tensor) -> bool:
    key = node.op.key
    if (node.op.view and key in movement.KERNELS) or key == "Identity":
        return True
    if x.length < DEFER_BYTES:
        return False
    return key == "Transpose" or (
        key == "Cast" and x.dtype in _FLOATS and BY_ONNX[node.attrs["to"]] in _FLOATS
    )


def _without_computing(node: Node, inputs: Sequence[Tensor | None]) -> Tensor | None:
    """Views share their operand's payload; large transposes and float casts are computed when read."""
    x = inputs[0] if inputs else None
    if x is None or not _needs_no_computing(node, x):
        return None
    key = node.op.key
    if key == "Cast":
        target = BY_ONNX[node.attrs["to"]]
        source = x.dtype
        return DeferredTensor(
            target, x.shape, x, f"cast {target}", lambda array: _cast_floats(array, source, target)
        )
    if key == "Transpose":
        perm = node.attr("perm")
        order = tuple(reversed(range(len(x.shape)))) if perm is None else tuple(perm)
        if sorted(order) != list(range(len(x.shape))):
            raise CannotEvaluate(f"perm {list(order)} for a tensor of rank {len(x.shape)}")
        shape = tuple(x.shape[axis] for axis in order)
        return DeferredTensor(
            x.dtype,
            shape,
            x,
            f"transpose {order}",
            lambda array: np.ascontiguousarray(array.transpose(order)),
        )
    target_shape = movement.view_shape(node, x.shape, [None, *_arrays(inputs[1:])])
    return None if target_shape is None else reshaped(x, target_shape)


def _cast_floats(array: Array, source: DType, target: DType) -> Array:
    with np.errstate(all="ignore"):
        result = numeric.cast(array, source, target)
    assert result is not None
    return result


def _arrays(inputs: Sequence[Tensor | None]) -> list[Array | None]:
    return [None if x is None else x.array() for x in inputs]


def _in_numpy(node: Node, inputs: Sequence[Tensor | None]) -> list[Tensor | None] | None:
    key = node.op.key
    kernel = movement.KERNELS.get(key)
    widened = False
    if kernel is not None:
        operands = _arrays(inputs)
    else:
        kernel = numeric.KERNELS.get(key)
        if kernel is None or not all(x is None or _is_plain(x) for x in inputs):
            return None
        operands = _arrays(inputs)
        if not key.startswith("Cast") and any(x is not None and x.dtype is BF16 for x in inputs):
            # As a runtime without bfloat16 arithmetic does: compute in f32, round the result.
            widened = True
            operands = [
                a.astype(np.float32) if x is not None and x.dtype is BF16 and a is not None else a
                for x, a in zip(inputs, operands)
            ]
    try:
        with np.errstate(all="ignore"):
            result = kernel(node, operands)
    except (ValueError, IndexError) as error:
        raise CannotEvaluate(f"{node.op.key}: {error}") from None
    if result is None:
        return None
    results = result if isinstance(result, list) else [result]
    return [_tensor(array, widened) for array in results]


def _tensor(array: Any, widened: bool) -> Tensor:
    array = np.asarray(array)
    if widened and array.dtype == np.float32:
        return Tensor.from_array(array.astype(BF16.numpy), BF16)
    return Tensor.from_array(array)


def _is_plain(tensor: Tensor) -> bool:
    dtype = tensor.dtype
    return dtype in _FLOATS or dtype is BOOL or (dtype.is_int and dtype.bits >= 8)


def value_inputs(node: Node, known: dict[Value, Tensor]) -> list[Tensor | None]:
    """The operands of a node: constants, or what `known` holds. Raises CannotEvaluate where one is missing."""
    found: list[Tensor | None] = []
    for value in node.inputs:
        if value is None:
            found.append(None)
            continue
        tensor = value.const if value.const is not None else known.get(value)
        if tensor is None:
            raise CannotEvaluate(f"the value %{value.hint} is not known")
        found.append(tensor)
    return found

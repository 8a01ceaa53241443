"""Smaller dimensions: a size becomes a smaller one wherever it stands, in inputs, weights, shapes and attributes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ...ir.core import Model, Value
from ...ir.infer import infer_graph
from ...ir.tensor import Tensor
from ...ir.types import TensorType, tensor_type
from .candidate import SHAPE_SIZE, Candidate, Make

SMALLEST = (1, 2, 3, 4)
# Attributes that count elements; others of the same numbers (axes, permutations, types) must stay.
COUNTS = frozenset((
    "q_num_heads", "kv_num_heads", "num_heads", "hidden_size", "kernel_shape", "group", "num_groups", "split", "shape",
    "blocksize", "N", "K", "rotary_embedding_dim",
))  # fmt: skip
# Operands that are counts of elements; other integers of the same numbers are axes and indices.
SHAPES = frozenset((
    ("Reshape", 1), ("Expand", 1), ("Slice", 1), ("Slice", 2), ("Split", 1), ("ConstantOfShape", 0), ("Resize", 3),
    ("Concat", 0), ("Concat", 1), ("Concat", 2), ("Concat", 3),
))  # fmt: skip


def smaller(candidate: Candidate) -> Iterator[Make]:
    """Candidates with one size smaller, its multiples with it; the smallest first."""
    sizes = _sizes(candidate.model)
    for size in sizes:
        wanted = [new for new in (*SMALLEST, size // 8, size // 2) if new < size]
        for new in sorted(set(wanted) - {0}):
            scaled = {other: other // size * new for other in sizes if other % size == 0}
            yield partial(resized, candidate, scaled)
            if len(scaled) > 1:
                yield partial(resized, candidate, {size: new})


def total(model: Model) -> int:
    """Elements of all inputs and constants: what sizes are to make small."""
    count = 0
    for value in (*model.graph.inputs, *_constants(model)):
        if isinstance(value.type, TensorType) and value.type.shape is not None:
            count += int(np.prod([dim if isinstance(dim, int) else 2 for dim in value.type.shape]))
    return count


def _sizes(model: Model) -> list[int]:
    found: set[int] = set()
    for value in (*model.graph.inputs, *_constants(model)):
        if isinstance(value.type, TensorType):
            found.update(dim for dim in value.type.shape or () if isinstance(dim, int) and dim > 1)
    return sorted(found)


def _constants(model: Model) -> list[Value]:
    return list(dict.fromkeys(v for node in model.walk() for v in node.inputs if v is not None and v.const is not None))


def resized(candidate: Candidate, sizes: dict[int, int]) -> Candidate:
    """With other sizes; what does not fit any more shows when it is inferred, verified or run."""
    result, _ = candidate.copy()
    graph = result.model.graph
    for name, value in zip(graph.input_names, graph.inputs):
        if isinstance(value.type, TensorType) and value.type.shape is not None:
            shape = tuple(sizes.get(dim, dim) if isinstance(dim, int) else dim for dim in value.type.shape)
            value.type = tensor_type(value.type.dtype, shape)
        if result.feeds is not None and isinstance(result.feeds.get(name), np.ndarray):
            result.feeds[name] = _cut(result.feeds[name], sizes)
    for value in _constants(result.model):
        assert value.const is not None
        tensor = value.const
        is_shape = tensor.dtype.is_int and tensor.size <= SHAPE_SIZE and len(tensor.shape) <= 1
        if is_shape and all((node.op.name, slot) in SHAPES for node, slot in value.uses):
            numbers = tensor.array()
            mapped = [sizes.get(int(number), int(number)) for number in numbers.reshape(-1)]
            new = np.array(mapped, numbers.dtype).reshape(numbers.shape)
        elif tensor.dtype.is_float and tensor.dtype.bits >= 8 and any(dim in sizes for dim in tensor.shape):
            new = _cut(tensor.array(), sizes)
        else:
            continue
        value.const = Tensor.from_array(np.ascontiguousarray(new), tensor.dtype)
        value.type, value.content = value.const.type, None
    for node in result.model.walk():
        for name in COUNTS & node.attrs.keys():
            given = node.attrs[name]
            if isinstance(given, int):
                node.attrs[name] = sizes.get(given, given)
            elif isinstance(given, tuple):
                node.attrs[name] = tuple(sizes.get(each, each) for each in given)
    forget_shapes(result.model)
    infer_graph(graph)
    return result


def forget_shapes(model: Model) -> None:
    """Leave values of nodes nothing but their element types, for inference to find the rest."""
    for node in model.walk():
        for value in node.outputs:
            value.content = None
            if isinstance(value.type, TensorType):
                value.type = tensor_type(value.type.dtype, None)


def _cut(array: Any, sizes: dict[int, int]) -> Any:
    return np.ascontiguousarray(array[tuple(slice(sizes.get(dim, dim)) for dim in array.shape)])

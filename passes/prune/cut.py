"""What is left when labels are cut: constants, attributes and shape operands shrink, and types with them."""

from __future__ import annotations

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Node, Value, constant
from ...ir.infer import infer_graph
from ...ir.tensor import Array, Tensor
from ...ir.types import TensorType, tensor_type
from .follow import Following


def apply_cut(found: Following, alive: Array) -> list[Node]:
    """Cut all labels that are not `alive`, bool [labels]; returns the nodes that were made."""

    def kept(labels: Array) -> Array:
        return np.flatnonzero(alive[labels])

    def is_cut(labels: Array) -> bool:
        return not bool(alive[labels].all())

    _constants(found, alive)
    for labels, change in found.changes:
        if is_cut(labels):
            change(kept)
    created = _sizes(found, alive)
    for value, axes in found.axes.items():
        if not isinstance(value.type, TensorType) or value.type.shape is None:
            continue
        shape = [
            len(kept(labels)) if labels is not None and is_cut(labels) else size
            for labels, size in zip(axes, value.type.shape)
        ]
        value.type = tensor_type(value.type.dtype, tuple(shape))
    for node in found.graph:
        for value in node.outputs:
            value.content = None
    infer_graph(found.graph)
    return created


def _constants(found: Following, alive: Array) -> None:
    places: dict[tuple[Node, int], dict[int, Array]] = {}
    for node, operand, axis, labels in found.cuts:
        if not alive[labels].all():
            places.setdefault((node, operand), {})[axis] = alive[labels]
    made: dict[tuple[Value, tuple[tuple[int, bytes], ...]], Value] = {}
    for (node, operand), axes in places.items():
        value = node.inputs[operand]
        assert value is not None and value.const is not None
        key = (value, tuple((axis, mask.tobytes()) for axis, mask in sorted(axes.items())))
        if key not in made:
            array = value.const.read()
            for axis, mask in axes.items():
                array = np.compress(mask, array, axis)
            made[key] = constant(Tensor.from_array(np.ascontiguousarray(array), value.const.dtype), value.hint)
        node.set_input(operand, made[key])


def _sizes(found: Following, alive: Array) -> list[Node]:
    """Shape operands: a constant is written anew, in a computed one the elements are replaced that changed."""
    wanted: dict[tuple[Node, int], dict[int, int]] = {}
    for node, operand, place, labels in found.sizes:
        if not alive[labels].all():
            wanted.setdefault((node, operand), {})[place] = int(np.count_nonzero(alive[labels]))
    created: list[Node] = []
    for (node, operand), sizes in wanted.items():
        value = node.inputs[operand]
        assert value is not None and node.graph is not None and value.shape is not None
        if value.const is not None:
            array = value.const.array().copy()
            for place, size in sizes.items():
                if array[place] > 0:  # 0 and -1 follow by themselves
                    array[place] = size
            node.set_input(operand, constant(Tensor.from_array(array, value.const.dtype), value.hint))
            continue
        (length,) = value.shape
        assert isinstance(length, int)
        new = np.array([sizes.get(place, 0) for place in range(length)], np.int64)
        b = Builder(node.graph, node, node.loc)
        mask = np.array([place in sizes for place in range(length)])
        node.set_input(operand, b.op("Where", b.const(mask), b.const(new), value))
        created += b.created
    return created

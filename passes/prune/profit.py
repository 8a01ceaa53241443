"""Whether what is left of layers is faster, by the target's estimate.

A layer that lasts as long as its launch, such as a product with the one vector that a pool leaves, is no faster for
having fewer channels.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.core import Node, Value
from ...ir.ops.cost import CostModel
from ...ir.tensor import Array
from ...ir.types import TensorType, Type, tensor_type
from .follow import Following


def share_of_time(found: Following, cost: CostModel, nodes: Iterable[Node], alive: Array) -> float:
    """What is left of the estimated time of some nodes once labels are cut; `alive` bool [labels].

    Those that nobody can estimate do not count; 1 where that is all of them.
    """
    known = list(nodes)
    types = _types(found, set(known), alive)
    before = after = 0.0
    for node in known:
        whole, left = cost.seconds(node), cost.seconds(node, types)
        if whole is not None and left is not None:
            before += whole
            after += left
    return after / before if before else 1.0


def _types(found: Following, nodes: set[Node], alive: Array) -> dict[Value, Type | None]:
    """The types that values of nodes will have."""
    types: dict[Value, Type | None] = {}
    for node in nodes:
        for value in (*node.inputs, *node.outputs):
            if value is None:
                continue
            for axis, labels in enumerate(found.of_all(value)):
                if labels is not None:
                    _cut(types, value, axis, int(alive[labels].sum()))
    for node, operand, axis, labels in found.cuts:
        weight = node.inputs[operand]
        if node in nodes and weight is not None:
            _cut(types, weight, axis, int(alive[labels].sum()))
    return types


def _cut(types: dict[Value, Type | None], value: Value, axis: int, size: int) -> None:
    type = types.get(value, value.type)
    if isinstance(type, TensorType) and type.shape is not None:
        types[value] = tensor_type(type.dtype, (*type.shape[:axis], size, *type.shape[axis + 1 :]))

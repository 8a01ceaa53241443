"""Weights that may become codes: constants that nothing but layers and look-ups of rows reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...ir.core import Graph, Node, Value
from ...ir.types import F32

# The operand slots of weights by operator.
_SLOTS: dict[str, tuple[int, ...]] = {
    "MatMul": (1,), "Gemm": (1,), "Conv": (1,), "ConvTranspose": (1,), "Gather": (0,), "Transpose": (0,),
    "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2),
    "com.microsoft::FusedMatMul": (1,), "com.microsoft::FusedConv": (1,), "com.microsoft::Attention": (1,),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Site:
    """A constant f32 and the nodes that read it.

    `axis`: that of the outputs, 0 or 1 of a matrix, None where readers disagree or it has none. `layer`: the one
    MatMul, Gemm or Conv of the main graph that reads it, if no other node does.
    """

    value: Value
    users: tuple[Node, ...]
    axis: int | None
    layer: Node | None

    @property
    def is_table(self) -> bool:
        """True if rows of it are looked up."""
        return any(node.op.key == "Gather" for node in self.users)

    @property
    def names(self) -> set[str]:
        """What it can be called by: its own name, and the nodes of the source that its readers were made of."""
        return {self.value.hint, *(name for node in self.users for name in node.loc)}


def sites_of(graph: Graph, least: int) -> tuple[list[Site], list[tuple[Node, str]]]:
    """The weights of at least `least` elements in a graph and its regions, and why others stay."""
    found: list[Site] = []
    others: list[tuple[Node, str]] = []
    for value in _constants(graph):
        tensor = value.const
        assert tensor is not None
        if tensor.dtype is not F32 or tensor.size < least or tensor.splat is not None or len(tensor.shape) < 2:
            continue
        users = tuple(value.users)
        strange = next((node for node, index in value.uses if not _is_weight(node, index)), None)
        if strange is None:
            found.append(_site(value, users, graph))
        elif any(_is_weight(node, index) for node, index in value.uses):
            others.append((strange, f"{strange.op.key} reads it as well"))
    return found, others


def _constants(graph: Graph) -> Iterator[Value]:
    found: dict[Value, None] = {}
    for inner in graph.graphs():
        for node in [*inner, inner.ret]:
            found.update((v, None) for v in node.inputs if v is not None and v.const is not None)
    yield from found


def _is_weight(node: Node, index: int) -> bool:
    key = node.op.key
    if index not in _SLOTS.get(key, ()):
        return False
    if key == "Transpose":
        return all(user.op.key in ("MatMul", "Gemm") and slot == 1 for user, slot in node.output.uses)
    return key != "Gather" or not node.attr("axis")


def _site(value: Value, users: tuple[Node, ...], graph: Graph) -> Site:
    axes = {_axis(node, value) for node in users}
    is_alone = len(value.uses) == 1 and users[0].graph is graph and _is_product(users[0])
    return Site(value, users, axes.pop() if len(axes) == 1 else None, users[0] if is_alone else None)


def _is_product(node: Node) -> bool:
    """True for what sums products of what it reads with the constant, and nothing else."""
    read, weight = node.inputs[0], node.inputs[1]
    if read is None or read.const is not None or weight is None or weight.const is None:
        return False
    if node.op.key == "Gemm":
        return not node.attr("transA") and node.attr("alpha") == 1.0
    return node.op.key == "Conv" or (node.op.key == "MatMul" and len(weight.const.shape) == 2)


def _axis(node: Node, value: Value) -> int | None:
    """The axis of the outputs."""
    assert value.const is not None
    key, rank = node.op.key, len(value.const.shape)
    if key in ("Conv", "com.microsoft::FusedConv", "Gather"):
        return 0
    if rank != 2:
        return None
    if key == "MatMul":
        return 1
    if key == "Gemm":
        return 0 if node.attr("transB") else 1
    return 0 if key == "Transpose" else None

"""shapes: computed shapes are computed once, and Reshape and Expand need as little of them as possible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value
from ...ir.dims import DimLike
from ...ir.infer import content_of, infer_node
from ...ir.ops import op
from ...ir.types import TensorType
from ..base import Context, Pass

_Key = tuple[object, ...]
_SHAPE = op("Shape")


@dataclass(frozen=True)
class Shapes(Pass):
    """Integer tensors whose elements are known as dimensions are simplified as such.

    - Two of them with the same elements are the same value, however they were computed: the first one stays.
    - One that equals the whole shape of a tensor is that tensor's Shape.
    - The target of a Reshape becomes a constant where at most one dimension is neither a number nor the
      input's dimension at that place (0 copies it, -1 is worked out).
    - The target of an Expand becomes a constant where it enlarges by known numbers only.

    A -1 is worked out from the number of elements, so it needs a tensor that is not empty, as it does in the files that
    exporters write.
    """

    name: ClassVar[str] = "shapes"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if anything was simplified."""
        changed = False
        for graph in model.graphs():
            for name, simplify in (("Reshape", _reshape_target), ("Expand", _expand_target)):
                for node in list(graph.index.get(op(name), ())):
                    target = simplify(node)
                    if target is not None and ctx.allow(self.name, "constant-target", node):
                        with ctx.rewrite(self.name, "constant-target", [node]):
                            hint = node.inputs[1].hint if node.inputs[1] else ""
                            node.set_input(1, Builder(graph).ints(target, hint))
                            node.attrs.pop("allowzero", None)
                            infer_node(node)
                        changed = True
        for root in model.roots():
            changed |= self._number_values(root, ctx)
        return changed

    def _number_values(self, root: Graph, ctx: Context) -> bool:
        """Replace each followed integer tensor by an equal one that stands before it."""
        changed = False
        known: dict[_Key, Value] = {}
        shaped: dict[tuple[DimLike, ...], Value] = {}
        scopes: list[tuple[Iterator[Node], list[_Key], list[tuple[DimLike, ...]]]] = []

        def enter(graph: Graph) -> None:
            fresh: list[tuple[DimLike, ...]] = []
            for value in graph.inputs:
                _note_shape(value, shaped, fresh)
            scopes.append((iter(graph), [], fresh))

        enter(root)
        while scopes:
            nodes, keys, shapes = scopes[-1]
            for node in nodes:
                changed |= self._number_node(node, known, keys, shaped, ctx)
                for value in node.outputs:
                    _note_shape(value, shaped, shapes)
                if node.regions:
                    for region in reversed(tuple(node.regions.values())):
                        enter(region)
                    break
            else:
                scopes.pop()
                for key in keys:
                    del known[key]
                for shape in shapes:
                    del shaped[shape]
        return changed

    def _number_node(
        self,
        node: Node,
        known: dict[_Key, Value],
        keys: list[_Key],
        shaped: dict[tuple[DimLike, ...], Value],
        ctx: Context,
    ) -> bool:
        if node.regions or not node.op.pure or len(node.outputs) != 1:
            return False
        value = node.output
        content = value.content
        type_ = value.type
        if not content or not isinstance(type_, TensorType) or not value.uses:
            return False
        if all(d.__class__ is int for d in content):
            return False  # a constant: folding makes it one
        key: _Key = (type_, content)
        first = known.get(key)
        rule = "same-elements"
        if first is None:
            rule = "whole-shape"
            whole = shaped.get(content) if type_.dtype.name == "i64" and type_.rank == 1 else None
            if whole is not None and node.op is not _SHAPE and ctx.allow(self.name, rule, node):
                first = _shape_of(whole, node)
            known[key] = first or value
            keys.append(key)
            if first is None:
                return False
        elif not ctx.allow(self.name, rule, node):
            return False
        with ctx.rewrite(self.name, rule, [node]):
            value.replace_with(first)
            assert node.graph is not None
            node.graph.erase(node)
        return True


def _note_shape(
    value: Value, shaped: dict[tuple[DimLike, ...], Value], added: list[tuple[DimLike, ...]]
) -> None:
    shape = value.shape
    if shape and shape not in shaped and not all(d.__class__ is int for d in shape):
        shaped[shape] = value
        added.append(shape)


def _shape_of(value: Value, before: Node) -> Value:
    assert before.graph is not None
    builder = Builder(before.graph, before, before.loc)
    result = builder.node(_SHAPE, [value], outputs=[before.output.hint]).output
    return result


def _reshape_target(node: Node) -> list[int] | None:
    """A constant that says the same as a computed Reshape target; None where there is none."""
    data, target = node.inputs[0], node.inputs[1]
    if data is None or target is None or target.const is not None or content_of(target) is None:
        return None
    result = node.output.shape
    if result is None:
        return None
    source = data.shape or ()
    found: list[int] = []
    for index, dim in enumerate(result):
        if isinstance(dim, int):
            if dim == 0:
                return None  # in a target, 0 means something else
            found.append(dim)
        elif index < len(source) and source[index] is dim:
            found.append(0)
        else:
            found.append(-1)
    return found if found.count(-1) <= 1 else None


def _expand_target(node: Node) -> list[int] | None:
    """A constant with the same effect as a computed Expand target; None where there is none."""
    data, target = node.inputs[0], node.inputs[1]
    if data is None or target is None or target.const is not None:
        return None
    result, source = node.output.shape, data.shape
    if result is None or source is None:
        return None
    padded = (1,) * (len(result) - len(source)) + source
    found: list[int] = []
    for dim, own in zip(result, padded):
        if own is dim or own == dim:
            found.append(1)
        elif isinstance(dim, int):
            found.append(dim)
        else:
            return None
    return found

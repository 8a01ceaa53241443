"""cse: equal computations happen once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ...ir.core import Model, Node, Value
from ...ir.tensor import Tensor
from ...ir.types import STR, merge
from ..base import Context, Pass
from .keys import Key, same_result_key

_SMALL = 64  # bytes: axes, shapes, scalars
_Scope = tuple[Iterator[Node], list[Key]]


@dataclass(frozen=True)
class Cse(Pass):
    """Of several nodes with the same operator, attributes and operands the first one stays.

    Operands are the same when they are one value, or small equal constants (large ones are for share-weights to
    find); those of commutative operators may be in any order. A node in a region may give way to one that stands
    before it in an enclosing graph; nothing leaves a region, and two branches share nothing. Random and impure
    nodes and nodes with regions are left alone. Two outputs of the model may become one value: the file then
    returns it twice. The node that stays gets the source locations of both.
    """

    name: ClassVar[str] = "cse"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any node gave way."""
        changed = False
        for root in model.roots():
            seen: dict[Key, Node] = {}
            identity = _Identity()
            scopes: list[_Scope] = [(iter(root), [])]
            while scopes:
                nodes, keys = scopes[-1]
                for node in nodes:
                    if node.regions:
                        scopes.extend((iter(g), []) for g in reversed(tuple(node.regions.values())))
                        break
                    key = same_result_key(node, identity)
                    if key is None:
                        continue
                    first = seen.get(key)
                    if first is None:
                        seen[key] = node
                        keys.append(key)
                    elif ctx.allow(self.name, "", node):
                        with ctx.rewrite(self.name, "", [first, node]):
                            _replace(node, first)
                        changed = True
                else:
                    scopes.pop()
                    for key in keys:  # what a region computed is unknown outside
                        del seen[key]
        return changed


class _Identity:
    """Numbers values so that small equal constants have one number."""

    def __init__(self) -> None:
        self.numbers: dict[Value, int] = {}
        self.by_content: dict[tuple[Any, ...], int] = {}

    def __call__(self, value: Value | None) -> int:
        if value is None or value.const is None:
            return id(value)
        number = self.numbers.get(value)
        if number is None:
            number = self.numbers[value] = self._number(value, value.const)
        return number

    def _number(self, value: Value, tensor: Tensor) -> int:
        if tensor.splat is not None:
            return self.by_content.setdefault((tensor.dtype, tensor.shape, tensor.digest()), id(value))
        if tensor.length > _SMALL or tensor.dtype is STR:
            return id(value)
        key = (tensor.dtype, tensor.shape, bytes(tensor.data()))
        return self.by_content.setdefault(key, id(value))


def _replace(node: Node, first: Node) -> None:
    for value, kept in zip(node.outputs, first.outputs):
        kept.type = merge(kept.type, value.type)
        if kept.content is None:
            kept.content = value.content
        value.replace_with(kept)
    first.loc = tuple(dict.fromkeys(first.loc + node.loc))
    assert node.graph is not None
    node.graph.erase(node)

"""Unique names for an ONNX file, made from hints: names are the writer's business alone."""

from __future__ import annotations

from collections.abc import Collection

from ...ir.core import Model, Node


class Names:
    """Hands out names; each is used once in a whole model, since inner graphs see the outer ones' names."""

    __slots__ = ("taken", "_kept", "_next")

    def __init__(self, kept: Collection[str] = ()) -> None:
        """`kept`: hints that are still to come, which no number behind another one makes."""
        self.taken: set[str] = set()
        self._kept = kept
        self._next: dict[str, int] = {}

    def reserve(self, name: str) -> str:
        """Take exactly this name."""
        self.taken.add(name)
        return name

    def unique(self, hint: str) -> str:
        """The hint itself where it is free, else the hint with a number."""
        if hint and hint not in self.taken:
            self.taken.add(hint)
            return hint
        base = hint or "v"
        number = self._next.get(base, 0)
        while True:
            number += 1
            name = f"{base}_{number}"
            if name not in self.taken and name not in self._kept:
                self._next[base] = number
                self.taken.add(name)
                return name


def node_names(model: Model) -> dict[Node, str]:
    """What the nodes that have a location are called in a file: no two the same, which onnxruntime refuses.

    A node made of one of the source carries that one's name with a number, never the name of another one.
    """
    located = [node for node in model.walk() if node.loc]
    names = Names({node.loc[0] for node in located})
    return {node: names.unique(node.loc[0]) for node in located}

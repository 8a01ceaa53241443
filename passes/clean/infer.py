"""infer: types of all values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Model
from ..base import Context, Pass


@dataclass(frozen=True)
class Infer(Pass):
    """Completes the types of all values, and the elements of small integer tensors as dimensions.

    Declared types are merged with inferred ones; a contradiction raises InvalidModel. Every pass that builds
    nodes gets their types at once; this one is for what came from a file, and for values whose inputs became
    better known since.
    """

    name: ClassVar[str] = "infer"
    required: ClassVar[bool] = True

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any type or element became better known."""
        from ...ir.infer import infer_graph

        changed = False
        for graph in model.roots():
            changed = infer_graph(graph) or changed
        return changed

"""freeze: weights that a file also lists as inputs become constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.axes import normalize_axes
from ...ir.core import Model, constant
from ...ir.infer import infer_graph
from ..base import Context, Pass


@dataclass(frozen=True)
class Freeze(Pass):
    """Weights that are also listed as graph inputs become constants, and the inputs disappear.

    Exporters of old listed every weight as an input with a default. A caller could override them, which none does, and
    because one could, nothing may be folded into them. Defaults of one element stay inputs: those are
    settings, such as a threshold. ``--skip freeze`` keeps all of them.
    """

    name: ClassVar[str] = "freeze"
    min_elements: int = 2

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any input became a constant."""
        graph = model.graph
        changed = False
        for value, tensor in list(graph.defaults.items()):
            if tensor.size < self.min_elements or value in graph.outputs:
                continue
            user = next(iter(value.uses), None)
            node = user[0] if user is not None else graph.ret
            if not ctx.allow(self.name, "", node):
                continue
            with ctx.rewrite(self.name, "", [node] if user is not None else []):
                value.replace_with(constant(tensor, value.hint))
                graph.remove_input(value.index)
            ctx.remark("applied", self.name, f"weight {value.hint!r} was also an input; it is a constant now")
            changed = True
        if changed:  # what was unknown while a caller could say otherwise
            infer_graph(graph)
            for node in graph.walk():
                normalize_axes(node)
        return changed

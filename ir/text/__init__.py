"""The text form of a model, `.gir`: prints and parses back exactly.

    geoc 1
    opset "" 20

    graph @main(%x: f32[B,4]) -> (%y: f32[B,4]) {
      weight %half: f32[] = 0.5
      %y: f32[B,4] = Mul(%x, %half)  !"/Mul"
    }

One statement a line; types always printed; attributes in schema order without defaults; source
locations last. The grammar is in gir.lark (lines) and statement.lark (what stands in a line).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .parser import load_model, parse_model
    from .printer import print_graph, print_model, print_node

__all__ = ["load_model", "parse_model", "print_graph", "print_model", "print_node"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: compiling the patterns of the parser costs more than all of a small print.
    if name in ("print_graph", "print_model", "print_node"):
        from . import printer as module
    elif name in ("load_model", "parse_model"):
        from . import parser as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)

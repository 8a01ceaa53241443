"""Operators of ONNX as functions of torch, one table: what a graph is made of when it becomes a module.

    TABLE["Gelu"].run(node, [x])            # a tensor, or a list of them where the node has several outputs

A function takes the node, for its attributes, and its operands in order, None for one that is left out. The families
are files: `elementwise`, `reductions`, `movement`, `products`, `windows`, `norms`, `attention`, `resizing`,
`quantized`, `recurrent`, `fused`.
"""

from __future__ import annotations

from . import (
    attention,
    elementwise,
    fused,
    movement,
    norms,
    products,
    quantized,
    recurrent,
    reductions,
    resizing,
    windows,
)
from .base import Operator

__all__ = ["TABLE", "Operator"]

TABLE: dict[str, Operator] = {
    **elementwise.TABLE,
    **reductions.TABLE,
    **movement.TABLE,
    **products.TABLE,
    **windows.TABLE,
    **norms.TABLE,
    **attention.TABLE,
    **resizing.TABLE,
    **quantized.TABLE,
    **recurrent.TABLE,
    **fused.TABLE,
}
"""Every operator that has a function, by its key in the IR."""

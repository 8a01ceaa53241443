"""The few kinds of operator that a page tells apart by colour."""

from __future__ import annotations

from ...ir.ops import Op
from ...ir.ops.cost_table import ALIASES, MATRIX_UNITS
from ...ir.ops.traits import ELEMENTWISE, MOVEMENT, REDUCTION, VIEW

KINDS = ("product", "elementwise", "reduction", "movement", "quantization", "control", "other", "interface")
_NORMS = frozenset((
    "Softmax", "LogSoftmax", "Hardmax", "LayerNormalization", "RMSNormalization", "GroupNormalization",
    "BatchNormalization", "InstanceNormalization", "LpNormalization", "MeanVarianceNormalization", "CumSum", "TopK",
    "AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool", "SimplifiedLayerNormalization",
    "com.microsoft::SkipLayerNormalization", "com.microsoft::SkipSimplifiedLayerNormalization",
    "com.microsoft::EmbedLayerNormalization",
))  # fmt: skip


def kind_of(op: Op, has_regions: bool) -> str:
    """One of `KINDS`."""
    key = op.base_key
    if has_regions:
        return "control"
    if "Quantize" in op.name and not op.name.startswith(("QLinear", "Gather")):
        return "quantization"
    if key in MATRIX_UNITS or op.name.startswith("QLinear") or op.name in ("MatMulInteger", "ConvInteger"):
        return "product"
    if key in _NORMS or key in REDUCTION:
        return "reduction"
    if key in ELEMENTWISE:
        return "elementwise"
    if key in VIEW or key in MOVEMENT or key in ALIASES:
        return "movement"
    return "other"

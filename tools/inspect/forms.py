"""How a model is quantized, cached and fused already, as its operators say."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...ir.core import Model, Node
from ...passes.caches import caches

_ATTENTION = frozenset((
    "Attention", "com.microsoft::Attention", "com.microsoft::MultiHeadAttention", "com.microsoft::GroupQueryAttention",
    "com.microsoft::QAttention", "com.microsoft::PackedAttention", "com.microsoft::PackedMultiHeadAttention",
    "com.microsoft::DecoderMaskedMultiHeadAttention", "com.microsoft::SparseAttention", "com.microsoft::PagedAttention",
))  # fmt: skip
_IN_BLOCKS = ("MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "QMoE")
_ON_INTEGERS = ("QGemm", "QAttention", "MatMulInteger", "ConvInteger", "MatMulInteger16")
_RUNNING = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")


def quantized_forms(model: Model) -> dict[str, int]:
    """The forms in which it holds integers or small floats, each with its number of nodes; empty for a plain model.

    ``qdq``: activations that are quantized and dequantized again; ``weights``: constants that are dequantized;
    ``integer operators``: QLinear* and the like; ``dynamic``: scales that are found as it runs; ``blocks``: weights in
    blocks of a few bits; ``half weights``: constants in f16 or bf16 that are cast up.
    """
    found: Counter[str] = Counter()
    for node in model.walk():
        form = _form(node)
        if form:
            found[form] += 1
    return dict(found.most_common())


def _form(node: Node) -> str:
    name, first = node.op.name, node.input(0)
    constant = None if first is None else first.const
    if name == "DequantizeLinear" and constant is not None:
        return "weights"
    if name == "DequantizeLinear":  # behind an operator on integers it only takes up what that one gives
        maker = None if first is None else first.producer
        return "" if maker is not None and _is_on_integers(maker) else "qdq"
    if name in _IN_BLOCKS:
        return "blocks"
    if name in _RUNNING:
        return "dynamic"
    if _is_on_integers(node):
        return "integer operators"
    if name == "Cast" and constant is not None and constant.size > 1 and constant.dtype.is_float:
        return "half weights" if constant.dtype.bits < 32 else ""
    return ""


def _is_on_integers(node: Node) -> bool:
    return node.op.name.startswith("QLinear") or node.op.name in _ON_INTEGERS


def attention_count(model: Model) -> int:
    """Nodes that are a whole attention."""
    return sum(node.op.key in _ATTENTION for node in model.walk())


def caches_of(model: Model) -> list[dict[str, Any]]:
    """Inputs that are key-value caches, each with the output that continues it."""
    graph = model.graph
    return [
        {"input": graph.input_names[place], "output": graph.output_names[result], "type": str(graph.inputs[place].type)}
        for place, result in sorted(caches(graph).items())
    ]

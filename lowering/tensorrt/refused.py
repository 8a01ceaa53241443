"""What TensorRT's parser does not take, as far as the graph shows it: operators it has no layer for, forms of others.

The operators are those for which `OnnxParser.supports_operator` of TensorRT-RTX 1.7 says no (a test asks it again); the
operators.md of TensorRT 10.15 and 11 lists the same. The forms are from that list's restrictions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ...ir.core import Model, Node
from ...ir.tensor import Tensor
from ...ir.types import C64, C128, F64, STR, OptionalType, SequenceType, TensorType
from ..backend import Unsupported, in_main_graph

UNKNOWN: Final = frozenset((
    "AffineGrid", "Bernoulli", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
    "CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger", "CumProd", "DFT", "DeformConv",
    "Det", "DynamicQuantizeLinear", "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool",
    "MelWeightMatrix", "Multinomial", "NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement",
    "OptionalHasElement", "QLinearConv", "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct",
    "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap",
    "SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat", "StringNormalizer", "StringSplit", "SwiGLU",
    "TfIdfVectorizer", "Unique",
))  # fmt: skip
_BIGGEST_WINDOW = 10_000  # elements of a pooling window, somewhat below what the builder refuses
_REDUCTIONS = frozenset((
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
))  # fmt: skip


def unsupported(model: Model) -> list[Unsupported]:
    """The nodes of the main graph that it does not take, or that hold such a node in a region, with the reason."""
    found = [(node, reason) for node in model.walk() if (reason := refusal(node))]
    found += _weights_of_branches(model)
    return in_main_graph(
        model, ((n, why if n.graph is model.graph else f"{n.op.key} in it: {why}") for n, why in found)
    )


def _weights_of_branches(model: Model) -> list[tuple[Node, str]]:
    """Nodes in branches that dequantize a constant which another branch dequantizes too: TensorRT-RTX refuses that."""
    readers: dict[Tensor, list[Node]] = {}
    for node in model.walk():
        stored = node.input(0) if node.op.name == "DequantizeLinear" and node.graph is not model.graph else None
        if stored is not None and stored.const is not None:
            readers.setdefault(stored.const, []).append(node)
    shared = (nodes for nodes in readers.values() if len({node.graph for node in nodes}) > 1)
    return [(node, "it dequantizes a constant in one branch only") for nodes in shared for node in nodes]


def refusal(node: Node) -> str:
    """Why it does not take a node, "" where nothing speaks against it."""
    if node.op.is_opaque:
        return "an operator that nobody knows"
    if node.op.domain:
        return f"it takes no operators of {node.op.domain}"
    if node.op.name in UNKNOWN:
        return "it has no layer for it"
    return next(filter(None, (row(node) for row in _ROWS)), "")


def _types(node: Node) -> str:
    for value in (*node.inputs, *node.outputs):
        if value is None:
            continue
        if isinstance(value.type, (SequenceType, OptionalType)):
            return "it has no sequences and optionals"
        if isinstance(value.type, TensorType) and value.type.dtype in (STR, C64, C128):
            return f"it has no tensors of {value.type.dtype}"
        if isinstance(value.type, TensorType) and value.type.dtype is F64:
            return "it would compute f64 in single precision"
    return ""


def _quantization(node: Node) -> str:
    if node.op.name not in ("QuantizeLinear", "DequantizeLinear"):
        return ""
    point, stored = node.input(2), node.output if node.op.name == "QuantizeLinear" else node.inputs[0]
    dtype = None if stored is None else stored.dtype
    if dtype is not None and dtype.is_int and dtype.bits > 8:
        return f"it has no quantized tensors of {dtype}"
    if point is not None and point.const is None:
        return "zero points must be constant"
    zeros = np.asarray(0 if point is None or point.const is None else point.const.array()).astype(np.int64)
    if dtype is not None and dtype.kind == "u":
        return f"{dtype} around {_range(zeros)} is not symmetric: it quantizes to i8 around 0"
    return f"a zero point of {_range(zeros)}: it quantizes around 0" if zeros.any() else ""


def _range(numbers: np.ndarray[Any, Any]) -> str:
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, 0)
    return str(low) if low == high else f"{low} to {high}"


def _axes(node: Node) -> str:
    if node.op.name in _REDUCTIONS:
        axes = node.input(1)
        return "axes must be constant" if axes is not None and axes.const is None else ""
    if node.op.name == "CumSum":
        axis = node.input(1)
        return "the axis must be constant" if axis is None or axis.const is None else ""
    return ""


def _pooling(node: Node) -> str:
    if node.op.name == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].uses:
        return "indices of the largest elements are not given"
    if node.op.name in ("MaxPool", "AveragePool"):
        window = node.attr("kernel_shape") or ()
        if np.prod(window, dtype=np.float64) > _BIGGEST_WINDOW:
            return "the window is too large"
    return ""


def _norms(node: Node) -> str:
    if node.op.name == "LayerNormalization" and any(value.uses for value in node.outputs[1:]):
        return "mean and deviation are not given"
    return ""


def _attention(node: Node) -> str:
    if node.op.name != "Attention":
        return ""
    if len(node.inputs) > 4 or any(value.uses for value in node.outputs[1:]):
        return "no cache and no scores"
    if node.attr("softcap"):
        return "no softcap"
    return "" if node.inputs[0] is not None and node.inputs[0].rank == 4 else "four dimensions only"


def _resize(node: Node) -> str:
    if node.op.name != "Resize":
        return ""
    mode = node.attr("mode")
    if mode not in ("nearest", "linear"):
        return f"no {mode} interpolation"
    return "no antialiasing" if node.attr("antialias") else ""


def _scatter(node: Node) -> str:
    if node.op.name == "ScatterND" and node.attr("reduction") not in (None, "none"):
        return "no reduction"
    return ""


_ROWS: tuple[Callable[[Node], str], ...] = (
    _types, _quantization, _axes, _pooling, _norms, _attention, _resize, _scatter,
)  # fmt: skip


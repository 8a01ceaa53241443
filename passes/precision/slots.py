"""Which operands and results of a node may be in half precision: what its schema says."""

from __future__ import annotations

from functools import cache

from ...ir.core import Node
from ...ir.ops import Op
from ...ir.ops.schema import Param, Schema
from ...ir.types import F32

# Operators that say in an attribute what type they make (Cast and ConstantOfShape are looked after).
_KEPT = frozenset((
    "EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial",
    "HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix", "BitCast", "CastLike",
))  # fmt: skip
# What is quantized, and what that gives, is of the type of the scale (from opset 19 on), so that no cast stands between
# a product and the integers that it reads: operands and results that take either type.
_SCALED: dict[str, tuple[frozenset[int], frozenset[int]]] = {
    "QuantizeLinear": (frozenset((0, 1)), frozenset()),
    "DequantizeLinear": (frozenset((1,)), frozenset((0,))),
    "trt::TRT_FP4DynamicQuantize": (frozenset((0,)), frozenset()),
    "trt::TRT_MXFP8DynamicQuantize": (frozenset((0,)), frozenset()),
    "trt::TRT_MXFP8DequantizeLinear": (frozenset(), frozenset((0,))),
}
_SCALES_IN_HALF = 19


def half_operands(node: Node, half: str, opset: int) -> frozenset[int]:
    """The operands that are f32 now and may be of type `half`, a type constraint such as ``tensor(float16)``."""
    return _slots(node.op, len(node.inputs), half, opset, True) if _is_free(node) else frozenset()


def half_results(node: Node, half: str, opset: int) -> frozenset[int]:
    """The same of the results. One that is f32 whatever the operands are is not among them."""
    return _slots(node.op, len(node.outputs), half, opset, False) if _is_free(node) else frozenset()


def _is_free(node: Node) -> bool:
    """False for what says in attributes what it computes in, and for blocks whose scales are computed: those are
    products of two numbers themselves."""
    if node.op.key not in ("QuantizeLinear", "DequantizeLinear"):
        return True
    scale = node.input(1)
    is_computed = node.attr("block_size") and scale is not None and scale.const is None
    return not (is_computed or node.attr("output_dtype") or node.attr("precision"))


@cache
def _slots(op: Op, count: int, half: str, opset: int, operands: bool) -> frozenset[int]:
    if op.key == "Cast":
        return frozenset() if operands else frozenset((0,))
    if op.key in _SCALED:
        return _SCALED[op.key][0 if operands else 1] if opset >= _SCALES_IN_HALF else frozenset()
    if op.domain or op.name in _KEPT or op.is_opaque:
        return frozenset()
    if op.key == "ConstantOfShape":
        return frozenset() if operands else frozenset((0,))
    schema = _newest(op, opset)
    if schema is None:
        return frozenset()
    free = {variable for variable, types in schema.type_constraints.items() if {half, F32.type_str} <= types}
    if not operands:
        # A result whose type no operand has is chosen by other means.
        free &= {param.type_str for param in schema.inputs}
    params = schema.inputs if operands else schema.outputs
    return frozenset(i for i in range(count) if params and _param(params, i).type_str in free)


def _newest(op: Op, opset: int) -> Schema | None:
    """The newest published version up to an opset of the default domain."""
    found = None
    for schema in op.schemas:
        if schema.since <= opset:
            found = schema
    return found


def _param(params: tuple[Param, ...], index: int) -> Param:
    return params[min(index, len(params) - 1)]

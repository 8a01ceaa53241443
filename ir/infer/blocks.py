"""Operators of TensorRT's ONNX parser that quantize in blocks."""

from __future__ import annotations

from collections.abc import Callable

from ..core import Node
from ..dims import floordiv
from ..types import F4E2M1, F8E4M3FN, U8, DType, Shape, tensor_type
from .base import Result, fail, shape_at
from .elementwise import dtype_of_code


def _per_block(node: Node, shape: Shape | None) -> Shape | None:
    """The shape of the scales: along `axis` one for each block."""
    if shape is None:
        return None
    axis, block = node.attr("axis"), node.attr("block_size")
    if not -len(shape) <= axis < len(shape):
        raise fail(node, f"axis {axis} is none of {len(shape)}")
    axis %= len(shape)
    size = shape[axis]
    if isinstance(size, int) and size % block:
        raise fail(node, f"blocks of {block} do not divide {size}")
    return (*shape[:axis], floordiv(size, block), *shape[axis + 1 :])


def _dynamic(codes: DType, scales: DType) -> Callable[[Node], Result]:
    """Codes in the operand's shape, and a scale for each block."""

    def infer(node: Node) -> Result:
        shape = shape_at(node, 0)
        return tensor_type(codes, shape), tensor_type(scales, _per_block(node, shape))

    return infer


def _dequantized(node: Node) -> Result:
    """The operand's shape in the type that an attribute says."""
    return tensor_type(dtype_of_code(node, node.attr("output_dtype")), shape_at(node, 0))


TABLE: dict[str, Callable[[Node], Result]] = {
    "TRT_FP4DynamicQuantize": _dynamic(F4E2M1, F8E4M3FN),
    "TRT_MXFP8DynamicQuantize": _dynamic(F8E4M3FN, U8),
    "TRT_MXFP8DequantizeLinear": _dequantized,
}

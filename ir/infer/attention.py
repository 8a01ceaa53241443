"""Attention and the recurrences that stand in for it."""

from __future__ import annotations

from collections.abc import Callable

from ..core import Node
from ..dims import floordiv
from ..types import TensorType
from .base import (
    Hole,
    Result,
    dim_at,
    fail,
    is_given,
    made,
    shape_at,
    tensor_at,
    unify_dim,
    unknown,
)


def attention(node: Node) -> Result:
    """Y, present key, present value, and the product of query and key."""
    q, k, v = (tensor_at(node, i) for i in range(3))
    if q is None:
        return None
    if q.shape is None or k is None or k.shape is None or v is None or v.shape is None:
        return q if q.shape is None else unknown(q.dtype, len(q.shape))
    query = _heads(node, q, node.attr("q_num_heads"))
    key = _heads(node, k, node.attr("kv_num_heads"))
    value = _heads(node, v, node.attr("kv_num_heads"))
    if len(q.shape) == 4:
        y = made(q.dtype, (query[0], query[1], query[2], value[3]))
    else:
        width = None if query[1] is None or value[3] is None else query[1] * value[3]
        y = made(q.dtype, (query[0], query[2], width))
    if len(node.outputs) == 1:
        return y
    past = dim_at(shape_at(node, 4), 2) if is_given(node, 4) else 0
    total = None if past is None or key[2] is None else past + key[2]
    return (
        y,
        made(k.dtype, (key[0], key[1], total, key[3])),
        made(v.dtype, (value[0], value[1], total, value[3])),
        made(q.dtype, (query[0], query[1], query[2], total)),
    )


def _heads(node: Node, operand: TensorType, heads: int | None) -> tuple[Hole, Hole, Hole, Hole]:
    """[batch, heads, length, size per head] of a 4-D or 3-D operand."""
    shape = operand.shape or ()
    if len(shape) == 4:
        return shape[0], shape[1], shape[2], shape[3]
    if len(shape) != 3:
        raise fail(node, f"expected 3 or 4 dimensions, not {operand}")
    return shape[0], heads, shape[1], floordiv(shape[2], heads) if heads else None


def linear_attention(node: Node) -> Result:
    """Output [B,T,Hq*dv] and the state [B,Hkv,dk,dv] after it."""
    query = tensor_at(node, 0)
    if query is None:
        return None
    q, k, v = query.shape, shape_at(node, 1), shape_at(node, 2)
    heads, kv_heads = node.attrs.get("q_num_heads"), node.attrs.get("kv_num_heads")
    key_size = _part(dim_at(k, 2), kv_heads)
    value_size = _part(dim_at(v, 2), kv_heads)
    width = None if value_size is None or not heads else value_size * heads
    y = made(query.dtype, (dim_at(q, 0), dim_at(q, 1), width))
    past = tensor_at(node, 3)
    if past is not None:
        return y, past
    return y, made(query.dtype, (dim_at(q, 0), kv_heads, key_size, value_size))


def _part(dim: Hole, count: int | None) -> Hole:
    return None if dim is None or not count else floordiv(dim, count)


def causal_conv(node: Node) -> Result:
    """Output like the input [B,C,L]; the last k-1 positions [B,C,k-1] for a weight [C,1,k]."""
    data = tensor_at(node, 0)
    if data is None:
        return None
    kernel = dim_at(shape_at(node, 1), 2)
    length = None if kernel is None else kernel - 1
    length = unify_dim(node, length, dim_at(shape_at(node, 3), 2))
    return data, made(data.dtype, (dim_at(data.shape, 0), dim_at(data.shape, 1), length))


TABLE: dict[str, Callable[[Node], Result]] = {
    "Attention": attention,
    "LinearAttention": linear_attention,
    "CausalConvWithState": causal_conv,
    "FlexAttention": attention,
}

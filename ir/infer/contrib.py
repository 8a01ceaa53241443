"""com.microsoft operators that models contain, as onnxruntime defines them."""

from __future__ import annotations

from collections.abc import Callable

from ..core import Node
from ..dims import DimLike, floordiv
from ..types import BOOL, F32, I32, U8, Shape, tensor_type
from . import indexing, layers, nn, resizing, tensors
from .base import (
    Hole,
    Result,
    broadcast,
    content_of,
    dim_at,
    dtype_at,
    fail,
    is_given,
    made,
    same,
    shape_at,
    tensor_at,
    unify_dim,
    unknown,
)


def fused_matmul(node: Node) -> Result:
    """MatMul with operands transposed by transA and transB."""
    dtype = dtype_at(node, 0, 1)
    if dtype is None:
        return None
    a, b = shape_at(node, 0), shape_at(node, 1)
    if node.attr("transBatchA") or node.attr("transBatchB"):
        return tensor_type(dtype, None) if a is None else unknown(dtype, len(a))
    return made(
        dtype,
        nn.product_shape(node, _flipped(a, node.attr("transA")), _flipped(b, node.attr("transB"))),
    )


def _flipped(shape: Shape | None, flip: int | None) -> Shape | None:
    if shape is None or not flip or len(shape) < 2:
        return shape
    return (*shape[:-2], shape[-1], shape[-2])


def skip_norm(node: Node) -> Result:
    """The normalized sum, mean, inverse deviation, and the sum itself."""
    data = tensor_at(node, 0)
    if data is None or len(node.outputs) == 1:
        return data
    shape = None if data.shape is None else (*data.shape[:-1], 1)
    statistics = tensor_type(F32, shape)
    return data, statistics, statistics, data


def embed_layer_norm(node: Node) -> Result:
    """[B,S,D] from ids [B,S] and a word table [V,D]; mask index [B]; the sum before normalizing."""
    ids, table = shape_at(node, 0), tensor_at(node, 2)
    if table is None:
        return None
    found = made(table.dtype, (dim_at(ids, 0), dim_at(ids, 1), dim_at(table.shape, 1)))
    return found, made(I32, (dim_at(ids, 0),)), found


def attention(node: Node) -> Result:
    """Packed-weight attention: input [B,S,D], weights [D,3*hidden], past [2,B,N,P,H] at operand 4."""
    return _packed_attention(node, past=4)


def q_attention(node: Node) -> Result:
    """As Attention, with scales and zero points; the dtype of the input's scale, past at operand 8."""
    return _packed_attention(node, past=8)


def _packed_attention(node: Node, past: int) -> Result:
    dtype = dtype_at(node, 0 if past == 4 else 3)
    if dtype is None:
        return None
    x, weights = shape_at(node, 0), shape_at(node, 1)
    sizes = node.attrs.get("qkv_hidden_sizes")
    heads = node.attrs.get("num_heads")
    width: Hole = sizes[2] if sizes else _third(dim_at(weights, 1))
    y = made(dtype, (dim_at(x, 0), dim_at(x, 1), width))
    if len(node.outputs) == 1:
        return y
    length = dim_at(x, 1)
    total: Hole = length
    if is_given(node, past):
        before = dim_at(shape_at(node, past), 3)
        shared = node.attr("past_present_share_buffer")
        total = before if shared else _sum(before, length)
    each = floordiv(width, heads) if width is not None and heads else None
    return y, made(dtype, (2, dim_at(x, 0), heads, total, each))


def _third(dim: Hole) -> Hole:
    return None if dim is None else floordiv(dim, 3)


def _sum(a: Hole, b: Hole) -> Hole:
    return None if a is None or b is None else a + b


def _times(a: Hole, b: Hole) -> Hole:
    return None if a is None or b is None else a * b


def _over(a: Hole, b: int | None) -> Hole:
    return None if a is None or not b else floordiv(a, b)


def multi_head_attention(node: Node) -> Result:
    """query [B,S,D] or packed [B,S,N,3,H]; keys and values 3-D, packed, or 4-D [B,N,L,H]."""
    query = tensor_at(node, 0)
    if query is None:
        return None
    q, k, v = query.shape, shape_at(node, 1), shape_at(node, 2)
    heads = node.attrs.get("num_heads")
    if q is None:
        return unknown(query.dtype, 3)
    size: Hole = _over(dim_at(q, 2), heads) if len(q) == 3 else dim_at(q, 4)
    value_size: Hole = size
    length: Hole = dim_at(q, 1)
    if is_given(node, 1):
        length = None if k is None else k[2] if len(k) == 4 else k[1]
    if is_given(node, 2):
        value_size = None if v is None else v[3] if len(v) == 4 else _over(dim_at(v, 2), heads)
    width = _times(value_size, heads)
    if is_given(node, 2) and v is not None and len(v) == 3:
        width = v[2]
    y = made(query.dtype, (q[0], q[1], width))
    if len(node.outputs) == 1:
        return y
    total = length
    if is_given(node, 6):
        before = dim_at(shape_at(node, 6), 2)
        total = before if is_given(node, 8) else _sum(before, length)
    key_type = made(query.dtype, (q[0], heads, total, size))
    value_type = made(query.dtype, (q[0], heads, total, value_size))
    return y, key_type, value_type, made(query.dtype, (q[0], heads, q[1], total))


def group_query_attention(node: Node) -> Result:
    """query [B,S,D] (or packed with keys and values), past [B,Nkv,P,H] at operands 3 and 4."""
    query = tensor_at(node, 0)
    if query is None:
        return None
    q = query.shape
    heads, kv_heads = node.attrs.get("num_heads"), node.attrs.get("kv_num_heads")
    packed = not is_given(node, 1)
    width = dim_at(q, 2)
    size: Hole = None
    if heads and kv_heads:
        size = _over(width, heads + 2 * kv_heads if packed else heads)
        width = _times(size, heads) if packed else width
    y = made(query.dtype, (dim_at(q, 0), dim_at(q, 1), width))
    if len(node.outputs) == 1:
        return y
    past, total = tensor_at(node, 3), content_of(node.input(6))
    before = dim_at(None if past is None else past.shape, 2)
    after: Hole = None
    if total is not None and len(total) == 1 and isinstance(total[0], int):
        after = max(before, total[0]) if isinstance(before, int) else None
    dtype = query.dtype if past is None else past.dtype
    if past is not None and past.shape is not None:
        size = dim_at(past.shape, 3)
    present = made(dtype, (dim_at(q, 0), kv_heads, after, size))
    return y, present, present


def matmul_n_bits(node: Node) -> Result:
    """A [..., K] times a packed weight of N columns."""
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    k, given = node.attrs.get("K"), data.shape[-1] if data.shape else None
    if isinstance(given, int) and k is not None and given != k:
        raise fail(node, f"{data} for K={k}")
    return tensor_type(data.dtype, (*data.shape[:-1], node.attrs["N"]))


def scaled_integer_product(node: Node) -> Result:
    """DynamicQuantizeMatMul, MatMulIntegerToFloat: the dtype of the scales, MatMul's shape."""
    dtype = dtype_at(node, 2) or F32
    return made(dtype, nn.product_shape(node, shape_at(node, 0), shape_at(node, 1)))


def qlinear_binary(node: Node) -> Result:
    """A, scale, zero point, B, ...: broadcast of A and B."""
    dtype, a, b = dtype_at(node, 0), shape_at(node, 0), shape_at(node, 3)
    if dtype is None:
        return None
    return made(dtype, None if a is None or b is None else broadcast(node, a, b))


def qlinear_concat(node: Node) -> Result:
    """scale, zero point, then (data, scale, zero point) for each part."""
    dtype = dtype_at(node, 2, 1)
    if dtype is None:
        return None
    shapes = [shape_at(node, index) for index in range(2, len(node.inputs), 3)]
    first = shapes[0]
    if first is None or any(s is None or len(s) != len(first) for s in shapes):
        return tensor_type(dtype, None)
    axis = node.attr("axis")
    axis += len(first) if axis < 0 else 0
    result: list[Hole] = list(first)
    total: DimLike = first[axis]
    for shape in shapes[1:]:
        for index, dim in enumerate(shape or ()):
            if index == axis:
                total = total + dim
            else:
                result[index] = unify_dim(node, result[index], dim)
    result[axis] = total
    return made(dtype, result)


def qlinear_where(node: Node) -> Result:
    dtype = dtype_at(node, 1)
    a, b, c = shape_at(node, 0), shape_at(node, 1), shape_at(node, 4)
    if dtype is None:
        return None
    if a is None or b is None or c is None:
        return tensor_type(dtype, None)
    return made(dtype, broadcast(node, a, [*broadcast(node, b, c)]))


def q_gemm(node: Node) -> Result:
    """A and B at operands 0 and 3; the dtype of the output's zero point, float without one."""
    dtype = dtype_at(node, 8) or F32
    return made(dtype, nn.gemm_shape(node, shape_at(node, 0), shape_at(node, 3)))


def channels_last(inner: Callable[[Node, Shape], list[Hole] | None]) -> Callable[[Node], Result]:
    """A function on [N, C, spatial...] for data laid out as [N, spatial..., C]."""

    def infer(node: Node) -> Result:
        data = tensor_at(node, 0)
        if data is None or data.shape is None:
            return data
        n, *spatial, channels = data.shape
        shape = inner(node, (n, channels, *spatial))
        if shape is None:
            return unknown(data.dtype, len(data.shape))
        return made(data.dtype, [shape[0], *shape[2:], shape[1]])

    return infer


def _either_layout(
    inner: Callable[[Node, Shape], list[Hole] | None], standard: Callable[[Node], Result]
) -> Callable[[Node], Result]:
    last = channels_last(inner)
    return lambda node: last(node) if node.attr("channels_last") else standard(node)


def _pool(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    return made(data.dtype, nn.pool_shape(node, data.shape))


def _conv_by(weight: int) -> Callable[[Node, Shape], list[Hole] | None]:
    return lambda node, x: nn.conv_shape(node, x, shape_at(node, weight))


def _ones(node: Node, x: Shape) -> list[Hole]:
    return [*x[:2], *((1,) * (len(x) - 2))]


def split_gelu(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    return tensor_type(data.dtype, (*data.shape[:-1], floordiv(data.shape[-1], 2)))


def bias_dropout(node: Node) -> Result:
    data = tensor_at(node, 0)
    return None if data is None else (data, tensor_type(BOOL, data.shape))


def gather_quantized(node: Node) -> Result:
    """GatherBlockQuantized: rows of a block-quantized table in the dtype of its scales."""
    data, scales, indices = tensor_at(node, 0), tensor_at(node, 2), shape_at(node, 1)
    if data is None or scales is None:
        return None
    if data.shape is None or indices is None:
        return tensor_type(scales.dtype, None)
    axis = node.attr("gather_axis") or 0
    axis += len(data.shape) if axis < 0 else 0
    shape: list[DimLike] = [*data.shape[:axis], *indices, *data.shape[axis + 1 :]]
    if data.dtype is U8:
        shape[-1] = shape[-1] * (8 // (node.attr("bits") or 4))  # elements to a byte
    return tensor_type(scales.dtype, tuple(shape))


def _pairs(node: Node) -> Result:
    data = tensor_at(node, 0)
    return data, data


_LIKE_FIRST = (
    "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "BiasAdd", "BiasSoftmax", "GemmaRotaryEmbedding",
    "RotaryEmbedding", "GroupNorm", "Inverse", "Trilu", "MoE", "QMoE", "QLinearSigmoid", "QLinearLeakyRelu",
    "QLinearSoftmax", "LongformerAttention", "DecoderMaskedSelfAttention", "ScaledSiLU",
)  # fmt: skip

TABLE: dict[str, Callable[[Node], Result]] = {
    **dict.fromkeys(_LIKE_FIRST, same),
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation"), fused_matmul),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), skip_norm),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), matmul_n_bits),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), scaled_integer_product),
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), qlinear_binary),
    "FusedConv": nn.conv,
    "FusedGemm": nn.gemm,
    "NhwcConv": channels_last(_conv_by(1)),
    "NhwcFusedConv": channels_last(_conv_by(1)),
    "NhwcMaxPool": channels_last(nn.pool_shape),
    "QLinearConv": _either_layout(_conv_by(3), nn.qlinear_conv),
    "QLinearAveragePool": _either_layout(nn.pool_shape, _pool),
    "QLinearGlobalAveragePool": _either_layout(_ones, nn.global_pool),
    "QLinearReduceMean": layers.reduce,
    "QLinearConcat": qlinear_concat,
    "QLinearWhere": qlinear_where,
    "QGemm": q_gemm,
    "EmbedLayerNormalization": embed_layer_norm,
    "Attention": attention,
    "QAttention": q_attention,
    "MultiHeadAttention": multi_head_attention,
    "GroupQueryAttention": group_query_attention,
    "SkipGroupNorm": _pairs,
    "BiasSplitGelu": split_gelu,
    "BiasDropout": bias_dropout,
    "DynamicQuantizeLSTM": layers.recurrent,
    "GatherBlockQuantized": gather_quantized,
    "QuantizeLinear": layers.quantize,
    "DequantizeLinear": layers.dequantize,
    "GatherND": indexing.gather_nd,
    "Pad": resizing.pad,
    "Range": tensors.range_of,
    "GridSample": nn.grid_sample,
}

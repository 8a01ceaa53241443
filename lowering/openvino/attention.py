"""Attention as ScaledDotProductAttention, and rotary embeddings as RoPEFusion looks for them."""

from __future__ import annotations

from typing import Any

from ...ir.core import Node
from ..masks import is_finite
from .table import NoMapping, Translation, maps


@maps("Attention")
def attention(t: Translation, node: Node) -> Any:
    """ScaledDotProductAttention, or the primitives where a softcap or the scores as an output ask for them."""
    for name in ("left_window_size", "right_window_size"):
        if node.attr(name) not in (None, -1):
            raise NoMapping(f"it has a {name}")
    q = _heads(t, t.arg(node, 0), node.attr("q_num_heads"))
    k = _heads(t, t.arg(node, 1), node.attr("kv_num_heads"))
    v = _heads(t, t.arg(node, 2), node.attr("kv_num_heads"))
    past = t.option(node, 4)
    if past is not None:
        k = t.o.concat([past, k], 2)
        v = t.o.concat([t.arg(node, 5), v], 2)
    present = [k, v]
    k, v = (_repeated(t, x, t.static(q, 1, "the number of heads")) for x in (k, v))
    causal = bool(node.attr("is_causal"))
    plain = causal and _is_square(node) and all(t.option(node, i) is None for i in (3, 4, 6))
    mask = _mask(t, node, q, k, causal and not plain)
    wants_scores = len(node.outputs) > 3 and bool(node.outputs[3].uses)
    outputs: list[Any]
    if not wants_scores and not node.attr("softcap"):
        q, scale = _scaled(t, q, node.attr("scale"))
        if mask is not None and t.rank(mask) < 2:
            mask = t.unsqueeze(mask, [0])
        made = t.o.scaled_dot_product_attention(q, k, v, mask, scale, causal=plain)
        if _may_hide_all(node):
            made = t.o.select(t.o.is_nan(made), t.number(0, q), made)
        outputs = [made, *present]
    else:
        if plain:
            mask = _mask(t, node, q, k, True)
        made, scores = _primitives(t, node, q, k, v, mask)
        outputs = [made, *present, scores]
    if t.rank(t.arg(node, 0)) == 3:
        outputs[0] = t.reshape(t.transpose(made, [0, 2, 1, 3]), [0, 0, -1])
    return outputs[: len(node.outputs)]


def _scaled(t: Translation, q: Any, scale: float | None) -> tuple[Any, Any]:
    """The query with the scale in it, and a scale of 1: so the CPU plugin has no Transpose of the key."""
    if scale is None:
        size = t.dims(q)[3]
        if size is None:
            return q, None
        scale = size**-0.5
    one = t.number(1, q)
    return (q if scale == 1 else t.o.multiply(q, t.number(scale, q))), one


def _heads(t: Translation, x: Any, heads: int | None) -> Any:
    """[batch, length, heads * size] as [batch, heads, length, size]."""
    if t.rank(x) == 4:
        return x
    if not heads:
        raise NoMapping("the number of heads is not given")
    return t.transpose(t.reshape(x, [0, 0, heads, -1]), [0, 2, 1, 3])


def _repeated(t: Translation, x: Any, heads: int) -> Any:
    """Every head of [batch, kv_heads, length, size] as often as there are heads of the query that share it."""
    own = t.static(x, 1, "the number of heads")
    if own == heads:
        return x
    size = t.static(x, 3, "the size of a head")
    apart = t.unsqueeze(x, [2])
    copies = t.o.broadcast(apart, t.i64([1, 1, heads // own, 1, 1]), broadcast_spec="BIDIRECTIONAL")
    return t.reshape(copies, [0, heads, -1, size])


def _is_square(node: Node) -> bool:
    """True where the query and the key are known to have the same length."""
    query, key = node.inputs[0], node.inputs[1]
    assert query is not None and key is not None
    if query.shape is None or key.shape is None or len(query.shape) != len(key.shape):
        return False
    axis = 2 if len(query.shape) == 4 else 1
    return bool(query.shape[axis] == key.shape[axis])


def _may_hide_all(node: Node) -> bool:
    """False where some key is known to be seen by every row. A row that sees none gives zeros, and NaN in openvino."""
    mask = node.input(3)
    return node.input(6) is not None or (mask is not None and not is_finite(mask))


def _mask(t: Translation, node: Node, q: Any, k: Any, causal: bool) -> Any:
    """What is added to the scores, or a bool of what is seen; None where everything is seen."""
    mask, lengths = t.option(node, 3), t.option(node, 6)
    seen = None
    if mask is not None and node.input(3) is not None:
        short = t.dims(mask)[-1]
        total = t.dims(k)[2]
        if short is not None and short != total:
            if total is None:
                raise NoMapping("whether the mask is as long as the keys is unknown")
            zero = [0] * (t.rank(mask) - 1)
            boolean = mask.get_element_type() == t.ov.Type.boolean
            fill = t.number(0 if boolean else float("-inf"), mask)
            mask = t.o.pad(mask, t.i64([*zero, 0]), t.i64([*zero, total - short]), "constant", fill)
    columns = None
    if causal or lengths is not None:
        size = t.scalar(t.size_at(k, 2))
        columns = t.o.range(t.i64(0), size, t.i64(1), "i64")
    if lengths is not None:
        seen = t.o.less(columns, t.unsqueeze(lengths, [1, 2, 3]))
    if causal:
        length = t.scalar(t.size_at(q, 2))
        rows = t.unsqueeze(t.o.range(t.i64(0), length, t.i64(1), "i64"), [1])
        if t.option(node, 4) is not None:
            rows = t.o.add(rows, t.size_at(t.arg(node, 4), 2))
        elif lengths is not None:
            rows = t.o.add(rows, t.o.subtract(t.unsqueeze(lengths, [1, 2, 3]), length))
        below = t.o.less_equal(columns, rows)
        seen = below if seen is None else t.o.logical_and(seen, below)
    if mask is None or seen is None:
        return mask if seen is None else seen
    if mask.get_element_type() == t.ov.Type.boolean:
        return t.o.logical_and(mask, seen)
    return t.o.select(seen, mask, t.number(float("-inf"), mask))


def _primitives(t: Translation, node: Node, q: Any, k: Any, v: Any, mask: Any) -> tuple[Any, Any]:
    """The result, and the scores in the state that qk_matmul_output_mode asks for."""
    scale, cap, mode = node.attr("scale"), node.attr("softcap"), node.attr("qk_matmul_output_mode")
    if scale is None:
        scale = float(t.static(q, 3, "the size of a head")) ** -0.5
    scores = t.o.multiply(t.o.matmul(q, k, False, True), t.number(scale, q))
    states = [scores]
    if cap:
        scores = t.o.multiply(t.o.tanh(t.o.divide(scores, t.number(cap, q))), t.number(cap, q))
    states.append(scores)
    if mask is not None:
        if mask.get_element_type() == t.ov.Type.boolean:
            mask = t.o.select(mask, t.number(0, q), t.number(float("-inf"), q))
        scores = t.o.add(scores, mask)
    states.append(scores)
    weights = t.o.softmax(scores, -1)
    if _may_hide_all(node):
        weights = t.o.select(t.o.is_nan(weights), t.number(0, q), weights)
    states.append(weights)
    if cap and mode == 0 and len(node.outputs) > 3:
        raise NoMapping("it gives its scores before they are capped")
    return t.o.matmul(weights, v, False, False), states[mode or 0]


@maps("RotaryEmbedding")
def rotary_embedding(t: Translation, node: Node) -> Any:
    x, cos, sin, places = (t.option(node, i) for i in range(4))
    rank = t.rank(x)
    heads = node.attr("num_heads")
    if rank == 3:
        if not heads:
            raise NoMapping("the number of heads is not given")
        x = t.transpose(t.reshape(x, [0, 0, heads, -1]), [0, 2, 1, 3])
    size = t.static(x, 3, "the size of a head")
    turned = node.attr("rotary_embedding_dim") or size
    rest = None
    if turned != size:
        x, rest = t.o.variadic_split(x, t.i64(-1), t.i64([turned, size - turned])).outputs()
    cos, sin = (_angles(t, table, places) for table in (cos, sin))
    if node.attr("interleaved"):
        pairs = t.o.split(t.reshape(x, [0, 0, 0, turned // 2, 2]), t.i64(-1), 2)
        first, second = (t.reshape(half, [0, 0, 0, -1]) for half in pairs.outputs())
    else:
        first, second = t.o.variadic_split(x, t.i64(-1), t.i64([turned // 2, turned // 2])).outputs()
    # Written with a product by -1 in place of a subtraction: that is what RoPEFusionGPTOSS looks for.
    crossed = t.o.multiply(t.o.multiply(second, sin), t.number(-1, x))
    low = t.o.add(t.o.multiply(first, cos), crossed)
    high = t.o.add(t.o.multiply(second, cos), t.o.multiply(first, sin))
    if node.attr("interleaved"):
        made = t.o.concat([t.unsqueeze(low, [4]), t.unsqueeze(high, [4])], 4)
        made = t.reshape(made, [0, 0, 0, turned])
    else:
        made = t.o.concat([low, high], -1)
    if rest is not None:
        made = t.o.concat([made, rest], -1)
    if rank == 3:
        made = t.reshape(t.transpose(made, [0, 2, 1, 3]), [0, 0, -1])
    return made


def _angles(t: Translation, table: Any, places: Any) -> Any:
    """The rows of a cos or sin table [positions, size / 2] as [batch, 1, length, size / 2]."""
    rows = table if places is None else t.o.gather(table, places, t.i64(0))
    return t.unsqueeze(rows, [0, 1] if t.rank(rows) == 2 else [1])

"""Layouts of layers: convolutions, pooling, normalizations, attention."""

from __future__ import annotations

from collections.abc import Callable

from ...ir.rewrite.syntax import Var
from .choices import Infeasible
from .layouts import axis_of
from .plan import Plan
from .wanted import Shape, Template, Want, merged, shape_of


def conv(plan: Plan) -> None:
    """Data [N, C, spatial...], weight [M, C/group, kernel...] (ConvTranspose: [C, M/group, ...]), bias [M]."""
    transposed = plan.op.name == "ConvTranspose"
    group = int(plan.attr("group", (1, 2)) or 1)
    weight = plan.shape(1)
    target = plan.want.shape
    rank = len(weight) if weight is not None else len(target) if target is not None else 0
    rank = rank or plan.choices.pick(plan.label("rank"), (4, 3, 5), (3, 3, 1))
    if rank < 3:
        raise Infeasible("a convolution of less than one spatial axis")
    channels = group * plan.choices.pick(plan.label("in"), (1, 2))
    batch = target[0] if target is not None and len(target) == rank else None
    sizes = tuple(plan.choices.pick(plan.label(f"size{i}"), (4, 3, 5, 6)) for i in range(rank - 2))
    data = shape_of(plan.must(0, Want(plan.dtype_at(0), (batch, channels, *sizes), const=0.02)))
    rank = len(data)
    if rank < 3 or data[1] % group:
        raise Infeasible("channels do not divide into groups")
    wanted_out = target[1] if target is not None and len(target) == rank else None
    out = wanted_out or group * plan.choices.pick(plan.label("out"), (1, 2, 3))
    kernel = tuple(plan.choices.pick(plan.label(f"kernel{i}"), (2, 1, 3)) for i in range(rank - 2))
    lead = (data[1], out // group) if transposed else (out, data[1] // group)
    made = shape_of(plan.must(1, Want(plan.dtype_at(1), (*lead, *kernel), const=0.6)))
    if len(made) != rank:
        raise Infeasible("the weight's rank")
    _window(plan, made[2:], rank - 2)
    plan.arg(2, Want(plan.dtype_at(2), (made[1] * group if transposed else made[0],), const=0.7))


def _window(plan: Plan, kernel: Shape, spatial: int) -> None:
    """Strides, pads and the rest of what moves a window."""
    ones = (1,) * spatial
    auto = plan.attr("auto_pad", (None, "VALID", "SAME_UPPER", "SAME_LOWER"))
    plan.attr("kernel_shape", (None, tuple(kernel)))
    plan.attr("strides", (None, (2,) * spatial, ones))
    plan.attr("dilations", (None, (2,) * spatial))
    if auto in (None, "NOTSET"):
        plan.attr("pads", (None, (1,) * (2 * spatial), (0,) * spatial + (1,) * spatial))
    elif any(a.name == "pads" for a in plan.tree.attributes):
        plan.attr("pads", (None,))


def pool(plan: Plan) -> None:
    """Data [N, C, spatial...] under a window."""
    rank = plan.choices.pick(plan.label("rank"), (4, 3, 5), (3, 3, 1))
    sizes = tuple(plan.choices.pick(plan.label(f"size{i}"), (4, 3, 5, 6)) for i in range(rank - 2))
    data = shape_of(plan.must(0, Want(plan.dtype_at(0), (None, None, *sizes))))
    spatial = len(data) - 2
    if spatial < 1:
        raise Infeasible("pooling of less than one spatial axis")
    kernel = tuple(plan.choices.pick(plan.label(f"kernel{i}"), (2, 3, 1)) for i in range(spatial))
    plan.attr("kernel_shape", (kernel,))
    plan.attrs.setdefault("kernel_shape", kernel)
    plan.attr("count_include_pad", (0, 1))
    plan.attr("ceil_mode", (0, 1))
    _window(plan, kernel, spatial)


def channel_norm(plan: Plan) -> None:
    """Data [N, C, ...] and vectors [C]: BatchNormalization, InstanceNormalization, GroupNormalization."""
    groups = int(plan.attr("num_groups", (2, 1, 3)) or 1) if plan.op.name == "GroupNormalization" else 1
    plan.attr("epsilon", (1e-5, 1e-3, 0.1))
    target = plan.want.shape
    if plan.shape(0) is None and target is None:
        rank = plan.choices.pick(plan.label("rank"), (3, 4, 2) if plan.op.name == "BatchNormalization" else (3, 4))
        target = (None, groups * plan.choices.pick(plan.label("each"), (1, 2)), *(None,) * (rank - 2))
    data = shape_of(plan.must(0, Want(plan.dtype_at(0), target)))
    if len(data) < 2:
        raise Infeasible("no channels")
    for index in range(1, len(plan)):
        fill = "positive" if plan.op.name == "BatchNormalization" and index == 4 else ""
        plan.arg(index, Want(plan.dtype_at(index), (data[1],), fill=fill, const=0.5))


def layer_norm(plan: Plan) -> None:
    """Data, and a scale and a bias of the shape from the axis on."""
    axis = axis_of(plan, "axis", (-1, -2, 1, 2))
    plan.attr("epsilon", (1e-5, 1e-3, 0.1))
    data = shape_of(plan.must(0))
    for index in range(1, len(plan)):
        plan.arg(index, Want(plan.dtype_at(index), data[axis % len(data) :], const=0.5))


def lp_norm(plan: Plan) -> None:
    """LpNormalization along an axis."""
    plan.attr("p", (2, 1))
    axis_of(plan)


def skip_norm(plan: Plan) -> None:
    """Two operands [B, S, H] and vectors [H]."""
    data = shape_of(plan.must(0, Want(plan.dtype_at(0), plan.want.shape or (None, None, None))))
    plan.arg(1, Want(plan.dtype_at(1), data))
    for index in range(2, len(plan)):
        plan.arg(index, Want(plan.dtype_at(index), data[-1:], const=0.5))


def bias_like(plan: Plan) -> None:
    """Data and a vector for its last axis: BiasGelu, FastGelu, BiasSplitGelu."""
    data = shape_of(plan.must(0, Want(plan.dtype_at(0), plan.want.shape)))
    if not data:
        raise Infeasible("a bias for a scalar")
    plan.arg(1, Want(plan.dtype_at(1), data[-1:], const=0.5))


def attention(plan: Plan) -> None:
    """Operands [B, heads, S, D] or, with numbers of heads, [B, S, heads*D]."""
    ranks = {len(s) for s in (plan.shape(i) for i in range(min(3, len(plan)))) if s is not None}
    for index in range(min(3, len(plan))):
        ranks.update(_ranks_asked(plan, index))
    heads = plan.attr("q_num_heads", (None,) if ranks == {4} else (2, 1) if ranks == {3} else (None, 2))
    shared = plan.attr("kv_num_heads", (None, heads))
    plan.attr("is_causal", (0, 1))
    plan.attr("scale", (None, 0.5, 1.0))
    plan.attr("softcap", (0.0, 0.5))
    target = plan.want.shape
    flat = heads is not None
    q: Template = (None, None, None) if flat else (None, None, None, None)
    if target is not None and len(target) == len(q):
        q = target
    if flat:
        q = (*q[:2], q[2] or int(heads) * plan.choices.pick(plan.label("head"), (2, 1, 4)))
    query = shape_of(plan.must(0, Want(plan.dtype_at(0), q)))
    if len(query) != len(q):
        raise Infeasible("the query's rank")
    ratio = 1 if flat else plan.choices.pick(plan.label("ratio"), (1, query[1])) or 1
    key: Template = (query[0], None, query[2]) if flat else (query[0], query[1] // ratio, None, query[3])
    if flat and shared != heads:
        key = (query[0], None, query[2] // int(heads) * int(shared or 1))
    k = shape_of(plan.must(1, Want(plan.dtype_at(1), key)))
    plan.arg(2, Want(plan.dtype_at(2), k))
    past = (query[0], key[1], plan.choices.pick(plan.label("past"), (2, 1, 3)), k[-1])
    for index in (4, 5):
        if len(plan) > index:
            plan.arg(index, Want(plan.dtype_at(index), None if flat else past))
    if len(plan) > 5 and (plan.arg(4) is None) != (plan.arg(5) is None):
        raise Infeasible("a past of keys alone, or of values")
    if len(plan) > 3:
        kept = plan.shape(4) if len(plan) > 4 else None
        length = k[-2] + (kept[-2] if kept is not None and len(kept) > 1 else 0)
        full = (query[0], int(heads or 1), query[1], length) if flat else (query[0], query[1], query[2], length)
        plan.arg(3, Want(plan.dtype_at(3), plan.left.narrowed(plan.label("mask"), full, (4, 2, 3)), fill="mask"))
    if len(plan) > 6:
        plan.arg(6, Want(plan.dtype_at(6), (query[0],), fill=f"index {k[-2] + 1}"))


def _ranks_asked(plan: Plan, index: int) -> tuple[int, ...]:
    arg, _ = plan.args[index]
    if not isinstance(arg, Var):
        return ()
    facts = plan.left.hints.facts(arg.name, lazy=True)
    return (len(facts.shape),) if facts.shape is not None else facts.ranks if len(facts.ranks) == 1 else ()


def rotary(plan: Plan) -> None:
    """Data [B, heads, S, D], or [B, S, heads*D]; tables [B, S, D/2], or tables by position and the positions."""
    plan.attr("interleaved", (0, 1))
    plan.attr("rotary_embedding_dim", (0, 2))
    target = plan.shape(0) or plan.want.shape
    asked = _ranks_asked(plan, 0)
    flat = len(target) == 3 if target is not None else asked == (3,)
    heads = int(plan.attr("num_heads", (2, 1, 3) if flat else (None, 0)) or (1 if flat else 0))
    size = 2 * plan.choices.pick(plan.label("half"), (1, 2, 3))
    usual: Template = (None, None, heads * size) if flat else (None, None, None, size)
    data = shape_of(plan.must(0, Want(plan.dtype_at(0), merged(target, usual))))
    if len(data) not in (3, 4):
        raise Infeasible("rotary embedding of another rank than 3 and 4")
    batch, length = data[0], data[1] if flat else data[2]
    whole = data[-1] // max(heads, 1) if flat else data[-1]
    half = (int(plan.attrs.get("rotary_embedding_dim") or 0) or whole) // 2
    positions = plan.arg(3, Want(plan.dtype_at(3), (batch, length), fill=f"index {length}")) if len(plan) > 3 else None
    table: Template = (batch, length, half) if positions is None else (length, half)
    plan.arg(1, Want(plan.dtype_at(1), table, const=0.3))
    plan.arg(2, Want(plan.dtype_at(2), table, const=0.3))


LAYOUTS: dict[str, Callable[[Plan], None]] = {
    "Conv": conv,
    "ConvTranspose": conv,
    "com.microsoft::FusedConv": conv,
    "AveragePool": pool,
    "MaxPool": pool,
    "LpPool": pool,
    "BatchNormalization": channel_norm,
    "InstanceNormalization": channel_norm,
    "GroupNormalization": channel_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": layer_norm,
    "SimplifiedLayerNormalization": layer_norm,
    "LpNormalization": lp_norm,
    "com.microsoft::SkipLayerNormalization": skip_norm,
    "com.microsoft::SkipSimplifiedLayerNormalization": skip_norm,
    "com.microsoft::BiasGelu": bias_like,
    "com.microsoft::FastGelu": bias_like,
    "Attention": attention,
    "RotaryEmbedding": rotary,
}

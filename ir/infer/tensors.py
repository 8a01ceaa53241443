"""Operators that rearrange: Reshape, Transpose, Concat, Split, Expand and their like."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..attributes import SparseTensor
from ..core import Content, Node
from ..dims import Dim, DimLike, ceildiv, floordiv, product
from ..tensor import Tensor
from ..types import F32, I64, Shape, tensor_type
from .base import (
    Hole,
    Result,
    at_least_zero,
    axes_in,
    axis_in,
    broadcast_dim,
    content_of,
    dim_at,
    dtype_at,
    fail,
    floats_of,
    ints_at,
    is_given,
    is_opaque,
    length_at,
    made,
    quotient,
    shape_at,
    show,
    tensor_at,
    unify_dim,
    unknown,
)
from .fractions import numbers


def reshape(node: Node) -> Result:
    """0 copies a dimension (unless allowzero), -1 is what is left over."""
    data = tensor_at(node, 0)
    if data is None:
        return None
    target: Content | None = node.attrs.get("shape")  # an attribute before opset 5
    if target is None:
        target = content_of(node.input(1))
    if target is None:
        length = length_at(node, 1)
        return tensor_type(data.dtype, None) if length is None else unknown(data.dtype, length)
    return made(data.dtype, _reshaped(node, data.shape, target, bool(node.attr("allowzero"))))


def _reshaped(node: Node, shape: Shape | None, target: Content, allow_zero: bool) -> list[Hole]:
    result: list[Hole] = []
    rest = -1  # where the remaining elements go
    for index, dim in enumerate(target):
        if isinstance(dim, int) and dim == 0 and not allow_zero:
            if shape is not None and index >= len(shape):
                raise fail(node, f"0 at {index} copies no dimension of {show(shape)}")
            result.append(dim_at(shape, index))
        elif isinstance(dim, int) and dim < 0:
            if dim < -1 or rest >= 0:
                raise fail(node, f"bad target shape {show(target)}")
            rest = index
            result.append(None)
        else:
            result.append(None if is_opaque(dim) else dim)
    if shape is None:
        return result
    holes = [index for index, dim in enumerate(result) if dim is None]
    if not holes:
        holes = [index for index, dim in enumerate(result) if isinstance(dim, Dim)]
        if len(holes) != 1:
            _check_count(node, shape, result)
            return result
    if len(holes) == 1:
        # Whatever it is called, the one open dimension holds the remaining elements.
        others = [d for i, d in enumerate(result) if i != holes[0] and d is not None]
        left = quotient(shape, others)
        if result[holes[0]] is None or isinstance(left, int):
            if isinstance(left, int) and product(shape) != product([*others, left]):
                raise fail(node, f"{show(shape)} has no shape {show(target)}")
            result[holes[0]] = left
    return result


def _check_count(node: Node, shape: Shape, result: Sequence[Hole]) -> None:
    before, after = product(shape), product([d for d in result if d is not None])
    if isinstance(before, int) and isinstance(after, int) and before != after:
        raise fail(node, f"{show(shape)} has {before} elements, {show(result)} has {after}")


def transpose(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None:
        return None
    perm = node.attrs.get("perm")
    if data.shape is None:
        return tensor_type(data.dtype, None) if perm is None else unknown(data.dtype, len(perm))
    if perm is None:
        return tensor_type(data.dtype, data.shape[::-1])
    rank = len(data.shape)
    if len(perm) != rank or sorted(axes_in(node, perm, rank)) != list(range(rank)):
        raise fail(node, f"perm {list(perm)} is no permutation of {rank} axes")
    return tensor_type(data.dtype, tuple([data.shape[axis] for axis in perm]))


def squeeze(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    shape = data.shape
    axes = ints_at(node, 1, "axes")
    if axes is None:
        if is_given(node, 1):
            count = length_at(node, 1)
            return (
                tensor_type(data.dtype, None)
                if count is None or count > len(shape)
                else unknown(data.dtype, len(shape) - count)
            )
        if not all(isinstance(d, int) for d in shape):
            return tensor_type(data.dtype, None)  # which dimensions are 1 is not known
        return tensor_type(data.dtype, tuple([d for d in shape if d != 1]))
    gone = axes_in(node, axes, len(shape))
    for axis in gone:
        dim = shape[axis]
        if isinstance(dim, int) and dim != 1:
            raise fail(node, f"axis {axis} of {data} is not 1")
    return tensor_type(data.dtype, tuple([d for i, d in enumerate(shape) if i not in gone]))


def unsqueeze(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    axes = ints_at(node, 1, "axes")
    if axes is None:
        count = length_at(node, 1)
        return (
            tensor_type(data.dtype, None)
            if count is None
            else unknown(data.dtype, len(data.shape) + count)
        )
    rank = len(data.shape) + len(axes)
    new = axes_in(node, axes, rank)
    if len(set(new)) != len(new):
        raise fail(node, f"axes {list(axes)} repeat")
    rest = iter(data.shape)
    return tensor_type(data.dtype, tuple([1 if i in new else next(rest) for i in range(rank)]))


def flatten(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None:
        return None
    if data.shape is None:
        return unknown(data.dtype, 2)
    rank, axis = len(data.shape), node.attr("axis")
    if not -rank <= axis <= rank:
        raise fail(node, f"axis {axis} is out of range for rank {rank}")
    axis += rank if axis < 0 else 0
    return tensor_type(data.dtype, (product(data.shape[:axis]), product(data.shape[axis:])))


def concat(node: Node) -> Result:
    dtype = dtype_at(node, *range(len(node.inputs)))
    if dtype is None:
        return None
    first: list[Hole] | None = None
    total: Hole = 0
    axis = node.attr("axis")
    axis = 1 if axis is None else axis  # the default before opset 4
    for index in range(len(node.inputs)):
        operand = tensor_at(node, index)
        if operand is None or operand.shape is None:
            total = None
            continue
        if operand.dtype is not dtype:
            raise fail(node, f"{operand} among operands of {dtype}")
        if first is None:
            first = list(operand.shape)
            axis = axis_in(node, axis, len(first))
        elif len(operand.shape) != len(first):
            raise fail(node, f"ranks {len(first)} and {len(operand.shape)} differ")
        for i, dim in enumerate(operand.shape):
            if i != axis:
                first[i] = unify_dim(node, first[i], dim)
            elif total is not None:
                total = total + dim
    if first is not None:
        first[axis] = total
    return made(dtype, first)


def split(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None:
        return None
    count = len(node.outputs)
    if data.shape is None:
        return (tensor_type(data.dtype, None),) * count
    axis = axis_in(node, node.attr("axis") or 0, len(data.shape))
    parts: Sequence[Hole]
    sizes = node.attrs.get("split")
    if sizes is None and is_given(node, 1):
        sizes = content_of(node.inputs[1])
        parts = [None] * count if sizes is None else [None if is_opaque(d) else d for d in sizes]
    elif sizes is not None:
        parts = sizes
    else:
        parts = _even_parts(node, data.shape[axis], count)
    if len(parts) != count:
        raise fail(node, f"{len(parts)} sizes for {count} outputs")
    ints = [d for d in (*parts, data.shape[axis]) if isinstance(d, int)]
    if sizes is not None and len(ints) == count + 1 and sum(ints[:-1]) != ints[-1]:
        raise fail(node, f"sizes {show(parts)} do not add up to {ints[-1]}")
    return tuple(
        made(data.dtype, (*data.shape[:axis], part, *data.shape[axis + 1 :])) for part in parts
    )


def _even_parts(node: Node, dim: DimLike, count: int) -> Sequence[DimLike]:
    if "num_outputs" not in node.attrs:  # before opset 18 the division is exact
        if isinstance(dim, int) and dim % count:
            raise fail(node, f"{dim} does not divide into {count} equal parts")
        return [floordiv(dim, count)] * count
    chunk = ceildiv(dim, count)
    last = dim + (count - 1) * -1 * chunk
    if isinstance(last, int) and last < 0:
        raise fail(node, f"{dim} does not divide into {count} parts")
    return [chunk] * (count - 1) + [last]


def expand(node: Node) -> Result:
    """The broadcast of the operand with a shape."""
    data = tensor_at(node, 0)
    if data is None:
        return None
    content = content_of(node.input(1))
    if content is None:
        length = length_at(node, 1)
        if length is None or data.shape is None:
            return tensor_type(data.dtype, None)
        target: list[Hole] = [None] * length
    else:
        target = [None if is_opaque(d) else d for d in content]
        # Exporters write -1 for "keep"; 1 broadcasts to the same.
        target = [1 if isinstance(d, int) and d == -1 else d for d in target]
    if data.shape is None:
        return tensor_type(data.dtype, None)
    result: list[Hole] = [*target]
    shape = data.shape
    if len(shape) > len(result):
        result = [*[1] * (len(shape) - len(result)), *result]
    offset = len(result) - len(shape)
    for index, dim in enumerate(shape):
        merged = broadcast_dim(dim, result[offset + index])
        if merged is False:
            raise fail(node, f"{data} does not broadcast to {show(target)}")
        result[offset + index] = merged
    return made(data.dtype, result)


def tile(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None:
        return None
    if data.shape is None or (node.op.revision == 1 and node.op.until is not None):
        return tensor_type(data.dtype, None)
    repeats = content_of(node.input(1))
    if repeats is None:
        return unknown(data.dtype, len(data.shape))
    if len(repeats) != len(data.shape):
        raise fail(node, f"{len(repeats)} repeats for {data}")
    return made(
        data.dtype, [None if is_opaque(r) else d * r for d, r in zip(data.shape, repeats)]
    )


def constant_of_shape(node: Node) -> Result:
    value = node.attrs.get("value")
    dtype = value.dtype if isinstance(value, Tensor) else F32
    content = content_of(node.input(0))
    if content is not None:
        return made(dtype, [None if is_opaque(d) else d for d in content])
    length = length_at(node, 0)
    return tensor_type(dtype, None) if length is None else unknown(dtype, length)


def shape_of(node: Node) -> Result:
    """Shape: a vector with one element per axis from start to end."""
    shape = shape_at(node, 0)
    if shape is None:
        return unknown(I64, 1)
    return tensor_type(I64, (len(shape[node.attr("start") or 0 : node.attrs.get("end")]),))


def range_of(node: Node) -> Result:
    """max(ceil((limit - start) / delta), 0) elements."""
    dtype = dtype_at(node, 0, 1, 2)
    if dtype is None:
        return None
    contents = [numbers(v) for v in node.inputs]
    if all(c is not None and len(c) == 1 for c in contents):
        start, limit, delta = [c[0] for c in contents if c]
        if isinstance(delta, int) and delta:
            span = limit - start if delta > 0 else start - limit
            count = at_least_zero(ceildiv(span, abs(delta)))
            return made(dtype, (None if is_opaque(count) else count,))
        return unknown(dtype, 1)
    floats = [floats_of(v) for v in node.inputs]
    if all(f is not None and len(f) == 1 for f in floats):
        first, last, step = [f[0] for f in floats if f]
        if step:
            return tensor_type(dtype, (max(-int((first - last) // step), 0),))
    return unknown(dtype, 1)


def sparse_constant(node: Node) -> Result:
    """Constant: only sparse ones are nodes."""
    value = node.attrs.get("sparse_value")
    return tensor_type(value.values.dtype, value.shape) if isinstance(value, SparseTensor) else None


TABLE: dict[str, Callable[[Node], Result]] = {
    "Constant": sparse_constant,
    "Reshape": reshape,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Flatten": flatten,
    "Concat": concat,
    "Split": split,
    "Expand": expand,
    "Tile": tile,
    "ConstantOfShape": constant_of_shape,
    "Shape": shape_of,
    "Size": lambda node: tensor_type(I64, ()),
    "Range": range_of,
}

"""Matrix products, convolutions and pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core import Node
from ..dims import DimLike, ceildiv, floordiv, known_ge
from ..types import I32, I64, Shape, tensor_type
from .base import (
    Hole,
    Result,
    broadcast,
    by_two_types,
    content_of,
    dim_at,
    dtype_at,
    fail,
    made,
    shape_at,
    show,
    tensor_at,
    unify_dim,
    unknown,
)


def product_shape(node: Node, a: Shape | None, b: Shape | None) -> list[Hole] | None:
    """numpy.matmul's shape of two operands; None where a rank is unknown."""
    if a is None or b is None:
        return None
    if not a or not b:
        raise fail(node, f"a product of {show(a)} and {show(b)}")
    inner_a, inner_b = a[-1], b[0] if len(b) == 1 else b[-2]
    if isinstance(inner_a, int) and isinstance(inner_b, int) and inner_a != inner_b:
        raise fail(node, f"a product of {show(a)} and {show(b)}")
    tail = a[-2:-1] + (b[-1:] if len(b) > 1 else ())
    if len(a) <= 2 and len(b) <= 2:
        return list(tail)
    return [*broadcast(node, a[:-2], b[:-2]), *tail]


@by_two_types
def matmul(node: Node) -> Result:
    dtype = dtype_at(node, 0, 1)
    if dtype is None:
        return None
    other = dtype_at(node, 1)
    if other is not None and other is not dtype:
        raise fail(node, f"operands of different element types: {dtype} and {other}")
    return made(dtype, product_shape(node, shape_at(node, 0), shape_at(node, 1)))


def matmul_integer(node: Node) -> Result:
    return made(I32, product_shape(node, shape_at(node, 0), shape_at(node, 1)))


def qlinear_matmul(node: Node) -> Result:
    """The dtype of the output's zero point (operand 7)."""
    dtype = dtype_at(node, 7, 0)
    if dtype is None:
        return None
    return made(dtype, product_shape(node, shape_at(node, 0), shape_at(node, 3)))


def gemm(node: Node) -> Result:
    dtype = dtype_at(node, 0, 1)
    if dtype is None:
        return None
    return made(dtype, gemm_shape(node, shape_at(node, 0), shape_at(node, 1)))


def gemm_shape(node: Node, a: Shape | None, b: Shape | None) -> tuple[Hole, Hole]:
    """(M, N) of a Gemm with its transA and transB."""
    for shape in (a, b):
        if shape is not None and len(shape) != 2:
            raise fail(node, f"expected two dimensions, not {show(shape)}")
    ta, tb = node.attr("transA"), node.attr("transB")
    m, k = (dim_at(a, 1), dim_at(a, 0)) if ta else (dim_at(a, 0), dim_at(a, 1))
    n, k2 = (dim_at(b, 0), dim_at(b, 1)) if tb else (dim_at(b, 1), dim_at(b, 0))
    unify_dim(node, k, k2)
    return m, n


class Window:
    """The attributes of a convolution or pooling over `count` spatial axes."""

    __slots__ = ("kernel", "strides", "dilations", "pads", "auto_pad")

    def __init__(self, node: Node, kernel: Sequence[Hole], axes: int | None = None) -> None:
        count = len(kernel)
        if axes is not None and axes != count:
            raise fail(node, f"a kernel of {count} sizes for {axes} spatial axes")
        attrs = node.attrs
        self.kernel = kernel
        self.strides: Sequence[int] = attrs.get("strides") or (1,) * count
        self.dilations: Sequence[int] = attrs.get("dilations") or (1,) * count
        self.pads: Sequence[int] = attrs.get("pads") or (0,) * (2 * count)
        self.auto_pad: str = attrs.get("auto_pad") or "NOTSET"
        if len(self.strides) != count or len(self.dilations) != count:
            raise fail(node, f"strides or dilations do not fit {count} spatial axes")
        if len(self.pads) != 2 * count:
            raise fail(node, f"{len(self.pads)} pads for {count} spatial axes")
        if any(stride < 1 for stride in self.strides):
            raise fail(node, f"strides {list(self.strides)}")

    def extent(self, axis: int) -> Hole:
        """What the dilated kernel covers."""
        size = self.kernel[axis]
        return None if size is None else (size - 1) * self.dilations[axis] + 1

    def output(self, node: Node, axis: int, dim: DimLike, ceil_mode: bool = False) -> Hole:
        """The output size along one axis for an input of `dim`."""
        stride = self.strides[axis]
        if self.auto_pad.startswith("SAME"):
            return ceildiv(dim, stride)
        extent = self.extent(axis)
        if extent is None:
            return None
        count = len(self.kernel)
        padded = self.auto_pad == "NOTSET"
        begin, end = (self.pads[axis], self.pads[axis + count]) if padded else (0, 0)
        span = dim + (begin + end) - extent
        size = (ceildiv if ceil_mode else floordiv)(span, stride) + 1
        if not isinstance(size, int) or not isinstance(dim, int):
            # Rounding up is exact where no window can start in the padding behind the data.
            return size if not ceil_mode or known_ge(extent, end + stride) else None
        if ceil_mode and (size - 1) * stride >= dim + begin:
            size -= 1
        if size < 0:
            raise fail(node, f"a window of {extent} over {dim} (padded by {begin} and {end})")
        return size


def conv_shape(node: Node, x: Shape | None, w: Shape | None) -> list[Hole] | None:
    """[N, filters, spatial...] of a convolution; None where no rank is known."""
    if x is None and w is None:
        return None
    rank = len(x) if x is not None else len(w or ())
    if rank < 3 or (w is not None and len(w) != rank):
        raise fail(node, f"a convolution of {show(x or ())} with {show(w or ())}")
    kernel: Sequence[Hole] | None = node.attrs.get("kernel_shape")
    if kernel is None:
        kernel = (None,) * (rank - 2) if w is None else w[2:]
    window = Window(node, kernel, rank - 2)
    result: list[Hole] = [dim_at(x, 0), dim_at(w, 0)]
    if x is None:
        return result + [None] * (rank - 2)
    if w is not None:
        channels, per_group, groups = x[1], w[1], node.attr("group") or 1
        known = isinstance(channels, int) and isinstance(per_group, int)
        if known and channels != per_group * groups:
            raise fail(node, f"{channels} channels, the weight {show(w)} x {groups} groups")
    for axis in range(rank - 2):
        result.append(window.output(node, axis, x[axis + 2]))
    return result


def conv(node: Node) -> Result:
    dtype = dtype_at(node, 0, 1)
    if dtype is None:
        return None
    return made(dtype, conv_shape(node, shape_at(node, 0), shape_at(node, 1)))


def conv_integer(node: Node) -> Result:
    return made(I32, conv_shape(node, shape_at(node, 0), shape_at(node, 1)))


def qlinear_conv(node: Node) -> Result:
    """The dtype of the output's zero point (operand 7)."""
    dtype = dtype_at(node, 7, 0)
    if dtype is None:
        return None
    return made(dtype, conv_shape(node, shape_at(node, 0), shape_at(node, 3)))


def conv_transpose(node: Node) -> Result:
    dtype = dtype_at(node, 0, 1)
    if dtype is None:
        return None
    x, w = shape_at(node, 0), shape_at(node, 1)
    if x is None or w is None:
        return tensor_type(dtype, None) if x is None else unknown(dtype, len(x))
    if len(x) != len(w) or len(x) < 3:
        raise fail(node, f"a convolution of {show(x)} with {show(w)}")
    count = len(x) - 2
    window = Window(node, node.attrs.get("kernel_shape") or w[2:], count)
    result: list[Hole] = [x[0], w[1] * (node.attr("group") or 1)]
    asked = node.attrs.get("output_shape")
    extra = node.attrs.get("output_padding") or (0,) * count
    if len(extra) != count or (asked and len(asked) < count):
        raise fail(node, f"output_shape or output_padding do not fit {count} spatial axes")
    if asked:
        return made(dtype, [*result, *asked[-count:]])
    for axis in range(count):
        stride, dim, extent = window.strides[axis], x[axis + 2], window.extent(axis)
        if window.auto_pad.startswith("SAME"):
            result.append(dim * stride)
        elif extent is None:
            result.append(None)
        else:
            pads = 0
            if window.auto_pad == "NOTSET":
                pads = window.pads[axis] + window.pads[axis + count]
            result.append((dim - 1) * stride + extent + (extra[axis] - pads))
    return made(dtype, result)


def pool_shape(node: Node, x: Shape) -> list[Hole]:
    """[N, C, spatial...] of a pooling with kernel_shape."""
    kernel = node.attrs.get("kernel_shape") or ()
    if len(x) != len(kernel) + 2:
        raise fail(node, f"a window of {len(kernel)} axes over {show(x)}")
    window = Window(node, kernel, len(kernel))
    ceil_mode = bool(node.attr("ceil_mode"))
    result: list[Hole] = [x[0], x[1]]
    for axis in range(len(kernel)):
        result.append(window.output(node, axis, x[axis + 2], ceil_mode))
    return result


def pool(node: Node) -> Result:
    """AveragePool, LpPool, MaxPool; the indices of MaxPool are i64 of the same shape."""
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return (data, tensor_type(I64, None))
    shape = pool_shape(node, data.shape)
    return made(data.dtype, shape), made(I64, shape)


def max_unpool(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    wanted = content_of(node.input(2))
    if wanted is not None and len(wanted) == len(data.shape):
        return made(data.dtype, wanted)
    if node.input(2) is not None:
        return unknown(data.dtype, len(data.shape))
    count = len(data.shape) - 2
    window = Window(node, node.attrs["kernel_shape"], count)
    result: list[Hole] = [*data.shape[:2]]
    for axis in range(count):
        extent = window.extent(axis)
        pads = window.pads[axis] + window.pads[axis + count]
        dim = (data.shape[axis + 2] - 1) * window.strides[axis] - pads
        result.append(None if extent is None else dim + extent)
    return made(data.dtype, result)


def global_pool(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    return tensor_type(data.dtype, data.shape[:2] + (1,) * (len(data.shape) - 2))


def roi_pool(node: Node) -> Result:
    """RoiAlign and MaxRoiPool: [rois, C, height, width]."""
    data, rois = tensor_at(node, 0), shape_at(node, 1)
    if data is None:
        return None
    size = node.attrs.get("pooled_shape") or (
        node.attr("output_height"),
        node.attr("output_width"),
    )
    return made(data.dtype, (dim_at(rois, 0), dim_at(data.shape, 1), *size))


def grid_sample(node: Node) -> Result:
    data, grid = tensor_at(node, 0), shape_at(node, 1)
    if data is None:
        return None
    if grid is None:
        return data if data.shape is None else unknown(data.dtype, len(data.shape))
    return made(data.dtype, (dim_at(data.shape, 0), dim_at(data.shape, 1), *grid[1:-1]))


def affine_grid(node: Node) -> Result:
    """[N, (D,) H, W, 2 or 3] for a size [N, C, (D,) H, W]."""
    dtype, size = dtype_at(node, 0), content_of(node.input(1))
    if dtype is None or size is None:
        return None if dtype is None else tensor_type(dtype, None)
    return made(dtype, (size[0], *size[2:], len(size) - 2))


def col2im(node: Node) -> Result:
    data = tensor_at(node, 0)
    image, block = content_of(node.input(1)), content_of(node.input(2))
    if data is None:
        return None
    if image is None:
        return tensor_type(data.dtype, None)
    channels: Hole = dim_at(data.shape, 1)
    if block is None or channels is None:
        channels = None
    else:
        for size in block:
            channels = floordiv(channels, size)
    return made(data.dtype, (dim_at(data.shape, 0), channels, *image))


TABLE: dict[str, Callable[[Node], Result]] = {
    "MatMul": matmul,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
    "Gemm": gemm,
    "Conv": conv,
    "ConvInteger": conv_integer,
    "QLinearConv": qlinear_conv,
    "ConvTranspose": conv_transpose,
    "DeformConv": conv,
    "AveragePool": pool,
    "LpPool": pool,
    "MaxPool": pool,
    "MaxUnpool": max_unpool,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "GlobalLpPool": global_pool,
    "RoiAlign": roi_pool,
    "MaxRoiPool": roi_pool,
    "GridSample": grid_sample,
    "AffineGrid": affine_grid,
    "Col2Im": col2im,
}

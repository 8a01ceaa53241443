"""Operators that change sizes: Pad, Resize, CenterCropPad, DepthToSpace and SpaceToDepth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..builder import float32
from ..core import Content, Node
from ..dims import DimLike, floordiv
from ..types import tensor_type
from .base import (
    Found,
    Hole,
    Result,
    axes_in,
    content_of,
    fail,
    floats_of,
    ints_at,
    is_given,
    is_opaque,
    made,
    tensor_at,
    unknown,
)


def pad(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    rank = len(data.shape)
    pads = node.attrs.get("pads") or node.attrs.get("paddings") or content_of(node.input(1))
    axes = ints_at(node, 3)
    if pads is None or (axes is None and is_given(node, 3)):
        return unknown(data.dtype, rank)
    chosen = list(range(rank)) if axes is None else axes_in(node, axes, rank)
    if len(pads) != 2 * len(chosen):
        raise fail(node, f"{len(pads)} pads for {len(chosen)} axes")
    result: list[Hole] = list(data.shape)
    for i, axis in enumerate(chosen):
        dim = data.shape[axis] + pads[i] + pads[i + len(chosen)]
        if isinstance(dim, int) and dim < 0:
            raise fail(node, f"negative pads cut more than axis {axis} of {data} has")
        result[axis] = None if is_opaque(dim) else dim  # pads up to a length may be unknown where the length is not
    return made(data.dtype, result)


def resize(node: Node) -> Result:
    """Resize and Upsample: sizes, or scales of which floor(dim * scale) is taken in float32."""
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    rank = len(data.shape)
    early = len(node.inputs) < 3  # Upsample and Resize before opset 11: (x, scales)
    given = node.attrs.get("axes")
    axes = list(range(rank)) if given is None else axes_in(node, given, rank)
    result: list[Hole] = list(data.shape)
    policy = node.attr("keep_aspect_ratio_policy") or "stretch"
    if is_given(node, 3):
        sizes = content_of(node.inputs[3])
        if sizes is None:
            for axis in axes:
                result[axis] = None
        elif len(sizes) != len(axes):
            raise fail(node, f"{len(sizes)} sizes for {len(axes)} axes")
        elif policy == "stretch":
            for axis, size in zip(axes, sizes):
                result[axis] = None if is_opaque(size) else size
        else:
            fitted = _keep_aspect([data.shape[axis] for axis in axes], sizes, policy)
            for axis, hole in zip(axes, fitted):
                result[axis] = hole
        return made(data.dtype, result)
    scales = node.attrs.get("scales")
    if scales is None:
        scales = floats_of(node.input(1 if early else 2))
    crop = node.attr("coordinate_transformation_mode") == "tf_crop_and_resize"
    if scales is not None and len(scales) != len(axes):
        raise fail(node, f"{len(scales)} scales for {len(axes)} axes")
    factors: Sequence[float] = scales or ()
    for i, axis in enumerate(axes):
        result[axis] = _scaled(data.shape[axis], factors[i]) if factors and not crop else None
    return made(data.dtype, result)


def _scaled(dim: DimLike, scale: float) -> Hole:
    if not 0 <= scale < 1 << 31:
        return None
    if isinstance(dim, int):
        return int(float32(dim * float32(scale)))
    top, bottom = scale.as_integer_ratio()
    # Other ratios are rounded in float32, which no exact expression follows.
    return floordiv(dim * top, bottom) if top < 1 << 12 and bottom < 1 << 12 else None


def _keep_aspect(shape: Sequence[DimLike], sizes: Content, policy: str) -> Sequence[Hole]:
    if not all(isinstance(d, int) for d in [*shape, *sizes]) or 0 in shape:
        return [None] * len(shape)
    ratios = [size / dim for size, dim in zip(sizes, shape)]  # type: ignore[operator]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [int(ratio * dim + 0.5) for dim in shape]  # type: ignore[operator]


def depth_to_space(node: Node) -> Result:
    block = node.attrs.get("blocksize", 1)
    return _blocks(node, lambda c, h, w: (floordiv(c, block * block), h * block, w * block))


def space_to_depth(node: Node) -> Result:
    block = node.attrs.get("blocksize", 1)
    return _blocks(
        node, lambda c, h, w: (c * block * block, floordiv(h, block), floordiv(w, block))
    )


def _blocks(
    node: Node, change: Callable[[DimLike, DimLike, DimLike], tuple[DimLike, DimLike, DimLike]]
) -> Found:
    data = tensor_at(node, 0)
    if data is None:
        return None
    if data.shape is None:
        return unknown(data.dtype, 4)
    if len(data.shape) != 4:
        raise fail(node, f"expected 4 dimensions, not {data}")
    n, c, h, w = data.shape
    return tensor_type(data.dtype, (n, *change(c, h, w)))


def center_crop_pad(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    rank = len(data.shape)
    given = node.attrs.get("axes")
    axes = list(range(rank)) if given is None else axes_in(node, given, rank)
    target = content_of(node.input(1))
    result: list[Hole] = list(data.shape)
    for i, axis in enumerate(axes):
        result[axis] = None if target is None or is_opaque(target[i]) else target[i]
    return made(data.dtype, result)


TABLE: dict[str, Callable[[Node], Result]] = {
    "Pad": pad,
    "Resize": resize,
    "Upsample": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "CenterCropPad": center_crop_pad,
}

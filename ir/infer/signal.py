"""Signal processing: DFT, STFT and mel weights."""

from __future__ import annotations

from collections.abc import Callable

from ..core import Node
from ..dims import floordiv
from ..types import F32
from .base import Hole, Result, axis_in, content_of, dim_at, is_given, made, shape_at, tensor_at


def dft(node: Node) -> Result:
    """[..., length, 2]; half of the spectrum for onesided, real for an inverse of that."""
    data = tensor_at(node, 0)
    if data is None or data.shape is None:
        return data
    rank = len(data.shape)
    axis = node.attrs.get("axis")
    if axis is None:
        given = content_of(node.input(2))
        if given is None and is_given(node, 2):
            return made(data.dtype, [None] * rank)
        default = 1 if node.op.revision < 20 and node.op.until is not None else -2
        axis = given[0] if given else default
    if not isinstance(axis, int):
        return made(data.dtype, [None] * rank)
    at = axis_in(node, axis, rank)
    length: Hole = data.shape[at]
    if is_given(node, 1):
        wanted = content_of(node.inputs[1])
        length = wanted[0] if wanted else None
    parts = 2
    if node.attr("onesided"):
        if node.attr("inverse"):
            parts = 1
            if not is_given(node, 1):
                length = None if length is None else (length - 1) * 2
        else:
            length = None if length is None else floordiv(length, 2) + 1
    result: list[Hole] = [*data.shape[:-1], parts]
    result[at] = length
    return made(data.dtype, result)


def stft(node: Node) -> Result:
    """[batch, frames, bins, 2] for a signal [batch, length, 1 or 2]."""
    data = tensor_at(node, 0)
    if data is None:
        return None
    step, size = content_of(node.input(1)), content_of(node.input(3))
    frame: Hole = size[0] if size else None
    if not is_given(node, 3):
        frame = dim_at(shape_at(node, 2), 0)
    length = dim_at(data.shape, 1)
    frames: Hole = None
    if length is not None and frame is not None and step and isinstance(step[0], int):
        frames = floordiv(length - frame, step[0]) + 1
    bins: Hole = frame
    if node.attr("onesided") and frame is not None:
        bins = floordiv(frame, 2) + 1
    return made(data.dtype, (dim_at(data.shape, 0), frames, bins, 2))


def mel_weights(node: Node) -> Result:
    """[dft_length // 2 + 1, num_mel_bins]."""
    from .elementwise import dtype_of_code

    code = node.attr("output_datatype")
    dtype = F32 if code is None else dtype_of_code(node, code)
    bins, length = content_of(node.input(0)), content_of(node.input(1))
    rows = floordiv(length[0], 2) + 1 if length else None
    return made(dtype, (rows, bins[0] if bins else None))


TABLE: dict[str, Callable[[Node], Result]] = {
    "DFT": dft,
    "STFT": stft,
    "MelWeightMatrix": mel_weights,
}

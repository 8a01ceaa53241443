"""Discrete Fourier transforms, of one axis after the other; complex numbers are a last axis of 2."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.types import I64
from .table import Made, Reading, reads, refused
from .xml import Layer


@reads("DFT", "IDFT")
def dft(r: Reading, layer: Layer) -> Made:
    """x [..., 2]; axes count those of complex numbers."""
    x = r.arg(layer, 0)
    for axis in _axes(r, layer, r.rank(layer, x) - 1):
        x = _transform(r, x, axis, inverse=int(layer.type == "IDFT"))
    return x


@reads("RDFT")
def rdft(r: Reading, layer: Layer) -> Made:
    """x of real numbers; the last of the axes gets the half of its frequencies, the others are transformed after it."""
    x = r.arg(layer, 0)
    rank = r.rank(layer, x)
    *others, last = _axes(r, layer, rank)
    made = _transform(r, r.unsqueeze(x, [rank]), last, onesided=1)
    for axis in others:
        made = _transform(r, made, axis)
    return made


def _axes(r: Reading, layer: Layer, rank: int) -> list[int]:
    if len(layer.inputs) > 2:
        raise refused(layer, "there is no form for its signal size")
    axes = [r.axis(layer, axis, rank) for axis in r.known_ints(layer, 1)]
    if not axes:
        raise refused(layer, "it has no axes")
    return axes


def _transform(r: Reading, x: Value, axis: int, *, inverse: int = 0, onesided: int = 0) -> Value:
    return r.b.op("DFT", x, None, r.b.const(axis, I64), inverse=inverse, onesided=onesided)

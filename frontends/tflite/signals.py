"""Spectra: complex numbers are pairs along a last axis, which only these operators and RESHAPE read."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.types import I64
from .call import Call, converts
from .images import amount


@converts("RFFT2D")
def _rfft2d(call: Call) -> None:
    """Spectra over the last two axes, of the last one its first half; both are cut or filled with zeros before."""
    sizes, rank = call.ints(1), call.rank(0)
    if len(sizes) != 2 or rank < 2:
        raise InvalidModel(f"makes spectra of {sizes[:8]} for {rank} dimensions")
    height, width = (amount(size, "fft_length") for size in sizes)
    b = call.builder
    x = b.op("Unsqueeze", call.real(0), b.ints([-1]))
    x = b.op("DFT", x, b.const(width, I64), b.const(rank - 1, I64), onesided=1)
    if height != 1 or call.extent(call.value(0), rank - 2) != 1:
        x = b.op("DFT", x, b.const(height, I64), b.const(rank - 2, I64))
    call.give_complex(x)


@converts("COMPLEX_ABS")
def _complex_abs(call: Call) -> None:
    b = call.builder
    call.give(b.op("ReduceL2", _parts(call), b.ints([-1]), keepdims=0))


@converts("REAL", "IMAG")
def _part(call: Call) -> None:
    b = call.builder
    call.give(b.op("Gather", _parts(call), b.const(int(call.name == "IMAG"), I64), axis=-1))


def _parts(call: Call) -> Value:
    parts = call.complex(0)
    if parts is None:
        raise UnsupportedModel("reads complex numbers that RFFT2D did not make")
    return parts

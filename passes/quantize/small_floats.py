"""What a runtime multiplies in floats of 8 and 4 bits: the answer that passes ask ``ctx.capabilities.floats`` for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FORMATS = ("fp8", "mxfp8", "nvfp4")


@dataclass(frozen=True)
class Floats:
    """The products on small floats of a runtime on one piece of hardware.

    `formats` it has (`FORMATS`). `layers`: operators with constant weights that have kernels for fp8; MatMul and Gemm
    alone have them for blocks. `taps`: elements of a convolution's window at most. `heads`: the sizes of an attention's
    head, from and to, for which product, softmax and product are one kernel in fp8; None where there is no such.
    `length`: queries and keys that such a kernel needs at least.
    `blocks`: by format the operators that quantize in blocks at run time, and that bring such numbers back.
    """

    formats: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset({"Conv", "MatMul", "Gemm"})
    taps: int = 1 << 30
    heads: tuple[int, int] | None = None
    length: int = 1
    blocks: Mapping[str, tuple[str, str]] = field(default_factory=dict)


ANY = Floats(frozenset({"fp8"}), heads=(1, 1 << 30))
"""For a target of which nothing is known: what the standard has operators for."""


def small_floats_of(capabilities: Any) -> Floats:
    """What a target says it multiplies in small floats; `ANY` where there is no target."""
    found = getattr(capabilities, "floats", None)
    return found if isinstance(found, Floats) else ANY

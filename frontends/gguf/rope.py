"""Rotary positions (RoPE; Su and others, 2021) as GGUF files have them: how far a step turns each pair of a head.

    frequencies(Rope(size=64, base=10000.0), None)          # f32 [1, 1, 32], radians
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...ir.tensor import Array


class Yarn(NamedTuple):
    """YaRN (Peng and others, 2023): pairs that turn often within the context of training keep their frequency, those
    that turn seldom are stretched, and between `fast` and `slow` turns is a ramp."""

    context: int
    fast: float = 32.0
    slow: float = 1.0
    share: float = 1.0  # how much of its own frequency a pair keeps that turns often


class Rope(NamedTuple):
    """How positions turn the first `size` elements of a head; none where that is 0.

    `stretch` is what positions are divided by; `magnitude` what cosines and sines are multiplied by; `context` up to
    how many tokens the first of two sets of factors holds, where a file has two.
    """

    size: int
    base: float
    stretch: float = 1.0
    yarn: Yarn | None = None
    magnitude: float = 1.0
    context: int = 0


def frequencies(rope: Rope, factors: Array | None) -> Array:
    """Radians of a step of each pair, f32 [1, 1, pairs], each divided by its factor (ggml_rope_ext of ggml)."""
    with np.errstate(all="ignore"):
        powers = np.float32(rope.base) ** (np.arange(0, rope.size, 2, dtype=np.float32) / np.float32(rope.size))
        own = np.float32(1) / powers
        if factors is not None:
            own = own / factors
        found = own / np.float32(rope.stretch)
        if rope.yarn is not None:
            kept = _kept(rope, rope.yarn)
            found = found * (1 - kept) + own * kept
    return np.asarray(found, np.float32).reshape(1, 1, -1)


def _kept(rope: Rope, yarn: Yarn) -> Array:
    """The share of its own frequency that each pair keeps, f32 [pairs]."""

    def pair(turns: float) -> float:
        """Which pair makes so many turns within the context."""
        found = rope.size * np.log(yarn.context / (turns * 2 * math.pi)) / (2 * np.log(np.float64(rope.base)))
        return float(found)

    low = np.maximum(np.floor(pair(yarn.fast)), 0)
    high = np.minimum(np.ceil(pair(yarn.slow)), rope.size - 1)
    ramp = (np.arange(rope.size // 2) - low) / np.maximum(high - low, 0.001)
    return np.asarray((1 - np.clip(ramp, 0, 1)) * yarn.share, np.float32)

"""Numbers for constants and inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.tensor import Array
from ...ir.types import BOOL, DType
from .choices import Choices, Infeasible, seed_of
from .wanted import Shape

STYLES = ("ones", "zeros", "counting", "random", "alike", "large")
STYLE_WEIGHTS = (1.5, 1, 1, 6, 1, 0.4)


def constant_array(
    choices: Choices, label: str, dtype: DType, shape: Shape, fill: str, numbers: Sequence[Any]
) -> Array:
    """The elements of a constant: often one of the `numbers` that a condition names, else in one of several styles."""
    usable = [n for n in dict.fromkeys(numbers) if isinstance(n, (int, float)) and _fits(n, dtype)]
    if usable and fill == "" and choices.chance(f"{label}.named", 0.6):
        return np.full(shape, choices.pick(f"{label}.number", usable)).astype(dtype.numpy)
    if fill == "mask" and len(shape) >= 2 and choices.chance(f"{label}.triangle", 0.5):
        low = choices.pick(f"{label}.low", LOW)
        return triangle(dtype, shape, low)
    if fill.startswith("index") or dtype is BOOL:
        styles: Sequence[str] = ("zeros", "ones", "random")
        style = choices.pick(f"{label}.style", styles, (1, 1, 2))
    else:
        style = choices.pick(f"{label}.style", STYLES, STYLE_WEIGHTS)
    return drawn(dtype, shape, fill, style, seed_of(label, shape))


LOW = (float("-inf"), -1e4, -3.4028234663852886e38, -1e9)


def triangle(dtype: DType, shape: Shape, low: float) -> Array:
    """A mask that hides what comes later: false, or a low number to be added, above the diagonal."""
    keep = np.tril(np.ones(shape, bool), shape[-1] - shape[-2])
    if dtype is BOOL:
        return keep
    if not dtype.is_float:
        raise Infeasible(f"a mask of {dtype}")
    with np.errstate(over="ignore"):
        return np.asarray(np.where(keep, 0.0, low)).astype(dtype.numpy)


def _fits(number: float, dtype: DType) -> bool:
    if dtype is BOOL or dtype.is_int:
        return np.isfinite(number) and int(number) == number and abs(number) < 2 ** (dtype.bits - 1)
    return dtype.is_float and (not np.isfinite(number) or dtype.name != "f16" or abs(number) < 65505)


def drawn(dtype: DType, shape: Shape, fill: str, style: str, seed: int) -> Array:
    """An array in one style, the numbers such that `fill` is satisfied. Raises Infeasible for other types."""
    rng = np.random.default_rng(seed)
    if fill == "padding":
        return _padding(rng, shape, style).astype(dtype.numpy)
    if dtype is BOOL:
        return np.asarray(
            np.zeros(shape, bool)
            if style == "zeros"
            else np.ones(shape, bool)
            if style == "ones"
            else rng.random(shape) < 0.6
        )
    if fill.startswith("index"):
        return np.asarray(_indices(rng, shape, max(1, int(fill.split()[1])), style)).astype(dtype.numpy)
    if dtype.is_int:
        return np.asarray(_integers(rng, shape, style, fill, dtype))
    if not dtype.is_float:
        raise Infeasible(f"no numbers of type {dtype}")
    with np.errstate(over="ignore"):
        return np.asarray(_floats(rng, shape, style, fill)).astype(dtype.numpy)


def _padding(rng: np.random.Generator, shape: Shape, style: str) -> Array:
    """1 for what is seen and 0 for padding, before or behind it or anywhere; in some styles a whole row of it."""
    found = np.ones(shape, np.int64)
    if not shape or style in ("ones", "zeros"):
        return found if style == "ones" else 0 * found
    seen, places = rng.integers(1, shape[-1] + 1, (*shape[:-1], 1)), np.arange(shape[-1])
    if style == "counting":
        found[...] = places >= shape[-1] - seen
    elif style == "positive":
        found[...] = places < seen
    else:
        found[...] = rng.random(shape) < 0.6
    if style in ("large", "masked") and found.size:
        found.reshape(-1, shape[-1])[0] = 0
    return found


def _indices(rng: np.random.Generator, shape: Shape, limit: int, style: str) -> Any:
    if style == "random":
        return rng.integers(0, limit, shape)
    return np.full(shape, 0 if style == "zeros" else limit - 1)


def _integers(rng: np.random.Generator, shape: Shape, style: str, fill: str, dtype: DType) -> Any:
    if style == "counting":
        array = np.arange(int(np.prod(shape))).reshape(shape)
    elif style in ("random", "large", "special"):
        array = rng.integers(-4, 5, shape) * (25 if style == "large" else 1)
    elif style == "alike":
        array = np.full(shape, rng.integers(-3, 4))
    else:
        array = np.full(shape, 0 if style == "zeros" else 1)
    if dtype.kind == "u" or fill in ("positive", "exponent"):
        array = np.abs(array)
    if fill == "exponent":
        array = np.minimum(array, 3)
    if fill in ("positive", "nonzero"):
        array = np.where(array == 0, 1, array)
    return array.astype(dtype.numpy)


def _floats(rng: np.random.Generator, shape: Shape, style: str, fill: str) -> Any:
    if style == "counting":
        array = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)
    elif style in ("random", "large", "special", "positive"):
        array = rng.normal(size=shape)
        if style == "large":
            array = array * 40
        if style == "positive":
            array = np.abs(array) + 0.1
    elif style == "alike":
        array = np.full(shape, float(rng.choice([0.5, 2.0, -1.5, 3.0])))
    else:
        array = np.full(shape, 0.0 if style == "zeros" else 1.0)
    if style == "special":
        flat = array.reshape(-1)
        for number in (np.inf, -np.inf, np.nan, 0.0, -0.0):
            if flat.size and rng.random() < 0.8:
                flat[rng.integers(flat.size)] = number
        return array
    if fill == "exponent":
        array = np.clip(np.round(array), -1, 3)
    if fill == "positive":
        array = np.abs(array) + 0.25
    if fill == "nonzero":
        array = np.where(np.abs(array) < 0.1, 0.75, array)
    if fill == "mask":
        return masked(rng, array, style)
    return array


def masked(rng: np.random.Generator, array: Any, style: str) -> Any:
    """Additive mask values: 0 and minus infinity or a very low number, one row all of it."""
    low = -np.inf if style != "large" else -1e4
    found = np.where(rng.random(array.shape) < 0.4, low, 0.0)
    if found.ndim and found.shape[-1] and style in ("large", "masked"):
        found.reshape(-1, found.shape[-1])[0] = low
    return found

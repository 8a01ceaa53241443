"""Rotary embeddings as llama.cpp has them: a base, and where the frequencies are no powers of one, factors.

    angle of pair i at position p = p base^(-2i/d) / factor_i

(Su and others, 2021; ``rope_freqs.weight`` holds the factors.) The frequencies are found in what the tables of cosines
and sines are made of: positions times a constant, or in tables with a row for each position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...ir.core import Node, Value
from ...ir.errors import UnsupportedModel
from ...ir.infer import content_of
from ...ir.tensor import Array

_EXACT = 2e-6  # relative: what powers in f32 are off by
_VIEWS = frozenset(("Reshape", "Unsqueeze", "Squeeze", "Expand", "Transpose", "Cast"))


@dataclass(frozen=True)
class Rotation:
    """`size` elements of each head turn, as neighbours (`interleaved`) or as halves; `context`: positions that tables
    have rows for, 0 where angles are computed."""

    base: float
    size: int
    interleaved: bool
    factors: tuple[float, ...] = ()
    context: int = 0

    @property
    def stretch(self) -> float:
        """What positions are divided by as a whole, where the factors are all the same; else 0."""
        if not self.factors or max(self.factors) - min(self.factors) > _EXACT * max(self.factors):
            return 0.0
        found = self.factors[0]
        return float(round(found)) if abs(found - round(found)) < _EXACT * found else found


def rotation_of(node: Node, head: int) -> Rotation:
    """What a RotaryEmbedding does to heads of `head` elements. Raises UnsupportedModel where that is not found out."""
    size = int(node.attr("rotary_embedding_dim") or head)
    cos, sin = node.inputs[1], node.inputs[2]
    assert cos is not None and sin is not None
    places = node.inputs[3] if len(node.inputs) > 3 else None
    if cos.const is not None and sin.const is not None and places is not None and len(cos.const.shape) == 2:
        _check_places(places, node)
        frequencies, context = _of_tables(cos.const.array(), sin.const.array(), node), cos.const.shape[0]
    else:
        frequencies, context = _of_angles(cos, sin, node), 0
    if len(frequencies) != size // 2:
        raise _unknown("another number of frequencies than pairs", node)
    base, factors = _as_powers(frequencies)
    return Rotation(base, size, bool(node.attr("interleaved")), factors, context)


def _as_powers(frequencies: Array) -> tuple[float, tuple[float, ...]]:
    """The base, and factors where the frequencies are not its powers."""
    pairs = len(frequencies)
    exact = frequencies.astype(np.float64)
    if pairs == 1:
        return 10000.0, () if abs(exact[0] - 1) < _EXACT else (float(1 / exact[0]),)
    powers = np.arange(pairs) / pairs
    for at in (pairs - 1, 1):  # the last says most; where low frequencies are stretched, the first do
        base = float((exact[0] / exact[at]) ** (1 / powers[at]))
        base = round(base) if base > 2 and abs(base - round(base)) < 1e-4 * base else base
        factors = base**-powers / exact
        if np.abs(factors - 1).max() < _EXACT * max(4, np.log(max(base, 2))):
            return float(base), ()
    return float(base), tuple(float(factor) for factor in factors)


def _of_angles(cos: Value, sin: Value, node: Node) -> Array:
    """The constant that positions are multiplied with."""
    angles = [_made_by(_through(value), name) for value, name in ((cos, "Cos"), (sin, "Sin"))]
    if angles[0] is None or angles[0] is not angles[1]:
        raise _unknown("cosines and sines of no common angle", node)
    product = _through(angles[0]).producer
    if product is None or product.op.key not in ("Mul", "MatMul"):
        raise _unknown("angles that are no product of positions", node)
    for i in (0, 1):
        constant, places = product.inputs[i], product.inputs[1 - i]
        if constant is not None and places is not None and constant.const is not None:
            _check_places(places, node)
            return constant.const.array().astype(np.float32).reshape(-1)
    raise _unknown("angles that are no product with constant frequencies", node)


def _of_tables(cos: Array, sin: Array, node: Node) -> Array:
    """Frequencies by the row of position 1, proven by all rows."""
    found = np.arctan2(sin[1].astype(np.float64), cos[1].astype(np.float64))
    angles = np.arange(len(cos))[:, None] * found[None]
    off = max(np.abs(np.cos(angles) - cos).max(), np.abs(np.sin(angles) - sin).max())
    if off > 1e-6 * max(1024, len(cos)):
        raise _unknown("tables that are no cosines and sines of positions", node)
    single: Array = found.astype(np.float32)
    return single


def _check_places(value: Value, node: Node) -> None:
    """Raise unless these are positions: an input, or a Range that begins behind the past."""
    value = _through(value)
    made = value.producer
    if value.is_input:
        return
    if made is not None and made.op.key == "Range" and content_of(made.inputs[2]) == (1,):
        start = content_of(made.inputs[0])
        graph = made.graph
        assert graph is not None
        pasts = {v.shape[2] for v in graph.inputs if v.shape is not None and len(v.shape) == 4}
        if start is not None and ((start == (0,) and not pasts) or start[0] in pasts):
            return
    raise _unknown("positions that are neither an input nor counted from the past on", node)


def _through(value: Value) -> Value:
    while value.producer is not None and value.producer.op.key in _VIEWS and value.producer.inputs[0] is not None:
        value = value.producer.inputs[0]
    return value


def _made_by(value: Value, key: str) -> Value | None:
    node = value.producer
    return node.inputs[0] if node is not None and node.op.key == key else None


def _unknown(what: str, node: Node) -> UnsupportedModel:
    where = f" at {node.loc[0]}" if node.loc else ""
    return UnsupportedModel(f"gguf: no decoder of the llama family: {what}{where}")

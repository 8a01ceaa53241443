"""The report as plain data: what `--json`, files, the table and the page are made of."""

from __future__ import annotations

import math
from typing import Any

from ...ir.core import Model
from ...passes.quantize.difference import Distance
from .errors import Measured, RoundTrip
from .layers import Activation, Found, Layer

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes away."""
_MOVED = 0.5  # of a squared error, from which on it is told what is left


def report_of(found: Found, measured: Measured | None, model: Model) -> dict[str, Any]:
    """Layers and quantized values in the order of the graph; what was not measured is None.

    Errors are {l2: mean relative L2 error, sqnr: dB, None for no error, moved: the share of its square that a factor
    and a shift for each channel would take away}; sizes are bytes; shares are of 1.
    """
    seen = measured or Measured()
    layers = [_layer(layer, seen) for layer in found.layers]
    once = {layer.weight.value: layer.weight for layer in found.layers}.values()  # a table may be a head as well
    numbers = sum(weight.count for weight in once)
    stored = sum(weight.bytes for weight in once)
    return {
        "schema": SCHEMA,
        "samples": seen.samples,
        "weights": {
            "quantized": numbers,
            "bytes": stored,
            "bytes_as_floats": 4 * numbers,
            "bits": round(8 * stored / numbers, 3) if numbers else None,
            "of_all_bytes": model.weight_bytes,
        },
        "output": _error(seen.total),
        "layers": layers,
        "activations": [_activation(activation, seen) for activation in found.activations],
    }


def _layer(layer: Layer, seen: Measured) -> dict[str, Any]:
    weight = layer.weight
    activation = layer.activation
    return {
        "name": layer.name,
        "op": layer.node.op.name,
        "weight": {
            "name": weight.value.hint,
            "bits": weight.bits,
            "numbers": weight.count,
            "bytes": weight.bytes,
            "granularity": weight.granularity,
            "range": _range(layer),
            "clipped": seen.clipped.get(layer.node),
            "error": _error(seen.weights.get(layer.node)),
        },
        "input": None if activation is None else _activation(activation, seen),
        "error": _error(seen.outputs.get(layer.node)),
    }


def _range(layer: Layer) -> list[float] | None:
    if layer.weight.decode is None:
        return None
    numbers = layer.weight.decode().numbers
    return [float(numbers.min()), float(numbers.max())] if numbers.size else None


def _activation(activation: Activation, seen: Measured) -> dict[str, Any]:
    trip = seen.alone.get(activation.quantizer)
    represented = RoundTrip(activation).represented
    return {
        "name": activation.value.hint,
        "dtype": activation.dtype,
        "bits": activation.bits,
        "dynamic": activation.scale is None,
        "granularity": "tensor" if activation.axis is None else "channel",
        "range": None if represented is None else list(represented),
        "seen": None if trip is None else [trip.low, trip.high],
        "clipped": None if trip is None else trip.clipped,
        "activates": trip is not None and trip.activates,
        "alone": None if trip is None else _error(trip.alone),
        "error": _error(seen.inputs.get(activation.quantizer)),
    }


def _error(found: Distance | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    error = {"l2": found.l2, "sqnr": found.sqnr if math.isfinite(found.sqnr) else None}
    return {**error, "moved": found.moved} if found.moved else error


def own(error: dict[str, Any]) -> float:
    """The relative L2 error without what moved, where most of it did: there a layer has other units than before."""
    share = error.get("moved", 0.0)
    return float(error["l2"] * math.sqrt(1.0 - share) if share > _MOVED else error["l2"])


def by_error(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst by their `own` error first; those whose error is unknown by that of their input alone, at the end."""

    def key(layer: dict[str, Any]) -> tuple[int, float]:
        if layer["error"] is not None:
            return 0, -own(layer["error"])
        source = layer["input"]
        alone = None if source is None else source["alone"]
        return 1, -(alone["l2"] if alone else 0.0)

    return sorted(layers, key=key)

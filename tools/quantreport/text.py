"""The report as a table for terminals."""

from __future__ import annotations

from typing import Any

from ..terminal import shortened
from ..units import aligned
from .data import by_error, own

_SHOWN = 40  # layers, the worst; all with -v


def table(report: dict[str, Any], everything: bool = False) -> str:
    """Some lines on the whole, then a line a layer, the worst first."""
    weights = report["weights"]
    lines = [
        f"{report['model']}" + (f" beside {report['original']}" if report["original"] else ""),
        f"weights   {weights['quantized']:,} of {weights['bits'] or 0:g} bits with their scales: "
        f"{weights['bytes'] / 1e6:.2f} MB, {weights['bytes_as_floats'] / 1e6:.2f} as floats",
        f"samples   {report['samples'] or 'none'}{', ' + report['inputs'] if report['samples'] else ''}",
    ]
    if report["output"] is not None:
        lines.append(f"outputs   {error_text(report['output'])}, the worst of them")
    elif report["original"] is None:
        lines.append("outputs   unknown: give the original as well, geoc quant-report MODEL ORIGINAL")
    layers = by_error(report["layers"])
    rows = [(name, *_row(layer)) for name, layer in zip(shortened([layer["name"] for layer in layers]), layers)]
    shown = rows if everything else rows[:_SHOWN]
    if shown:
        lines += ["", *aligned([("layer", "operator", "weight", "input, seen in, cut off", "alone", "error"), *shown])]
    if len(rows) > len(shown):
        lines.append(f"and {len(rows) - len(shown)} more; -v shows all")
    return "\n".join(lines)


def _row(layer: dict[str, Any]) -> tuple[str, ...]:
    weight, source = layer["weight"], layer["input"]
    stored = f"{weight['bits']} bits a {weight['granularity']}, {weight['bytes'] / 1e6:.3g} MB"
    if source is None:
        return layer["op"], stored, "floats", "", error_text(layer["error"])
    seen = "" if source["seen"] is None else f" [{source['seen'][0]:.3g}, {source['seen'][1]:.3g}]"
    cut = "" if source["clipped"] is None or source["dynamic"] else f" {source['clipped']:.3%}"
    kind = " at run time" if source["dynamic"] else ""
    alone, error = error_text(source["alone"]), error_text(layer["error"])
    return layer["op"], stored, f"{source['dtype']}{kind}{seen}{cut}", alone, error


def error_text(error: dict[str, Any] | None) -> str:
    """``1.2%, 38 dB``; nothing for what is unknown."""
    if error is None:
        return ""
    moved = f", {own(error):.2%} its own" if own(error) != error["l2"] else ""
    return f"{error['l2']:.2%}" + ("" if error["sqnr"] is None else f", {error['sqnr']:.0f} dB") + moved

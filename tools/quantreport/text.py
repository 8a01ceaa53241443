"""The report as a table for terminals."""

from __future__ import annotations

from typing import Any

from .data import by_error

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
    rows = [_row(layer) for layer in by_error(report["layers"])]
    shown = rows if everything else rows[:_SHOWN]
    if shown:
        lines += ["", *_aligned([("layer", "operator", "weight", "input, seen in, cut off", "alone", "error"), *shown])]
    if len(rows) > len(shown):
        lines.append(f"and {len(rows) - len(shown)} more; -v shows all")
    return "\n".join(lines)


def _row(layer: dict[str, Any]) -> tuple[str, ...]:
    weight, source = layer["weight"], layer["input"]
    stored = f"{weight['bits']} bits a {weight['granularity']}, {weight['bytes'] / 1e6:.3g} MB"
    if source is None:
        return _short(layer["name"]), layer["op"], stored, "floats", "", error_text(layer["error"])
    seen = "" if source["seen"] is None else f" [{source['seen'][0]:.3g}, {source['seen'][1]:.3g}]"
    cut = "" if source["clipped"] is None or source["dynamic"] else f" {source['clipped']:.3%}"
    kind = " at run time" if source["dynamic"] else ""
    alone = error_text(source["alone"])
    return _short(layer["name"]), layer["op"], stored, f"{source['dtype']}{kind}{seen}{cut}", alone, error_text(layer["error"])


def error_text(error: dict[str, Any] | None) -> str:
    """``1.2 %, 38 dB``; nothing for what is unknown."""
    if error is None:
        return ""
    return f"{error['l2']:.2%}" + ("" if error["sqnr"] is None else f", {error['sqnr']:.0f} dB")


def _short(name: str) -> str:
    return name if len(name) <= 44 else f"...{name[-41:]}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]

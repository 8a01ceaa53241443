"""The report as a page that needs nothing but a browser, and its plot as a picture."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from ...ir.errors import UsageError
from .data import by_error
from .text import error_text

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 1000, 280, 60, 30
_STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
table { border-collapse: collapse } th, td { padding: 2px 10px; text-align: left; border-bottom: 1px solid #ddd }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } svg { max-width: 100%; height: auto }
svg text { font: 11px system-ui, sans-serif; fill: #444 } rect.e { fill: #2a6fb0 } rect.a { fill: #b9cfe4 }
rect.e:hover, rect.a:hover { fill: #d1495b } line { stroke: #ddd }
"""


def page(report: dict[str, Any]) -> str:
    """The whole report in HTML, with the error of each layer as a plot in SVG; no scripts, nothing from elsewhere."""
    weights = report["weights"]
    title = f"Quantization of {report['model']}"
    beside = f" beside {report['original']}" if report["original"] else ""
    facts = [
        f"{weights['quantized']:,} weights of {weights['bits'] or 0:g} bits with their scales: "
        f"{weights['bytes'] / 1e6:.2f} MB, {weights['bytes_as_floats'] / 1e6:.2f} MB as floats",
        f"{report['samples']} samples, {report['inputs']}" if report["samples"] else "nothing was run",
    ]
    if report["output"] is not None:
        facts.append(f"outputs: relative L2 error {error_text(report['output'])}, the worst of them")
    head = "<tr>" + "".join(f"<th>{cell}</th>" for cell in _HEAD) + "</tr>"
    rows = "\n".join(_row(layer) for layer in by_error(report["layers"]))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n<p>{escape(report['model'] + beside)}<br>"
        f"{'<br>'.join(map(escape, facts))}</p>\n<h2>Error by layer, in the order of the graph</h2>\n"
        f"{plot(report['layers'])}\n<h2>Layers, the worst first</h2>\n<table>{head}\n{rows}\n</table>\n</body></html>\n"
    )


_HEAD = (
    "layer", "operator", "bits", "scales a", "bytes", "weights from", "to", "cut off", "their error", "input",
    "seen from", "to", "codes from", "to", "cut off", "rounding alone", "error of the result",
)  # fmt: skip


def _row(layer: dict[str, Any]) -> str:
    weight, source = layer["weight"], layer["input"] or {}
    own, seen, codes = (weight["range"] or ("", ""), source.get("seen") or ("", ""), source.get("range") or ("", ""))
    cut, clipped = weight["clipped"], source.get("clipped")
    kind = source.get("dtype", "floats") + (" at run time" if source.get("dynamic") else "")
    cells = [
        layer["name"], layer["op"], weight["bits"], weight["granularity"], f"{weight['bytes']:,}", *map(_number, own),
        "" if cut is None else f"{cut:.4%}", error_text(weight["error"]), kind, *map(_number, seen),
        *map(_number, codes), "" if clipped is None else f"{clipped:.4%}", error_text(source.get("alone")),
        error_text(layer["error"]),
    ]  # fmt: skip
    kinds = ("", "", *[" class=n"] * (len(cells) - 2))
    return "<tr>" + "".join(f"<td{k}>{escape(str(cell))}</td>" for k, cell in zip(kinds, cells)) + "</tr>"


def _number(number: Any) -> str:
    return number if isinstance(number, str) else f"{number:.4g}"


def errors_of(layers: list[dict[str, Any]]) -> tuple[list[str], list[float], list[float]]:
    """Names, errors of results and of the rounding of inputs alone; NaN for what is unknown."""

    def l2(error: dict[str, Any] | None) -> float:
        return math.nan if error is None else float(error["l2"])

    alone = [l2(layer["input"]["alone"]) if layer["input"] else math.nan for layer in layers]
    return [layer["name"] for layer in layers], [l2(layer["error"]) for layer in layers], alone


def plot(layers: list[dict[str, Any]]) -> str:
    """SVG: a bar a layer on a logarithmic scale of relative L2 errors, that of the rounding of its input beside it."""
    names, errors, alone = errors_of(layers)
    known = [e for e in (*errors, *alone) if e > 0]
    if not known:
        return "<p>No error is known: give the original model, or samples.</p>"
    top, low = math.ceil(math.log10(max(known)) + 1e-9), math.floor(math.log10(min(known)))
    low = max(min(low, top - 1), top - 6)
    height, width = _HEIGHT - _BOTTOM, (_WIDTH - _LEFT) / len(names)

    def tall(error: float) -> float:
        return max(0.0, min(1.0, (math.log10(error) - low) / (top - low))) * (height - 10) if error > 0 else 0.0

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="relative L2 error of each layer">']
    for power in range(low, top + 1):
        y = height - (power - low) / (top - low) * (height - 10)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:.4%}</text>')
    for index, (name, error, rounding) in enumerate(zip(names, errors, alone)):
        for kind, number, start, label in (("e", error, 0.1, "result"), ("a", rounding, 0.55, "input alone")):
            if number == number:
                x, bar = _LEFT + (index + start) * width, tall(number)
                parts.append(
                    f'<rect class="{kind}" x="{x:.2f}" y="{height - bar:.2f}" width="{width * 0.4:.2f}" '
                    f'height="{bar:.2f}"><title>{escape(name)}: {label} {number:.3%}</title></rect>'
                )
    legend = "dark: result of the layer beside the original's; light: rounding of its input alone"
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{len(names)} layers; {legend}</text></svg>')
    return "".join(parts)


def write_picture(report: dict[str, Any], path: str) -> None:
    """The plot as PNG. Raises UsageError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        said = "a PNG needs matplotlib (pip install 'geoc[plot]'); .html and .json need nothing"
        raise UsageError(said, source="-o") from None
    names, errors, alone = errors_of(report["layers"])
    figure = Figure(figsize=(max(8, min(40, len(names) * 0.22)), 5), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(names))
    axes.bar([p - 0.2 for p in places], [0 if e != e else e for e in errors], 0.4, label="result of the layer")
    axes.bar([p + 0.2 for p in places], [0 if e != e else e for e in alone], 0.4, label="rounding of its input alone")
    if any(e > 0 for e in (*errors, *alone)):
        axes.set_yscale("log")
    axes.set_xticks(list(places), [name[-30:] for name in names], rotation=90, fontsize=6)
    axes.set_ylabel("relative L2 error")
    axes.set_title(f"Quantization of {report['model']}")
    axes.legend()
    figure.savefig(path, format="png", dpi=120)

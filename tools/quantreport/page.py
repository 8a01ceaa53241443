"""The report as a page that needs nothing but a browser, and its plot as a picture."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from ...ir.errors import UsageError
from ..pages import document, svg_bars, table
from .data import by_error
from .text import error_text


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
    body = (
        f"<h1>{escape(title)}</h1>\n<p>{escape(report['model'] + beside)}<br>{'<br>'.join(map(escape, facts))}</p>\n"
        f"<h2>Error by layer, in the order of the graph</h2>\n{plot(report['layers'])}\n"
        f"<h2>Layers, the worst first</h2>\n{layers_table(report['layers'])}"
    )
    return document(title, body)


def layers_table(layers: list[dict[str, Any]]) -> str:
    """All figures of every layer, the worst first, in HTML."""
    return table(_HEAD, [_row(layer) for layer in by_error(layers)], range(2, len(_HEAD)))


_HEAD = (
    "layer", "operator", "bits", "scales a", "bytes", "weights from", "to", "cut off", "their error", "input",
    "seen from", "to", "codes from", "to", "cut off", "rounding alone", "error of the result",
)  # fmt: skip


def _row(layer: dict[str, Any]) -> list[str]:
    weight, source = layer["weight"], layer["input"] or {}
    own, seen, codes = (weight["range"] or ("", ""), source.get("seen") or ("", ""), source.get("range") or ("", ""))
    cut, clipped = weight["clipped"], source.get("clipped")
    kind = source.get("dtype", "floats") + (" at run time" if source.get("dynamic") else "")
    return [
        layer["name"], layer["op"], weight["bits"], weight["granularity"], f"{weight['bytes']:,}", *map(_number, own),
        "" if cut is None else f"{cut:.4%}", error_text(weight["error"]), kind, *map(_number, seen),
        *map(_number, codes), "" if clipped is None else f"{clipped:.4%}", error_text(source.get("alone")),
        error_text(layer["error"]),
    ]  # fmt: skip


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
    legend = "layers; dark: result of the layer beside the original's; light: rounding of its input alone"
    series = {"result": errors, "input alone": alone}
    drawn = svg_bars(names, series, "relative L2 error of each layer", legend)
    return drawn or "<p>No error is known: give the original model, or samples.</p>"


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

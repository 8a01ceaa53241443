"""The record as a picture: the time of each model as a bar with its tail, for each number of threads and batch."""

from __future__ import annotations

from typing import Any

from ...ir.errors import UsageError
from ..units import scaled
from .data import METRIC_TITLES
from .text import ratio_text

_COLOURS = ("#2a6fb0", "#e07b39", "#3a9a5c", "#9a5fb5", "#c4314b", "#7a7a7a")


def write_picture(record: dict[str, Any], path: str) -> None:
    """A panel for each configuration and each thing that is timed. Raises UsageError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        said = "a PNG needs matplotlib (pip install 'geoc[plot]'); .json needs nothing"
        raise UsageError(said, source="-o") from None
    panels = [(found, metric) for found in record["configurations"] for metric in found["noise"]]
    number = len(record["models"])
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    height = 0.9 + rows * (0.9 + 0.42 * number)
    figure = Figure(figsize=(6.2 * columns + 0.6, height), layout="constrained")
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (found, metric) in zip(grid.flat, panels):
        _panel(axes, found, metric)
    machine = record["machine"]
    title = f"{machine['processor'] or machine['kind']}, {machine['cores']} cores"
    figure.suptitle(title, fontsize=10, color="#57606a")
    figure.savefig(path, format="png", dpi=130)


def _panel(axes: Any, found: dict[str, Any], metric: str) -> None:
    results = found["results"]
    most = max(_end(result[metric]) for result in results)
    for place, result in enumerate(results):
        times = result[metric]
        middle = times["median"] * 1e3
        axes.barh(place, middle, 0.62, color=_COLOURS[place % len(_COLOURS)])
        end = _end(times) * 1e3
        axes.plot([times["min"] * 1e3, end], [place, place], color="#1f2328", linewidth=1)
        axes.plot([times["min"] * 1e3, end], [place, place], "|", color="#1f2328", markersize=7)
        said = scaled(times["median"], "s")
        ratio = result["ratios"][metric]
        said += "" if ratio["verdict"] == "first" else f"   {ratio_text(ratio)}"
        axes.text(max(middle, end) + most * 1e3 * 0.015, place, said, va="center", fontsize=8.5)
    axes.set_yticks(range(len(results)), [result["model"] for result in results], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, most * 1e3 * 1.75)
    axes.set_xlabel("ms: median, with the fastest run and p95", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    threads = f"{found['threads']} thread{'s' * (found['threads'] > 1)}"
    title = f"{METRIC_TITLES[metric]}: {threads}, batch {found['batch']}, {found['shape']}"
    axes.set_title(title, fontsize=9.5, loc="left")


def _end(times: dict[str, Any]) -> float:
    """The p95, or the slowest run where there are too few for it."""
    return float(times["p95"] if times["p95"] is not None else times["max"])

"""A comparison as text for terminals."""

from __future__ import annotations

from typing import Any

from ..terminal import Paint, painter, shortened
from ..units import aligned

_WORST, _OUTPUTS = 10, 24  # nodes and outputs that are listed, the worst; all with -v


def text_of(data: dict[str, Any], colour: bool = False, verbose: bool = False) -> str:
    """What ran on what, then a line an output, then the nodes."""
    paint = painter(colour)
    verdict = paint("WITHIN", "green") + " the limits" if data["ok"] else paint("BEYOND", "red") + " a limit"
    worst = sorted(data["outputs"], key=badness, reverse=True)[:_OUTPUTS]
    shown = data["outputs"] if verbose or len(data["outputs"]) <= _OUTPUTS else worst
    lines = [
        *aligned(list(zip(data["models"], data["runtimes"]))),
        f"inputs   {inputs_of(data)}",
        *(f"note     {note}" for note in data["notes"]),
        "",
        *_table(shown, "output", paint),
        *(_shapes(shown, data["shapes"]) if verbose else ()),
    ]
    if len(shown) < len(data["outputs"]):
        lines.append(f"and {len(data['outputs']) - len(shown)} more outputs, no worse than these; -v shows all")
    if data["nodes"] is not None:
        lines += ["", *_nodes(data["nodes"], paint, verbose)]
    return "\n".join([*lines, "", verdict])


def inputs_of(data: dict[str, Any]) -> str:
    """What the models ran on."""
    runs = f"{data['runs']} run{'s' if data['runs'] != 1 else ''}"
    shown = ", ".join(data["shapes"][:4]) + (", ..." if len(data["shapes"]) > 4 else "")
    return f"{data['inputs']}, {runs}: {shown}"


HEAD = ("max abs", "relative L2", "cosine", "SQNR", "limit", "")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The figures of one row below `HEAD`."""
    beyond = "recovers" if row.get("passing") else "BEYOND"
    verdict = "random" if row.get("random") else "ok" if row["ok"] else beyond
    if row["problem"]:
        return "", row["problem"], "", "", f"{row['limit']:.2g}", verdict
    if row["exact"]:
        extra = f", {row['nonfinite']} NaN or infinite in both" if row["nonfinite"] else ""
        return "0", f"equal{extra}", "", "", f"{row['limit']:.2g}", verdict
    if row["relative_l2"] is None and row["error"] is not None:
        share = f"{row['differing']:,} of {row['elements']:,} differ"
        return f"{row['max_abs']:.3g}", share, "", "", f"{row['limit']:.2g}", verdict
    cosine = "" if row["cosine"] is None else f"{row['cosine']:.7f}"
    sqnr = "" if row["sqnr"] is None else f"{row['sqnr']:.1f} dB"
    extra = f", {row['nonfinite']} NaN or infinite in both" if row["nonfinite"] else ""
    error = f"{_number(row['relative_l2'])}{extra}"
    return _number(row["max_abs"]), error, cosine, sqnr, f"{row['limit']:.2g}", verdict


def _number(number: float | None) -> str:
    return "infinite" if number is None else f"{number:.3g}"


def said_of(row: dict[str, Any]) -> str:
    """The error of one node in words."""
    return row["problem"] or f"error {_number(row['error'])}"


def _table(rows: list[dict[str, Any]], what: str, paint: Paint) -> list[str]:
    names = [row["name"] if row["name"] == row["other"] else f"{row['name']} = {row['other']}" for row in rows]
    table = [(what, "type", *HEAD)]
    table += [(name, row["type"], *cells(row)) for name, row in zip(names, rows)]
    return _painted(aligned(table), rows, paint)


def _shapes(rows: list[dict[str, Any]], shapes: list[str]) -> list[str]:
    """The error of each output at each shape."""
    table = [("error at", *shapes)]
    table += [(row["name"], *(_number(row["by_shape"].get(shape)) for shape in shapes)) for row in rows]
    return ["", *aligned(table)]


def _painted(lines: list[str], rows: list[dict[str, Any]], paint: Paint) -> list[str]:
    good = [row["ok"] or row.get("passing") for row in rows]
    return [lines[0], *(line if ok else paint(line, "red") for line, ok in zip(lines[1:], good))]


def _nodes(nodes: dict[str, Any], paint: Paint, verbose: bool) -> list[str]:
    values = nodes["values"]
    lines = [
        f"nodes    {nodes['compared']} of {nodes['of']} values of the first model's main graph correspond to one of "
        f"the second; {beyond_of(nodes)}"
    ]
    if nodes["first"] is not None:
        row = values[nodes["first"]]
        lines += [f"first    {paint(row['where'], 'bold')}: {said_of(row)}"]
        lines += [f"         {sign} {text}" for sign, text in zip("-+", row["statements"])]
    shown = values if verbose else sorted(values, key=badness, reverse=True)[:_WORST]
    shown = [row for row in shown if verbose or not row["exact"]]
    if shown:
        title = "node, in order" if verbose else "worst nodes"
        names = shortened([row["where"] for row in shown])
        table = [(title, "op", *HEAD), *((name, row["op"], *cells(row)) for name, row in zip(names, shown))]
        lines += ["", *_painted(aligned(table), shown, paint)]
    return lines


def beyond_of(nodes: dict[str, Any]) -> str:
    """How many are beyond the limit, and how many of them are within again further on."""
    said = f"{nodes['beyond']} beyond the limit"
    return said + (f", {nodes['passing']} of them within again behind it" if nodes["passing"] else "")


def badness(row: dict[str, Any]) -> tuple[bool, float]:
    """What rows are sorted by: the error, impossible comparisons first, what recovers last."""
    return not row.get("passing"), float("inf") if row["error"] is None else float(row["error"])

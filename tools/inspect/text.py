"""The facts as text: one line a subject, tables where there are many."""

from __future__ import annotations

import os
from typing import Any

from ..report.facts import megabytes
from ..terminal import LONGEST, Paint, painter
from ..units import aligned, scaled

_ROWS = 12
_VALUE = 72  # letters of a metadata value
_FORMS = {
    "qdq": "activations by QDQ", "weights": "dequantized constants", "integer operators": "integer operators",
    "dynamic": "scales found as it runs", "blocks": "weights in blocks", "half weights": "weights cast up from half",
}  # fmt: skip


def text_of(found: dict[str, Any], colour: bool = False, verbose: bool = False) -> str:
    """What `geoc inspect` prints; `verbose` leaves nothing out."""
    paint = painter(colour)
    most = 1 << 30 if verbose else _ROWS
    lines = [_title(found, paint), f"size      {_size(found)}"]
    lines += _values("inputs", found["inputs"], most) + _values("outputs", found["outputs"], most)
    if found["symbols"] or found["unnamed"]:
        wanted = [f"{name}=N" for name in found["symbols"]]
        wanted += [f"{name}={_sizes(found, name)}" for name in found["unnamed"]]
        lines.append(f"sizes     open; --shape {','.join(wanted) if not found['unnamed'] else ' --shape '.join(wanted)} fixes them")
    weights = found["weights"]
    lines.append(f"weights   {weights['count']:,} constants, {megabytes(weights['bytes'])} MB; {scaled(weights['parameters'], '').strip()} parameters")
    lines.append(f"work      {_work(found)}")
    lines += _forms(found)
    lines += _repeated(weights, most)
    nested = f", {found['nested_graphs']} graphs inside others" if found["nested_graphs"] else ""
    lines.append(f"graph     {found['nodes']:,} nodes of {len(found['ops'])} operators{nested}")
    for title, key in (("custom", "custom_ops"), ("functions", "functions")):
        if found[key]:
            unit = "" if key == "custom_ops" else " nodes"
            lines.append(f"{title:<10}{', '.join(f'{name} ({count}{unit})' for name, count in _first(found[key], most))}{_more(found[key], most)}")
    for name, value in _first(found["metadata"], most):
        text = " ".join(str(value).split())
        lines.append(f"metadata  {name}: {text if verbose or len(text) <= _VALUE else text[:_VALUE] + '...'}")
    if len(found["metadata"]) > most:
        lines.append(f"metadata  {len(found['metadata']) - most} more entries")
    lines.append("")
    lines += [_target(each, paint, most) for each in found["targets"]]
    lines += ["", *_tables(found, most)]
    if not verbose and (len(found["ops"]) > most or len(found["metadata"]) > most):
        lines.append("-v shows all")
    return "\n".join(lines)


def _first(entries: dict[str, Any], most: int) -> list[tuple[str, Any]]:
    return list(entries.items())[:most]


def _more(entries: Any, most: int) -> str:
    return f", {len(entries) - most} more" if len(entries) > most else ""


def _title(found: dict[str, Any], paint: Paint) -> str:
    parts = [" ".join(part for part in (found["format"], found["version"]) if part)]
    opsets = ", ".join(f"{domain or 'opset'} {number}" for domain, number in found["opsets"].items())
    maker = " ".join(str(found["info"][key]) for key in ("producer_name", "producer_version") if key in found["info"])
    parts += [part for part in (opsets, f"made by {maker}" if maker else "") if part]
    return f"{paint(found['source'], 'bold')}   {'   '.join(parts)}"


def _size(found: dict[str, Any]) -> str:
    files = sorted(found["files"].items(), key=lambda item: -item[1])
    text = f"{megabytes(found['bytes'])} MB"
    if len(files) > 1:
        text += " in " + ", ".join(f"{os.path.basename(path)} {megabytes(size)}" for path, size in files[:4]) + _more(files, 4)
    return text


def _values(title: str, values: list[dict[str, Any]], most: int) -> list[str]:
    rows = [[value["name"], value["type"] + (" (has a default)" if "default" in value else "")] for value in values[:most]]
    lines = aligned(rows) + ([f"{len(values) - most} more"] if len(values) > most else [])
    return [f"{title if not place else '':<10}{line}" for place, line in enumerate(lines or ["none"])]


def _sizes(found: dict[str, Any], name: str) -> str:
    """What --shape takes for an input with unnamed dimensions, N for each that is open."""
    type = next(value["type"] for value in found["inputs"] if value["name"] == name)
    dims = type.partition("[")[2].rstrip("]").split(",")
    return ",".join(dim if dim.isdigit() else "N" for dim in dims)


def _work(found: dict[str, Any]) -> str:
    text = f"{scaled(found['macs'], 'MAC')} a run, ESTIMATED"
    if found["assumed"]:
        text += f" for {'; '.join(found['assumed'])}"
    return text + (f"; {found['unsized']} products of unknown size are not in it" if found["unsized"] else "")


def _forms(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["quantized"]:
        said = ", ".join(f"{_FORMS[form]} ({count})" for form, count in found["quantized"].items())
        lines.append(f"quantized {said}")
    if found["caches"]:
        first = found["caches"][0]
        more = f" and {len(found['caches']) - 1} more" if len(found["caches"]) > 1 else ""
        lines.append(f"decoder   keys and values are kept: {first['input']} -> {first['output']}{more}, {first['type']}")
    if found["attention"]:
        lines.append(f"attention {found['attention']} fused")
    return lines


def _repeated(weights: dict[str, Any], most: int) -> list[str]:
    lines = []
    doubles, splats = weights["duplicates"], weights["splats"]
    if doubles:
        names = [" = ".join(_short(name) for name in group["names"][:2]) for group in sorted(doubles, key=lambda g: -g["bytes"])[: min(most, 2)]]
        lines.append(f"doubled   {megabytes(sum(g['bytes'] for g in doubles))} MB, {len(doubles)} constants are there more than once: {'; '.join(names)}")
    if splats:
        names = [f"{_short(splat['name'])} {splat['type']} = {splat['value']}" for splat in splats[: min(most, 2)]]
        lines.append(f"repeated  {megabytes(sum(s['bytes'] for s in splats))} MB, {len(splats)} constants of one number: {'; '.join(names)}")
    return lines


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[:16]}...{name[19 - LONGEST :]}"


def _target(each: dict[str, Any], paint: Paint, most: int) -> str:
    head = f"{each['target']:<14}"
    if each["error"]:
        return f"{head}{paint('cannot be written', 'red')}: {each['error']}"
    refused, reader = each["refused"], each["reader"]
    parts = []
    if refused:
        said = "; ".join(f"{row['op']} ({row['count']}): {row['reason']}" for row in refused[: min(most, 4)])
        parts.append(f"{paint('cannot run', 'yellow')} {sum(row['count'] for row in refused)} nodes as they stand: {said}{_more(refused, min(most, 4))}")
    if reader:
        said = ", ".join(f"{op} ({count})" for op, count in _first(reader, 6))
        parts.append(f"left to {each['runtime']}'s own reader: {said}{_more(reader, 6)}")
    return head + ("; ".join(parts) or paint("takes every node", "green"))


def _tables(found: dict[str, Any], most: int) -> list[str]:
    """Operators by count beside constants by element type, one under the other."""
    total = sum(found["ops"].values()) or 1
    rows = [["operator", "nodes", "share"]]
    rows += [[op, f"{count:,}", f"{count / total:.1%}"] for op, count in _first(found["ops"], most)]
    lines = aligned(rows, (1, 2)) + ([f"{len(found['ops']) - most} operators more"] if len(found["ops"]) > most else [])
    if found["weights"]["by_dtype"]:
        rows = [["type", "constants", "elements", "MB", "share"]]
        rows += [
            [row["dtype"], f"{row['count']:,}", f"{row['elements']:,}", megabytes(row["bytes"]), f"{row['share']:.1%}"]
            for row in found["weights"]["by_dtype"]
        ]
        lines += ["", *aligned(rows, (1, 2, 3, 4))]
    return lines

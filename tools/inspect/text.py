"""The facts as text: one line a subject, tables where there are many."""

from __future__ import annotations

import os
from typing import Any

from ..report.facts import megabytes
from ..terminal import LONGEST, Paint, painter
from ..units import aligned, scaled

_ROWS = 12
_REASONS = 4  # of a target
_VALUE = 72  # letters of a metadata value
_FORMS = {
    "qdq": "activations by QDQ", "weights": "dequantized constants", "integer operators": "integer operators",
    "dynamic": "scales found as it runs", "blocks": "weights in blocks", "half weights": "weights cast up from half",
}  # fmt: skip


def text_of(found: dict[str, Any], colour: bool = False, verbose: bool = False) -> str:
    """What `geoc inspect` prints; `verbose` leaves nothing out."""
    paint = painter(colour)
    most = 1 << 30 if verbose else _ROWS
    weights = found["weights"]
    parameters = scaled(weights["parameters"], "").strip()
    lines = [
        _title(found, paint),
        f"size      {_size(found)}",
        *_values("inputs", found["inputs"], most),
        *_values("outputs", found["outputs"], most),
        *_open(found),
        f"weights   {weights['count']:,} constants, {megabytes(weights['bytes'])} MB; {parameters} parameters",
        *_stored(found["stored"]),
        f"work      {_work(found)}",
        *_forms(found),
        *_repeated(weights),
        *_graph(found, most),
        *_metadata(found["metadata"], most),
        "",
        *(line for each in found["targets"] for line in _target(each, paint, most)),
        "",
        *_tables(found, most),
    ]
    longest = max(map(len, (found["ops"], found["metadata"], found["inputs"], found["outputs"])))
    is_cut = longest > most or any(len(each["refused"]) > min(most, _REASONS) for each in found["targets"])
    return "\n".join([*lines, "-v shows all"] if is_cut else lines)


def _first(entries: dict[str, Any], most: int) -> list[tuple[str, Any]]:
    return list(entries.items())[:most]


def _more(entries: Any, most: int) -> str:
    return f", {len(entries) - most} more" if len(entries) > most else ""


def _title(found: dict[str, Any], paint: Paint) -> str:
    parts = [" ".join(part for part in (found["format"], found["version"]) if part)]
    opsets = ", ".join(f"{domain or 'opset'} {number}" for domain, number in found["opsets"].items())
    # Formats that have one producer say its name again.
    maker = " ".join(str(found["info"][key]) for key in ("producer_name", "producer_version") if key in found["info"])
    parts += [part for part in (opsets, f"made by {maker}" if maker and maker != found["format"] else "") if part]
    return f"{paint(found['source'], 'bold')}   {'   '.join(parts)}"


def _size(found: dict[str, Any]) -> str:
    files = sorted(found["files"].items(), key=lambda item: -item[1])
    text = f"{megabytes(found['bytes'])} MB"
    if len(files) == 1:
        return text
    listed = [f"{os.path.basename(path)} {megabytes(size)}" for path, size in files[:4]]
    return f"{text} in {', '.join(listed)}{_more(files, 4)}"


def _stored(kinds: dict[str, dict[str, int]]) -> list[str]:
    said = [f"{kind} ({row['count']}, {megabytes(row['bytes'])} MB)" for kind, row in kinds.items()]
    return [f"stored    {', '.join(said)}"] if said else []


def _values(title: str, values: list[dict[str, Any]], most: int) -> list[str]:
    rows = [[v["name"], v["type"] + (" (has a default)" if v["default"] else "")] for v in values[:most]]
    lines = aligned(rows) + ([f"{len(values) - most} more"] if len(values) > most else [])
    return [f"{title if not place else '':<10}{line}" for place, line in enumerate(lines or ["none"])]


def _open(found: dict[str, Any]) -> list[str]:
    """Which dimensions --shape gives sizes to."""
    wanted = [",".join(f"{name}=N" for name in found["symbols"])] if found["symbols"] else []
    for name, sizes in found["unnamed"].items():
        wanted.append(f"{name}={','.join('N' if size is None else str(size) for size in sizes)}")
    names = "; names in the place of N say which are equal" if found["unnamed"] else ""
    return [f"sizes     open; {' '.join(f'--shape {text}' for text in wanted)} fixes them{names}"] if wanted else []


def _work(found: dict[str, Any]) -> str:
    if found["macs"] is None:
        return f"not known: {found['no_work']}"
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
        pair = f"{first['input']} -> {first['output']}"
        lines.append(f"decoder   keys and values are kept: {pair}{more}, {first['type']}")
    if found["attention"]:
        lines.append(f"attention {found['attention']} fused")
    return lines


def _repeated(weights: dict[str, Any]) -> list[str]:
    lines = []
    doubles = sorted(weights["duplicates"], key=lambda group: -group["bytes"])
    splats = sorted(weights["splats"], key=lambda splat: -splat["bytes"])
    if doubles:
        names = [" = ".join(map(_short, group["names"][:2])) for group in doubles[:2]]
        size = megabytes(sum(group["bytes"] for group in doubles))
        said = "; ".join(names) + _more(doubles, 2)
        lines.append(f"doubled   {size} MB, {len(doubles)} constants are there more than once: {said}")
    if splats:
        names = [f"{_short(splat['name'])} {splat['type']} = {splat['value']}" for splat in splats[:2]]
        size = megabytes(sum(splat["bytes"] for splat in splats))
        said = "; ".join(names) + _more(splats, 2)
        lines.append(f"repeated  {size} MB, {len(splats)} constants of one number: {said}")
    return lines


def _graph(found: dict[str, Any], most: int) -> list[str]:
    nested = f", {found['nested_graphs']} graphs inside others" if found["nested_graphs"] else ""
    lines = [f"graph     {found['nodes']:,} nodes of {len(found['ops'])} operators{nested}"]
    for title, entries, unit in (("custom", found["custom_ops"], ""), ("functions", found["functions"], " nodes")):
        if entries:
            said = ", ".join(f"{name} ({count}{unit})" for name, count in _first(entries, most))
            lines.append(f"{title:<10}{said}{_more(entries, most)}")
    return lines


def _metadata(entries: dict[str, str], most: int) -> list[str]:
    lines = []
    for name, value in _first(entries, most):
        text = " ".join(value.split())
        short = text if most > _ROWS or len(text) <= _VALUE else f"{text[:_VALUE]}..."
        lines.append(f"metadata  {name}: {short}")
    return lines + ([f"metadata  {len(entries) - most} more entries"] if len(entries) > most else [])


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[:16]}...{name[19 - LONGEST :]}"


def _target(each: dict[str, Any], paint: Paint, most: int) -> list[str]:
    """What it takes, and a line for each reason why not."""
    head = f"{each['target']:<14}"
    if each["error"]:
        return [f"{head}{paint('cannot be written', 'red')}: {each['error']}"]
    refused, reader = each["refused"], each["reader"]
    lines = []
    if refused:
        listed = min(most, _REASONS)
        count = sum(row["count"] for row in refused)
        those = "1 node as it stands" if count == 1 else f"{count} nodes as they stand"
        lines.append(f"{paint('cannot run', 'yellow')} {those}")
        lines += [f"  {row['op']} ({row['count']}): {row['reason']}" for row in refused[:listed]]
        lines += [f"  {len(refused) - listed} reasons more"] if len(refused) > listed else []
    if reader:
        said = ", ".join(f"{op} ({count})" for op, count in _first(reader, 6))
        lines.append(f"left to {each['runtime']}'s own reader: {said}{_more(reader, 6)}")
    lines = lines or [paint("takes every node", "green")]
    return [f"{'' if place else head:<14}{line}" for place, line in enumerate(lines)]


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

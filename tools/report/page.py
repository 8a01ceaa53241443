"""The report as a page that needs nothing but a browser: figures first, then what changed, what did not, and why."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import geoc

from ..pages import document, resource, table, table_lines
from .facts import CHECKED, NOT_CHECKED, megabytes
from .report import Report
from .summary import accuracy_line, precision_line, recipe_line

_PACKAGE = os.path.dirname(geoc.__file__) + os.sep
_ROWS = 15  # of a table that are shown at once


def page(report: Report) -> str:
    """The whole report in HTML. The JSON of `Report.to_json` is the page's element "data"."""
    names = " → ".join(os.path.basename(name) for name in (report.source, report.output) if name) or "model"
    level = "--passes" if report.level is None else f"-O{report.level}"
    target = report.target + (f" ({report.target_description})" if report.target_description else "")
    head = f"<h1>{escape(names)}</h1>\n<p>{level} for {escape(target)}, {report.seconds:.1f} s</p>"
    parts = [head, *([] if report.ok else [f'<p class="bad">{escape(report.failure)}; nothing was written</p>'])]
    parts += [_tiles(report), *_decisions(report), *_changes(report), *_quantization(report), *_again(report)]
    body = "<main class=\"report\">\n" + "\n".join(part for part in parts if part) + "\n</main>"
    return document(f"geoc: {names}", body, data=report.to_json(), style=resource(__file__, "report.css"))


# The figures at the top

_TONES = {CHECKED: "good", NOT_CHECKED: "warn"}


def _tiles(report: Report) -> str:
    before, after, accuracy, speed = report.before, report.after, report.accuracy, report.speed
    tiles = [
        ("nodes", f"{before.nodes:,} → {after.nodes:,}", _fused(report), ""),
        ("megabytes", f"{megabytes(before.bytes)} → {megabytes(after.bytes)}", _types(after.weights), ""),
        ("accuracy", accuracy.status, accuracy_line(report).removeprefix(accuracy.status).strip(),
         _TONES.get(accuracy.status, "bad")),
    ]  # fmt: skip
    if speed is None:
        tiles.append(("speed", "NOT MEASURED", "--measure times it here", "warn"))
    else:
        ratio = max(speed.ratios.values(), default=(1.0, 1.0, 1.0))[0]
        tiles.append(("speed", f"x{ratio:.2f}", speed.line(), "good" if ratio >= 1 else "bad"))
    if report.precision:
        tiles.append(("precision", report.precision, precision_line(report).removeprefix(report.precision).strip(), ""))
    if report.metric is not None:
        tiles.append(("metric", f"{report.metric.result:.4f}", report.metric.line(), ""))
    if report.engine:
        kernels = len(report.engine["kernels"])
        said = f"of {report.engine['layers']} layers; {report.engine['fused_attention']} attention"
        tiles.append(("kernels", f"{kernels}", said, ""))
    return f'<div class="tiles">{"".join(_tile(*tile) for tile in tiles)}</div>'


def _tile(what: str, figure: str, said: str, tone: str) -> str:
    name, head, small = f'<span class="soft">{what}</span>', f'<b class="{tone}">{escape(figure)}</b>', escape(said)
    return f'<div class="tile">{name}{head}<i>{small}</i></div>'


def _fused(report: Report) -> str:
    more = {kind: count - report.before.fused.get(kind, 0) for kind, count in report.after.fused.items()}
    fused = ", ".join(f"{count} {kind}" for kind, count in more.items() if count > 0)
    return f"fused {fused}" if fused else ""


def _types(weights: dict[str, int]) -> str:
    total = sum(weights.values())
    shares = [f"{count / total:.0%} {name}" for name, count in weights.items() if count >= total / 200]
    return f"weights {', '.join(shares)}" if shares else ""


# What was decided, and why


def _decisions(report: Report) -> Iterator[str]:
    rows: list[tuple[str, str, str]] = []
    if report.recipe:
        rows.append(("recipe", report.recipe["name"], recipe_line(report)))
    for limit in report.limits:
        met = f"{limit.how} {megabytes(limit.found)} of {megabytes(limit.limit)} MB"
        rows.append(("limit met", limit.option, met) if limit.ok else ("limit MISSED", limit.option, limit.text()))
    rows += [("repaired", repair.what, repair.why) for repair in report.repairs]
    if report.device is not None:
        rows.append(("device", report.device.name, report.device.line()))
    rows += [("note", "", note) for note in [*report.accuracy.notes, *report.notes]]
    if report.tried:
        yield "<h2>Forms that were tried</h2>"
        yield _long(("form", "", "MB", "times as fast", "off by", "score", "why"), [
            (t.name, t.status, "" if t.size is None else megabytes(t.size),
             "" if t.faster is None else f"{t.faster:.2f} {t.timed}", "" if t.error is None else f"{t.error:.2%}",
             "" if t.score is None else f"{t.score:.4f}", " ".join(filter(None, [t.why, _unlock(t.unlock)])))
            for t in report.tried
        ], (2, 3, 4, 5))  # fmt: skip
    if rows:
        yield "<h2>Decisions</h2>"
        yield _long(("", "what", "why"), rows)
    if report.refused:
        yield "<h2>Refused</h2>"
        ordered = sorted(report.refused, key=lambda refusal: -refusal.count)
        yield _long(("times", "what", "why", "what allows it"), [
            (r.count, r.what, r.why, r.unlock) for r in ordered
        ], (0,))  # fmt: skip
    if report.stays is not None:
        yield "<h2>Left in a higher precision</h2>"
        yield f"<p>{escape(report.stays.line())}</p>"
        yield _long(("where", "why"), list(report.stays.reasons.items()))


def _unlock(option: str) -> str:
    return f"({option} allows it)" if option else ""


# What changed


def _changes(report: Report) -> Iterator[str]:
    before, after = report.before.operators, report.after.operators
    names = sorted({*before, *after}, key=lambda name: (-abs(after.get(name, 0) - before.get(name, 0)), name))
    if names:
        most = max([*before.values(), *after.values()])
        yield "<h2>Operators</h2>"
        head = "".join(f'<th class="{kind}">{name}</th>' for kind, name in _OPERATOR_COLUMNS)
        rows = [_operator(name, before.get(name, 0), after.get(name, 0), most) for name in names]
        yield _folded(f"<tr>{head}</tr>", rows)
    if report.rules:
        yield "<h2>What fired</h2>"
        yield _long(("times", "pass", "rule", "what it does", "where"), [
            (rule.count, rule.pass_name, rule.rule, rule.text, _inside(rule.at)) for rule in report.rules
        ], (0,))  # fmt: skip
    if report.timing is not None:
        yield "<h2>Passes</h2>"
        yield _long(("pass", "runs", "ms", "nodes", "rewrites"), list(_timed(report.timing)), (1, 2, 3, 4))


_OPERATOR_COLUMNS = (("", "operator"), ("n", "before"), ("n", "after"), ("n", "change"), ("", ""))


def _operator(name: str, was: int, now: int, most: int) -> str:
    """A row of the table: counts before and after, as numbers and as bars, of which the longest stands for `most`."""
    change = f"{now - was:+d}" if now != was else ""
    bars = "".join(
        f'<span class="bar {kind if count else "none"}" style="width:{count / most * 160:.0f}px"></span>'
        for kind, count in (("was", was), ("", now))
    )
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in (was or "", now or "", change))
    return f"<tr><td>{escape(name)}</td>{numbers}<td>{bars}</td></tr>"


def _timed(line: dict[str, Any], depth: int = 0) -> Iterator[tuple[str, ...]]:
    """The tree of passes line by line; a pass that ran in a group stands behind it, further in."""
    nodes = f"{line['nodes_before']:,} → {line['nodes_after']:,}"
    yield ("\u2003" * depth + line["name"], f"{line['calls']}", f"{line['ms']:.1f}", nodes, f"{line['rewrites']}")
    for part in line.get("parts", ()):
        yield from _timed(part, depth + 1)


def _inside(place: str) -> str:
    """Where a rule of geoc's own is written, as seen from the package."""
    return place.removeprefix(_PACKAGE)


def _quantization(report: Report) -> Iterator[str]:
    if report.quantization is not None:
        from ..quantreport.page import layers_table, plot

        yield "<h2>Quantization, layer by layer</h2>"
        if report.quantization["problem"]:
            yield f"<p>{escape(report.quantization['problem'])}</p>"
        yield plot(report.quantization["layers"])
        every = layers_table(report.quantization["layers"])
        yield f'<details class="more"><summary>all layers</summary>{every}</details>'


# How to get the same again


def _again(report: Report) -> Iterator[str]:
    yield "<h2>The same again</h2>"
    if report.again:
        yield f"<pre>{escape(report.again)}</pre>"
    if report.pipeline:
        yield "<p>The passes, as <code>--passes</code> takes them:</p>"
        yield f"<pre>--passes {escape(shlex.quote(report.pipeline))}</pre>"
    found = report.provenance
    if found:
        rows = [
            (kind, entry["file"], f"{entry['bytes']:,}", entry["sha256"])
            for kind, key in (("read", "sources"), ("given", "given"), ("written", "written"))
            for entry in found[key]
        ]
        yield table(("", "file", "bytes", "SHA-256"), rows, (2,))
        said = ", ".join(f"{name} {text}" for name, text in found["versions"].items())
        yield f'<p class="soft">{escape(said)}; {escape(found["machine"])}</p>'


def _long(head: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """A table whose later rows are folded away."""
    first, *lines = table_lines(head, rows, numbers)
    return _folded(first, lines)


def _folded(head: str, rows: Sequence[str]) -> str:
    shown, rest = rows[:_ROWS], rows[_ROWS:]
    text = "\n".join(["<table>" + head, *shown, "</table>"])
    if rest:
        more = "\n".join(["<table>" + head, *rest, "</table>"])
        text += f'\n<details class="more"><summary>{len(rest)} more</summary>{more}</details>'
    return text

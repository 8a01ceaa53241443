"""The summary that the command prints.

Nothing is implied by silence: what was not compared says NOT CHECKED, what was not timed NOT MEASURED.
"""

from __future__ import annotations

import math

from ..precision import SMALL
from ..terminal import Paint, painter, plain
from .facts import CHECKED, NOT_CHECKED, WRONG, megabytes
from .report import Report


def summary(report: Report, colour: bool = False, verbose: bool = False) -> str:
    """The summary; `colour` adds terminal colours, `verbose` the pipeline and every count of rewrites."""
    paint = painter(colour)
    lines = [_title(report, paint), graph_line(report)]
    if verbose and report.pipeline:
        lines.append(f"passes    {report.pipeline}")
    if report.rewrites:
        top = sorted(report.rewrites.items(), key=lambda item: (-item[1], item[0]))
        most = len(top) if verbose else 6
        shown = ", ".join(f"{name} {count}" for name, count in top[:most])
        more = f", {len(top) - most} more" if len(top) > most else ""
        lines.append(f"rewrites  {sum(report.rewrites.values())}: {shown}{more}")
    if report.recipe:
        lines.append(f"recipe    {recipe_line(report)}")
    lines.extend(f"tried     {tried.line()}" for tried in report.tried)
    if report.precision:
        lines.append(f"precision {precision_line(report)}")
    if report.device is not None:
        lines.append(f"device    {report.device.line()}")
    if report.engine:
        kernels, fused = len(report.engine["kernels"]), report.engine["fused_attention"]
        line = f"engine    {report.engine['layers']} layers -> {kernels} kernels, {fused} of them attention"
        small = [(name, report.engine.get(f"{name.lower()}_products")) for name in ("INT8", "FP8", "FP4")]
        lines.append("".join([line, *(f", {count} products in {name}" for name, count in small if count)]))
    lines.append(f"accuracy  {accuracy_line(report, paint)}")
    lines.extend(f"          {note}" for note in report.accuracy.notes)
    if report.metric is not None:
        lines.append(f"metric    {report.metric.line()}")
    if report.speed is None:
        lines.append(f"speed     {paint('NOT MEASURED', 'yellow')}")
    else:
        lines.append(f"speed     {paint('MEASURED', 'green')}  {report.speed.line()}")
    for limit in report.limits:
        met = f"{limit.how} {megabytes(limit.found)} MB, {limit.option}={megabytes(limit.limit)}MB"
        said = paint("MET", "green") if limit.ok else paint("MISSED", "red")
        lines.append(f"limit     {said}  {met if limit.ok else f'{limit.text()}; nothing was written'}")
    for repair in report.repairs:
        lines.append(f"{paint('repaired', 'red')}  {repair.what}: {repair.why}")
    for refusal in report.refused:
        times = f" ({refusal.count} times)" if refusal.count > 1 else ""
        unlock = f"; {refusal.unlock} allows it" if refusal.unlock else ""
        lines.append(f"refused   {refusal.what}{times}: {refusal.why}{unlock}")
    lines.extend(f"note      {note}" for note in report.notes)
    if report.again:
        lines.append(f"again     {report.again}")
    return "\n".join(lines)


def _title(report: Report, paint: Paint) -> str:
    level = "--passes" if report.level is None else f"-O{report.level}"
    target = f"target {report.target}"
    if report.target_description:
        target += f" ({report.target_description})"
    names = " -> ".join(name for name in (report.source, report.output) if name) or "model"
    return f"{paint(names, 'bold')}   {target}   {level}   {report.seconds:.1f} s"


def graph_line(report: Report) -> str:
    """Nodes and megabytes before and after, and what was fused."""
    line = (
        f"graph     {report.before.nodes:,} -> {report.after.nodes:,} nodes, "
        f"{megabytes(report.before.bytes)} -> {megabytes(report.after.bytes)} MB"
    )
    if report.opset is not None:
        line += f", opset {report.opset}"
    more = {kind: count - report.before.fused.get(kind, 0) for kind, count in report.after.fused.items()}
    fused = ", ".join(f"{count} {kind}" for kind, count in more.items() if count > 0)
    return f"{line}   fused {fused}" if fused else line


def recipe_line(report: Report) -> str:
    """Which one was used and what of it counted; the steps that it ran are counted with the rewrites."""
    found = report.recipe
    options = ", ".join(f"{key} {value}" for key, value in found["options"].items())
    steps = ", ".join(f"{name} {report.rewrites.get(name, 0)}" for name in found["steps"])
    return f"{found['name']}: {found['description']}   {options}" + (f"   rewrites: {steps}" if steps else "")


def precision_line(report: Report) -> str:
    """How many of the products are in the precision that was chosen, and how many casts it took."""
    found = report.after
    small = report.precision in SMALL
    line = f"{report.precision} in {found.coded if small else found.low} of {found.products} products"
    if small and found.low > found.coded:
        line = f"{line}, {found.low - found.coded} in half precision"
    line = f"{line}, {found.casts} casts"
    line += f", {found.caches} caches in i8" if found.caches else ""
    return line if report.stays is None else f"{line}; {report.stays.line()}"


def accuracy_line(report: Report, paint: Paint = plain) -> str:
    """How far the result is off, over what, or why that is not known."""
    found = report.accuracy
    if found.status == NOT_CHECKED:
        return f"{paint(NOT_CHECKED, 'yellow')}  {found.reason}"
    where = f"shapes {_shapes(found.shapes)}" if found.shapes else "no inputs"
    if found.samples:
        kind = "held-back samples" if found.held_back else "samples, the ones it was measured on"
        where = f"{found.samples} {kind}, {where}"
    if found.status == WRONG:
        return f"{paint(WRONG, 'red')}  {found.reason}, {where}; nothing was written"
    if found.norm == "relative L2":
        limit = "" if found.limit is None or found.limit == float("inf") else f" (limit {found.limit:.2%})"
        error = f"relative L2 {found.error or 0.0:.3%}{_sqnr(found.error)}"
        return f"{paint(CHECKED, 'green')}  {error}{limit}, {where}"
    error = "equal" if not found.error else f"largest error {found.error:.1e}"
    limit = "" if found.limit is None else f" (limit {found.limit:.0e})"
    return f"{paint(CHECKED, 'green')}  {error}{limit} of an output's largest value, {where}"


def _shapes(shapes: list[str]) -> str:
    return " ".join(shapes[:3]) + (f" and {len(shapes) - 3} more" if len(shapes) > 3 else "")


def _sqnr(error: float | None) -> str:
    """The ratio of signal to noise, 20 log10(1 / relative L2 error)."""
    return f", SQNR {-20 * math.log10(error):.0f} dB" if error else ""

"""The record as tables for terminals."""

from __future__ import annotations

import math
from typing import Any

from ..units import aligned, scaled
from .data import ENOUGH, METRIC_TITLES, ratio_from

BUSY = 0.05  # of the processors, used by others, that is worth a word
_GREEN, _RED, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


def text_of(record: dict[str, Any], colour: bool = False) -> str:
    """Some lines on the machine, a table of what each model takes, then one for each number of threads and batch."""
    machine = record["machine"]
    runtimes = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"machine   {machine['processor'] or machine['kind']}, {machine['cores']} cores; {runtimes}",
        f"inputs    {record['inputs']}",
        f"energy    {record['energy']}",
    ]
    if record["price"] is None:
        target = record["target"]
        lines.append(f"cost      unknown: {target} has no price; --target {target},price=0.10 gives its hour one")
    else:
        lines.append(f"cost      at {record['price']:g} an hour of {record['target']}, one run after the other")
    lines += ["", *_models(record)]
    for configuration in record["configurations"]:
        lines += ["", *_configuration(configuration, colour)]
    lines += _history(record.get("since"), colour)
    return "\n".join(lines)


def _models(record: dict[str, Any]) -> list[str]:
    rows = [("model", "runtime", "on disk", "loads in", "first run", "peak memory", "")]
    for model in record["models"]:
        known = model["not_measured"] is None
        own = (
            (scaled(model["load"], "s"), scaled(model["first_inference"], "s"), scaled(model["peak_bytes"], "B"))
            if known else ("", "", "")
        )  # fmt: skip
        why = "" if known else f"not measured: {model['not_measured']}"
        rows.append((model["name"], model["runtime"], scaled(model["bytes"], "B"), *own, why))
    return aligned(rows, (2, 3, 4, 5))


def _configuration(found: dict[str, Any], colour: bool) -> list[str]:
    main = list(found["noise"])[-1]
    threads = f"{found['threads']} thread{'s' * (found['threads'] > 1)}"
    how = f"{found['rounds']} rounds, sessions opened {found['openings']} time{'s' * (found['openings'] > 1)}"
    lines = [f"{threads}, batch {found['batch']}, {found['shape']}   {how}"]
    for metric in found["noise"]:
        lines += _table(found, metric, metric == main, colour)
    lines += [f"          {warning}" for warning in warnings_of(found)]
    return lines


def _table(found: dict[str, Any], metric: str, is_main: bool, colour: bool) -> list[str]:
    noise = math.expm1(found["noise"][metric])
    rate, cost, energy = ("a second", "a million", "each") if is_main else ("", "", "")
    title, ratios = METRIC_TITLES[metric], "time against the first"
    rows = [(title, "median", "p95", "p99", "min", "runs", rate, cost, energy, ratios)]
    marks = []
    for result in found["results"]:
        times, ratio = result[metric], result["ratios"][metric]
        tail = [_ms(times[p]) if times[p] is not None else "-" for p in ENOUGH]
        own = ["", "", ""]
        if is_main:
            price, joules = result["cost_per_million"], result["joules"]
            own = [f"{result['per_second']:,.4g} {result['unit']}", "" if price is None else f"{price:.3g}"]
            own.append("" if joules is None else scaled(joules, "J"))
        said = "1" if ratio["verdict"] == "first" else ratio_text(ratio)
        rows.append((result["model"], _ms(times["median"]), *tail, _ms(times["min"]), str(times["runs"]), *own, said))
        marks.append(ratio["verdict"])
    kept = [column for column in zip(*rows) if any(column[1:])]
    lines = aligned(list(zip(*kept)), range(1, len(kept) - 1))
    if colour:
        paint = {"faster": _GREEN, "slower": _RED}
        lines[1:] = [f"{paint[mark]}{line}{_PLAIN}" if mark in paint else line for line, mark in zip(lines[1:], marks)]
    return [*lines, f"          noise ±{noise:.1%}: {found['results'][0]['model']} against itself"]


def ratio_text(ratio: dict[str, Any]) -> str:
    """``0.52 (0.51 to 0.53), faster``."""
    found = ratio_from(ratio)
    return f"{found.middle:.3g} ({found.low:.3g} to {found.high:.3g}), {ratio['verdict']}"


def _ms(seconds: float) -> str:
    return scaled(seconds, "s")


def warnings_of(found: dict[str, Any]) -> list[str]:
    """What a reader should know of how the machine was while this was timed."""
    said = []
    busy, waited = found["busy_with_others"] or 0.0, found["waited"]
    if busy > BUSY:
        taken = "" if waited is None else f"; {waited:.0%} of the time, in which the thread had none, is taken off"
        said.append(f"others used {busy:.0%} of the processors meanwhile{taken}")
    if found["drifted"]:
        drift = f"{found['drift']:+.0%} from the first third to the last"
        said.append(f"times drifted by {drift}: clocks or other work changed")
    return said


def _history(since: dict[str, Any] | None, colour: bool) -> list[str]:
    if since is None:
        return []
    if since["when"] is None:
        return ["", f"history   {since['file']}: the first run of these models on this machine"]
    lines = ["", "history   " + "; ".join([f"against {since['when']}", *since["changed"]])]
    paint = {"faster": _GREEN, "slower": _RED}
    for change in since["changes"]:
        by = f"{change['ratio']:.3g} times as long, ±{change['bound']:.1%}"
        line = f"          {change['model']} ({change['where']}): {change['verdict']}, {by}, {change['by']}"
        lines.append(f"{paint[change['verdict']]}{line}{_PLAIN}" if colour and change["verdict"] in paint else line)
    return lines

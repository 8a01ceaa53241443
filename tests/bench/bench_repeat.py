"""Does `geoc bench` say the same three times? Writes the table of docs/bench.md.

    python tests/bench/bench_repeat.py A.onnx B.onnx [C.onnx ...] [--runs 3] [--time 20s] [--doc docs/bench.md] [--note TEXT]

Each run is a process of its own. Of every model but the first: its ratio to the first in each run, and by how much the largest of
them is above the smallest; exit 1 where that is more than 5 % for a model of 10 ms or more. With --doc the table replaces what is
between the two marks in that file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from records import write_between

LIMIT, LEAST = 0.05, 0.010  # of the ratios; seconds of a model that it is about
BEGIN, END = "<!-- repeat: made by tests/bench/bench_repeat.py -->", "<!-- end of repeat -->"


def run(words: list[str]) -> dict[str, Any]:
    """The record of one `geoc bench`."""
    done = subprocess.run([sys.executable, "-m", "geoc", "bench", *words, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows_of(records: list[dict[str, Any]]) -> tuple[list[list[str]], bool]:
    """A row for each model and each thing timed, and whether all of them hold."""
    rows, holds = [], True
    for index, found in enumerate(records[0]["configurations"]):
        each = [record["configurations"][index] for record in records]
        for place, result in enumerate(found["results"][1:], 1):
            for metric in found["noise"]:
                ratios = [configuration["results"][place]["ratios"][metric] for configuration in each]
                middles = [ratio["middle"] for ratio in ratios]
                spread = max(middles) / min(middles) - 1
                seconds = min(configuration["results"][n][metric]["median"] for configuration in each for n in (0, place))
                holds &= spread <= LIMIT or seconds < LEAST
                said = [f"{ratio['middle']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})" for ratio in ratios]
                took = f"{found['results'][0][metric]['median'] * 1e3:.1f}, {result[metric]['median'] * 1e3:.1f} ms"
                what = f"{found['threads']} thread, {found['shape']}" + ("" if metric == "latency" else f", {metric} token")
                rows.append([result["model"], what, took, *said, f"{spread:.1%}"])
    return rows, holds


def table(records: list[dict[str, Any]], rows: list[list[str]], note: str) -> str:
    """In Markdown, with the machine above it."""
    machine, first = records[0]["machine"], records[0]["models"][0]["name"]
    busy = [found["busy_with_others"] or 0.0 for record in records for found in record["configurations"]]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if name != "geoc")
    head = ["model", "at", f"median, {first} first", *(f"run {number + 1}" for number in range(len(records))), "apart"]
    lines = [
        f"Time of each model against `{first}`, with its interval. {machine['processor']}, {machine['cores']} cores, {versions}; others "
        f"used {min(busy):.0%} to {max(busy):.0%} of the processors meanwhile.{' ' + note if note else ''}",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--time", default="20s")
    parser.add_argument("--doc", type=Path)
    parser.add_argument("--note", default="")
    parser.add_argument("--also", default="", help="more options of geoc bench, with spaces")
    options = parser.parse_args()
    words = [*options.models, "--time", options.time, *options.also.split()]
    records = []
    for number in range(options.runs):
        records.append(run([*words, "--seed", str(number)]))
        print(f"run {number + 1} of {options.runs} is done", file=sys.stderr, flush=True)
    rows, holds = rows_of(records)
    text = table(records, rows, options.note)
    print(text)
    print("ratios repeat" if holds else f"RATIOS ARE MORE THAN {LIMIT:.0%} APART", file=sys.stderr)
    if options.doc:
        write_between(options.doc, BEGIN, END, text)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())

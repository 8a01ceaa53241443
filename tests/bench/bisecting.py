"""Planted faults in real models: what `geoc bisect` and `geoc reduce` find, and how long that takes.

    python tests/bench/bisecting.py [NAME...] [--out found.jsonl]     faults by file, all by default
    python tests/bench/bisecting.py --table found.jsonl               the table of docs/bisect.md

Models are those of ~/.cache/geoc-models. Seconds are of the whole command, start included, by
the clock and (cpu) of processors.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "tools" / "bisect"))

from faults import FAULTS, Fault  # noqa: E402

CACHE = Path(os.path.expanduser("~/.cache/geoc-models"))


def geoc(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run([sys.executable, "-m", "geoc", *words], capture_output=True, text=True, **more)


def processor_seconds() -> float:
    """What all commands that ended have taken of processors: on a busy machine it says more than the clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(fault: Fault) -> dict[str, Any]:
    """Both verbs on the fault's real model, and the small model tested again with and without the fault."""
    path = CACHE / f"{fault.model}.onnx"
    found: dict[str, Any] = {"fault": fault.name, "what": fault.what, "model": fault.model}
    with tempfile.TemporaryDirectory() as folder:
        small = f"{folder}/small.gir"
        for verb, words in (("bisect", ()), ("reduce", ("-o", small))):
            begun, used = perf_counter(), processor_seconds()
            done = geoc(verb, str(path), *fault.arguments, "--json", *words)
            found[f"{verb} s"] = round(perf_counter() - begun, 1)
            found[f"{verb} cpu s"] = round(processor_seconds() - used, 1)
            if done.returncode != 1:
                raise SystemExit(f"{fault.name}: {done.stdout}{done.stderr}")
            found[verb] = json.loads(done.stdout)
        options = [word for word in fault.arguments if word != "--shape" and not word.startswith("input=")]
        without = [] if fault.rule == "" else options[:-2]
        found["fails again"] = geoc("bisect", small, *options).returncode == 1
        found["right without"] = geoc("bisect", small, *without).returncode == 0
        found["text"] = Path(small).read_text()
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| fault | model | rewrite found | bisect, s (cpu) | nodes | reduce, s (cpu) | alone guilty | read back: fails, right without |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        bisect, reduce = row["bisect"], row["reduce"]
        name = bisect["rule"] or bisect["pass"]
        alone = "yes" if bisect["alone"]["kind"] == "good" else "no, several places"
        back = ", ".join("yes" if row[key] else "NO" for key in ("fails again", "right without"))
        lines.append(
            f"| {row['what']} (`{row['fault']}`) | {row['model']} | {bisect['bad']} of {bisect['total']}, `{name}` | "
            f"{row['bisect s']} ({row['bisect cpu s']}) | {reduce['nodes_before']} -> {reduce['nodes_after']} | "
            f"{row['reduce s']} ({row['reduce cpu s']}) | {alone} | {back} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table:
        print(table([json.loads(line) for line in given.table.read_text().splitlines()]))
    else:
        rows = []
        order = given.names or [fault.name for fault in FAULTS]
        for fault in sorted((f for f in FAULTS if f.name in order), key=lambda f: order.index(f.name)):
            rows.append(measure(fault))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
            if given.out:
                with given.out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")


if __name__ == "__main__":
    main()

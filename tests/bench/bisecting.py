"""Planted faults in real models: what `geoc bisect` and `geoc reduce` find, and how long that takes.

    python tests/bench/bisecting.py [NAME...] [--out found.jsonl]     faults by file, all by default
    python tests/bench/bisecting.py --table found.jsonl               the table of docs/bisect.md
    python tests/bench/bisecting.py --picture docs/pictures/bisect.svg

Models are those of ~/.cache/geoc-models. Seconds are of the whole command, start included, by
the clock and (cpu) of processors.
"""

from __future__ import annotations

import argparse
import html
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

from faults import FAULTS, Fault, small_model  # noqa: E402

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
        "| fault | model | rewrite found | bisect, s (cpu) | nodes | reduce, s (cpu) | alone guilty |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        bisect, reduce = row["bisect"], row["reduce"]
        name = bisect["rule"] or bisect["pass"]
        alone = "yes" if bisect["alone"]["kind"] == "good" else "no, several places"
        lines.append(
            f"| {row['what']} (`{row['fault']}`) | {row['model']} | {bisect['bad']} of {bisect['total']}, `{name}` | "
            f"{row['bisect s']} ({row['bisect cpu s']}) | {reduce['nodes_before']} -> {reduce['nodes_after']} | "
            f"{row['reduce s']} ({row['reduce cpu s']}) | {alone} |"
        )
    return "\n".join(lines)


def picture(path: Path) -> None:
    """A terminal with both verbs on the small model of the first fault."""
    with tempfile.TemporaryDirectory() as folder:
        fault = FAULTS[0]
        model = small_model(fault, Path(folder)).rename(Path(folder) / "bert.onnx")
        mine = Path(folder) / "mine.rules"
        mine.write_text(fault.path.read_text())
        lines: list[str] = []
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        for verb, more in (("bisect", []), ("reduce", ["-o", "small.gir"])):
            words = [verb, model.name, *fault.options, "--rules", mine.name, *more]
            lines.append(f"$ geoc {' '.join(words)}")
            lines += geoc(*words, cwd=folder, env=environment).stdout.splitlines() + [""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(terminal(lines[:-1]))


WIDTH = 118  # columns


def terminal(lines: list[str]) -> str:
    """Lines of text as an SVG that looks like a terminal; long ones are wrapped below where their text begins."""
    shown: list[str] = []
    for line in lines:
        indent = " " * 12
        while len(line) > WIDTH:
            at = line.rfind(" ", 13, WIDTH)
            at = at if at > 0 else WIDTH
            shown.append(line[:at])
            line = indent + line[at:].lstrip()
        shown.append(line)
    height = 18 * len(shown) + 28
    rows = []
    for number, line in enumerate(shown):
        kind = "head" if line.startswith("$") else "bad" if "makes it wrong" in line or "-> small" in line else "text"
        label = line[:10] if not line.startswith(("$", " ")) and line[:10].strip().isalpha() and line[9:10] == " " else ""
        rest = html.escape(line[len(label) :])
        spans = f'<tspan class="label">{html.escape(label)}</tspan>' if label else ""
        rows.append(f'<text x="14" y="{24 + 18 * number}" class="{kind}" xml:space="preserve">{spans}{rest}</text>')
    style = (
        "text{font:13px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#d6dae0}"
        ".head{fill:#8fd18f;font-weight:bold}.bad{fill:#ff9d8a}.label{fill:#7fb4ff}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {14 * 2 + WIDTH * 7.85:.0f} {height}" role="img" '
        f'aria-label="geoc bisect and geoc reduce in a terminal"><style>{style}</style>'
        f'<rect width="100%" height="100%" rx="8" fill="#1b1e24"/>{"".join(rows)}</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    if given.table:
        print(table([json.loads(line) for line in given.table.read_text().splitlines()]))
    elif given.picture:
        picture(given.picture)
    else:
        rows = []
        order = given.names or [fault.name for fault in FAULTS]
        for fault in sorted((f for f in FAULTS if f.name in order), key=lambda f: order.index(f.name)):
            rows.append(measure(fault))
            print(table(rows[-1:]).splitlines()[-1], rows[-1]["fails again"], rows[-1]["right without"], flush=True)
            if given.out:
                with given.out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")


if __name__ == "__main__":
    main()

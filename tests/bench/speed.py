"""Time and memory of optimizing.

    python tests/bench/speed.py commands [MODELS...] [--runs N] [--json OUT]
    python tests/bench/speed.py synthetic [NODES...] [--runs N] [--json OUT]

`commands` times geoc -O2 --check=off, OnnxSlim, onnxsim and onnxscript's optimizer as whole
processes, interleaved (each round runs every tool once, in an order that rotates), and gives
minimum and median wall time, the peak resident memory, and the ratio of the medians to geoc's.
MODELS as in cleanup.py; `synthetic:NODES` stands for the synthetic graph of that many nodes.

`synthetic` times the steps (import, export, print, parse, verify, one rule set, -O2) inside one
process per size (1,000, 10,000 and 100,000 nodes by default), and compares with the budgets for
10,000 nodes and with linear growth. The budgets are of a machine on which onnx.load of the same file
takes REFERENCE milliseconds; it is timed beside the steps, and they are held to so many times it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import pairwise
from math import log10
from pathlib import Path
from statistics import median
from typing import Any

from commands import PEERS, Run, command, default_folder, find_models, run

HERE = Path(__file__).parent
Record = dict[str, Any]

# milliseconds at 10,000 nodes
BUDGETS = {
    "import": 150,
    "import-untyped": 400,
    "export": 150,
    "print": 50,
    "parse": 150,
    "verify": 60,
    "rules": 100,
    "optimize": 1500,
}
REFERENCE = 19  # milliseconds of onnx.load at 10,000 nodes on the machine of the budgets
GROWTH = 15  # at most this for ten times the nodes


def warm(path: Path) -> None:
    """Bring the file into the page cache; by pieces, so that this process stays small."""
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def time_commands(source: Path, options: argparse.Namespace) -> Record:
    """Every tool `options.runs` times on one model; a tool that fails once is not run again."""
    done: dict[str, list[Run]] = {tool: [] for tool in options.tools}
    failed: dict[str, str] = {}
    warm(source)
    with tempfile.TemporaryDirectory(prefix="speed-", dir=options.scratch) as scratch:
        for turn in range(options.runs):
            start = turn % len(options.tools)
            for tool in options.tools[start:] + options.tools[:start]:
                if tool in failed:
                    continue
                folder = Path(scratch) / tool
                folder.mkdir(exist_ok=True)
                argv = command(tool, "O2", options.peer_python, source, folder / source.name)
                finished = run(argv, options.limit, Path(scratch) / "log.txt")
                if finished.failure():
                    failed[tool] = finished.failure()
                done[tool].append(finished)
                for file in folder.iterdir():
                    file.unlink()
    tools: dict[str, Record] = {}
    for tool, runs in done.items():
        seconds = [round(r.seconds, 4) for r in runs]
        tools[tool] = {"seconds": seconds, "min": min(seconds), "median": median(seconds)}
        tools[tool]["peak_mb"] = round(max(r.peak for r in runs) / 1e6, 1)
        if tool in failed:
            tools[tool]["failure"] = failed[tool]
    return {"model": source.stem, "tools": tools}


def command_row(record: Record) -> str:
    tools = record["tools"]
    base = tools.get("geoc", {"failure": ""})
    cells, lines = [], []
    for name, tool in tools.items():
        if "failure" in tool:
            cells.append(f"failed after {tool['median']:.1f}s")
            lines.append(f"{name}: {tool['failure']}")
            continue
        ratio = (
            ""
            if name == "geoc" or "failure" in base
            else f" x{tool['median'] / base['median']:.1f}"
        )
        cells.append(f"{tool['min']:.2f}/{tool['median']:.2f}s {tool['peak_mb']:.0f}MB{ratio}")
    first = f"{record['model']:32}" + "".join(f"{cell:>28}" for cell in cells)
    return "\n    ".join([first, *lines])


def markdown(records: list[Record]) -> str:
    """The rows of docs/speed.md: the fastest run of geoc, and how many times longer the fastest run of each peer takes."""
    lines = ["| model | geoc s (MB) | onnxsim | OnnxSlim | onnxscript |", "|---|---|---|---|---|"]
    best = []
    for record in records:
        tools = record["tools"]
        base = tools["geoc"]
        ratios = {name: tools[name]["min"] / base["min"] for name in PEERS if "failure" not in tools[name]}
        best.append(min(ratios.values()))
        cells = [f"x{ratios[name]:.1f} ({tools[name]['peak_mb']:.0f})" if name in ratios else "fails" for name in PEERS]
        lines.append(f"| {record['model']} | {base['min']:.2f} ({base['peak_mb']:.0f}) | {' | '.join(cells)} |")
    lines.append(f"\nThe fastest other tool: x{min(best):.1f} to x{max(best):.1f}, median x{median(best):.1f}.")
    return "\n".join(lines)


def run_commands(options: argparse.Namespace) -> int:
    if options.again:
        print(markdown(json.loads(options.again.read_text())))
        return 0
    options.tools = ([] if options.without_geoc else ["geoc"]) + [
        p for p in PEERS if p not in options.without
    ]
    with tempfile.TemporaryDirectory(prefix="speed-", dir=options.scratch) as folder:
        wanted = [m for m in options.models if not m.startswith("synthetic:")]
        models = find_models(wanted, options.dir) if wanted or not options.models else []
        for name in options.models:
            if name.startswith("synthetic:"):
                models.append(make_graph(int(name.partition(":")[2]), True, Path(folder), options))
        print(
            f"{'min/median, peak memory':32}" + "".join(f"{tool:>28}" for tool in options.tools),
            flush=True,
        )
        records: list[Record] = []
        for model in sorted(models, key=lambda path: path.stat().st_size):
            records.append(time_commands(model, options))
            print(command_row(records[-1]), flush=True)
            if options.json:
                options.json.write_text(json.dumps(records, indent=1) + "\n")
    return 0


def make_graph(nodes: int, typed: bool, folder: Path, options: argparse.Namespace) -> Path:
    """Write the synthetic graph in a child process, so that this one stays small."""
    path = folder / f"synthetic-{nodes}{'' if typed else '-untyped'}.onnx"
    flags = [] if typed else ["--untyped"]
    argv = [options.peer_python, str(HERE / "synthetic.py"), str(nodes), str(path), *flags]
    done = run(argv, options.limit, folder / "log.txt")
    if done.failure():
        raise SystemExit(f"synthetic.py: {done.failure()}")
    return path


def time_steps(nodes: int, options: argparse.Namespace) -> Record:
    with tempfile.TemporaryDirectory(prefix="speed-", dir=options.scratch) as scratch:
        folder = Path(scratch)
        files = [str(make_graph(nodes, typed, folder, options)) for typed in (True, False)]
        argv = [sys.executable, str(HERE / "steps.py"), *files, str(options.runs)]
        done = run(argv, options.limit, folder / "log.txt")
    if done.failure():
        raise SystemExit(f"steps.py at {nodes} nodes: {done.output or done.failure()}")
    steps = json.loads(done.output.splitlines()[-1])
    return {"nodes": nodes, "peak_mb": round(done.peak / 1e6, 1), "steps": steps}


def growth(step: str, low: Record, high: Record) -> float:
    """How many times longer a step takes for ten times the nodes."""
    times = min(high["steps"][step]) / min(low["steps"][step])
    return float(times ** (1 / log10(high["nodes"] / low["nodes"])))


def remarks(step: str, records: list[Record]) -> str:
    rates = [growth(step, low, high) for low, high in pairwise(records)]
    return " ".join(f"x{rate:.1f}" + (" TOO STEEP" if rate > GROWTH else "") for rate in rates)


def against_budget(step: str, records: list[Record]) -> str:
    """Time at 10,000 nodes and its budget, both as multiples of onnx.load."""
    for record in records:
        if record["nodes"] == 10_000 and step in BUDGETS:
            ratio = min(record["steps"][step]) / min(record["steps"]["onnx.load"])
            budget = BUDGETS[step] / REFERENCE
            return f"{ratio:.1f} of {budget:.1f}" + (" OVER" if ratio > budget else "")
    return ""


def step_table(records: list[Record]) -> str:
    """Minimum and median in ms for each size, times onnx.load and what the budget allows of it, and the growth."""
    sizes = "".join(f"{r['nodes']:>20}" for r in records)
    lines = [f"{'min/median ms at':18}{sizes}{'x onnx.load':>18}  growth"]
    for step in records[0]["steps"]:
        cells = ""
        for record in records:
            times = record["steps"][step]
            cells += f"{f'{min(times) * 1e3:.1f}/{median(times) * 1e3:.1f}':>20}"
        lines.append(f"{step:18}{cells}{against_budget(step, records):>18}  {remarks(step, records)}")
    lines.append(f"{'peak MB':18}" + "".join(f"{r['peak_mb']:>20}" for r in records))
    return "\n".join(lines)


def run_synthetic(options: argparse.Namespace) -> int:
    records = [time_steps(nodes, options) for nodes in sorted(options.nodes)]
    print(step_table(records))
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--runs", type=int, default=5)
    common.add_argument("--json", type=Path)
    common.add_argument(
        "--peer-python", default=sys.executable, help="an interpreter that has the peers, and onnx"
    )
    common.add_argument("--limit", type=float, default=600.0, help="seconds per process")
    common.add_argument("--scratch", type=Path, help="folder for outputs, removed after each run")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(required=True)
    commands = kinds.add_parser("commands", parents=[common])
    commands.add_argument("models", nargs="*", metavar="MODELS")
    commands.add_argument("--again", type=Path, metavar="JSON", help="print the rows of docs/speed.md from earlier records")
    commands.add_argument("--dir", type=Path, default=default_folder())
    commands.add_argument("--without-geoc", action="store_true")
    commands.add_argument(
        "--without", action="append", default=[], choices=PEERS, help="leave this peer out"
    )
    commands.set_defaults(action=run_commands)
    synthetic = kinds.add_parser("synthetic", parents=[common])
    synthetic.add_argument("nodes", nargs="*", type=int, default=[1_000, 10_000, 100_000])
    synthetic.set_defaults(action=run_synthetic)
    return parser.parse_args(argv)


if __name__ == "__main__":
    chosen = parse(sys.argv[1:])
    sys.exit(chosen.action(chosen))

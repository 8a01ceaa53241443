"""Nodes left after clean-up in standard ops: geoc -O1 beside onnxsim, OnnxSlim and onnxscript.

    python tests/bench/cleanup.py [MODELS...] [--dir DIR] [--json OUT] [--ops OUT]

MODELS are paths, or patterns over the .onnx files of DIR (default $GEOC_MODELS or
~/.cache/geoc-models); all by default, small ones first. Each tool runs as its own command in its
own process. The table gives, for each model, the nodes of the source and per tool: nodes left, wall
seconds, size relative to the source. Counts cover all nested graphs and function bodies, without
Constant nodes. A result that onnxruntime does not load, or that computes something else than the
source, is marked `wrong` and is not the best; operators outside the standard and another opset are
named in the lines below.

The peers are the extra `bench`; `--peer-python` names an interpreter of another environment that
has them. `--against FILE` takes their figures from an earlier --json file and runs geoc alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from commands import PEERS, Run, command, default_folder, find_models, run

HERE = Path(__file__).parent
AGREES = 1e-3  # relative L2 error; reordered float32 sums stay near 1e-6, dynamic int8 near 1e-4
Record = dict[str, Any]


def ask(script: str, python: str, arguments: list[str], limit: float, folder: Path) -> Record:
    """Run a script of this folder that prints JSON as its last line."""
    done = run([python, str(HERE / script), *arguments], limit, folder / "log.txt")
    if done.failure():
        return {"failure": f"{script}: {done.failure()}"}
    answer: Record = json.loads(done.output.splitlines()[-1])
    return answer


def judge(
    done: Run, source: Path, out: Path, source_size: int, options: argparse.Namespace, work: Path
) -> Record:
    """What is known of one run: time, memory, and of its output the counts and the agreement."""
    record: Record = {"seconds": round(done.seconds, 3), "peak_mb": round(done.peak / 1e6, 1)}
    if done.failure() or not out.exists():
        return record | {"failure": done.failure() or "wrote nothing"}
    record |= ask("counting.py", options.peer_python, [str(out)], options.limit, work)
    if "failure" in record:
        return record
    record["size_ratio"] = round(record.pop("size") / source_size, 4)
    if not options.no_agreement:
        checked = ask(
            "agreement.py", options.peer_python, [str(source), str(out)], options.limit, work
        )
        record["agreement"] = checked
        record["right"] = "failure" not in checked and checked.get("error", 0.0) <= AGREES
    return record


def count_source(model: Path, options: argparse.Namespace) -> Record:
    with tempfile.TemporaryDirectory() as work:
        counted = ask("counting.py", options.peer_python, [str(model)], options.limit, Path(work))
    if "failure" in counted:
        raise SystemExit(f"{model}: {counted['failure']}")
    return counted


def measure(source: Path, counted: Record, options: argparse.Namespace) -> Record:
    with tempfile.TemporaryDirectory(prefix="cleanup-", dir=options.scratch) as scratch:
        work = Path(scratch)
        tools: dict[str, Record] = {}
        for tool in options.tools:
            folder = work / tool
            folder.mkdir()
            out = folder / source.name
            argv = command(tool, "O1", options.peer_python, source, out)
            done = run(argv, options.limit, work / "log.txt")
            tools[tool] = judge(done, source, out, counted["size"], options, work)
            # outputs of the largest models need not fit beside each other
            for file in folder.iterdir():
                file.unlink()
    return {"model": source.stem, "source": counted, "tools": tools | options.earlier[source.stem]}


def counts(record: Record) -> bool:
    return "failure" not in record and record.get("right", True)


def best_peer(tools: dict[str, Record]) -> str | None:
    """The peer with fewest nodes among those whose result is right."""
    peers = [t for t in tools if t != "geoc" and counts(tools[t])]
    return min(peers, key=lambda t: tools[t]["nodes"], default=None)


def verdict(record: Record) -> str:
    tools, best = record["tools"], best_peer(record["tools"])
    if "geoc" not in tools:
        return best or "-"
    if not counts(tools["geoc"]):
        return f"{best or '-'} NO"
    ahead = best is None or tools["geoc"]["nodes"] <= tools[best]["nodes"]
    return f"{best or '-'} {'ok' if ahead else 'NO'}"


def cell(tool: Record) -> str:
    if "failure" in tool:
        return f"failed {tool['seconds']:.1f}s"
    state = "" if tool.get("right", True) else " wrong"
    return f"{tool['nodes']}{state} {tool['seconds']:.2f}s x{tool['size_ratio']:.2f}"


def notes(record: Record) -> list[str]:
    """Lines under a row: failures, disagreements, foreign operators, a changed opset."""
    lines = []
    for name, tool in record["tools"].items():
        if "failure" in tool:
            lines.append(f"{name}: {tool['failure']}")
            continue
        foreign = sorted({op for op in tool["ops"] if "::" in op} - set(record["source"]["ops"]))
        if foreign:
            lines.append(f"{name}: not standard: {', '.join(foreign)}")
        if tool["opset"] != record["source"]["opset"]:
            lines.append(f"{name}: opset {record['source']['opset']} -> {tool['opset']}")
        agreement = tool.get("agreement", {})
        if "unknown" in agreement:
            lines.append(f"{name}: not compared: {agreement['unknown']}")
        elif not tool.get("right", True):
            why = agreement.get("failure") or f"relative error {agreement['error']:.1e}"
            lines.append(f"{name}: {why}")
    return lines


def header(tools: list[str]) -> str:
    columns = "".join(f"{tool:>24}" for tool in tools)
    return f"{'model':32}{'MB':>8}{'opset':>6}{'nodes':>7}{columns}  best"


def row(record: Record) -> str:
    source = record["source"]
    columns = "".join(f"{cell(tool):>24}" for tool in record["tools"].values())
    start = f"{record['model']:32}{source['size'] / 1e6:8.1f}{source['opset']:6}{source['nodes']:7}"
    return "\n    ".join([f"{start}{columns}  {verdict(record)}", *notes(record)])


def op_table(record: Record) -> str:
    """Op types left: source, best peer, and geoc where it ran."""
    tools, best = record["tools"], best_peer(record["tools"])
    shown: dict[str, dict[str, int]] = {"source": record["source"]["ops"]}
    if best:
        shown[best] = tools[best]["ops"]
    if counts(tools.get("geoc", {"failure": ""})):
        shown["geoc"] = tools["geoc"]["ops"]
    lines = [
        f"{record['model']}  (opset {record['source']['opset']})",
        f"  {'':32}" + "".join(f"{c:>12}" for c in shown),
    ]
    total = {
        op: max(ops.get(op, 0) for ops in shown.values())
        for column in shown.values()
        for op in column
    }
    lines.append(f"  {'all':32}" + "".join(f"{sum(ops.values()):12}" for ops in shown.values()))
    for op in sorted(total, key=lambda op: (-total[op], op)):
        lines.append(
            f"  {op:32}" + "".join(f"{ops.get(op, 0) or '.':>12}" for ops in shown.values())
        )
    return "\n".join(lines) + "\n"


def summary(records: list[Record]) -> str:
    rows = [r for r in records if "geoc" in r["tools"]]
    if not rows:
        return f"{len(records)} models"
    behind = [r["model"] for r in rows if verdict(r).endswith("NO")]
    return (
        f"{len(rows)} models, geoc has at most the best peer's nodes in {len(rows) - len(behind)}"
        + (f", behind in: {', '.join(behind)}" if behind else "")
    )


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODELS")
    parser.add_argument("--dir", type=Path, default=default_folder())
    parser.add_argument(
        "--json", type=Path, help="write every figure to this file, after each model"
    )
    parser.add_argument(
        "--ops", type=Path, help="write the op types left, beside the source's and the best peer's"
    )
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--without-geoc", action="store_true")
    parser.add_argument(
        "--without", action="append", default=[], choices=PEERS, help="leave this peer out"
    )
    parser.add_argument("--against", type=Path, metavar="FILE")
    parser.add_argument("--no-agreement", action="store_true", help="do not run the results")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds per process")
    parser.add_argument(
        "--scratch", type=Path, help="folder for outputs, each removed when it was judged"
    )
    options = parser.parse_args(argv)
    options.earlier = defaultdict(dict)
    if options.against:
        options.without = list(PEERS)
        for record in json.loads(options.against.read_text()):
            record["tools"].pop("geoc", None)
            options.earlier[record["model"]] = record["tools"]
    options.tools = ([] if options.without_geoc else ["geoc"]) + [
        p for p in PEERS if p not in options.without
    ]
    return options


def main(argv: list[str]) -> int:
    options = parse(argv)
    sources = {
        model: count_source(model, options) for model in find_models(options.models, options.dir)
    }
    print(header(options.tools + (list(PEERS) if options.against else [])), flush=True)
    records: list[Record] = []
    for model in sorted(sources, key=lambda model: sources[model]["size"]):  # with external data
        records.append(measure(model, sources[model], options))
        print(row(records[-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(records, indent=1) + "\n")
        if options.ops:
            options.ops.write_text("\n".join(map(op_table, records)))
    print(summary(records))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

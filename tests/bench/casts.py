"""Casts in half-precision graphs, geoc's and those that other ways leave of the same single-precision graph.

    python tests/bench/casts.py [MODELS...] [--dir DIR] [--json OUT] [--peer-python PYTHON] [--write]
    python tests/bench/casts.py --again RECORDS.json... --write

The others: onnxconverter-common's float16 conversion (inputs and outputs kept, with its shape inference and without,
whichever does better), and NVIDIA's autocast rule: every node in fp16 but where an operand or result exceeds 512, a cast
wherever a tensor crosses, without a minimum cut. A count of casts
says little of a graph that is wrong, so each graph is run as well: it must load in onnxruntime, be within 1 % of single
precision, and give numbers for inputs scaled up a hundred times wherever single precision does. Results are rounded
after each node, as on a runtime that fuses none. `--write` makes docs/casts.md.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from commands import default_folder, find_models
from records import Record, add_options, records_of

import geoc
from geoc.ir.core import Model, Value
from geoc.ir.errors import GeocError
from geoc.ir.types import F16
from geoc.lowering.backend import Order
from geoc.lowering.emit import write_onnx
from geoc.lowering.targets import get_target
from geoc.passes.precision.casts import Rewriter
from geoc.passes.precision.islands import LARGEST, LIMIT, Islands
from geoc.passes.precision.network import FIXED, Network
from geoc.tools.calibration.ranges import Watcher, scaled
from geoc.tools.comparing.differences import l2_error
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes
from geoc.tools.precision import MAX_ERROR
from geoc.tools.running.emulate import emulated
from geoc.tools.running.sessions import CannotCheck, unoptimized_session

TABLE = Path(__file__).parents[2] / "docs" / "casts.md"
Feeds = dict[str, Any]
FAR = 100.0
CONVERT = """
import sys, onnx
from onnxconverter_common import float16
plain = sys.argv[3] == "plain"
made = float16.convert_float_to_float16(onnx.load(sys.argv[1]), keep_io_types=True, disable_shape_infer=plain)
onnx.save(made, sys.argv[2])
"""


class Source:
    """A model, sizes that onnxruntime takes, and inputs of those sizes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.maker = InputMaker(geoc.load(path), Shapes())
        self.sizes = working_sizes(path, self.maker)
        self.feeds = [self.maker.feeds(self.sizes, run) for run in range(2)]
        self.open = [name for name, value in self.maker.inputs if not is_static(value)]
        first = self.feeds[0]
        self.shape = [f"{name}={','.join(map(str, first[name].shape))}" for name in self.open]


def is_static(value: Value) -> bool:
    return value.shape is not None and all(isinstance(dim, int) for dim in value.shape)


def working_sizes(path: Path, maker: InputMaker) -> dict[str, int]:
    """The first sizes of the symbols that onnxruntime takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for sizes in maker.sizes() if maker.symbols else [{}]:
        try:
            session.run(None, maker.feeds(sizes, 0))
        except Exception:
            continue
        return dict(sizes)
    raise SystemExit(f"{path.name} runs at no shape that was tried")


def write_for_cpu(model: Model, path: Path | str) -> None:
    write_onnx(model, str(path), Order(get_target("cpu"), None, None))


class Trials:
    """Graphs run beside one in single precision."""

    def __init__(self, single: Model, feeds: Sequence[Feeds], folder: Path) -> None:
        self.names = list(single.graph.output_names)
        self.folder = folder
        self.near = list(feeds)
        self.far = [found for each in feeds if (found := scaled(each, FAR)) is not None]
        path = folder / "exact.onnx"
        write_for_cpu(single, path)
        self.expected = self._run(path)

    def _run(self, path: Path) -> list[list[Any]]:
        session = unoptimized_session(str(path), "it")
        return [session.run(self.names, feeds) for feeds in (*self.near, *self.far)]

    def compare(self, half: Model) -> Record:
        """`casts`, the mean `error` of the worst output, and whether what is finite is so with large inputs as well."""
        path = self.folder / "half.onnx"
        write_for_cpu(emulated(half), path)
        found = self._run(path)
        errors = [0.0] * len(self.names)
        finite = True
        for run, (expected, got) in enumerate(zip(self.expected, found)):
            for index, (a, b) in enumerate(zip(expected, got)):
                if run < len(self.near):
                    error, problem = l2_error(a, b)
                    errors[index] += float("inf") if problem else error / len(self.near)
                if isinstance(a, np.ndarray) and a.dtype.kind == "f":
                    finite &= bool(np.isfinite(b[np.isfinite(a)]).all())
        casts = sum(node.op.key == "Cast" for node in half.walk())
        return {"casts": casts, "error": max(errors, default=0.0), "finite": finite}


def casts(source: Source, half: Model | None, folder: Path, peer_python: str | None) -> Record:
    """Records of `ours` (`half`, where there is one), of the `converter` and of the `rule`."""
    single = geoc.compile(source.path, None, target="a100", level=2, check="off", shape=source.shape).model
    trials = Trials(single, source.feeds, folder)
    found: Record = {"ours": None if half is None else trials.compare(half)}
    if peer_python is not None:
        found["converter"] = by_converter(single, trials, folder, peer_python)
    found["rule"] = by_rule(single, trials)
    return found


def by_converter(single: Model, trials: Trials, folder: Path, python: str) -> Record:
    written, made = folder / "single.onnx", folder / "converted.onnx"
    write_onnx(single, str(written), Order(get_target("a100"), None, None))
    tried = [_converted(way, written, made, trials, python) for way in ("plain", "inferred")]
    return min(tried, key=lambda record: (not is_right(record), record.get("casts", float("inf"))))


def _converted(way: str, written: Path, made: Path, trials: Trials, python: str) -> Record:
    done = subprocess.run([python, "-c", CONVERT, str(written), str(made), way], capture_output=True, text=True)
    if done.returncode:
        return {"failure": "does not convert", "why": done.stderr.strip().splitlines()[-1][:200]}
    try:
        unoptimized_session(str(made), "it")
    except CannotCheck as error:
        import onnx

        return {"failure": "does not load", "why": str(error), "casts": _casts_in(onnx.load(made).graph)}
    return trials.compare(geoc.load(made))


def _casts_in(graph: Any) -> int:
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return sum(bool(node.op_type == "Cast") for node in graph.node) + sum(map(_casts_in, inner))


def by_rule(model: Model, trials: Trials) -> Record:
    """Every node in fp16 but those with a number beyond 512 or a weight beyond 65504. Changes the model."""
    opset = get_target("a100").max_opset
    network = Network.of(model, F16.type_str, opset)
    with Watcher(model, write_for_cpu) as watcher:
        for feeds in trials.near:
            watcher.run(feeds)
        ranges = watcher.ranges

    def stays(node: Any) -> bool:
        for value in (*node.inputs, *node.outputs):
            if value is None:
                continue
            if value.const is not None and value.const.dtype.is_float:
                if np.abs(np.asarray(value.const.array(), np.float32)).max(initial=0) > LARGEST:
                    return True
            elif value in ranges and ranges[value].magnitude > LIMIT:
                return True
        return False

    places = {*network.nodes, *(place for flow in network.flows for place in (flow.maker, *flow.readers))}
    places -= {FIXED, *filter(stays, network.nodes)}
    islands = Islands(model, F16, None)
    islands.hidden = frozenset()  # that rule knows no masks
    Rewriter(F16, opset, places, islands, []).run(model)
    return trials.compare(model)


def is_right(record: Record) -> bool:
    return "failure" not in record and record["finite"] and record["error"] <= MAX_ERROR


def told(record: Record | None) -> str:
    """A cell of a table: how many casts, and what is wrong with the graph."""
    if record is None or "casts" not in record:
        return "-"
    count = str(record["casts"])
    if "failure" in record:
        return f"{count}, {record['failure']}"
    if not record["finite"]:
        return f"{count}, overflows"
    return count if record["error"] <= MAX_ERROR else f"{count}, {record['error']:.1%} off"


def compared(records: Sequence[Record], name: str) -> str:
    """A sentence on geoc's graphs beside the others, in records with `ours`."""
    pairs = [(r["ours"], r[name]) for r in records if r.get("ours") and "casts" in r.get(name, {})]
    right = [(ours, theirs) for ours, theirs in pairs if is_right(theirs)]
    more = [theirs for ours, theirs in pairs if ours["casts"] > theirs["casts"]]
    return (
        f"fewer or as many as the {name} in {len(pairs) - len(more)} of {len(pairs)}; where more, its graph is wrong in "
        f"{sum(not is_right(theirs) for theirs in more)} of {len(more)}. Of the {len(right)} graphs of the {name} that are right "
        f"{sum(ours['casts'] <= theirs['casts'] for ours, theirs in right)} have as many casts or more"
    )


def row(record: Record) -> str:
    """A line of the table."""
    ours = record["ours"]
    off = "" if ours is None else f"{ours['error']:.2%}"
    cells = [told(ours), told(record.get("converter")), told(record["rule"])]
    share = f"{record['low']} of {record['products']}"
    return f"| {record['model']} | {record['precision'] or 'fp32'} | {share} | {off} | {' | '.join(cells)} |"


def conclusions(records: Sequence[Record]) -> list[str]:
    """What the table says, in sentences."""
    wrong = [r["model"] for r in records if r["ours"] and not is_right(r["ours"])]
    found = [f"Casts: {compared(records, name)}." for name in ("converter", "rule")]
    return [*found, f"geoc's graphs that are wrong: {', '.join(wrong) or 'none'}."]


def rendered(records: Sequence[Record]) -> str:
    """docs/casts.md."""
    lines = [
        "# Casts in half precision", "",
        "Casts in the fp16 graph that `geoc MODEL -O3 --target=a100` makes, in what onnxconverter-common makes of geoc's graph in single",
        "precision (with its shape inference or without, whichever does better), and in what NVIDIA's autocast rule (fp32 where a number",
        "exceeds 512) would leave of it. Each graph is run: it must load in onnxruntime, be within 1 % of single precision, and overflow on",
        "no inputs scaled up a hundred times on which single precision does not; what is wrong with one is said beside its count. Results are",
        "rounded after each node. `python tests/bench/casts.py` made this.", "",
        *(line for text in conclusions(records) for line in (text, "")), HEAD, *map(row, records),
    ]  # fmt: skip
    return "\n".join([*lines, ""])


HEAD = "| model | precision | fp16 products | error | casts | converter | rule |\n|---|---|---|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--dir", type=Path, default=default_folder())
    parser.add_argument("--limit", type=float, default=1000.0, help="MB of model file; larger ones are left out")
    parser.add_argument("--peer-python", help="an interpreter that has onnxconverter-common")
    add_options(parser, TABLE)
    options = parser.parse_args()
    if not options.again:
        print(HEAD)
    records = records_of(options, measured(options), row)
    print("\n".join(["", *conclusions(records)]))
    if options.write:
        TABLE.write_text(rendered(sorted(records, key=lambda r: str(r["model"]))), encoding="utf-8")


def measured(options: argparse.Namespace) -> Iterator[Record]:
    """Count and compare, and say which models that is not possible for."""
    for path in find_models(options.models, options.dir):
        if path.stat().st_size > options.limit * 1e6:
            continue
        try:
            source = Source(path)
            report = geoc.compile(path, None, target="a100", level=3, shape=source.shape)
            with tempfile.TemporaryDirectory(prefix="geoc-casts-") as folder:
                half = report.model if report.precision else None
                found = casts(source, half, Path(folder), options.peer_python)
        except (GeocError, CannotCheck) as error:
            print(f"| {path.stem} | {' '.join(str(error).split())[:200]} | | | | | |", flush=True)
            continue
        after = report.after
        yield {"model": path.stem, "precision": report.precision, "low": after.low, "products": after.products, **found}


if __name__ == "__main__":
    main()

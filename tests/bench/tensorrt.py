"""Engines for sm80 without a GPU: kernels after geoc beside those of the untouched model, and casts beside other tools'.

    python tests/bench/tensorrt.py [MODELS...] [--dir DIR] [--json OUT] [--peer-python PYTHON] [--write]
    python tests/bench/tensorrt.py --again RECORDS.json... --write

TensorRT-RTX builds each model at one shape three times: as it is, after -O2 (fp32) and after -O3 (fp16 within 1 %).
Casts are counted in the half-precision graphs: geoc's; those that onnxconverter-common's float16 conversion leaves of
the same single-precision graph (inputs and outputs kept); and those that NVIDIA's autocast rule would leave of it: every
node in fp16 but where an operand or result exceeds 512, a cast wherever a tensor crosses, without a minimum cut.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from commands import default_folder, find_models

import geoc
from geoc.ir.core import Model, Value
from geoc.ir.errors import GeocError
from geoc.ir.types import F16
from geoc.lowering.backend import Order
from geoc.lowering.emit import write_onnx
from geoc.lowering.installed import runtime_version
from geoc.lowering.targets import get_target
from geoc.lowering.tensorrt.emit import is_attention
from geoc.lowering.tensorrt.rtx import build_apart
from geoc.passes.pipelines import level_items, render
from geoc.passes.precision.islands import LARGEST, LIMIT
from geoc.passes.precision.network import FIXED, Network
from geoc.tools.check import CannotCheck
from geoc.tools.inputs import InputMaker
from geoc.tools.ranges import Watcher
from geoc.tools.shapes import Shapes

TABLE = Path(__file__).parents[2] / "docs" / "tensorrt.md"
Record = dict[str, Any]
CONVERT = """
import sys, onnx
from onnxconverter_common import float16
model = onnx.load(sys.argv[1])
before = sum(n.op_type == "Cast" for n in model.graph.node)
made = float16.convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
def count(graph):
    total = 0
    for node in graph.node:
        total += node.op_type == "Cast"
        for a in node.attribute:
            total += count(a.g) if a.HasField("g") else 0
    return total
print(count(made.graph))
"""


def measure(path: Path, peer_python: str | None) -> Record:
    """All figures of one model."""
    record: Record = {"model": path.stem}
    source = geoc.load(path)
    maker = InputMaker(source, Shapes())
    sizes = working_sizes(path, maker)
    feeds = maker.feeds(sizes, 0)
    shape = [f"{name}={','.join(map(str, feeds[name].shape))}" for name, value in maker.inputs if not is_static(value)]
    with tempfile.TemporaryDirectory(prefix="geoc-tensorrt-") as folder:
        engine = str(Path(folder) / "model.rtx.engine")
        record["untouched"] = untouched(path, maker, sizes, engine)
        for name, level in (("fp32", 2), ("fp16", 3)):
            try:
                report = geoc.compile(
                    path, engine, target="a100", level=level, emit="rtx-engine", shape=shape, fallback="none"
                )
            except GeocError as error:
                record[name] = {"failure": " ".join(str(error).split())[:300]}
                continue
            if not report.ok:
                record[name] = {"failure": report.accuracy.reason}
                continue
            record[name] = {
                "kernels": len(report.engine["kernels"]),
                "fused_attention": report.engine["fused_attention"],
                "precision": report.precision,
                "error": report.accuracy.error if report.accuracy.norm == "relative L2" else None,
                "status": report.accuracy.status,
                "casts": report.after.casts,
                "products": report.after.products,
                "low": report.after.low,
            }
        record |= casts(path, shape, Path(folder), peer_python)
    return record


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


def untouched(path: Path, maker: InputMaker, sizes: dict[str, int], engine: str) -> Record:
    feeds = maker.feeds(sizes, 0)
    profile = {
        name: (feeds[name].shape,) * 3
        for name, value in maker.inputs
        if not is_static(value)
    }
    try:
        built = build_apart(str(path), engine, "8.0", profile)
    except GeocError as error:
        return {"failure": " ".join(str(error).split())[:300]}
    return {"kernels": len(built.kernels), "fused_attention": sum(map(is_attention, built.kernels))}


def casts(path: Path, shape: Any, folder: Path, peer_python: str | None) -> Record:
    """What other ways to half precision leave of the single-precision graph that geoc makes for the target."""
    report = geoc.compile(path, None, target="a100", level=2, check="off", shape=shape)
    model: Model = report.model
    written = folder / "single.onnx"
    write_onnx(model, str(written), Order(get_target("a100"), None, None))
    found: Record = {"attention": attention_layers(path, shape), "casts_by_rule": casts_by_rule(model)}
    if peer_python is not None:
        done = subprocess.run([peer_python, "-c", CONVERT, str(written)], capture_output=True, text=True)
        lines = done.stdout.strip().splitlines()
        found["casts_by_converter"] = int(lines[-1]) if done.returncode == 0 else None
    return found


def attention_layers(path: Path, shape: Any) -> int:
    """Attention layers that -O2 finds, before any target takes them apart."""
    report = geoc.compile(path, None, target="a100", passes=render(level_items(2)), check="off", shape=shape)
    return int(report.after.fused.get("attention", 0))


def casts_by_rule(model: Model) -> int | None:
    """Tensors that cross where every node is in fp16 but those with a number beyond 512 or a weight beyond 65504.

    None where onnxruntime does not load the model at that shape (a branch that the shape rules out).
    """
    network = Network.of(model, F16.type_str, get_target("a100").max_opset)
    cpu = get_target("cpu")
    maker = InputMaker(model, Shapes())
    try:
        with Watcher(model, lambda m, p: write_onnx(m, p, Order(cpu, None, None)) and None) as watcher:
            for sizes in maker.sizes() if maker.symbols else [{}]:
                if watcher.run(maker.feeds(sizes, 0)):
                    break
            ranges = watcher.ranges
    except CannotCheck:
        return None

    def stays(node: Any) -> bool:
        for value in (*node.inputs, *node.outputs):
            if value is None:
                continue
            if value.const is not None and value.const.dtype.is_float:
                if np.abs(np.asarray(value.const.array(), np.float32)).max(initial=0) > LARGEST:
                    return True
                continue
            reach = ranges.get(value)
            if reach is not None and reach.magnitude > LIMIT:
                return True
        return False

    single: set[Any] = {node for node in network.nodes if stays(node)} | {FIXED}
    crossing = 0
    for flow in network.flows:
        other = [reader for reader in flow.readers if (reader in single) != (flow.maker in single)]
        crossing += bool(other)
    return crossing + sum(node.op.key == "Cast" for node in model.walk())


def rendered(records: list[Record]) -> str:
    """docs/tensorrt.md."""
    built = [r for r in records if "failure" not in r["fp16"]]
    both = [r for r in built if "failure" not in r["untouched"]]
    fewer = sum(r["fp16"]["kernels"] < r["untouched"]["kernels"] for r in both)
    counted = [r for r in built if r["fp16"]["precision"] and r.get("casts_by_converter") is not None]
    rule = [r for r in built if r["fp16"]["precision"] and r["casts_by_rule"] is not None]
    lines = [
        "# Engines for TensorRT", "",
        f"Built for an A100 (sm80) without a GPU by TensorRT-RTX {runtime_version('tensorrt-rtx')}, each model at one shape: kernels of the",
        "untouched model, after `geoc MODEL -O2 --target=a100` and after `-O3`, which is fp16 where outputs stay within 1 %. RTX is",
        "of TensorRT's family: what it refuses TensorRT refuses, what it fuses is a sign and no proof. `python tests/bench/tensorrt.py`",
        "made this. Attention: layers that geoc finds, and kernels in the fp16 engine that are a whole attention. Casts: all that are",
        "in the fp16 graph, beside what onnxconverter-common 1.16 makes of geoc's fp32 graph, and what NVIDIA's autocast rule (fp32 where a",
        "number exceeds 512, a cast wherever a tensor crosses) would leave of it. Error: mean relative L2 of the worst output.", "",
        f"{len(built)} of {len(records)} models build at -O3; fewer kernels than untouched: {fewer} of {len(both)}. Casts: fewer or as many as the "
        f"converter in {sum(r['fp16']['casts'] <= r['casts_by_converter'] for r in counted)} of {len(counted)}, as the rule in "
        f"{sum(r['fp16']['casts'] <= r['casts_by_rule'] for r in rule)} of {len(rule)}.", "",
        "| model | untouched | -O2 | -O3 | attention | fused | fp16 products | error | casts | converter | rule |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, records),
    ]  # fmt: skip
    failures = [(r["model"], name, r[name]["failure"]) for r in records for name in ("untouched", "fp32", "fp16") if "failure" in r[name]]
    if failures:
        lines += ["", "## What does not build", "", *(f"- {model}, {name}: {_plain(why)}" for model, name, why in failures)]
    return "\n".join([*lines, ""])


def _plain(why: str) -> str:
    """A reason without the folders of this machine."""
    return re.sub(r"\S*/(?=[\w.-]+\.(?:onnx|cpp|h)\b)", "", why)


def _row(r: Record) -> str:
    half = r["fp16"]
    kernels = [str(r[name].get("kernels", "-")) for name in ("untouched", "fp32", "fp16")]
    if "failure" in half:
        return f"| {r['model']} | {' | '.join(kernels)} | {r.get('attention', '')} | | | | | | |"
    error = "" if half["error"] is None else f"{half['error']:.2%}"
    share = f"{half['low']} of {half['products']}" if half["precision"] else "fp32"
    others = ["-" if r.get(name) is None else str(r[name]) for name in ("casts_by_converter", "casts_by_rule")]
    return (
        f"| {r['model']} | {' | '.join(kernels)} | {r['attention']} | {half['fused_attention']} | {share} | {error} "
        f"| {half['casts']} | {' | '.join(others)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--dir", type=Path, default=default_folder())
    parser.add_argument("--limit", type=float, default=1000.0, help="MB of model file; larger ones are left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peer-python", help="an interpreter that has onnxconverter-common")
    parser.add_argument("--again", type=Path, nargs="+", help="records of earlier runs, instead of measuring")
    parser.add_argument("--write", action="store_true", help="write docs/tensorrt.md")
    options = parser.parse_args()
    records: list[Record] = []
    if options.again:
        by_model = {r["model"]: r for path in options.again for r in json.loads(path.read_text())}
        records = [by_model[name] for name in sorted(by_model)]
    else:
        for path in find_models(options.models, options.dir):
            if path.stat().st_size > options.limit * 1e6:
                continue
            records.append(measure(path, options.peer_python))
            print(_row(records[-1]), records[-1]["fp16"].get("failure", ""), flush=True)
            if options.json:
                options.json.write_text(json.dumps(records, indent=1) + "\n")
    if options.write:
        TABLE.write_text(rendered(records), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Models as OpenVINO's intermediate representation: ours beside what its own ONNX reader makes of the untouched file.

    python tests/bench/openvino_reader.py [--only REGEX] [--write]

Each model is optimized at -O2 for openvino-cpu, written, compiled for the CPU plugin with one thread in f32, and run
on made-up inputs: its largest error against onnxruntime without optimization (relative to an output's largest value),
the nodes of its runtime model, and the median time of runs that alternate with those of the reader's model. Each
model has a process of its own. --write renders docs/openvino.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
LIMIT = 1e-4
ENDS = ("Input", "Output", "Const")
HEAD = """# OpenVINO

What `geoc MODEL.onnx --target=openvino-cpu` writes (-O2, ours) beside what OpenVINO's ONNX reader makes of the untouched
file, compiled by the CPU plugin with one thread and `INFERENCE_PRECISION_HINT` f32 (plugins choose bf16 by themselves
on processors that have it). *native*: written operator by operator; else the reason why it went through the reader.
*error*: against onnxruntime without optimization, relative to the largest value of an output; *its own*: of onnxruntime with
all optimizations against the same. *nodes*: of the runtime model, without inputs, outputs and constants. *ms*: medians of
alternating runs; *time*: the median ratio of neighbouring runs. A model that quantizes as it runs makes whole steps of the
rounding before it: Moonshine's encoder is right to 2.4e-6 up to its first MLP, where 2 codes in 100,000 differ by one; its decoder
is right to 6e-7 without a cache, and with one to 1.6e-6 until one of the 21,600 codes of the second layer's first norm differs by one,
of which all that follows is made. SmolLM2 is badly conditioned on made-up inputs: 8e-7 behind its first product are 2e-5 in its fourth layer
and 1e-4 in its logits, and no operator stands out; onnxruntime differs from itself by 6e-5;
on text behind a cache that the model computed itself both exports are right to 6.4e-6, as the reader (6.1e-6). The weights of
light_squeezenet are all the same, so that its 1,000 logits are: 9e9 each, of which the last bit is 1,024, and Softmax
makes 0 and 1/8 of what differs in it; all that it reads is right to 9e-6. All of it was measured in one go, while one other process used the second core.
Made by `python tests/bench/openvino_reader.py --write`
"""


def models() -> dict[str, Path]:
    """Every model that is here, by name."""
    import onnx

    found = sorted((ROOT / "tests/models").glob("*.onnx"))
    found += sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
    named = {path.stem: path for path in found}
    folder = Path(os.environ.get("GEOC_MODELS", Path.home() / ".cache/geoc-models"))
    for path in sorted(folder.rglob("*.onnx")) if folder.is_dir() else ():
        named[str(path.relative_to(folder).with_suffix(""))] = path
    return named


def outputs_of(compiled: Any, feeds: dict[str, Any]) -> list[Any]:
    request = compiled.create_infer_request()
    request.infer({name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in feeds.items()})
    return [request.get_output_tensor(index).data.copy() for index in range(len(compiled.outputs))]


def error_of(expected: Any, found: Any) -> float:
    """The largest difference over the largest value; infinite where the two are not alike."""
    a, b = np.asarray(expected), np.asarray(found)
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind not in "f":
        return 0.0 if np.array_equal(a, b) else float("inf")
    x, y = a.astype(np.float64), b.astype(np.float64)
    if not np.array_equal(np.isnan(x), np.isnan(y)):
        return float("inf")
    finite = np.isfinite(x)
    if not finite.any():
        return 0.0
    largest = np.abs(x[finite]).max()
    worst = float(np.abs(x - y)[finite].max())
    return worst / float(largest) if largest else worst


def node_count(compiled: Any) -> int:
    kinds = [op.get_rt_info()["layerType"].astype(str) for op in compiled.get_runtime_model().get_ops()]
    return sum(kind not in ENDS for kind in kinds)


def measure(path: Path, budget: float) -> dict[str, Any]:
    """One row; {"skipped": why} where onnxruntime or the reader's model does not run."""
    import onnxruntime
    import openvino

    import geoc
    from geoc.frontends.onnx import load_onnx
    from geoc.lowering.backend import Order
    from geoc.lowering.openvino.write import write_ir
    from geoc.lowering.targets import get_target
    from geoc.tools.inputs.maker import InputMaker
    from geoc.tools.inputs.shapes import Shapes

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    model = load_onnx(path)
    maker = InputMaker(model, Shapes())
    if maker.problem:
        return {"skipped": maker.problem}
    cpu = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=cpu)
    runs: list[tuple[dict[str, Any], list[Any]]] = []
    reason = ""
    for sizes in list(maker.sizes()) if maker.symbols else [{}, {}]:
        feeds = maker.feeds(sizes, len(runs))
        try:
            runs.append((feeds, session.run(None, feeds)))
        except Exception as error:  # sizes are guesses; onnxruntime's errors have no common class
            reason = str(error)
        if len(runs) == 2:
            break
    if not runs:
        return {"skipped": reason[:120]}
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=cpu)
    its_own = [error_of(a, b) for feeds, expected in runs for a, b in zip(expected, session.run(None, feeds))]
    del session
    core = openvino.Core()
    row: dict[str, Any] = {"its own": max(its_own)}
    theirs = None
    try:
        theirs = core.compile_model(str(path), "CPU", CONFIG)
        row["reader"] = {
            "error": max(error_of(a, b) for feeds, expected in runs for a, b in zip(expected, outputs_of(theirs, feeds))),
            "nodes": node_count(theirs),
        }
    except RuntimeError as error:
        row["reader"] = {"failure": " ".join(str(error).split())[-200:]}
        theirs = None
    geoc.optimize(model, level=2, target="openvino-cpu", check="off")
    with tempfile.TemporaryDirectory() as folder:
        written = write_ir(model, f"{folder}/model.xml", Order(get_target("openvino-cpu")))
        row["notes"] = written.notes
        try:
            ours = core.compile_model(f"{folder}/model.xml", "CPU", CONFIG)
            row["ours"] = {
                "error": max(error_of(a, b) for feeds, expected in runs for a, b in zip(expected, outputs_of(ours, feeds))),
                "nodes": node_count(ours),
            }
        except RuntimeError as error:
            row["ours"] = {"failure": " ".join(str(error).split())[-200:]}
            return row
        if theirs is not None and "error" in row["reader"]:
            row["time"] = ratio(ours, theirs, runs[0][0], budget)
    return row


def ratio(our: Any, their: Any, feeds: dict[str, Any], budget: float) -> dict[str, float]:
    """Medians of alternating runs in milliseconds, and of the ratio of neighbours."""
    requests = [our.create_infer_request(), their.create_infer_request()]
    given = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in feeds.items()}
    for request in requests * 2:
        request.infer(given)
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + budget
    order = list(zip(times, requests))
    while time.perf_counter() < end or len(times[0]) < 6:
        order.reverse()
        for each, request in order:
            begun = time.perf_counter()
            request.infer()
            each.append(time.perf_counter() - begun)
    both = np.array(times)
    ours, theirs = np.median(both, axis=1) * 1e3
    return {"ours": float(ours), "reader": float(theirs), "ratio": float(np.median(both[0] / both[1]))}


def render(rows: dict[str, dict[str, Any]]) -> str:
    """The page."""
    import onnxruntime
    import openvino

    where = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
        where = found.group(1) if found else where
    lines = [
        HEAD.rstrip() + f" on {where}, openvino {openvino.__version__.split('-')[0]}, onnxruntime {onnxruntime.__version__}.",
        "",
        summary(rows),
        "",
        "| model | written | error | reader's | its own | nodes | reader's | ms | reader's | time |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "ours" not in row:
            continue
        ours, theirs, times = row["ours"], row["reader"], row.get("time")
        how = (fallback(row) or "native").replace("|", "/")
        cells = [name, how]
        cells += [shown(ours.get("error")), shown(theirs.get("error")), shown(row.get("its own"))]
        cells += [str(ours.get("nodes", "does not run")), str(theirs.get("nodes", "does not run"))]
        cells += ["", "", ""] if times is None else [
            f"{times['ours']:.2f}", f"{times['reader']:.2f}", f"{times['ratio']:.2f}"
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    skipped = [f"- {name}: {row['skipped']}" for name, row in rows.items() if "skipped" in row]
    if skipped:
        lines += ["", "Not compared, because onnxruntime does not run them on made-up inputs or this process failed:", "", *skipped]
    return "\n".join(lines) + "\n"


def summary(rows: dict[str, dict[str, Any]]) -> str:
    ran = [row for row in rows.values() if "error" in row.get("ours", {})]
    native = sum(fallback(row) is None for row in ran)
    close = sum(row["ours"]["error"] <= LIMIT for row in ran)
    alike = sum(
        LIMIT < row["ours"]["error"] <= 2 * max(row["reader"].get("error", 0.0), row.get("its own", 0.0)) for row in ran
    )
    both = [row for row in ran if "nodes" in row["reader"]]
    fewer = sum(row["ours"]["nodes"] <= row["reader"]["nodes"] for row in both)
    ratios = [row["time"]["ratio"] for row in ran if "time" in row]
    middle = f"{np.median(ratios):.2f}" if ratios else "-"
    return (
        f"{len(ran)} models ran: {native} native, {close} within {LIMIT:g} of onnxruntime and {alike} more as close to it "
        f"as the reader's, or as onnxruntime is to itself; {fewer} of {len(both)} with no more "
        f"nodes than the reader gives; median time ratio {middle}, {sum(r <= 1.03 for r in ratios)} of "
        f"{len(ratios)} at most 1.03."
    )


def fallback(row: dict[str, Any]) -> str | None:
    """Why a model went through the reader; None where it did not."""
    return next((note.split("because ")[-1][:110] for note in row["notes"] if "because" in note), None)


def shown(error: float | None) -> str:
    return "" if error is None else f"{error:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rows", help="a file that rows are kept in, so that a second call goes on where one ended")
    parser.add_argument("--again", action="store_true", help="measure the rows of --only again")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds of timed runs for each model")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one, arguments.budget)))
        return
    kept = Path(arguments.rows) if arguments.rows else None
    rows: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
    for name, path in models().items():
        if not re.search(arguments.only, name) or (name in rows and not arguments.again):
            continue
        command = [sys.executable, __file__, "--one", str(path), "--budget", str(arguments.budget)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
            rows[name] = {"skipped": last[:160]}
        else:
            rows[name] = json.loads(lines[-1])
        print(name, json.dumps(rows[name]), flush=True)
        if kept is not None:
            kept.write_text(json.dumps(rows))
    rows = dict(sorted(rows.items()))
    print(summary(rows))
    if arguments.write:
        (ROOT / "docs/openvino.md").write_text(render(rows))


if __name__ == "__main__":
    main()

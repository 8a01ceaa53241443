"""What weights of a few bits are worth: size, a score, and the time of a token, beside the model as its exporter wrote it.

    python tests/bench/weights.py MODEL.onnx [--past MODEL.onnx] [--metric FILE.py:FUNCTION] [--calib SAMPLES] [--only NAME...]
    python tests/bench/weights.py MODEL.onnx --memory

MODEL is scored: FUNCTION(run) gives a number, run(feeds) the outputs of the model in order. The model of `--past`, the same with a
cache, is timed for one token after 128, on one thread and on two. Both models are loaded anew in each round and run in turn; time on one
thread is that of the thread, on two the shortest. Bits: what a weight of the layers takes as it is stored, scales and the like included.
Methods that want samples are left out without `--calib`. `--memory`: the most that one compilation takes, in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

VARIANTS = {
    "fp32": "",
    "8 bits": "bits=8,grid=false",
    "grid of 4 bits": "bits=4",
    "4 bits, rtn": "bits=4,grid=false",
    "4 bits, rtn, asymmetric": "bits=4,grid=false,kind=asymmetric",
    "4 bits, hqq, minimum, block 64": "bits=4,grid=false,method=hqq,kind=minimum,block=64",
    "4 bits, awq": "bits=4,grid=false,method=awq",
    "4 bits, gptq": "bits=4,grid=false,method=gptq",
    "3 bits, gptq": "bits=3,grid=false,method=gptq",
    "2 bits, gptq, block 16": "bits=2,grid=false,method=gptq,block=16",
}
PAST = 128
ROUNDS, RUNS = 5, 25
Record = dict[str, Any]


def compiled(source: Path, result: Path, options: str, calib: str | None, count: int) -> float:
    """Compile for this machine with weights quantized as the options say; bits of a weight in the layers."""
    import geoc
    from geoc.lowering.backend import Order
    from geoc.lowering.emit import write_onnx
    from geoc.lowering.targets import get_target
    from geoc.passes.base import Context
    from geoc.passes.manager import run_pipeline
    from geoc.passes.pipelines import before_forms, level_items, parse
    from geoc.passes.registry import Registry
    from geoc.tools.calibration.observing import observe
    from geoc.tools.calibration.samples import open_samples

    target = get_target("cpu")
    model = geoc.load(str(source))
    samples = None if calib is None else open_samples(calib, model)

    def write(model: Any, path: str) -> None:
        write_onnx(model, path, Order(target, None, None))

    def observed(model: Any, observers: Any) -> None:
        observe(model, observers, islice(samples.calibration(), count), write)

    items = level_items(2, target.pipeline)
    if options:
        items = before_forms(items, parse(f"quantize-weights{{{options}}}"))
        items += parse("nbits-rows,share-weights{transposed=false},cse,dce")
    ctx = Context(capabilities=target.capabilities, observe=observed if samples is not None else None)
    run_pipeline(model, Registry(target.rule_sets).resolve(items), ctx)
    write(model, str(result))
    return bits_of_layers(model)


def bits_of_layers(model: Any) -> float:
    """Bits that a weight of MatMulNBits takes, the head (of 8 bits) left out where there are others."""
    stored = weights = 0.0
    nodes = [node for node in model.walk() if node.op.name == "MatMulNBits"]
    least = min((node.attr("bits") for node in nodes), default=32)
    for node in nodes:
        if node.attr("bits") != least:
            continue
        weights += node.attr("K") * node.attr("N")
        stored += 8 * node.inputs[1].const.nbytes
        for value in node.inputs[2:4]:
            stored += 0 if value is None else _bits(value)
        for user in node.output.users:  # the second part of a product with minima
            for value in user.inputs if user.op.key == "Add" else ():
                if value is not None and value.producer is not None and value.producer.op.key == "MatMul":
                    stored += node.attr("K") // node.attr("block_size") * node.attr("N") * 16
    return stored / weights if weights else 32.0


def _bits(value: Any) -> int:
    source = value if value.const is not None else value.producer.inputs[0]
    return int(8 * source.const.nbytes)


def session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def score(path: Path, metric: Callable[[Callable[[Record], list[Any]]], float]) -> float:
    model = session(path, 1)
    names = [entry.name for entry in model.get_inputs()]
    return float(metric(lambda feeds: model.run(None, {name: feeds[name] for name in names})))


def seconds_of_token(source: Path, results: dict[str, Path], threads: int) -> dict[str, tuple[float, float]]:
    """Seconds of a token after 128 for each file, and how many times as fast as the source it is."""
    import onnxruntime

    import geoc
    from geoc.tools.inputs.maker import InputMaker
    from geoc.tools.inputs.shapes import Shapes

    maker = InputMaker(geoc.load(str(source)), Shapes())
    of = {"batch": 1, "sequence": 1, "past": PAST, "total": PAST + 1}
    feeds = maker.feeds({name: of.get(kind, 16) for name, kind in maker.symbols.items()}, 0)
    feeds = {name: array + PAST if "position" in name else array for name, array in feeds.items()}
    bound = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
    clock = time.thread_time if threads == 1 else time.perf_counter
    best = median if threads == 1 else min
    paths = {"source": source, **results}
    taken: dict[str, list[float]] = {name: [] for name in paths}
    for turn in range(ROUNDS):
        order = list(paths) if turn % 2 == 0 else list(paths)[::-1]
        models = {name: session(paths[name], threads) for name in order}
        times: dict[str, list[float]] = {name: [] for name in paths}
        for number in range(RUNS + 1):
            for name, model in models.items():
                start = clock()
                model.run_with_ort_values(None, bound)
                if number:
                    times[name].append(clock() - start)
        for name, found in times.items():
            taken[name].append(best(found))
        del models, model
        gc.collect()
    return {name: (median(t), median(a / b for a, b in zip(taken["source"], t))) for name, t in taken.items()}


def memory(source: Path) -> None:
    """Print the most memory that a process takes to quantize a model, and its time."""
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        started = time.perf_counter()
        compiled(source, Path(folder) / "model.onnx", VARIANTS["grid of 4 bits"], None, 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{source.name}: {peak:.0f} MB at most, {time.perf_counter() - started:.0f} s")


def measure(options: argparse.Namespace, folder: Path) -> list[Record]:
    path, _, function = (options.metric or "").rpartition(":")
    metric = runpy.run_path(path)[function] if path else None
    records: list[Record] = []
    timed: dict[str, Path] = {}
    for name, text in VARIANTS.items():
        has_data = any(method in text for method in ("gptq", "awq"))
        if (options.only and name not in options.only) or (has_data and not options.calib):
            continue
        result = folder / "model.onnx"
        bits = compiled(options.model, result, text, options.calib if has_data else None, options.samples)
        record: Record = {"variant": name, "bits": bits, "megabytes": result.stat().st_size / 1e6}
        if metric is not None:
            record["score"] = score(result, metric)
        if options.past is not None:
            # Times do not depend on which codes there are: methods with samples are timed by their scheme.
            timed[name] = folder / f"{len(timed)}.onnx"
            plain = text.replace("method=gptq", "method=rtn").replace("method=awq", "method=rtn")
            compiled(options.past, timed[name], plain, None, 0)
        records.append(record)
        print(json.dumps(record), flush=True)
    for threads in (1, 2) if timed else ():
        found = seconds_of_token(options.past, timed, threads)
        for record in records:
            seconds, times = found[record["variant"]]
            record[f"ms_{threads}"], record[f"times_{threads}"] = seconds * 1e3, times
        print(f"source, {threads} threads: {found['source'][0] * 1e3:.2f} ms a token")
    return records


def shown(r: Record) -> str:
    line = f"| {r['variant']} | {r['bits']:.2f} | {r['megabytes']:.1f} |"
    line += f" {r['score']:.2f} |" if "score" in r else " |"
    for threads in (1, 2):
        key = f"ms_{threads}"
        line += f" {r[key]:.2f} ({r[f'times_{threads}']:.2f} times as fast) |" if key in r else " |"
    return line


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--past", type=Path)
    parser.add_argument("--metric")
    parser.add_argument("--calib")
    parser.add_argument("--samples", type=int, default=64, help="how many samples are used")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.memory:
        memory(options.model)
        return 0
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        records = measure(options, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    print("| variant | bits | MB | score | ms a token, 1 thread | 2 threads |\n|---|---|---|---|---|---|")
    print("\n".join(shown(r) for r in records))
    return 0


if __name__ == "__main__":
    sys.exit(main())

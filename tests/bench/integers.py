"""Quantized models: speed, size and error beside the source and onnxruntime's own quantization.

    python tests/bench/integers.py MODEL [--calib FILE] [--passes NAME=TEXT ...] [--peers] [--size B=1 ...]
                                    [--seconds N] [--out FOLDER] [--target T] [--json OUT]

Each form is written into FOLDER; then all are run interleaved in default sessions of one thread, in an order that
rotates, and speed is the ratio of the source's time to the form's, by the minima and by the medians. The error is the
mean relative L2 error of the first output on the samples that calibration leaves out. Without --calib the samples are
inputs made up for the model: enough for speed, not for accuracy. --peers adds onnxruntime.quantization: dynamic per
channel (U8S8), and static QDQ per channel (U8S8, min-max) behind its own pre-processing.

NAME=TEXT is a pipeline, ``@O2`` and the like in it; by default those of `FORMS`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import geoc
from geoc.ir.core import Model, Value
from geoc.lowering.backend import Order
from geoc.lowering.emit import write_onnx
from geoc.lowering.targets import Target, get_target
from geoc.passes.base import Context, Observer
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import level_items, parse
from geoc.passes.registry import Registry
from geoc.tools.inputs import InputMaker
from geoc.tools.observing import observe
from geoc.tools.samples import Samples, open_samples
from geoc.tools.shapes import read_shapes

LOWER = "ort-quantized,fold,cse,dce"
FORMS = {
    "dynamic": f"@O2,quantize{{static=false}},{LOWER}",
    "static": f"@O2,smooth,quantize{{method=percentile,weights=mse,correct=16}},{LOWER}",
}
Feeds = dict[str, Any]


class MadeUp(Samples):
    """Inputs made up for a model, all of the same sizes."""

    def __init__(self, model: Model, sizes: list[str], count: int = 10) -> None:
        super().__init__("made-up inputs", model)
        maker = InputMaker(model, read_shapes(sizes, model), 0)
        self.sizes = next(maker.sizes())
        self.maker, self.count = maker, count

    def read(self) -> Iterable[tuple[str, Any]]:  # type: ignore[override]
        for number in range(self.count):
            yield str(number), self.maker.feeds(self.sizes, number)


def compiled(source: Path, passes: str, out: Path, samples: Samples, target: Target) -> float:
    """Run a pipeline and write the result; the seconds."""

    def write(model: Model, path: str) -> Any:
        return write_onnx(model, path, Order(target, None, None))

    def seen(model: Model, observers: Mapping[Value, Observer], limit: int | None = None) -> int:
        return observe(model, observers, islice(samples.calibration(), limit), write, memory=1 << 40)

    begun = time.perf_counter()
    model = geoc.load(str(source))
    steps = Registry(target.rule_sets).resolve(parse(passes, lambda n: level_items(n, target.pipeline)))
    run_pipeline(model, steps, Context(capabilities=target, observe=seen))
    write_onnx(model, str(out), Order(target, None, "inline"))
    return time.perf_counter() - begun


def peers(source: Path, folder: Path, samples: Samples) -> dict[str, Path | str]:
    """onnxruntime's own forms: files, or why there is none."""
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(samples.calibration())

        def get_next(self) -> Feeds | None:
            return next(self.left, None)

    found: dict[str, Path | str] = {}
    prepared = folder / "prepared.onnx"
    try:
        shape_inference.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=False)
    except Exception as error:
        found["peer prepared"] = f"{type(error).__name__}: {str(error)[:100]}"
        prepared = source
    static = {"per_channel": True, "activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    makers = {
        "peer dynamic": lambda path: quantization.quantize_dynamic(str(prepared), str(path), per_channel=True),
        "peer static": lambda path: quantization.quantize_static(str(prepared), str(path), Reader(), **static),
    }
    for name, make in makers.items():
        path = folder / f"{name.replace(' ', '-')}.onnx"
        try:
            make(path)
            found[name] = path
        except Exception as error:  # what a peer raises is its result
            found[name] = f"{type(error).__name__}: {str(error)[:100]}"
    return found


def session_of(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def timed(sessions: Mapping[str, Any], feeds: Feeds, seconds: float) -> dict[str, list[float]]:
    """Seconds of each run, interleaved."""
    names = list(sessions)
    times: dict[str, list[float]] = {name: [] for name in names}
    until, turn = time.perf_counter() + seconds, 0
    while time.perf_counter() < until or turn < 5:
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begun = time.perf_counter()
            sessions[name].run(None, feeds)
            times[name].append(time.perf_counter() - begun)
        turn += 1
    return times


def error(ours: Any, theirs: Any, feeds: Iterable[Feeds]) -> float:
    """The mean relative L2 error of the first output."""
    found = []
    for f in feeds:
        a, b = ours.run(None, f)[0], theirs.run(None, f)[0].astype(np.float64)
        found.append(np.linalg.norm(a - b) / np.linalg.norm(b))
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calib")
    parser.add_argument("--passes", action="append", default=[])
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--size", action="append", default=[], help="sizes of made-up inputs, as --shape takes them")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        target, source = get_target(options.target), geoc.load(str(options.model))
        samples = open_samples(options.calib, source) if options.calib else MadeUp(source, options.size)
        forms = dict(text.split("=", 1) for text in options.passes) or FORMS
        paths: dict[str, Path] = {"source": options.model}
        for name, passes in forms.items():
            paths[name] = folder / f"{options.model.stem}-{name}.onnx"
            seconds = compiled(options.model, passes, paths[name], samples, target)
            print(f"{name}: compiled in {seconds:.0f} s")
        if options.peers:
            for name, found in peers(options.model, folder, samples).items():
                if isinstance(found, str):
                    print(f"{name}: {found}")
                else:
                    paths[name] = found
        sessions = {name: session_of(path) for name, path in paths.items()}
        held_back = list(samples.held_back())
        times = timed(sessions, held_back[0], options.seconds)
        rows = {}
        for name, path in paths.items():
            rows[name] = {
                "ms": min(times[name]) * 1e3,
                "speed": min(times["source"]) / min(times[name]),
                "speed of medians": median(times["source"]) / median(times[name]),
                "smaller": options.model.stat().st_size / path.stat().st_size,
                "error": error(sessions[name], sessions["source"], held_back),
            }
            cells = "  ".join(f"{key} {number:.4g}" for key, number in rows[name].items())
            print(f"{options.model.stem:36} {name:14} {cells}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

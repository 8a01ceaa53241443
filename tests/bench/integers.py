"""Quantized models: speed, size and error beside the source and onnxruntime's own quantization.

    python tests/bench/integers.py MODEL [--calib FILE] [--passes NAME[@TARGET]=TEXT ...] [--peers] [--size B=1 ...]
                                    [--nncf-python PYTHON] [--seconds N] [--out FOLDER] [--json OUT]

Each form is written into FOLDER; then all are run interleaved, onnxruntime in default sessions and OpenVINO at full
precision, on one thread each and in an order that rotates. Time is that of the processor, so that other work on the
machine counts little; speed is the ratio of the source's time in onnxruntime to the form's, by the minima and by the
medians. The error is the mean relative L2 error of the first output on the samples that calibration leaves out. Without
--calib the samples are inputs made up for the model: enough for speed, not for accuracy. --peers adds
onnxruntime.quantization: dynamic per channel (U8S8), and static QDQ per channel (U8S8, min-max) behind its own
pre-processing. --nncf-python adds what NNCF makes for OpenVINO (nncf_peer.py), by a Python that has both.

NAME@TARGET=TEXT is a pipeline for a target (cpu), ``@O2`` and the like in it; by default those of `FORMS`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
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
from geoc.tools.calibration.observing import observe
from geoc.tools.calibration.samples import Samples, open_samples
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import read_shapes

LOWER = "ort-quantized,fold,cse,dce"
FORMS = {
    "dynamic": f"@O2,quantize{{static=false}},{LOWER}",
    "static": f"@O2,smooth,quantize{{method=percentile,weights=mse,correct=16}},{LOWER}",
    "dynamic@openvino-cpu": "@O2,quantize{static=false},fold,cse,dce",
    "static@openvino-cpu": "@O2,smooth,quantize{method=percentile,weights=mse,correct=16},fold,cse,dce",
}
PEER = Path(__file__).with_name("nncf_peer.py")
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
    if out.suffix == ".onnx":
        write_onnx(model, str(out), Order(target, None, "inline"))
    else:
        target.backend.emitters()[target.backend.default].write(model, str(out), Order(target))
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


def nncf_peers(python: Path, source: Path, folder: Path, samples: Samples) -> dict[str, Path | str]:
    """NNCF's forms for OpenVINO: files, or why there is none."""
    given, paths = folder / "samples.npz", {"nncf": folder / "nncf.xml", "nncf weights": folder / "nncf-weights.xml"}
    arrays = {f"{name}/{n}": value for n, feeds in enumerate(samples.calibration()) for name, value in feeds.items()}
    np.savez(given, **arrays)
    command = [python, PEER, source, given, *paths.values()]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    why = (done.stderr.strip().splitlines() or [""])[-1][:200]
    return {name: path if path.exists() else why for name, path in paths.items()}


class OpenVino:
    """A file in OpenVINO's CPU plugin; runs as a session of onnxruntime does."""

    def __init__(self, path: Path) -> None:
        import openvino

        options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self.compiled = openvino.Core().compile_model(path, "CPU", {**options, "ENABLE_CPU_PINNING": False})
        self.request = self.compiled.create_infer_request()

    def run(self, names: None, feeds: Feeds) -> list[Any]:
        """All outputs, which the next run overwrites."""
        found = self.request.infer(feeds, share_inputs=True, share_outputs=True)
        return [found[output] for output in self.compiled.outputs]


def session_of(path: Path) -> Any:
    if path.suffix == ".xml":
        return OpenVino(path)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def timed(sessions: Mapping[str, Any], feeds: Feeds, seconds: float) -> dict[str, list[float]]:
    """Seconds of the processor for each run, interleaved."""
    names = list(sessions)
    times: dict[str, list[float]] = {name: [] for name in names}
    until, turn = time.perf_counter() + seconds, 0
    while time.perf_counter() < until or turn < 5:
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begun = time.process_time()
            sessions[name].run(None, feeds)
            times[name].append(time.process_time() - begun)
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
    parser.add_argument("--nncf-python", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        source = geoc.load(str(options.model))
        samples = open_samples(options.calib, source) if options.calib else MadeUp(source, options.size)
        forms = dict(text.split("=", 1) for text in options.passes) or FORMS
        paths: dict[str, Path] = {"source": options.model}
        for name, passes in forms.items():
            target = get_target(name.partition("@")[2] or "cpu")
            suffix = ".xml" if target.runtime == "openvino" else ".onnx"
            paths[name] = folder / f"{options.model.stem}-{name}{suffix}"
            seconds = compiled(options.model, passes, paths[name], samples, target)
            print(f"{name}: compiled in {seconds:.0f} s", flush=True)
        theirs = peers(options.model, folder, samples) if options.peers else {}
        if options.nncf_python is not None:
            theirs |= nncf_peers(options.nncf_python, options.model, folder, samples)
        for name, found in theirs.items():
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
                "smaller": options.model.stat().st_size / (path.with_suffix(".bin") if path.suffix == ".xml" else path).stat().st_size,
                "error": error(sessions[name], sessions["source"], held_back),
            }
            cells = "  ".join(f"{key} {number:.4g}" for key, number in rows[name].items())
            print(f"{options.model.stem:36} {name:22} {cells}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

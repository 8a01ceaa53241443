"""Peak memory and time of `geoc MODEL --precision int8 --calib ...`, by method, and of the same again with its cache.

    python tests/bench/calibration.py MODEL [--samples 100] [--size batch=1 --size seq=128] [--methods percentile,entropy]

Samples are inputs made up for the model, all of the sizes given: memory does not depend on what they hold. The figure is
VmHWM of the whole command, its onnxruntime included, divided by the size of the model's files. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import geoc
from geoc.tools.files import files_of
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import read_shapes

# Each method in the pipeline that the order is; VmHWM as in tests/tools/test_memory.py.
PIPELINE = "@O2,smooth,quantize{method=METHOD,weights=mse,rounding=gptq,correct=40},ort-quantized,fold,cse,dce"
CHILD = """
import sys
from geoc.tools.cli import main
code = main(sys.argv[1:])
print("peak", open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
sys.exit(code)
"""


def samples(model: Path, sizes: list[str], count: int, path: Path) -> None:
    """Made-up inputs as --calib takes them."""
    source = geoc.load(str(model))
    maker = InputMaker(source, read_shapes(sizes, source), 0)
    fixed = next(maker.sizes())
    feeds = [maker.feeds(fixed, number) for number in range(count)]
    np.savez(path, **{f"{name}/{i}": array for i, one in enumerate(feeds) for name, array in one.items()})


def run(words: list[str]) -> tuple[int, float]:
    """Bytes at the peak of a command, and its seconds."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return int(done.stdout.rpartition("peak ")[2]) * 1024, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--size", action="append", default=[], help="sizes of made-up inputs, as --shape takes them")
    parser.add_argument("--methods", default="percentile,entropy")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    size = sum(Path(path).stat().st_size for path in files_of(str(options.model), geoc.load(str(options.model))))
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = folder / "samples.npz"
        samples(options.model, options.size, options.samples, data)
        for method in options.methods.split(","):
            words = [str(options.model), "--passes", PIPELINE.replace("METHOD", method), "--check=end", "--max-error=100%"]
            words += ["--calib", str(data), "--cache", str(folder / method)]
            (peak, seconds), (_, again) = (run([*words, "-o", str(folder / f"{name}.onnx")]) for name in ("first", "again"))
            kept = sum(path.stat().st_size for path in (folder / method).iterdir())
            rows.append({"model": options.model.stem, "method": method, "peak": peak, "of the model": peak / size,
                         "seconds": seconds, "again": again, "cache": kept})  # fmt: skip
            print(f"{options.model.stem} {method}: {peak / 1e6:.0f} MB, {peak / size:.2f} of the model; {seconds:.0f} s, "
                  f"again {again:.0f} s; {kept / 1e6:.1f} MB kept", flush=True)  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

"""What running a model takes in a process of its own: memory at its peak, loading, and the first inference.

    python -m geoc.tools.running.peak RUNTIME THREADS MODEL FEEDS.npz [OPTIMIZERS]     prints JSON: peak, load, first

The peak is what the process grows by from the moment when the runtime is imported to the end of the second run:
weights, what the runtime makes of them, and intermediate results. Pages of the model's file that are mapped count as
well. OPTIMIZERS, with commas, are those of onnxruntime that are disabled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ...ir.core import Model
    from ..compiler import Compilation

_RUNS = 2  # the first one allocates
_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def can_measure(run: Compilation) -> bool:
    """True if this machine is the target, and says what a process takes."""
    from .timing import RUNNERS

    return run.target.is_here and run.target.runtime in RUNNERS and _STATUS.exists()


class Fresh(NamedTuple):
    """Of one process: bytes at the peak; seconds of loading, and of the first inference behind it."""

    peak: int
    load: float
    first: float


def measured_peak(run: Compilation, model: Model, feeds: Mapping[str, Any]) -> int:
    """Bytes that a finished model takes at its peak in the target's runtime on this machine, on these inputs.

    Raises RuntimeError with what the process said where it does not run.
    """
    from ..writing import order_of
    from .timing import declared_feeds, native_output, threads_of

    with tempfile.TemporaryDirectory(prefix="geoc-peak-") as folder:
        output = native_output(run, os.path.join(folder, "model"))
        output.emitter.write(model, output.path, replace(order_of(run, model), weights=None))
        given = declared_feeds(model, dict(feeds))
        return measured_fresh(run.target.runtime, threads_of(run), output.path, given).peak


def measured_fresh(
    runtime: str, threads: int, path: str, feeds: Mapping[str, Any], disabled: Sequence[str] = ()
) -> Fresh:
    """Load a file in a fresh process and run it twice on these arrays.

    Raises RuntimeError with what the process said where it does not run.
    """
    import geoc

    with tempfile.TemporaryDirectory(prefix="geoc-fresh-") as folder:
        data = os.path.join(folder, "feeds.npz")
        np.savez(data, **feeds)
        words = [sys.executable, "-m", __name__, runtime, str(threads), path, data, ",".join(disabled)]
        paths = [*(str(Path(folder).parent) for folder in geoc.__path__), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return Fresh(**json.loads(done.stdout.splitlines()[-1]))


def main(runtime: str, threads: str, path: str, data: str, disabled: str = "") -> Fresh:
    """Load and run, here."""
    import gc
    import importlib

    from .stopwatch import Stopwatch
    from .timing import RUNNERS

    importlib.import_module(runtime)
    with np.load(data) as archive:
        feeds = {name: archive[name] for name in archive.files}
    gc.collect()
    if _CLEAR.exists():
        _CLEAR.write_text("5")  # the peak begins anew here
    before = _bytes("VmRSS")
    calls: list[Any] = []
    names = [name for name in disabled.split(",") if name]
    with Stopwatch(int(threads)) as watch:
        load = watch.time(lambda: calls.append(RUNNERS[runtime](path, int(threads), None, names)))
        first = watch.time(lambda: calls[0](feeds))
    for _ in range(_RUNS - 1):
        calls[0](feeds)
    return Fresh(_bytes("VmHWM") - before, load, first)


def _bytes(name: str) -> int:
    """A line of what Linux says of this process."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {name} in {_STATUS}")


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])._asdict()))

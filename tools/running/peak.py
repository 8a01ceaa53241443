"""The memory that running a model takes at its peak, measured in a process of its own.

    python -m geoc.tools.running.peak RUNTIME THREADS MODEL FEEDS.npz     prints bytes

Counted is what the process grows by from the moment when the runtime is imported to the end of the second run: weights,
what the runtime makes of them, and intermediate results. Pages of the model's file that are mapped count as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def measured_peak(run: Compilation, model: Model, feeds: Mapping[str, Any]) -> int:
    """Bytes that a finished model takes at its peak in the target's runtime on this machine, on these inputs.

    Raises RuntimeError with what the process said where it does not run.
    """
    import geoc

    from ..writing import order_of
    from .timing import declared_feeds, native_output, threads_of

    with tempfile.TemporaryDirectory(prefix="geoc-peak-") as folder:
        output = native_output(run, os.path.join(folder, "model"))
        output.emitter.write(model, output.path, replace(order_of(run, model), weights=None))
        data = os.path.join(folder, "feeds.npz")
        np.savez(data, **declared_feeds(model, dict(feeds)))
        words = [sys.executable, "-m", __name__, run.target.runtime, str(threads_of(run)), output.path, data]
        paths = [*(str(Path(folder).parent) for folder in geoc.__path__), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return int(done.stdout.split()[-1])


def main(runtime: str, threads: str, path: str, data: str) -> int:
    """Load and run; the growth in bytes."""
    import gc
    import importlib

    from .timing import RUNNERS

    importlib.import_module(runtime)
    with np.load(data) as archive:
        feeds = {name: archive[name] for name in archive.files}
    gc.collect()
    if _CLEAR.exists():
        _CLEAR.write_text("5")  # the peak begins anew here
    before = _bytes("VmRSS")
    call = RUNNERS[runtime](path, int(threads), None)  # optimizers that would be disabled take no memory worth a word
    for _ in range(_RUNS):
        call(feeds)
    return _bytes("VmHWM") - before


def _bytes(name: str) -> int:
    """A line of what Linux says of this process."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {name} in {_STATUS}")


if __name__ == "__main__":
    print(main(*sys.argv[1:]))

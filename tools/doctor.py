"""The verb `doctor`: which backends are here, whether they work, and what geoc can do with them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .args import Arguments

if TYPE_CHECKING:
    from ..lowering.targets import Target

_GPU_DEVICES = ("/dev/nvidia0", "/dev/nvhost-gpu")  # of a graphics card's driver, of a Jetson's
_SMALLEST = 'geoc 1\nopset "" 21\n\ngraph @main(%x: f32[2]) -> (%y: f32[2]) {\n  %y: f32[2] = Neg(%x)\n}\n'


def doctor_verb(arguments: Arguments) -> int:
    """``geoc doctor``. Exit code 1 where a model cannot be compiled and run for the default target."""
    from ..ir.errors import UsageError
    from ..lowering.installed import RUNTIMES, runtime_version
    from ..lowering.targets import get_target, list_targets
    from .versions import version_text

    if arguments.words:
        raise UsageError("doctor takes no words")
    print(version_text())
    cpu = get_target("cpu")
    card = "yes" if any(map(os.path.exists, _GPU_DEVICES)) else "none"
    print(f"\nmachine\n    {_machine(cpu)}\n    NVIDIA GPU: {card}")
    print("\nbackends")
    fault = ""
    for name, (_, distributions) in RUNTIMES.items():
        version = runtime_version(name)
        if version is None:
            state = f"not installed: pip install {distributions[0]}"
        elif name == cpu.runtime:
            fault = _fault()
            state = f"{version}: {fault or 'a model was compiled and run'}"
        else:
            state = version
        print(f"    {name:<13}{state}")
    targets = [get_target(name) for name in list_targets()]
    print("\ntargets")
    print(f"    compile for: {', '.join(t.name for t in targets)}")
    print(f"    estimate for: {', '.join(t.name for t in targets if t.hardware.rates)}")
    return 1 if fault or cpu.runtime_version is None else 0


def _machine(cpu: Target) -> str:
    from ..lowering.targets import machine

    found = cpu.hardware
    parts = [machine()]
    if found.cores is not None:
        parts.append(f"{found.cores} cores" + (f" at {found.clock / 1e9:.2f} GHz" if found.clock else ""))
    if found.memory is not None:
        parts.append(f"{found.memory / 1e9:.1f} GB of memory")
    return ", ".join(parts)


def _fault() -> str:
    """What goes wrong with the smallest model from text to a result of onnxruntime; "" for nothing."""
    import numpy as np

    from ..ir.errors import GeocError
    from .api import compile
    from .check import first_line, refusals

    try:
        import onnxruntime
    except ImportError as error:
        return f"cannot be imported: {first_line(error)}"
    failures: tuple[type[Exception], ...] = (GeocError, *refusals())
    with tempfile.TemporaryDirectory(prefix="geoc-doctor-") as folder:
        source, output = Path(folder) / "model.gir", Path(folder) / "model.onnx"
        source.write_text(_SMALLEST, encoding="utf-8")
        try:
            compile(str(source), str(output))
            session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
            (result,) = session.run(None, {"x": np.array([1, -2], np.float32)})
        except failures as error:
            return f"does not work: {first_line(error)}"
    return "" if np.array_equal(result, [-1, 2]) else f"gives wrong results: -x of [1, -2] is {result}"

"""The verb `doctor`: which backends are here, whether they work, and what geoc can do with them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..args import Arguments

if TYPE_CHECKING:
    from ...lowering.targets import Target

_GPU_DEVICES = ("/dev/nvidia0", "/dev/nvhost-gpu")  # of a graphics card's driver, of a Jetson's
_SMALLEST = 'geoc 1\nopset "" 21\n\ngraph @main(%x: f32[2]) -> (%y: f32[2]) {\n  %y: f32[2] = Neg(%x)\n}\n'


def doctor_verb(arguments: Arguments) -> int:
    """``geoc doctor``. Exit code 1 where a model cannot be compiled and run for the default target."""
    from ...ir.errors import UsageError
    from ...lowering.installed import RUNTIMES, runtime_version
    from ...lowering.targets import get_target, list_targets
    from ..versions import version_text

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
            state = f"not installed: pip install {distributions[0].replace('_', '-')}"
        else:
            trial, done = _TRIALS.get(name, (None, ""))
            found = "" if trial is None else trial()
            state = f"{version}: {found or done}" if trial is not None else version
            if name == cpu.runtime:
                fault = found
        print(f"    {name:<13}{state}")
    _targets([get_target(name) for name in list_targets()])
    return 1 if fault or cpu.runtime_version is None else 0


def _targets(targets: list[Target]) -> None:
    """What can be done here for each target, the most first."""
    from ...lowering.installed import runtime_version
    from ...lowering.tensorrt.rtx import CAPABILITIES

    print("\ntargets")
    here = [t.name for t in targets if t.data.get("detected") and t.runtime_version is not None]
    engines = [t.name for t in targets if t.hardware.compute_capability in CAPABILITIES]
    rows = [
        ("compile, and run here", here),
        ("engines ahead of time", engines if runtime_version("tensorrt-rtx") is not None else []),
        ("compile for elsewhere", [t.name for t in targets if t.name not in (*here, *engines)]),
        ("estimate", [t.name for t in targets if t.hardware.rates]),
    ]
    for what, names in rows:
        if names:
            print(f"    {what}: {', '.join(names)}")


def _machine(cpu: Target) -> str:
    from ...lowering.targets import machine

    found = cpu.hardware
    parts = [machine()]
    if found.cores is not None:
        parts.append(f"{found.cores} cores" + (f" at {found.clock / 1e9:.2f} GHz" if found.clock else ""))
    if found.memory is not None:
        parts.append(f"{found.memory / 1e9:.1f} GB of memory")
    return ", ".join(parts)


@contextmanager
def _smallest() -> Iterator[Path]:
    """The file of the smallest model, in a folder for what is made of it."""
    with tempfile.TemporaryDirectory(prefix="geoc-doctor-") as folder:
        source = Path(folder) / "model.gir"
        source.write_text(_SMALLEST, encoding="utf-8")
        yield source


def _judged(result: Any) -> str:
    return "" if list(result) == [-1, 2] else f"gives wrong results: -x of [1, -2] is {result}"


def _onnxruntime() -> str:
    """What goes wrong with the smallest model from text to a result of onnxruntime; "" for nothing."""
    import numpy as np

    from ...ir.errors import GeocError
    from ..api import compile
    from ..running.sessions import first_line, refusals

    try:
        import onnxruntime
    except ImportError as error:
        return f"cannot be imported: {first_line(error)}"
    failures: tuple[type[Exception], ...] = (GeocError, *refusals())
    with _smallest() as source:
        output = source.with_suffix(".onnx")
        try:
            compile(str(source), str(output))
            session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
            (result,) = session.run(None, {"x": np.array([1, -2], np.float32)})
        except failures as error:
            return f"does not work: {first_line(error)}"
    return _judged(result)


def _openvino() -> str:
    """The same of OpenVINO."""
    import numpy as np

    from ...ir.errors import GeocError
    from ...ir.text import load_model
    from ...lowering.openvino.graph import to_openvino
    from ...lowering.openvino.package import openvino
    from ..running.sessions import first_line

    with _smallest() as source:
        try:
            compiled = openvino().Core().compile_model(to_openvino(load_model(str(source))), "CPU")
            result = compiled([np.array([1, -2], np.float32)])[0]
        except (GeocError, RuntimeError, ImportError) as error:
            return f"does not work: {first_line(error)}"
    return _judged(result)


def _tensorrt_rtx() -> str:
    """What goes wrong with building the smallest engine; "" for nothing."""
    from ...ir.errors import GeocError
    from ..api import compile
    from ..running.sessions import first_line

    with _smallest() as source:
        try:
            compile(str(source), str(source.with_suffix(".rtx.engine")), target="a100", check="off")
        except GeocError as error:
            return f"does not work: {first_line(error)}"
    return ""


_TRIALS: dict[str, tuple[Callable[[], str], str]] = {
    "onnxruntime": (_onnxruntime, "a model was compiled and run"),
    "openvino": (_openvino, "a model was compiled and run"),
    "tensorrt-rtx": (_tensorrt_rtx, "an engine was built for an A100"),
}

"""Which version of a backend package is installed, without importing it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

# By what geoc calls a runtime, or what builds for one: its module, and the distributions that bring it, the one to
# install first.
RUNTIMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "onnxruntime": ("onnxruntime", ("onnxruntime", "onnxruntime_gpu", "onnxruntime_openvino")),
    "openvino": ("openvino", ("openvino",)),
    "tensorrt": ("tensorrt", ("tensorrt", "tensorrt_cu12", "tensorrt_cu13")),
    "tensorrt-rtx": ("tensorrt_rtx", ("tensorrt_rtx_cu12", "tensorrt_rtx_cu13", "tensorrt_rtx")),
}


def runtime_version(name: str) -> str | None:
    """The installed version of a runtime; None where it is not installed, or not one of `RUNTIMES`.

    The metadata's folder names say it, which takes microseconds where importlib.metadata takes tens of milliseconds.
    """
    if name not in RUNTIMES:
        return None
    module, distributions = RUNTIMES[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    site = Path(spec.origin).parent.parent
    for entry in sorted(os.listdir(site)):
        if entry.endswith(".dist-info"):
            name, _, version = entry[: -len(".dist-info")].partition("-")
            if name in distributions:
                return version
    return None

"""TensorFlow's SavedModel folders and Keras files (.keras, .h5) to IR, by tf2onnx in a Python environment of its own.

    model = load_tensorflow("folder-with-saved_model.pb")

TensorFlow and geoc's own packages want different versions of protobuf, so the conversion runs in another process: by
the interpreter that GEOC_TENSORFLOW_PYTHON names, else by the one in `home()`. What it writes is read as ONNX is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ...ir.core import Model
from ...ir.errors import FormatError, UnsupportedModel, UsageError
from ...ir.tensor import MappedFile
from ..onnx import load_onnx
from ..reading import reading

VARIABLE = "GEOC_TENSORFLOW_PYTHON"
SECONDS = 1800  # for a conversion
PACKAGES = "tensorflow-cpu tf2onnx"
_MAGIC = {".h5": b"\x89HDF\r\n\x1a\n", ".hdf5": b"\x89HDF\r\n\x1a\n", ".keras": b"PK\x03\x04"}
_LAST = 300  # characters of the other process's message


def load_tensorflow(source: str | os.PathLike[str]) -> Model:
    """Import a SavedModel's folder or a Keras file; the layers of a Keras file must be Keras' own.

    The ONNX file in between has no name any more when this returns, and its room is free again with the model. Raises
    UsageError with the lines that install it where TensorFlow's environment is missing, FormatError with TensorFlow's
    reason where it does not take the model, UnsupportedModel that names the operators which tf2onnx leaves as they are.
    """
    path = os.fspath(source)
    with reading(path):
        _check_start(path)
        python = _python()
        with tempfile.TemporaryDirectory(prefix="geoc-tensorflow-") as scratch:
            written = os.path.join(scratch, "model.onnx")
            _convert(python, os.path.abspath(path), written)
            model = load_onnx(MappedFile.taken(written))
        left = sorted({node.op.key for node in model.walk() if node.op.is_opaque})
        if left:
            raise UnsupportedModel(f"tf2onnx has no form for TensorFlow's operators {', '.join(left)}")
    model.source = path
    return model


def home() -> Path:
    """Where the environment is looked for that no variable names: ``tensorflow`` in the folder of geoc's data."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return Path(base, "geoc", "tensorflow")


def _check_start(path: str) -> None:
    """FormatError for a Keras file that does not begin as one, before TensorFlow takes seconds to start."""
    magic = _MAGIC.get(os.path.splitext(path)[1].lower())
    if magic is None or os.path.isdir(path):
        return
    with open(path, "rb") as file:
        if file.read(len(magic)) != magic:
            raise FormatError("not a Keras file: it does not begin as one")


def _python() -> str:
    """The interpreter that has TensorFlow. UsageError where there is none, with how to make one."""
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise UsageError(f"there is no interpreter {named!r}, which {VARIABLE} or --tensorflow names")
        return found
    own = home() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if own.is_file():
        return str(own)
    raise UsageError(f"reading it needs TensorFlow in an environment of its own: {command()}")


def command() -> str:
    """The line that makes the environment."""
    folder = home()
    return (
        f"python3 -m venv {folder} && {folder / 'bin' / 'pip'} install {PACKAGES}   "
        f"(or name an interpreter that has both: --tensorflow PYTHON, or {VARIABLE})"
    )


def _convert(python: str, source: str, target: str) -> None:
    """Run `convert.py` there. FormatError with the last line of what it says where it fails."""
    script = os.path.join(os.path.dirname(__file__), "convert.py")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONIOENCODING": "utf-8"}
    try:
        done = subprocess.run(
            [python, "-I", script, source, target], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, timeout=SECONDS, env=environment, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise FormatError(f"TensorFlow did not convert it within {SECONDS:g} s") from None
    except OSError as error:
        raise UsageError(f"{python} cannot be started: {error.strerror}") from None
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    last = lines[-1][:_LAST] if lines else f"it ended with {done.returncode}"
    if done.returncode == 3:
        raise UsageError(f"{python} lacks what it needs ({last}): {python} -m pip install {PACKAGES}")
    if done.returncode or not os.path.isfile(target):
        raise FormatError(f"TensorFlow does not convert it: {last}")

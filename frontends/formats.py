"""Which format a file or a folder has, and which frontend reads it: by what it begins with first, by its name second.

    model = load("model.gguf")
    format_of("model.gguf").title   # "GGUF"

A format is one line of `FORMATS`; its frontend is imported when a model of that format is read.
"""

from __future__ import annotations

import glob
import importlib
import os
from typing import Any, NamedTuple

from ..ir.clone import clone_model
from ..ir.core import Model
from ..ir.errors import FormatError
from .about import About


class Format(NamedTuple):
    """A format of models. `magic` is what its files have at a byte offset; `member` is the file that a folder has."""

    name: str
    title: str
    loader: str  # "module:function" in this package; takes a path, gives a Model, raises GeocError or OSError
    suffixes: tuple[str, ...] = ()
    magic: tuple[int, bytes] | None = None
    member: str = ""
    parts: tuple[str, ...] = ()  # patterns of what a folder's model consists of; none where it is all in it
    facts: str = ""  # "module:function" in this package; takes a path that `load` took, gives its About
    is_slow: bool = False  # where another library converts it for seconds

    def load(self, path: str) -> Model:
        """The model in a file or folder of this format. Raises GeocError or OSError.

        Of what took seconds the last model is kept, and a copy is given as long as its files stay as they are: a
        compilation asks for its source more than once. Copies share the weights.
        """
        if not self.is_slow:
            return self._read(path)
        state = (self.name, os.path.abspath(path), *((file, *_state(file)) for file in self.files(path)))
        kept = _kept.get(state)
        if kept is None:
            kept = self._read(path)
            _kept.clear()
            _kept[state] = kept
        return clone_model(kept)[0]

    def about(self, path: str) -> About:
        """What a file or folder that `load` took says of itself and its model does not. Raises OSError, GeocError."""
        found: About = _called(self.facts, path) if self.facts else About()
        return found

    def _read(self, path: str) -> Model:
        model: Model = _called(self.loader, path)
        return model

    def files(self, path: str) -> list[str]:
        """The files of a model at `path`: itself, or of a folder those that are its parts."""
        if not os.path.isdir(path):
            return [path]
        if not self.parts:
            return sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
        return sorted(file for part in self.parts for file in glob.glob(os.path.join(glob.escape(path), part)))


ONNX = Format("onnx", "ONNX", "onnx:load_onnx", (".onnx",))
FORMATS: tuple[Format, ...] = (
    ONNX,
    Format("gguf", "GGUF", "gguf:load_gguf", (".gguf",), (0, b"GGUF"), facts="gguf.about:about"),
    Format("tflite", "TFLite", "tflite:load_tflite", (".tflite",), (4, b"TFL3"), facts="tflite.about:about"),
    Format("pytorch", "PyTorch", "pytorch:load_program", (".pt2",), facts="pytorch.about:about", is_slow=True),
    Format(
        "huggingface", "Hugging Face folder", "huggingface:load_folder", member="config.json",
        parts=(
            "config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json", "pytorch_model*",
        ),
        facts="huggingface.about:about", is_slow=True,
    ),
    Format(
        "saved-model", "TensorFlow SavedModel", "tensorflow:load_tensorflow", member="saved_model.pb",
        facts="tensorflow.about:about", is_slow=True,
    ),
    Format(
        "keras", "Keras", "tensorflow:load_tensorflow", (".keras", ".h5", ".hdf5"), (0, b"\x89HDF\r\n\x1a\n"),
        facts="tensorflow.about:about", is_slow=True,
    ),
    Format("openvino", "OpenVINO IR", "openvino:load_openvino", (".xml",), facts="openvino.about:about"),
)  # fmt: skip
# What is not read: what it is, and what could be given instead.
_INSTEAD = {
    **dict.fromkeys(
        (".pt", ".pth", ".ckpt"), "PyTorch's pickled weights or a TorchScript program: torch.export.save writes a .pt2"
    ),
    ".safetensors": "weights without a graph: give the folder that has their config.json as well",
    ".bin": "weights without a graph: give OpenVINO's .xml, or the folder that has their config.json",
    ".pb": "a graph of TensorFlow 1: give the folder of a SavedModel",
    ".ort": "onnxruntime's own form: give the ONNX file that it was made of",
    **dict.fromkeys((".engine", ".plan", ".trt"), "an engine of TensorRT: give the model that it was built of"),
    ".mlmodel": "a Core ML model: give the model that it was converted from",
    ".pdmodel": "a PaddlePaddle model: paddle2onnx writes an ONNX file of it",
}
_kept: dict[tuple[Any, ...], Model] = {}  # one at most: that of the slow format that was read last
_LONGEST = 16  # bytes in which all magic is


def load(path: str) -> Model:
    """The model in a file or folder, whatever its format.

    Raises FormatError, which says what could be given instead where that is known, for what has no format that is read,
    another GeocError or OSError as its frontend does.
    """
    found = format_of(path)
    if found is not ONNX:
        return found.load(path)
    if os.path.isdir(path):
        members = " or ".join(f"{each.member} ({each.title})" for each in FORMATS if each.member)
        raise FormatError(f"a folder that is no model: there is no {members} in it", source=path)
    try:
        return found.load(path)
    except FormatError as error:
        suffix = os.path.splitext(path)[1].lower()
        if suffix in ONNX.suffixes:
            raise
        why = ": ".join(part for part in (error.place, error.message) if part)
        said = _INSTEAD.get(suffix) or f"of no format that is read; as ONNX: {why}"
        raise FormatError(said, source=path) from error


def format_of(path: str) -> Format:
    """The format of a file or folder; ONNX, which begins with nothing of its own, where nothing else fits.

    Raises OSError for what cannot be read.
    """
    if os.path.isdir(path):
        for found in FORMATS:
            if found.member and os.path.exists(os.path.join(path, found.member)):
                return found
        return ONNX
    with open(path, "rb") as file:
        start = file.read(_LONGEST)
    for found in FORMATS:
        if found.magic is not None and start[found.magic[0] :].startswith(found.magic[1]):
            return found
    suffix = os.path.splitext(path)[1].lower()
    return next((found for found in FORMATS if suffix in found.suffixes), ONNX)


def _state(file: str) -> tuple[int, int]:
    found = os.stat(file)
    return found.st_mtime_ns, found.st_size


def _called(place: str, path: str) -> Any:
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(f".{module}", __package__), function)(path)

"""Models as their user has them on disk, and the runtimes that run them: what is timed, file by file.

    contenders = open_contenders(["a.onnx", "b.xml"], None, folder)
    running = contenders[0].open(threads=1)
    call = running.bound(feeds)             # inputs are handed over once
    call()
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ...ir.types import BY_TYPE_STR
from ...lowering.backend import Order
from ...lowering.emit import write_onnx
from ...lowering.installed import runtime_version
from ...lowering.onnxruntime.session import options_of
from ...lowering.targets import get_target
from ..files import is_onnx, load_any, tensors
from .sessions import compiled_openvino, fast_session, first_line, refusals

ONNXRUNTIME, OPENVINO, TENSORRT = "onnxruntime", "openvino", "tensorrt"
_NAMES = {"ort": ONNXRUNTIME, "openvino": OPENVINO, "tensorrt": TENSORRT}
Feeds = Mapping[str, Any]
Call = Callable[[], Any]


@dataclass
class Contender:
    """One model: `path` is what the user named, `file` what the runtime loads, `model` the graph if `file` is none of
    OpenVINO's own, which run as they are."""

    name: str
    path: str
    runtime: str
    file: str
    model: Model | None
    disabled: list[str] = field(default_factory=list)

    def files(self) -> list[str]:
        """The file and those with its weights."""
        if self.file.endswith(".xml"):
            weights = os.path.splitext(self.file)[0] + ".bin"
            return [self.file, *([weights] if os.path.exists(weights) else [])]
        held = [] if self.model is None else tensors(self.model)
        data = sorted({tensor.file.path for tensor in held if tensor.file is not None and tensor.file.path})
        return list(dict.fromkeys(os.path.realpath(path) for path in (self.file, *data)))

    def size(self) -> int:
        """Bytes of all of them."""
        return sum(os.path.getsize(path) for path in self.files())

    def digest(self) -> str:
        """A hash of all its files, hexadecimal."""
        found = hashlib.blake2b(digest_size=12)
        for path in self.files():
            with open(path, "rb") as file:
                while piece := file.read(1 << 22):
                    found.update(piece)
        return found.hexdigest()

    def open(self, threads: int) -> Running:
        """Load it. Raises UsageError with the runtime's reason where it does not."""
        if self.runtime == OPENVINO:
            try:
                return InOpenvino(compiled_openvino(self.file, threads))
            except UnsupportedModel as error:
                raise UsageError(error.message, source=self.path) from error
        provider = "Tensorrt" if self.runtime == TENSORRT else "CPU"
        try:
            session = fast_session(self.file, threads, self.disabled, provider=provider)
        except refusals() as error:
            raise UsageError(f"onnxruntime does not load it: {first_line(error)}", source=self.path) from error
        if f"{provider}ExecutionProvider" not in session.get_providers():
            raise UsageError(f"onnxruntime does not start its {provider} provider", source="--runtime")
        return InOnnxruntime(session)


class Running:
    """A model that is loaded. `inputs`: the numpy type of each; `outputs`: names, in order."""

    inputs: dict[str, np.dtype[Any]]
    outputs: list[str]

    def bound(self, feeds: Feeds) -> Call:
        """What runs it once on these arrays, which it takes as they are."""
        raise NotImplementedError

    def fitted(self, feeds: Feeds, what: str) -> dict[str, Any]:
        """Those of the arrays that it takes, in its own element types. Raises UsageError where one is missing."""
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            said = f"takes {', '.join(missing)}, which the first model does not: their inputs differ"
            raise UsageError(said, source=what)
        return {name: _cast(feeds[name], dtype) for name, dtype in self.inputs.items()}


def _cast(array: Any, dtype: np.dtype[Any]) -> Any:
    """Floats become floats of another width, or codes that take as long; others stay."""
    if isinstance(array, np.ndarray) and array.dtype != dtype and {array.dtype.kind, dtype.kind} <= set("fiuV"):
        return array.astype(dtype)
    return array


class InOnnxruntime(Running):
    """A session."""

    def __init__(self, session: Any) -> None:
        self.session = session
        types = {entry.name: BY_TYPE_STR.get(entry.type) for entry in session.get_inputs()}
        self.inputs = {name: np.dtype(object) if type is None else type.numpy for name, type in types.items()}
        self.outputs = [entry.name for entry in session.get_outputs()]

    def bound(self, feeds: Feeds) -> Call:
        session = self.session
        if not all(isinstance(array, np.ndarray) and array.dtype.kind in "biuf" for array in feeds.values()):
            return lambda: session.run(None, dict(feeds))
        from onnxruntime import OrtValue

        values = {name: OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for name, array in feeds.items()}
        return lambda: session.run_with_ort_values(None, values)


class InOpenvino(Running):
    """A compiled model with a request."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self.request = compiled.create_infer_request()
        self.inputs = {port.any_name: np.dtype(port.element_type.to_dtype()) for port in compiled.inputs}
        self.outputs = [port.any_name if port.names else str(index) for index, port in enumerate(compiled.outputs)]

    @property
    def is_stateful(self) -> bool:
        """True if it keeps caches itself."""
        return bool(self.request.query_state())

    def bound(self, feeds: Feeds) -> Call:
        place(self.request, feeds)
        request = self.request

        def call() -> None:
            request.start_async()
            request.wait()

        return call


def place(request: Any, feeds: Feeds) -> None:
    """Give a request of OpenVINO its inputs, uncopied."""
    from ...lowering.openvino.package import openvino

    for name, array in feeds.items():
        shared = array.size > 0  # an empty array has no memory to share
        request.set_tensor(name, openvino().Tensor(np.ascontiguousarray(array), shared_memory=shared))


def open_contenders(paths: Sequence[str], runtime: str | None, folder: str) -> list[Contender]:
    """The models named on a command line. What is not in a form of its runtime becomes an ONNX file in `folder`, as it
    stands: all but ONNX, and .xml for OpenVINO.

    Raises UsageError for a file that no runtime here loads, GeocError or OSError for one that cannot be read.
    """
    names = _short(paths)
    return [_contender(path, names[at], runtime, os.path.join(folder, f"{at}.onnx")) for at, path in enumerate(paths)]


def _contender(path: str, name: str, runtime: str | None, made: str) -> Contender:
    is_xml = os.path.splitext(path)[1].lower() == ".xml"
    if not os.path.exists(path):
        raise FileNotFoundError(2, "no such file", path)
    chosen = _NAMES.get(runtime or "", OPENVINO if is_xml else ONNXRUNTIME)
    _check_installed(chosen)
    model = None if is_xml and chosen == OPENVINO else load_any(path)
    file = path
    if model is not None and not is_onnx(path):
        file = made
        write_onnx(model, file, Order(get_target("cpu"), None, None))
        model = load_any(file)
    disabled = [] if model is None else options_of(model.metadata)[0]
    return Contender(name, path, chosen, file, model, disabled)


def _check_installed(runtime: str) -> None:
    if runtime == TENSORRT:
        import onnxruntime

        if "TensorrtExecutionProvider" not in onnxruntime.get_available_providers():
            said = "tensorrt needs a GPU and onnxruntime-gpu with its TensorRT provider, which this machine's lacks"
            raise UsageError(said, source="--runtime")
    elif runtime_version(runtime) is None:
        raise UsageError(f"{runtime} is not installed: pip install {runtime}", source="--runtime")


def _short(paths: Sequence[str]) -> list[str]:
    """File names; with their folders, or numbers, where two are the same."""
    found = [os.path.basename(path) for path in paths]
    if len(set(found)) < len(found):
        found = [os.path.normpath(path) for path in paths]
    return [name if found.count(name) == 1 else f"{name} #{at + 1}" for at, name in enumerate(found)]

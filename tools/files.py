"""Models in and out by suffix, and the files around them."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..ir.core import Model
from ..ir.errors import UsageError
from ..ir.ops import op
from ..ir.tensor import MappedFile, Tensor

SUFFIXES = {".onnx": "onnx", ".gir": "gir"}


def load_any(source: Any, roots: Sequence[str] = (), exported: Mapping[str, Any] | None = None) -> Model:
    """A model from a path (.gir or a format that a frontend reads), bytes, a ModelProto, a graphsurgeon Graph, or what
    PyTorch exports, with the options of `load_module` in `exported`.

    Data files of a text lie in its folder or in one of `roots`. The model is verified: what no operator takes is an
    error here and not in the runtime. Raises GeocError or OSError.
    """
    from ..ir.errors import InvalidModel
    from ..ir.verify import verify

    path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else ""
    if not path and "torch" in sys.modules and _is_torch(source):
        from ..frontends.pytorch import load_module

        model = load_module(source, **(exported or {}))
    elif exported:
        what = path or type(source).__name__
        raise UsageError(f"is for modules of PyTorch, not for {what}", source=next(iter(exported)))
    elif path.endswith(".gir"):
        from ..ir.text import load_model

        model = load_model(path, roots=roots)
    elif path:
        from ..frontends.formats import load

        model = load(path)
    else:
        from ..frontends.onnx import load_onnx

        model = load_onnx(source)
    try:
        verify(model)
    except InvalidModel as error:
        error.source = error.source or path
        raise
    return model


def _is_torch(source: Any) -> bool:
    import torch

    return isinstance(source, (torch.nn.Module, torch.export.ExportedProgram))


def is_onnx(path: str) -> bool:
    """True for a file that runtimes of ONNX read as it stands: no .gir, and of no other frontend's format.

    Raises OSError for what cannot be read.
    """
    if path.endswith(".gir"):
        return False
    from ..frontends.formats import ONNX
    from ..frontends.formats import format_of as format_of_file

    return format_of_file(path) is ONNX


def is_in_blocks(model: Model) -> bool:
    """True for a model of a format whose files hold weights in blocks, if this one does."""
    return "gguf.architecture" in model.metadata and any(
        node.attr("block_size") for node in model.graph.index.get(op("DequantizeLinear"), ())
    )


def format_of(output: str) -> str:
    """What an output path asks for, "onnx" or "gir". Raises UsageError for another suffix."""
    suffix = os.path.splitext(output)[1].lower()
    found = SUFFIXES.get(suffix)
    if found is None:
        known = " and ".join(SUFFIXES)
        said = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise UsageError(f"{said} says nothing about what to write; there are {known}", source=output)
    return found


def tensors(model: Model) -> Iterator[Tensor]:
    """Every constant of the model, those in functions and defaults of inputs included, each once."""
    seen: set[int] = set()
    for graph in model.graphs():
        for default in graph.defaults.values():
            if id(default) not in seen:
                seen.add(id(default))
                yield default
        for node in [*graph, graph.ret]:
            for value in node.inputs:
                if value is not None and value.const is not None and id(value.const) not in seen:
                    seen.add(id(value.const))
                    yield value.const


def weight_bytes(model: Model) -> int:
    """Bytes of all constants; data that several share counts once."""
    return sum(bytes_by_type(model).values())


def bytes_by_type(model: Model) -> dict[str, int]:
    """The same by the type of their elements, the most first."""
    spans: set[tuple[str, int, int]] = set()
    found: Counter[str] = Counter()
    for tensor in tensors(model):
        if tensor.file is not None:
            span = (tensor.file.path, tensor.offset, tensor.length)
            if span in spans:
                continue
            spans.add(span)
        found[tensor.dtype.name] += tensor.nbytes
    return dict(found.most_common())


def reused_spans(model: Model, folder: str) -> set[tuple[str, int, int]]:
    """(path, offset, length) of the data that a model written to `folder` refers to where it lies."""
    from ..lowering.onnx.save import is_inside

    inside: dict[MappedFile, bool] = {}
    found: set[tuple[str, int, int]] = set()
    for tensor in tensors(model):
        file = tensor.file
        if file is None or file.is_model or not file.path or not tensor.length:
            continue
        if file not in inside:
            inside[file] = is_inside(file.path, folder)
        if inside[file]:
            found.add((file.path, tensor.offset, tensor.length))
    return found


def files_of(source: Any, model: Model) -> list[str]:
    """Paths of the files that a model was read from: itself, or those of a folder, and external data."""
    found: dict[str, None] = {}
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        found = dict.fromkeys(_inside(path) if os.path.isdir(path) else [path])
    mapped = dict.fromkeys(tensor.file.path for tensor in tensors(model) if tensor.file is not None)
    for path in mapped:
        if path and not any(_same(path, other) for other in found):
            found[path] = None
    return list(found)


def _inside(folder: str) -> list[str]:
    from ..frontends.formats import format_of as format_of_file

    return format_of_file(folder).files(folder)


def is_other_folder(path: str) -> bool:
    """True for a folder that is no model, which may be one of dumps."""
    from ..frontends.formats import ONNX
    from ..frontends.formats import format_of as format_of_file

    return os.path.isdir(path) and format_of_file(path) is ONNX


def stem_of(source: str) -> str:
    """The path of a source without its suffix; that of a folder has none, and "." is what it is called from outside."""
    return os.path.abspath(source) if os.path.isdir(source) else os.path.splitext(source)[0]


def _same(a: str, b: str) -> bool:
    try:
        return a == b or os.path.samefile(a, b)
    except OSError:
        return False


def protect(outputs: list[str], inputs: list[str]) -> None:
    """Raise UsageError if one of `outputs` is one of `inputs`, by whatever name."""
    for output in outputs:
        for path in inputs:
            if _same(output, path):
                raise UsageError(f"would overwrite the input {path}; give another -o", source=output)


def need_folders(*paths: str | None) -> None:
    """Raise FileNotFoundError unless the folders are there that files are to be written to."""
    for path in paths:
        folder = os.path.dirname((path or "").rstrip(os.sep)) or "."
        if not os.path.isdir(folder):
            raise FileNotFoundError(2, "no such folder to write to", folder)

"""``--emit triton``: a model directory of the Triton Inference Server, for every runtime.

    MODEL/config.pbtxt       a ModelConfig message in protobuf's text form
    MODEL/1/model.onnx       (or model.plan, or model.xml with model.bin): version 1, by the name that Triton looks for

The folder around it is what ``tritonserver --model-repository`` takes. Fields and their rules are those of Triton's
``model_config.proto`` and its pages "Model Configuration" and "Model Repository".
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from ..ir.core import Model, Value
from ..ir.dims import Dim, DimLike
from ..ir.errors import UnsupportedModel, UsageError
from ..ir.ops.cost import is_batch
from ..ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, STR, U8, U16, U32, U64, DType, TensorType
from .backend import Order, Written
from .emit import write_text

CONFIG = "config.pbtxt"
VERSION = "1"
MAX_BATCH = 4  # Triton's own default where it completes a configuration itself
TYPES = {
    BOOL: "TYPE_BOOL", U8: "TYPE_UINT8", U16: "TYPE_UINT16", U32: "TYPE_UINT32", U64: "TYPE_UINT64", I8: "TYPE_INT8",
    I16: "TYPE_INT16", I32: "TYPE_INT32", I64: "TYPE_INT64", F16: "TYPE_FP16", F32: "TYPE_FP32", F64: "TYPE_FP64",
    STR: "TYPE_STRING", BF16: "TYPE_BF16",
}  # fmt: skip


class Service(NamedTuple):
    """How Triton runs the files of one runtime.

    `platform` "": the backend has none. `types` are the element types that inputs and outputs may have there.
    `threads` is the parameter that takes a number of threads, "" for none; `batching` are parameters that it needs
    where requests are put together; `scalars` False: it takes no input without dimensions.
    """

    backend: str
    platform: str
    file: str  # what Triton looks for in the folder of a version
    kind: str  # of the instances: KIND_CPU or KIND_GPU
    types: frozenset[DType]
    write: Callable[[Model, str, Order], Written]
    threads: str = ""
    batching: tuple[tuple[str, str], ...] = ()
    scalars: bool = True


def write_model_directory(model: Model, path: str, order: Order, service: Service) -> Written:
    """Write the model directory `path`, whose name is the model's; a version 1 that is there already is replaced.

    Weights are copied: a repository stands alone. Raises UsageError where `path` holds something else, UnsupportedModel
    for inputs and outputs that Triton cannot describe, and what `service.write` raises.
    """
    path = os.path.abspath(path)
    if os.path.exists(path) and (not os.path.isdir(path) or (os.listdir(path) and not _is_model_directory(path))):
        raise UsageError(f"holds something else than a Triton model ({CONFIG}); give another -o", source=path)
    batch, notes = _max_batch(model, order)
    config = configuration(model, os.path.basename(path), order, service, batch)
    parent = os.path.dirname(path)
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".geoc-triton-", dir=parent) as scratch:
        made = os.path.join(scratch, VERSION)
        os.mkdir(made)
        weights = "copy" if order.weights == "copy" else None
        written = service.write(model, os.path.join(made, service.file), replace(order, weights=weights))
        if service.file == "model.onnx" and len(os.listdir(made)) > 1:
            # An ONNX model of several files is a folder of that name for Triton.
            inner = os.path.join(scratch, service.file)
            os.rename(made, inner)
            os.mkdir(made)
            os.rename(inner, os.path.join(made, service.file))
        os.makedirs(path, exist_ok=True)
        version = os.path.join(path, VERSION)
        if os.path.isdir(version):
            shutil.rmtree(version)
        os.rename(made, version)
        write_text(os.path.join(path, CONFIG), config)
    files = {os.path.join(path, CONFIG): len(config.encode())}
    for folder, _, names in os.walk(version):
        files |= {full: os.path.getsize(full) for name in sorted(names) if (full := os.path.join(folder, name))}
    return Written(files, written.opset, [*written.notes, *notes], written.engine)


def _is_model_directory(path: str) -> bool:
    return os.path.isfile(os.path.join(path, CONFIG))


def configuration(model: Model, name: str, order: Order, service: Service, max_batch: int) -> str:
    """The text of config.pbtxt. `max_batch` 0: dims are whole shapes, else shapes behind the batch.

    Raises UnsupportedModel for an input or output of a type or shape that Triton does not describe.
    """
    graph = model.graph
    lines = [f"name: {_quoted(name)}", f'backend: "{service.backend}"']
    if service.platform:
        lines.append(f'platform: "{service.platform}"')
    lines.append(f"max_batch_size: {max_batch}")
    for value, label in zip(graph.inputs, graph.input_names):
        extra = ["optional: true"] if value in graph.defaults else []
        lines += _tensor("input", label, value, service, max_batch, extra)
    for value, label in zip(graph.outputs, graph.output_names):
        lines += _tensor("output", label, value, service, max_batch, [])
    if max_batch:
        lines.append("dynamic_batching { }")
    lines += ["instance_group [", "  {", "    count: 1", f"    kind: {service.kind}", "  }", "]"]
    parameters = list(service.batching if max_batch else ())
    if order.threads and service.threads:
        parameters.append((service.threads, str(order.threads)))
    lines += [f'parameters {{ key: "{key}" value: {{ string_value: "{text}" }} }}' for key, text in parameters]
    return "\n".join(lines) + "\n"


def _tensor(field: str, name: str, value: Value, service: Service, max_batch: int, extra: list[str]) -> list[str]:
    type = value.type
    if not isinstance(type, TensorType) or type.shape is None:
        raise UnsupportedModel(f"Triton takes tensors of a known number of dimensions; {field} {name!r} is {type}")
    if type.dtype not in TYPES or type.dtype not in service.types:
        raise UnsupportedModel(f"Triton's backend {service.backend} takes no {type.dtype}: {field} {name!r}")
    if not type.shape and field == "input" and not service.scalars:
        raise UnsupportedModel(f"Triton's backend {service.backend} takes no input without dimensions: {name!r}")
    dims = [dim if isinstance(dim, int) else -1 for dim in type.shape[1 if max_batch else 0 :]]
    if not dims:  # requests hold at least one dimension
        dims, extra = [1], ["reshape: { shape: [ ] }", *extra]
    rows = [f"name: {_quoted(name)}", f"data_type: {TYPES[type.dtype]}", f"dims: [ {', '.join(map(str, dims))} ]"]
    return [f"{field} [", "  {", *(f"    {row}" for row in [*rows, *extra]), "  }", "]"]


def _max_batch(model: Model, order: Order) -> tuple[int, list[str]]:
    """The largest batch that Triton may put together, 0 for none, and notes for the user.

    Requests may be put together only along a first dimension that all inputs and outputs share and that counts
    independent samples: of a model over one sequence they must not. The name of the dimension says which it is.
    """
    graph = model.graph
    first = {_leading(value) for value in (*graph.inputs, *graph.outputs)}
    shared = first.pop() if len(first) == 1 else None
    atom = shared.atom if isinstance(shared, Dim) else None
    if atom is None or not atom.is_symbol:
        return 0, []
    if not is_batch(atom.name):
        note = f"Triton puts no requests together: {atom.name!r}, the first dimension of all, has no name of a batch"
        return 0, [note]
    size = order.symbols.get(atom.name)
    if size is None:
        note = f"max_batch_size {MAX_BATCH}, Triton's own default; --shape {atom.name}=min:opt:max gives another"
        return MAX_BATCH, [note]
    return (size if isinstance(size, int) else size[2]), []


def _leading(value: Value) -> DimLike | None:
    return value.shape[0] if value.shape else None


def _quoted(text: str) -> str:
    """A string of protobuf's text form: bytes outside printable ASCII as octal escapes."""
    plain = (chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in text.encode())
    return f'"{"".join(plain)}"'

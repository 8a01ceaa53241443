"""The intermediate representation: .xml with the graph, .bin with the weights."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from typing import Any

from ...ir.core import Model
from ...ir.dims import atoms
from ...ir.errors import UnsupportedModel
from ..backend import Order, Written
from ..emit import write_onnx
from .graph import Unmapped, to_openvino
from .groups import row_group
from .package import openvino


def write_ir(model: Model, path: str, order: Order, stateful: bool = False) -> Written:
    """Write MODEL.xml and MODEL.bin, weights at full precision; `stateful` with key-value caches as variables.

    A model with an operator that has no mapping is read by openvino's own ONNX reader, with a note that says so.
    Raises UsageError where openvino is not installed, UnsupportedModel with its reader's reason, and for a stateful
    form with the reason why there is none.
    """
    ov = openvino()
    folder, name = os.path.split(os.path.abspath(path))
    stem = os.path.splitext(name)[0]
    notes: list[str] = []
    graph = model.graph
    if graph.defaults:
        names = [name for name, value in zip(graph.input_names, graph.inputs) if value in graph.defaults]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        notes.append(f"openvino: inputs that may be left out became constants: {', '.join(names[:3])}{more}")
    with tempfile.TemporaryDirectory(prefix=".geoc-openvino-", dir=folder) as scratch:
        try:
            made = to_openvino(model, stateful, order.profile)
        except Unmapped as error:
            if stateful:
                raise UnsupportedModel(f"openvino: there is no stateful form of it: {error}") from error
            notes.append(f"openvino: written through its ONNX reader, because {error}")
            made = _read(ov, model, os.path.join(scratch, "model.onnx"), order)
        group = row_group(model)
        if group is not None:
            made.set_rt_info(str(group), ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
        dims = _names_of_dims(model)
        if dims:
            made.set_rt_info(dims, ["geoc", "dims"])
        ov.save_model(made, os.path.join(scratch, f"{stem}.xml"), compress_to_fp16=False)
        files = {}
        for suffix in (".bin", ".xml"):
            final = os.path.join(folder, stem + suffix)
            os.replace(os.path.join(scratch, stem + suffix), final)
            files[final] = os.path.getsize(final)
    return Written(files, notes=notes)


def _names_of_dims(model: Model) -> str:
    """The sizes of inputs that have names, as JSON; the format knows only bounds of them. "" where none has."""
    graph = model.graph
    found = {
        name: ["" if isinstance(d, int) or any(a.is_unknown for a in atoms(d)) else str(d) for d in value.shape]
        for name, value in zip(graph.input_names, graph.inputs)
        if value.shape and value not in graph.defaults
    }
    return json.dumps(found) if any(any(dims) for dims in found.values()) else ""


def write_stateful(model: Model, path: str, order: Order) -> Written:
    """As `write_ir`, with key-value caches as variables."""
    return write_ir(model, path, order, stateful=True)


def _read(ov: Any, model: Model, source: str, order: Order) -> Any:
    """What openvino's reader makes of the model as an ONNX file."""
    write_onnx(model, source, replace(order, weights=None))
    try:
        return ov.Core().read_model(source)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedModel(f"openvino's reader does not take it: {reason}") from error

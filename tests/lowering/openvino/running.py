"""Running models on OpenVINO's CPU plugin, and asking which kernels it chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import openvino

from geoc.ir.tensor import Tensor
from geoc.lowering.openvino.constants import DTYPE_OF

# f32: the plugin takes bf16 by itself where the processor has it. Group size 0: activations of compressed products
# stay as they are. The cache of a stateful model would be u8.
CONFIG = {
    "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    "KV_CACHE_PRECISION": "f32",
}  # fmt: skip
CORE = openvino.Core()
# Element types that travel as bytes, because numpy has none for them.
_FOREIGN = frozenset(("bf16", "f8e4m3", "f8e5m2", "i4", "u4"))


class Kernel(NamedTuple):
    """One node of a runtime model."""

    layer: str
    primitive: str
    precision: str
    inputs: tuple[str, ...]


def compiled(model: Any) -> Any:
    return CORE.compile_model(model, "CPU", CONFIG)


def run(model: Any, feeds: Mapping[str, Any]) -> list[Any]:
    """Outputs in order; `model` is an openvino model or what was compiled of one."""
    program = model if hasattr(model, "create_infer_request") else compiled(model)
    request = program.create_infer_request()
    for port in program.inputs:
        name = next(name for name in feeds if name in port.get_names())
        request.set_tensor(port, _as_tensor(np.asarray(feeds[name]), port.get_element_type()))
    request.infer()
    return [_as_array(request.get_output_tensor(index)) for index in range(len(program.outputs))]


def _as_tensor(array: Any, type: Any) -> Any:
    name = type.get_type_name()
    whole = np.ascontiguousarray(array).reshape(array.shape)
    if name not in _FOREIGN:
        return openvino.Tensor(whole)
    made = openvino.Tensor(type, openvino.Shape(list(array.shape)))
    if whole.size:
        packed = np.frombuffer(Tensor.from_array(whole, DTYPE_OF[name]).data(), dtype=np.uint8)
        np.copyto(made.data.reshape(-1).view(np.uint8), packed)
    return made


def _as_array(tensor: Any) -> Any:
    name, shape = tensor.get_element_type().get_type_name(), tuple(tensor.get_shape())
    if name not in _FOREIGN:
        return tensor.data.copy()
    return Tensor(DTYPE_OF[name], shape, data=tensor.data.tobytes()).array()


def kernels(program: Any) -> list[Kernel]:
    """The nodes that are run, constants, inputs and outputs left out."""
    found = []
    for op in program.get_runtime_model().get_ordered_ops():
        info = {key: op.get_rt_info()[key].astype(str) for key in ("layerType", "primitiveType", "runtimePrecision")}
        if info["layerType"] not in ("Input", "Output", "Const"):
            inputs = tuple(i.get_element_type().get_type_name() for i in op.inputs())
            found.append(Kernel(info["layerType"], info["primitiveType"], info["runtimePrecision"], inputs))
    return found


def layers(program: Any) -> dict[str, int]:
    """How many nodes of each kind are run."""
    counts: dict[str, int] = {}
    for kernel in kernels(program):
        counts[kernel.layer] = counts.get(kernel.layer, 0) + 1
    return counts

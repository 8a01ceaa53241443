"""Half precision in single precision with each result rounded, for runtimes on this machine without kernels for it.

onnxruntime's CPU provider has no kernels for bf16, and runs chains of fp16 nodes in fp32 without rounding between them.
"""

from __future__ import annotations

import numpy as np

from ...ir.builder import Builder
from ...ir.clone import clone_model
from ...ir.core import Model, Node, Value
from ...ir.tensor import Tensor
from ...ir.types import BF16, F16, F32, DType, tensor_type
from ...lowering.onnxruntime.blocks_of_floats import write_out_blocks


def has_bfloat16(model: Model) -> bool:
    """True if any node computes in bfloat16."""
    return any(value.dtype is BF16 for node in model.walk() for value in node.outputs)


def _is_half(value: Value) -> bool:
    return value.dtype in (F16, BF16)


def emulated(model: Model) -> Model:
    """A copy in which fp16 and bf16 values are f32 values that are rounded wherever one is made.

    What a kernel for them gives as well, as far as it sums up in single precision. Inputs and outputs of the model that
    are in half precision themselves stay so.
    """
    copy, _ = clone_model(model)
    write_out_blocks(copy)
    graphs = copy.graph.graphs()
    constants: dict[Value, Value] = {}
    made = [value for graph in graphs for node in graph for value in node.outputs if _is_half(value)]
    for graph in graphs:
        for node in graph:
            _read_single(node, constants)
            if node.op.key == "Cast" and _is_half(node.output):
                node.attrs["to"] = F32.onnx
            elif node.op.key == "ConstantOfShape" and _is_half(node.output):
                filled = np.asarray(node.attrs["value"].array())
                node.attrs["value"] = Tensor.from_array(filled.astype(np.float32))
        inner = graph.parent is not None
        for value in graph.inputs:
            if inner and _is_half(value):
                value.type = tensor_type(F32, value.shape)
        if inner:
            _read_single(graph.ret, constants)
    for value in made:
        half = value.dtype
        value.type = tensor_type(F32, value.shape)
        if value.producer is not None and not value.producer.regions:
            _round(value, half)
    _keep_contract(copy, model)
    return copy


def _read_single(node: Node, constants: dict[Value, Value]) -> None:
    for index, value in enumerate(node.inputs):
        if value is not None and value.const is not None and _is_half(value):
            if value not in constants:
                single = Value(tensor_type(F32, value.shape), value.hint)
                single.const = Tensor.from_array(np.asarray(value.const.array()).astype(np.float32))
                constants[value] = single
            node.set_input(index, constants[value])


def _round(value: Value, half: DType) -> None:
    """All who read a value read it rounded."""
    maker = value.producer
    assert maker is not None and maker.graph is not None
    uses = list(value.uses)
    b = Builder(maker.graph, maker.next, maker.loc)
    rounded = b.op("Cast", b.op("Cast", value, to=half.onnx), to=F32.onnx)
    for node, index in uses:
        node.set_input(index, rounded)


def _keep_contract(copy: Model, model: Model) -> None:
    """Inputs are read as f32, outputs that were in half precision are so again."""
    graph = copy.graph
    for value in graph.inputs:
        if _is_half(value):
            uses = list(value.uses)
            single = Builder(graph, graph.first).op("Cast", value, to=F32.onnx)
            for node, index in uses:
                node.set_input(index, single)
    outputs = []
    for before, after in zip(model.graph.outputs, graph.outputs):
        again = _is_half(before) and after.dtype is F32
        outputs.append(Builder(graph).op("Cast", after, to=before.dtype.onnx) if again else after)
    graph.set_outputs(outputs, graph.output_names)

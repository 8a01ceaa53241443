"""One node in onnxruntime: a model of that node alone, without optimizations, its session kept for the next like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import Node
from ..ops import opsets
from ..proto import messages as pb
from ..tensor import Array, Tensor
from ..types import BF16, F32, I2, I4, I8, STR, U2, U4, U8, DType, TensorType
from .errors import CannotEvaluate

_FLOAT8 = ("f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz")
# Kernels are complete up to here; later opsets only for operators that are younger.
_USUAL_OPSET = 21
_NEWEST_OPSET = 26
_IR_VERSION = 10
_KEPT = 256

_sessions: dict[Any, Any] = {}


def run_node(node: Node, inputs: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The node's outputs, None for absent ones. Raises CannotEvaluate if the runtime has no kernel or refuses."""
    from .nodes import is_absent

    present = [not is_absent(node, index) for index in range(len(node.outputs))]
    plan = _Plan(node, inputs, present)
    key = plan.key()
    session = _sessions.get(key)
    try:
        if session is None:
            session = _open(plan.model())
            if len(_sessions) >= _KEPT:
                _sessions.clear()
            _sessions[key] = session
        feeds = {f"i{i}": _feed(x) for i, x in enumerate(inputs) if x is not None}
        arrays = session.run(None, feeds)
    except CannotEvaluate:
        raise
    except Exception as error:  # onnxruntime's exceptions share no other base
        reason = str(error).strip().splitlines()[0][:200] if str(error) else type(error).__name__
        raise CannotEvaluate(f"onnxruntime: {reason}") from None
    fetched = iter(zip(arrays, plan.fetched))
    return [_result(*next(fetched)) if there else None for there in present]


def _open(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _carrier(dtype: DType) -> DType:
    """The dtype in which elements cross the border: numpy and the runtime agree on plain types only."""
    if dtype is BF16 or dtype.name in _FLOAT8:
        return F32
    if dtype in (I4, I2):
        return I8
    if dtype in (U4, U2):
        return U8
    if dtype.kind == "c" or dtype.bits == 4 or dtype.name == "f8e8m0":
        raise CannotEvaluate(f"onnxruntime takes no {dtype} from numpy")
    return dtype


def _feed(tensor: Tensor) -> Array:
    if tensor.dtype is STR:
        try:
            flat = np.array([s.decode() for s in tensor.strings()], dtype=object)
        except UnicodeDecodeError:
            raise CannotEvaluate("a string is not UTF-8") from None
        return flat.reshape(tensor.shape)
    return tensor.array().astype(_carrier(tensor.dtype).numpy, copy=False)


def _result(array: Any, dtype: DType | None) -> Tensor:
    if not isinstance(array, np.ndarray):
        raise CannotEvaluate("an output is no tensor")
    if dtype is None or dtype is STR:
        return Tensor.from_array(array)
    return Tensor.from_array(array.astype(dtype.numpy, copy=False), dtype)


class _Plan:
    """The model for one node and these dtypes: casts from carriers, the node, casts to carriers."""

    def __init__(self, node: Node, inputs: Sequence[Tensor | None], present: list[bool]) -> None:
        self.node = node
        self.inputs = [None if x is None else x.dtype for x in inputs]
        self.present = present
        self.fetched: list[DType | None] = [
            value.type.dtype if isinstance(value.type, TensorType) else None
            for value, there in zip(node.outputs, present)
            if there
        ]

    def key(self) -> Any:
        attrs = tuple(sorted((name, _attr_key(value)) for name, value in self.node.attrs.items()))
        return (self.node.op.key, attrs, tuple(self.inputs), tuple(self.present), tuple(self.fetched))

    def opset(self) -> int:
        types = [None if d is None else d.type_str for d in self.inputs]
        present = [d is not None for d in self.inputs]
        attrs = self.node.attrs
        found = opsets(self.node.op, present, types, attrs, len(self.node.outputs))
        newest = _NEWEST_OPSET if not self.node.op.domain else 1 << 30
        usual = _USUAL_OPSET if not self.node.op.domain else 1 << 30
        fitting = [(first, until) for first, until in found if first <= newest]
        if not fitting or self.node.op.is_opaque:
            raise CannotEvaluate(f"onnxruntime has no {self.node.op.key} for {', '.join(filter(None, types))}")
        first, until = fitting[-1]
        for low, high in fitting:
            if low <= usual and (high is None or usual < high):
                first, until = low, high
        schema = self.node.op.schemas[-1].since
        highest = schema if until is None else until - 1
        return max(first, min(highest, usual))

    def model(self) -> bytes:
        from ..proto.write import encode_model

        opset = self.opset()
        standard = opset if not self.node.op.domain else _USUAL_OPSET
        imports = [pb.OperatorSetIdProto(domain="", version=max(standard, 7))]
        if self.node.op.domain:
            imports.append(pb.OperatorSetIdProto(domain=self.node.op.domain, version=opset))
        elif any(d is not None and _carrier(d) is not d for d in [*self.inputs, *self.fetched]):
            imports = [pb.OperatorSetIdProto(domain="", version=max(standard, _USUAL_OPSET))]
        model = pb.ModelProto(ir_version=_IR_VERSION, graph=self.graph(), opset_import=imports)
        chunks = encode_model(model)
        return b"".join(c for c in chunks if isinstance(c, (bytes, memoryview)))

    def graph(self) -> pb.GraphProto:
        nodes: list[pb.NodeProto] = []
        given: list[pb.ValueInfoProto] = []
        names: list[str] = []
        for index, dtype in enumerate(self.inputs):
            if dtype is None:
                names.append("")
                continue
            given.append(_info(f"i{index}", _carrier(dtype)))
            names.append(_cast(nodes, f"i{index}", dtype) if _carrier(dtype) is not dtype else f"i{index}")
        outs = [f"o{index}" if there else "" for index, there in enumerate(self.present)]
        node = self.node
        attributes = [_attribute(node, name, value) for name, value in node.attrs.items()]
        nodes.append(
            pb.NodeProto(
                op_type=node.op.name, domain=node.op.domain, input=names, output=outs, attribute=attributes
            )
        )
        results: list[pb.ValueInfoProto] = []
        for name, dtype in zip(filter(None, outs), self.fetched):
            carrier = None if dtype is None else _carrier(dtype)
            fetched = name if carrier is dtype or carrier is None else _cast(nodes, name, carrier)
            results.append(_info(fetched, carrier))
        return pb.GraphProto(name="node", node=nodes, input=given, output=results)


def _cast(nodes: list[pb.NodeProto], name: str, to: DType) -> str:
    attributes = [pb.AttributeProto(name="to", type=2, i=to.onnx)]
    if to.name in _FLOAT8:
        attributes.append(pb.AttributeProto(name="saturate", type=2, i=0))  # infinities stay
    nodes.append(pb.NodeProto(op_type="Cast", input=[name], output=[name + "_cast"], attribute=attributes))
    return name + "_cast"


def _info(name: str, dtype: DType | None) -> pb.ValueInfoProto:
    if dtype is None:
        return pb.ValueInfoProto(name=name)
    return pb.ValueInfoProto(
        name=name, type=pb.TypeProto(tensor_type=pb.TensorTypeProto(elem_type=dtype.onnx))
    )


def _attr_key(value: Any) -> Any:
    return value.digest() if isinstance(value, Tensor) else (type(value).__name__, value)


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _attribute(node: Node, name: str, value: Any) -> pb.AttributeProto:
    kind = node.op.attr_kind(name)
    if kind == "int":
        return pb.AttributeProto(name=name, type=2, i=int(value))
    if kind == "float":
        return pb.AttributeProto(name=name, type=1, f=float(value))
    if kind == "string":
        return pb.AttributeProto(name=name, type=3, s=_bytes(value))
    if kind == "ints":
        return pb.AttributeProto(name=name, type=7, ints=list(value))
    if kind == "floats":
        return pb.AttributeProto(name=name, type=6, floats=list(value))
    if kind == "strings":
        return pb.AttributeProto(name=name, type=8, strings=[_bytes(v) for v in value])
    if kind == "tensor" and isinstance(value, Tensor) and value.dtype is not STR:
        tensor = pb.TensorProto(dims=list(value.shape), data_type=value.dtype.onnx, raw_data=value.data())
        return pb.AttributeProto(name=name, type=4, t=tensor)
    raise CannotEvaluate(f"the attribute {name} cannot be handed to onnxruntime")

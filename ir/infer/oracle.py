"""Operators without a function here: onnx's own inference, or what the schema says about dtypes.

onnx is imported only when such an operator turns up.
"""

from __future__ import annotations

from typing import Any

from ..attributes import EmptyList, SparseTensor
from ..core import Node
from ..dims import DimLike
from ..tensor import Tensor
from ..types import (
    BY_ONNX,
    BY_TYPE_STR,
    OptionalType,
    SequenceType,
    TensorType,
    Type,
    optional_type,
    sequence_type,
    tensor_type,
)
from .base import Found, Result, content_of, floats_of, made, type_at

_LIMIT = 1 << 12
_cache: dict[Any, Result] = {}
_ONNX_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")


def infer_by_onnx(node: Node) -> Result:
    """The output types that onnx infers; None where it has no answer for this node."""
    if node.op.is_opaque or node.op.domain not in _ONNX_DOMAINS or node.regions:
        return by_schema(node)
    constants = tuple(_constant(v) for v in node.inputs)
    types = tuple(None if v is None else v.type for v in node.inputs)
    key = (node.op, types, len(node.outputs), tuple(sorted(node.attrs.items(), key=_first)), constants)
    if key not in _cache:
        if len(_cache) > _LIMIT:
            _cache.clear()
        _cache[key] = _ask(node, types, constants)
    return _cache[key]


def _first(item: tuple[str, Any]) -> str:
    return item[0]


def _constant(value: Any) -> tuple[Any, ...] | None:
    """Small known integers or constant floats, which shapes may depend on."""
    content = content_of(value)
    if content is not None:
        return content if all(isinstance(d, int) for d in content) else None
    return floats_of(value)


def by_schema(node: Node) -> Result:
    """Element types alone, from type variables that outputs share with operands."""
    schema = node.op.schema
    if schema is None:
        return None
    bound: dict[str, TensorType] = {}
    for index in range(len(node.inputs)):
        param = schema.inputs[min(index, len(schema.inputs) - 1)] if schema.inputs else None
        found = type_at(node, index)
        if param is not None and isinstance(found, TensorType):
            bound.setdefault(param.type_str, found)
    results: list[Found] = []
    for index in range(len(node.outputs)):
        if not schema.outputs:
            return None
        type_str = schema.outputs[min(index, len(schema.outputs) - 1)].type_str
        allowed = schema.type_constraints.get(type_str)
        known = bound.get(type_str)
        dtype = None if known is None else known.dtype
        if dtype is None:
            only = type_str if allowed is None else next(iter(allowed)) if len(allowed) == 1 else ""
            dtype = BY_TYPE_STR.get(only)
        results.append(None if dtype is None else tensor_type(dtype, None))
    return tuple(results)


def _ask(
    node: Node, types: tuple[Type | None, ...], constants: tuple[tuple[Any, ...] | None, ...]
) -> Result:
    import onnx
    import onnx.checker
    import onnx.defs
    import onnx.helper
    import onnx.shape_inference

    schema = node.op.schema
    assert schema is not None
    names = ["" if v is None else f"i{index}" for index, v in enumerate(node.inputs)]
    outputs = [f"o{index}" for index in range(len(node.outputs))]
    proto = onnx.helper.make_node(node.op.name, names, outputs, domain=node.op.domain)
    for name, value in node.attrs.items():
        if isinstance(value, (SparseTensor, EmptyList)):
            return by_schema(node)
        given = _tensor_proto(value) if isinstance(value, Tensor) else value
        proto.attribute.append(onnx.helper.make_attribute(name, given))
    symbols: dict[str, DimLike] = {}
    spelled: dict[DimLike, str] = {}
    input_types: dict[str, Any] = {}
    input_data: dict[str, Any] = {}
    for name, type, constant in zip(names, types, constants):
        if not name:
            continue
        built = _type_proto(type, symbols, spelled)
        if built is None:
            return by_schema(node)
        input_types[name] = built
        if constant is not None and isinstance(type, TensorType) and type.shape is not None:
            array = Tensor.of(constant, type.dtype)
            array.shape = tuple(d for d in type.shape if isinstance(d, int))
            input_data[name] = _tensor_proto(array)
    try:
        found = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op.name, schema.since, node.op.domain),
            proto,
            input_types,
            input_data,
            opset_imports=[onnx.helper.make_opsetid(node.op.domain, schema.since)],
            ir_version=onnx.IR_VERSION,
        )
    except (onnx.shape_inference.InferenceError, onnx.defs.SchemaError, onnx.checker.ValidationError):
        return by_schema(node)  # then the declared types are all there is
    return tuple(_read(found.get(name), symbols) for name in outputs)


def _tensor_proto(tensor: Tensor) -> Any:
    import onnx

    proto = onnx.TensorProto(data_type=tensor.dtype.onnx, dims=tensor.shape)
    if tensor.dtype.onnx == onnx.TensorProto.STRING:
        proto.string_data.extend(tensor.strings())
    else:
        proto.raw_data = bytes(tensor.data())
    return proto


def _type_proto(type: Type | None, symbols: dict[str, DimLike], spelled: dict[DimLike, str]) -> Any:
    import onnx

    proto = onnx.TypeProto()
    if isinstance(type, TensorType):
        proto.tensor_type.elem_type = type.dtype.onnx
        if type.shape is not None:
            proto.tensor_type.shape.Clear()
            for dim in type.shape:
                added = proto.tensor_type.shape.dim.add()
                if isinstance(dim, int):
                    added.dim_value = dim
                else:
                    name = spelled.setdefault(dim, f"d{len(spelled)}")
                    symbols[name] = dim
                    added.dim_param = name
        return proto
    if isinstance(type, (SequenceType, OptionalType)):
        inner = _type_proto(type.element, symbols, spelled)
        if inner is None:
            return None
        target = proto.sequence_type if isinstance(type, SequenceType) else proto.optional_type
        target.elem_type.CopyFrom(inner)
        return proto
    return None


def _read(proto: Any, symbols: dict[str, DimLike]) -> Found:
    kind = None if proto is None else proto.WhichOneof("value")
    if kind == "tensor_type":
        dtype = BY_ONNX.get(proto.tensor_type.elem_type)
        if dtype is None:
            return None
        if not proto.tensor_type.HasField("shape"):
            return tensor_type(dtype, None)
        return made(
            dtype,
            [
                d.dim_value if d.HasField("dim_value") else symbols.get(d.dim_param)
                for d in proto.tensor_type.shape.dim
            ],
        )
    if kind in ("sequence_type", "optional_type"):
        inner = _read(getattr(proto, kind).elem_type, {})
        if inner is None or not isinstance(inner, (TensorType, SequenceType)):
            return None
        return sequence_type(inner) if kind == "sequence_type" else optional_type(inner)
    return None

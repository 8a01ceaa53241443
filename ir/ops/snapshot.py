"""Regenerate schemas.json from the installed onnx and onnxruntime.

Run ``python -m geoc.ir.ops.snapshot`` after upgrading either.

The snapshot exists because importing onnx takes 100 ms and asking it for every schema as much
again. It is one JSON object with one line per operator, so that a reader may decode single lines:

    "$sources": {"onnx": "1.23.2", "onnxruntime": "1.31.1"}
    "$domains": {"": [1, 28], ...}                  lowest and highest opset of each domain
    "$sets": ["tensor(float) tensor(double)", ...]  type sets, referred to by index
    "Relu": [[1, "", "X:T", "Y:T", {"consumed_inputs": "I"}, {"T": 0}], ...]

A version is [since, flags, inputs, outputs, attributes, constraints]; flags are "f" (has a
function body) and "d" (deprecated). A parameter is ``name:type`` with a suffix: ``?`` optional,
``*n`` variadic of one type with at least n members, ``~n`` variadic of mixed types. An attribute is
a kind letter (see schema.KINDS), ``!`` after it when required, or ``[letter, default]``. Attributes
are in alphabetical order, as in the ONNX documentation: the order of declaration is not kept by
onnx.
"""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

from .schema import KINDS, SNAPSHOT_PATH

ONNX_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")
# Default-domain operators which only onnxruntime defines, and which exporters do write.
RUNTIME_ONLY = frozenset({"SimplifiedLayerNormalization"})
# Operators of TensorRT's ONNX parser for floats in blocks. It publishes no schemas: these are as NVIDIA's Model
# Optimizer writes them (modelopt 0.47, onnx/export) and as the documentation of IDynamicQuantizeLayer has them. What
# its attributes are by default nobody says, so that none has one here.
_FLOATS = "tensor(bfloat16) tensor(float) tensor(float16)"
TENSORRT: dict[str, list[Any]] = {
    "trt::TRT_FP4DynamicQuantize": [
        "x:T scale:S", "y:T4 y_scale:T8", {"axis": "i!", "block_size": "i!", "scale_type": "i!"},
        {"T": _FLOATS, "S": _FLOATS, "T4": "tensor(float4e2m1)", "T8": "tensor(float8e4m3fn)"},
    ],
    "trt::TRT_MXFP8DynamicQuantize": [
        "x:T", "y:T8 y_scale:TS", {"axis": "i!", "block_size": "i!", "output_dtype": "i!"},
        {"T": _FLOATS, "T8": "tensor(float8e4m3fn)", "TS": "tensor(uint8)"},
    ],
    "trt::TRT_MXFP8DequantizeLinear": [
        "x:T8 x_scale:TS", "y:T", {"axis": "i!", "block_size": "i!", "output_dtype": "i!"},
        {"T": _FLOATS, "T8": "tensor(float8e4m3fn)", "TS": "tensor(uint8)"},
    ],
}  # fmt: skip

_LETTERS = {kind: letter for letter, kind in KINDS.items()}


def _parameter(param: Any, name: str, min_arity: int, homogeneous: bool) -> str:
    type_str = param.type_str if hasattr(param, "type_str") else param.typeStr
    if not name or not type_str or set(" :?*~") & set(name) or set(" :?*~") & set(type_str):
        raise ValueError(
            f"parameter {name!r} of type {type_str!r} does not fit the snapshot's form"
        )
    option = str(param.option).rsplit(".", 1)[-1]
    suffix = {
        "Single": "",
        "Optional": "?",
        "Variadic": f"{'*' if homogeneous else '~'}{min_arity}",
    }[option]
    return f"{name}:{type_str}{suffix}"


def _parameters(params: Any, minimum: int) -> str:
    texts = []
    for index, param in enumerate(params):
        # onnxruntime's binding has no min_arity; as a variadic parameter is last, the total tells.
        min_arity = getattr(param, "min_arity", minimum - index)
        homogeneous = getattr(param, "is_homogeneous", getattr(param, "isHomogeneous", True))
        texts.append(_parameter(param, param.name, min_arity, homogeneous))
    return " ".join(texts)


def _default(attribute: Any) -> Any:
    """The default of an attribute as JSON, None when it has none."""
    import onnx

    proto = getattr(attribute, "default_value", None)
    if proto is None:
        proto = onnx.AttributeProto.FromString(attribute._default_value)
    if not proto.name:
        return None
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (int, float)):
        return value
    return [item.decode() if isinstance(item, bytes) else item for item in value]


def _attribute(attribute: Any) -> Any:
    letter = _LETTERS[str(attribute.type).rsplit(".", 1)[-1].lower()]
    if attribute.required:
        return letter + "!"
    default = _default(attribute)
    return letter if default is None else [letter, default]


def _version(schema: Any, sets: dict[str, int]) -> list[Any]:
    flags = "f" if getattr(schema, "has_function", False) else ""
    if getattr(schema, "has_context_dependent_function", False):
        flags = "f"
    if schema.deprecated:
        flags += "d"
    constraints = {}
    for constraint in schema.type_constraints:
        # Constraints are declared "map(int64, float)" where values are "map(int64,tensor(float))".
        declared = " ".join(sorted(constraint.allowed_type_strs))
        types = re.sub(r"map\((\w+), (\w+)\)", r"map(\1,tensor(\2))", declared)
        constraints[constraint.type_param_str] = sets.setdefault(types, len(sets))
    return [
        schema.since_version,
        flags,
        _parameters(schema.inputs, schema.min_input),
        _parameters(schema.outputs, schema.min_output),
        {name: _attribute(schema.attributes[name]) for name in sorted(schema.attributes)},
        constraints,
    ]


def _all_schemas() -> list[Any]:
    from onnx import defs

    runtime = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = [s for s in defs.get_all_schemas_with_history() if s.domain in ONNX_DOMAINS]
    for schema in runtime.get_all_operator_schema():
        if schema.domain == "com.microsoft" or (
            schema.domain == "" and schema.name in RUNTIME_ONLY
        ):
            found.append(schema)
    return found


def snapshot_text() -> str:
    """The text of schemas.json for the installed onnx and onnxruntime."""
    import onnx

    runtime = import_module("onnxruntime")
    sets: dict[str, int] = {}
    ops: dict[str, list[list[Any]]] = {}
    domains: dict[str, list[int]] = {"": [1, onnx.defs.onnx_opset_version()]}
    found = sorted(_all_schemas(), key=lambda s: (s.domain, s.name, s.since_version))
    for schema in found:
        key = f"{schema.domain}::{schema.name}" if schema.domain else schema.name
        ops.setdefault(key, []).append(_version(schema, sets))
        bounds = domains.setdefault(schema.domain, [1, 1])
        bounds[1] = max(bounds[1], schema.since_version)
    for key, (inputs, outputs, attributes, constraints) in TENSORRT.items():
        indexed = {name: sets.setdefault(types, len(sets)) for name, types in constraints.items()}
        ops[key] = [[1, "", inputs, outputs, attributes, indexed]]
        domains["trt"] = [1, 1]
    header = {
        "$sources": {"onnx": onnx.__version__, "onnxruntime": runtime.__version__},
        "$domains": domains,
        "$sets": list(sets),
    }
    rows = [
        f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}"
        for key, value in {**header, **ops}.items()
    ]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def main() -> None:
    text = snapshot_text()
    with open(SNAPSHOT_PATH, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"{SNAPSHOT_PATH}: {len(text)} bytes")


if __name__ == "__main__":
    main()

"""What the generator's values are: element types, shapes under every assignment of sizes, made-up elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]

SIZES = 3
"""How many assignments of sizes to symbols a model is made and run for."""

DTYPES: dict[str, tuple[int, Any]] = {
    "f32": (TensorProto.FLOAT, np.dtype(np.float32)),
    "f64": (TensorProto.DOUBLE, np.dtype(np.float64)),
    "f16": (TensorProto.FLOAT16, np.dtype(np.float16)),
    "bf16": (TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
    "i8": (TensorProto.INT8, np.dtype(np.int8)),
    "i16": (TensorProto.INT16, np.dtype(np.int16)),
    "i32": (TensorProto.INT32, np.dtype(np.int32)),
    "i64": (TensorProto.INT64, np.dtype(np.int64)),
    "u8": (TensorProto.UINT8, np.dtype(np.uint8)),
    "u16": (TensorProto.UINT16, np.dtype(np.uint16)),
    "u32": (TensorProto.UINT32, np.dtype(np.uint32)),
    "u64": (TensorProto.UINT64, np.dtype(np.uint64)),
    "bool": (TensorProto.BOOL, np.dtype(np.bool_)),
    "str": (TensorProto.STRING, np.dtype(object)),
}
FLOATS = ("f32", "f64", "f16", "bf16")
INTS = ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
NUMBERS = FLOATS + INTS
_TYPE_STR = {
    "f32": "float", "f64": "double", "f16": "float16", "bf16": "bfloat16", "i8": "int8", "i16": "int16", "i32": "int32",
    "i64": "int64", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "bool": "bool", "str": "string",
}  # fmt: skip


class NoFit(Exception):
    """A step finds nothing that it could work on."""


@dataclass(eq=False)
class Val:
    """A value of the model; `shapes` None where the sizes depend on elements known at run time only."""

    name: str
    dtype: str
    shapes: Shapes | None
    rank: int
    const: Array | None = None
    data: tuple[Array, ...] | None = None  # elements under each assignment, where they are known

    def at(self, k: int) -> Shape:
        assert self.shapes is not None
        return self.shapes[k]

    def known(self) -> Shapes:
        """The shapes. Raises NoFit where they are not known."""
        if self.shapes is None:
            raise NoFit("loose")
        return self.shapes

    def fixed(self) -> list[int | None]:
        """Each dimension that is the same under all assignments, None for the others."""
        shapes = self.known()
        return [shapes[0][i] if len({s[i] for s in shapes}) == 1 else None for i in range(self.rank)]

    def least(self, axis: int) -> int:
        """The smallest size along an axis."""
        return min(s[axis] for s in self.known())

    def is_fixed(self) -> bool:
        return self.shapes is not None and len(set(self.shapes)) == 1

    def is_empty(self) -> bool:
        """True if it has no elements under some assignment, or perhaps."""
        return self.shapes is None or any(0 in s for s in self.shapes)


def each(function: Callable[..., Sequence[int]], *shapes: Shapes) -> Shapes:
    """A shape function under every assignment. Raises NoFit where it fails."""
    try:
        return tuple(tuple(int(d) for d in function(*(s[k] for s in shapes))) for k in range(SIZES))
    except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
        raise NoFit(str(error)) from None


def broadcast(*values: Val) -> Shapes:
    """The shape of several values together. Raises NoFit where they do not fit."""
    return each(np.broadcast_shapes, *(v.known() for v in values))


def fill(rng: np.random.Generator, dtype: str, shape: Shape, range_: dict[str, Any]) -> Array:
    """Made-up elements: mostly small, with whole numbers, zeros and ones among them."""
    kind = DTYPES[dtype][1]
    if dtype == "str":
        words = np.array(["", "a", "ab", "1", "-2.5", "über", "a b"], object)
        return np.asarray(words[rng.integers(0, len(words), shape)], object).reshape(shape)
    if dtype == "bool":
        return np.asarray(rng.integers(0, 2, shape), np.bool_)
    if dtype in FLOATS:
        low, high = range_.get("low", -2.0), range_.get("high", 2.0)
        array = rng.uniform(low, high, shape)
        style = rng.random()
        if style < 0.15:
            array = np.round(array)
        elif style < 0.17 and range_.get("odd"):
            special = rng.choice([np.nan, np.inf, -np.inf, -0.0], shape)
            array = np.where(rng.random(shape) < 0.2, special, array)
        return np.asarray(array).astype(kind)
    if "low" not in range_ and rng.random() < 0.08:
        # onnxruntime reduces integers as doubles, which are exact up to 2**53.
        low, high = max(int(np.iinfo(kind).min), -(1 << 40)), min(int(np.iinfo(kind).max), 1 << 40)
        return np.asarray(rng.choice([low, high, high // 2, 0, 1], shape)).astype(kind)
    low, high = range_.get("low", 0 if dtype[0] == "u" else -4), range_.get("high", 5)
    return np.asarray(rng.integers(low, high, shape)).astype(kind)


@cache
def _kernels() -> dict[str, list[tuple[int, int, dict[str, frozenset[str]]]]]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found: dict[str, list[tuple[int, int, dict[str, frozenset[str]]]]] = {}
    for d in state.get_all_opkernel_def():
        if d.provider == "CPUExecutionProvider" and d.domain in ("", "ai.onnx"):
            types = {name: frozenset(listed) for name, listed in d.type_constraints.items()}
            found.setdefault(d.op_name, []).append((d.version_range[0], d.version_range[1], types))
    return found


_OPEN = 2**31 - 1


@cache
def _schema(op: str, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return None


def has_kernel(op: str, opset: int, inputs: Sequence[str | None], outputs: Sequence[str | None]) -> bool:
    """True if onnxruntime's CPU provider should run the operator on these element types."""
    return _has_kernel(op, opset, tuple(inputs), tuple(outputs))


@cache
def _has_kernel(op: str, opset: int, inputs: tuple[str | None, ...], outputs: tuple[str | None, ...]) -> bool:
    schema = _schema(op, opset)
    if schema is None or schema.deprecated:
        return False
    used: dict[str, set[str]] = {}
    for formals, dtypes in ((schema.inputs, inputs), (schema.outputs, outputs)):
        for index, dtype in enumerate(dtypes):
            if dtype is not None and dtype != "seq" and formals:
                formal = formals[min(index, len(formals) - 1)]
                if f"tensor({_TYPE_STR[dtype]})" in formal.types:
                    used.setdefault(formal.type_str, set()).add(dtype)
                elif not any("seq" in listed for listed in formal.types):
                    return False
    if op not in _kernels():
        return bool(schema.has_function or schema.has_context_dependent_function)
    # onnxruntime computes in f32 where it has no kernel for f16.
    for half in ("float16", "float"):
        names = {"f16": half}
        for start, end, constraints in _kernels()[op]:
            since = schema.since_version
            if not (start == since or (start < since and end != _OPEN and end >= since)):
                continue
            if all(
                f"tensor({names.get(d, _TYPE_STR[d])})" in constraints.get(formal, frozenset())
                for formal, dtypes in used.items() if formal in constraints
                for d in dtypes
            ):  # fmt: skip
                return True
    return False

"""Comparison of geoc's messages with those of the protobuf library."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from geoc.ir.proto import messages
from geoc.ir.proto.messages import Field, Message, Span
from geoc.ir.proto.packed import unpack

ONNX_NAMES = {
    "Dimension": "TensorShapeProto.Dimension",
    "TensorTypeProto": "TypeProto.Tensor",
    "SequenceTypeProto": "TypeProto.Sequence",
    "MapTypeProto": "TypeProto.Map",
    "OptionalTypeProto": "TypeProto.Optional",
    "SparseTensorTypeProto": "TypeProto.SparseTensor",
    "OpaqueTypeProto": "TypeProto.Opaque",
    "Segment": "TensorProto.Segment",
}


def onnx_class_of(cls: type[Message]) -> Any:
    """The protobuf library's class for a message class of geoc."""
    found: Any = onnx.onnx_ml_pb2
    for part in ONNX_NAMES.get(cls.__name__, cls.__name__).split("."):
        found = getattr(found, part)
    return found


def content(payload: Any, data: Any) -> bytes:
    if isinstance(payload, Span):
        return bytes(data[payload.offset : payload.offset + payload.length])
    return bytes(payload)


def assert_equal(ours: Message, theirs: Any, data: Any, place: str = "") -> None:
    """Every field of `ours`, read from `data`, is what protobuf's `theirs` has, presence included.

    Except for numbers outside an enumeration, which protobuf puts among the unknown fields.
    """
    for field in ours.FIELDS:
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        where = f"{place}.{field.name}"
        enumeration = theirs.DESCRIPTOR.fields_by_name[field.name].enum_type
        if enumeration is not None and mine is not None and mine not in enumeration.values_by_number:
            continue
        if field.packed:
            values = unpack(field.name, content(mine or b"", data))
            expected = np.array(other, values.dtype)
            np.testing.assert_array_equal(values, expected, err_msg=where)
        elif field.many:
            assert len(mine) == len(other), where
            for index, (left, right) in enumerate(zip(mine, other)):
                _assert_value(field, left, right, data, f"{where}[{index}]")
        else:
            assert (mine is not None) == theirs.HasField(field.name), where
            if mine is not None:
                _assert_value(field, mine, other, data, where)


def _assert_value(field: Field, mine: Any, other: Any, data: Any, where: str) -> None:
    if isinstance(field.kind, str):
        assert_equal(mine, other, data, where)
    elif field.kind == messages.OPAQUE:
        assert type(other).FromString(mine) == other, where
    elif field.kind == messages.PAYLOAD:
        assert content(mine, data) == other, where
    elif field.kind == messages.FLOAT:
        assert mine == other or (math.isnan(mine) and math.isnan(other)), where
    elif field.kind == messages.TEXT and isinstance(other, bytes):  # not UTF-8
        assert mine.encode("utf-8", "surrogateescape") == other, where
    else:
        assert mine == other, where


@pytest.fixture
def same() -> Callable[..., None]:
    return assert_equal


@pytest.fixture
def onnx_class() -> Callable[[type[Message]], Any]:
    return onnx_class_of


@pytest.fixture
def join() -> Callable[[Any, Any], bytes]:
    """join(chunks, data): the file that chunks make, with Span read from `data`."""
    return lambda chunks, data: b"".join(content(chunk, data) for chunk in chunks)

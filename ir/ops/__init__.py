"""Operators as data: schemas, semantic revisions and traits, without importing onnx.

>>> from geoc.ir.ops import op, resolve
>>> resolve("", "Add", 13) is op("Add")
True
>>> resolve("", "Softmax", 11).key
'Softmax@1'
"""

from __future__ import annotations

from .registry import Op, op, resolve, resolve_key, revisions
from .schema import AttrSpec, Param, Schema, known_keys, known_opsets, sources
from .uses import may_be_absent, min_opset, opsets, why_not

__all__ = [
    "AttrSpec",
    "Op",
    "Param",
    "Schema",
    "known_keys",
    "known_opsets",
    "may_be_absent",
    "min_opset",
    "op",
    "opsets",
    "resolve",
    "resolve_key",
    "revisions",
    "sources",
    "why_not",
]

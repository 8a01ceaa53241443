"""Values inside a model that mean nothing, or for which the library has a documented meaning of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

_INT_LIMITS = {
    number: np.iinfo(helper.tensor_dtype_to_np_dtype(number))
    for number in (2, 3, 4, 5, 6, 7, 12, 13)
}


def has_undefined(data: bytes, feeds: Mapping[str, Any]) -> bool:
    """True if a Cast of the main graph turns a float that is no integer of its type into one, or a Softmax gets a row
    of -inf alone, for which Attention gives zeros and not NaN (docs/correctness.md).
    """
    from .oracle import open_session, run

    model = onnx.ModelProto.FromString(data)
    nodes = [
        n for n in model.graph.node
        if n.op_type == "Softmax" or (n.op_type == "Cast" and n.attribute[0].i in _INT_LIMITS)
    ]  # fmt: skip
    if not nodes:
        return False
    known = {o.name for o in model.graph.output}
    added = [name for name in dict.fromkeys(n.input[0] for n in nodes) if name not in known]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in added)
    try:
        session = open_session(model.SerializeToString())
        values = dict(zip((o.name for o in session.get_outputs()), run(session, feeds)))
    except Exception:
        return True
    return any(_nothing_left(values[n.input[0]]) if n.op_type == "Softmax" else _outside(n, values) for n in nodes)


def _nothing_left(array: Any) -> bool:
    return array.dtype.kind == "f" and bool(array.size) and bool((array == -np.inf).all(-1).any())


def _outside(cast: Any, values: Mapping[str, Any]) -> bool:
    array, limits = values[cast.input[0]], _INT_LIMITS[cast.attribute[0].i]
    if array.dtype.kind != "f" or not array.size:
        return False
    wide = array.astype(np.float64)
    inside = (wide > float(limits.min) - 1) & (wide < float(limits.max) + 1)
    return not bool(inside.all())

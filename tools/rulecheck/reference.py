"""onnx's reference implementation, with one operator of it put right."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np


def evaluator(source: bytes | str) -> Any:
    """A model, its bytes or its path, in onnx's reference implementation."""
    import onnx
    import onnx.reference

    model = onnx.load(source) if isinstance(source, str) else onnx.ModelProto.FromString(source)
    return onnx.reference.ReferenceEvaluator(model, new_ops=[_attention()])


@cache
def _attention() -> Any:
    """Attention whose mask is repeated for all queries first.

    onnx 1.23 hides later keys in as many rows as the mask has: beside a mask of one row, all queries see only what
    the first one does. The operator's function body, and the standard's text, broadcast the mask.
    """
    from onnx.reference.ops import op_attention

    def run(self: Any, q: Any, k: Any, v: Any, attn_mask: Any = None, *rest: Any, **attributes: Any) -> Any:
        if attn_mask is not None and attn_mask.ndim:
            rows = attn_mask.reshape(1, -1) if attn_mask.ndim == 1 else attn_mask
            attn_mask = np.broadcast_to(rows, (*rows.shape[:-2], q.shape[-2], rows.shape[-1]))
        return op_attention.Attention_24._run(self, q, k, v, attn_mask, *rest, **attributes)

    return type("Attention", (op_attention.Attention_24,), {"_run": run, "op_domain": ""})

"""Natives of the rules that choose onnxruntime's forms of operators."""

from __future__ import annotations

import numpy as np

from ...ir.dims import DimLike
from ...ir.rewrite import native
from ...ir.tensor import Tensor
from ...ir.types import F32
from .. import masks  # noqa: F401 (its natives)
from . import lowest  # noqa: F401 (its natives)


@native
def filled(count: DimLike, number: float) -> Tensor | None:
    """A vector of equal float32 numbers; None for an unknown count."""
    if not isinstance(count, int):
        return None
    return Tensor.of_splat(np.float32(number), (count,), F32)

"""What a model's file says of itself that its graph does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class About(NamedTuple):
    """`version`: of the format, or of what wrote it, in words. `stored`: of types of tensors that only the format has,
    how many tensors and how many bytes are of each."""

    version: str = ""
    stored: Mapping[str, tuple[int, int]] = {}

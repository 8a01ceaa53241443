"""What a GGUF file says of itself: its version, and the types that its tensors are stored in."""

from __future__ import annotations

from collections import Counter

from ...ir.tensor import MappedFile
from ..about import About
from .reader import read_gguf


def about(path: str) -> About:
    """Raises FormatError or UnsupportedModel for what `load_gguf` does not read either, OSError."""
    file = MappedFile(path, is_model=True)
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in read_gguf(file).tensors.values():
        counts[tensor.kind.name] += 1
        sizes[tensor.kind.name] += tensor.nbytes
    version = int.from_bytes(file.view[4:8], "little")
    return About(f"version {version}", {kind: (counts[kind], size) for kind, size in sizes.most_common()})

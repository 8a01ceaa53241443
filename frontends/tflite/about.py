"""What a TFLite file says of itself: the version of its schema."""

from __future__ import annotations

from ...ir.tensor import MappedFile
from ..about import About
from .flatbuffer import Source, Table
from .schema import LAYOUTS


def about(path: str) -> About:
    """Raises FormatError for what `load_tflite` does not read either, OSError."""
    source = Source(MappedFile(path, is_model=True).view, path, LAYOUTS)
    return About(f"schema {Table(source, source.follow(0), 'Model')['version']}")

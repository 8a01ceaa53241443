"""What a folder says of itself: the architecture, and the version of transformers that wrote it."""

from __future__ import annotations

from ..about import About
from .folder import read_folder


def about(path: str) -> About:
    """Raises FormatError or UnsupportedModel for what `load_folder` does not read either, OSError."""
    folder = read_folder(path)
    writer = folder.config.get("transformers_version")
    return About(f"{folder.architecture}, transformers {writer}" if isinstance(writer, str) else folder.architecture)

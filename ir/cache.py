"""The user's cache folder: parsed grammars, rule sets and registries, all of which can be made again."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cache_file(kind: str, name: str) -> Path | None:
    """Where a cached file of this kind lives; None when there is no folder for it or it cannot be made.

    The folder is ``$GEOC_CACHE``, else ``geoc`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. An empty
    ``GEOC_CACHE`` turns caching off.
    """
    root = os.environ.get("GEOC_CACHE")
    if root is None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        root = os.path.join(base, "geoc")
    if not root:
        return None
    folder = Path(root, kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None  # a read-only home is no reason to fail: everything here can be made again
    return folder / name


def write_atomically(path: Path, data: bytes) -> None:
    """Write a cache entry so that a reader sees all of it or nothing; silently not at all on a full disk."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)

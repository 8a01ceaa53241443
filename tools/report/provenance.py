"""Where a result comes from: versions, the machine, and SHA-256 of what was read and written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from threading import Thread
from typing import Any

from ...lowering.installed import RUNTIMES, runtime_version
from ...lowering.targets import machine
from ..versions import geoc_version

_PIECE = 1 << 20


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises OSError."""
    found = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


class Hashes:
    """SHA-256 of files by path, found beside other work: hashing leaves the interpreter to others."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._found: dict[str, str] = {}
        self._error: OSError | None = None
        self._thread = Thread(target=self._run, args=([path for path in paths if os.path.isfile(path)],), daemon=True)
        self._thread.start()

    def _run(self, paths: list[str]) -> None:
        try:
            for path in paths:
                self._found[path] = sha256_of(path)
        except OSError as error:
            self._error = error

    def found(self) -> dict[str, str]:
        """All of them; waits. Raises OSError where a file could not be read."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found


def provenance(sources: dict[str, str], given: Iterable[str], written: Iterable[str]) -> dict[str, Any]:
    """What a report says of it; `sources` with their hashes, `given` are files that options named, `written` results.

    A folder among `written` counts by its files.
    """
    results = [file for path in written for file in _files(path)]
    return {
        "machine": machine(),
        "versions": versions(),
        "sources": [_entry(path, digest) for path, digest in sources.items()],
        "given": [_entry(path, sha256_of(path)) for path in given if os.path.isfile(path)],
        "written": [_entry(path, sha256_of(path)) for path in results],
    }


def versions() -> dict[str, str]:
    """geoc, Python, and the packages that decide what a result is."""
    import platform
    from importlib.metadata import version

    found = {"geoc": geoc_version(), "python": platform.python_version(), "platform": platform.platform()}
    found |= {name: version(name) for name in ("numpy", "onnx")}
    runtimes = ((name, runtime_version(name)) for name in RUNTIMES)
    return {**found, **{name: text for name, text in runtimes if text is not None}}


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)


def _entry(path: str, digest: str) -> dict[str, Any]:
    return {"file": path, "bytes": os.path.getsize(path), "sha256": digest}

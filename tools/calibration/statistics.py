"""A folder of what observers have seen, so that no model is run twice on the same samples.

    cache = StatisticsCache(folder)
    done = cache.load(key, statistics)         # samples they have seen, in an earlier run or one that was interrupted
    cache.save(key, statistics, done)

A key names everything that the numbers depend on: the graph up to the values that are observed with the content of its
weights, the samples, the kinds and settings of the observers, the versions of geoc and onnxruntime. A file is written
whole or not at all, so that several runs may share the folder; one that does not hold what was written is measured
again. The folder keeps to a size: what was used longest ago goes first.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...ir.core import Model
from ...ir.equal import structural_hash
from ...lowering.emit import write_bytes
from ...passes.quantize.observers import Statistics
from ..versions import geoc_version

VARIABLE = "GEOC_CACHE_DIR"
OFF = "off"
LIMIT = 1 << 30  # bytes of all files
LARGEST = 256 << 20  # bytes of one; statistics that take more are not kept
EVERY = 5.0  # seconds between two states that an interrupted run can go on from
_VERSION = 1  # of what is in a file, and of how observers count
_SUFFIX = ".stat"
_HEAD = b"geoc statistics\n"
_STALE = 3600.0  # seconds after which nobody is still writing a temporary file


def cache_folder() -> Path | None:
    """Where statistics are kept: `VARIABLE`, else the platform's folder for caches; None where that says ``off``.

    The XDG Base Directory Specification has relative paths ignored.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return None if chosen == OFF else Path(chosen)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        given = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    return base / "geoc" / "statistics"


def open_cache(chosen: str | None, note: Callable[[str], None]) -> StatisticsCache | None:
    """The cache in the folder of ``--cache``; None where that, or `VARIABLE` without it, says ``off``."""
    folder = cache_folder() if chosen is None else None if chosen == OFF else Path(chosen)
    return None if folder is None else StatisticsCache(folder, note)


def key_of(model: Model, statistics: Sequence[Statistics], samples: str, limit: int | None) -> str:
    """Names what `statistics` see of the outputs of `model`, in order, on the first `limit` samples of a digest."""
    import onnxruntime

    parts = [
        _VERSION, geoc_version(), onnxruntime.__version__, structural_hash(model), samples, limit,
        *(found.settings for found in statistics),
    ]  # fmt: skip
    return hashlib.blake2b(repr(parts).encode(), digest_size=20).hexdigest()


class Found(Statistics):
    """Arrays that somebody else found on the samples; `what` names how, and is a setting."""

    grows = ("arrays",)

    def __init__(self, what: str) -> None:
        self.what = what
        self.arrays: dict[str, np.ndarray] = {}

    def state(self) -> dict[str, np.ndarray]:
        return dict(self.arrays)

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.arrays = dict(state)


class StatisticsCache:
    """Statistics by key. `note` is told, once for each cause, of what went wrong; nothing is raised."""

    def __init__(self, folder: Path, note: Callable[[str], None] = lambda text: None, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self.hits = 0
        self.misses = 0
        self._note = note
        self._noted: set[str] = set()

    def load(self, key: str, statistics: Sequence[Statistics]) -> tuple[int, bool]:
        """Give the statistics what was kept: of how many samples, and whether those are all; (0, False) for nothing."""
        path = self._path(key)
        try:
            found = _unpacked(path.read_bytes())
            states = [_part(found, number) for number in range(len(statistics))]
            samples, complete = int(found["samples"]), bool(found["complete"])
            for one, state in zip(statistics, states):
                one.restore(state)
        except FileNotFoundError:
            samples, complete = 0, False
        except OSError as error:
            self._say("read", f"statistics in {self.folder} cannot be read: {error.strerror or error}; measured again")
            samples, complete = 0, False
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            self._say("broken", f"{path} does not hold what was written into it; measured again")
            samples, complete = 0, False
        self.hits += complete
        self.misses += not complete
        if complete:
            with suppress(OSError):  # in a folder that may only be read, nothing is ever taken away
                os.utime(path)
        return samples, complete

    def save(self, key: str, statistics: Sequence[Statistics], samples: int, complete: bool) -> None:
        """Keep what was seen so far of `samples` samples."""
        states: dict[str, Any] = {
            f"{number}/{name}": array
            for number, found in enumerate(statistics)
            for name, array in found.state().items()
        }
        if sum(array.nbytes for array in states.values()) > min(LARGEST, self.limit):
            return
        packed = io.BytesIO()
        np.savez(packed, samples=samples, complete=complete, **states)
        payload = packed.getvalue()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(str(self._path(key)), _HEAD + _digest(payload) + payload)
        except OSError as error:
            self._say("write", f"statistics are not kept in {self.folder}: {error.strerror or error}")
            return
        if complete:
            self._trim(self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _say(self, cause: str, text: str) -> None:
        if cause not in self._noted:
            self._noted.add(cause)
            self._note(text)

    def _trim(self, newest: Path) -> None:
        """Take away what was used longest ago, down to the limit, and what writers left that are no more."""
        now = time.time()
        files: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another run may take it away first
                status = path.stat()
                if path.suffix == _SUFFIX:
                    files.append((status.st_mtime, status.st_size, path))
                elif path.suffix == ".tmp" and now - status.st_mtime > _STALE:
                    path.unlink()
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                break
            if path != newest:
                with suppress(FileNotFoundError):
                    path.unlink()
                total -= size


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=20).digest()


def _unpacked(data: bytes) -> Mapping[str, np.ndarray]:
    """Raises ValueError and others for what `save` has not written."""
    start = len(_HEAD)
    payload = data[start + 20 :]
    if data[:start] != _HEAD or data[start : start + 20] != _digest(payload):
        raise ValueError("not what was written")
    with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _part(found: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    prefix = f"{number}/"
    return {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}

"""One lock for each machine: what is timed has it to itself, other work of trials shares it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any


class HostLock:
    """Held shared while it is entered; `alone` holds it exclusively.

    It is a file in the machine's folder for temporary ones, locked by flock(2), which the system gives back when a
    process ends, however it ends. Where there is no flock it does nothing: one trial at a time is then all there is.
    """

    def __init__(self, waiting: str | None = None) -> None:
        """`waiting`: a file that is there while this waits to be alone. `waited`: seconds of waiting, of all kinds."""
        self.waited = 0.0
        self._waiting = waiting
        user = os.getuid() if hasattr(os, "getuid") else 0
        self._path = os.path.join(tempfile.gettempdir(), f"geoc-tune-{user}.lock")
        self._file: Any = None

    def __enter__(self) -> HostLock:
        self._file = open(self._path, "a")
        self._lock(False)
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other trial does anything on this machine, and keep them waiting."""
        if self._waiting is not None:
            Path(self._waiting).touch()
        try:
            self._lock(True)
        finally:
            if self._waiting is not None:
                Path(self._waiting).unlink()
        try:
            yield
        finally:
            self._lock(False)

    def _lock(self, is_exclusive: bool) -> None:
        try:
            import fcntl
        except ImportError:
            return
        begun = perf_counter()
        # Going from one kind to the other is no single step, so two that both want to be alone do not wait for each
        # other (flock(2), "Converting a lock").
        fcntl.flock(self._file, fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH)
        self.waited += perf_counter() - begun

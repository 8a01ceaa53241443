"""The state of a training in a folder, so that it goes on after an interruption as if there had been none."""

from __future__ import annotations

import io
import os
import signal
import threading
from pathlib import Path
from time import perf_counter
from types import FrameType, TracebackType
from typing import Any

import torch

from ...ir.errors import UsageError
from ...lowering.emit import write_bytes

OPTION = "--checkpoint"
EVERY = 60.0  # seconds between two states, besides those after each epoch
_SHARE = 20  # times as long as saving took, nothing is saved again
_NAME = "distill.pt"


class Checkpoint:
    """One file in `folder`, replaced whole. `run` says what decides the result: only the same run may go on from it."""

    def __init__(self, folder: str, run: dict[str, Any]) -> None:
        self._path = Path(folder) / _NAME
        self._run = run
        self._last, self._pause = perf_counter(), EVERY
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The state that was saved; None without one. Raises UsageError for one of another run, and other files."""
        if not self._path.exists():
            return None
        try:
            found = torch.load(self._path, weights_only=True)
            run, state = found["run"], found["state"]
        except Exception:  # whatever its reader meets in bytes that are none of its own
            raise UsageError(f"{self._path} does not hold the state of a training", source=OPTION) from None
        differing = [key for key in {**run, **self._run} if run.get(key) != self._run.get(key)]
        if differing:
            said = f"{self._path} is of a run with another {', '.join(differing)}; give another folder"
            raise UsageError(said, source=OPTION)
        return dict(state)

    def save(self, state: dict[str, Any]) -> None:
        """Put a state in the place of the last one. Raises OSError."""
        begun = perf_counter()
        buffer = io.BytesIO()
        torch.save({"run": self._run, "state": state}, buffer)
        write_bytes(os.fspath(self._path), buffer.getbuffer())
        self._last = perf_counter()
        self._pause = max(EVERY, _SHARE * (self._last - begun))

    def is_due(self) -> bool:
        """True if it is time to save again: saving takes a twentieth of the time at most."""
        return perf_counter() - self._last >= self._pause


class Interrupts:
    """Holds Ctrl-C back until `stop` is called, so that no step is left half done; the second one comes at once.

    Where the signal is ignored, as in what a shell runs in the background, it stays so.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        in_main = threading.current_thread() is threading.main_thread()  # elsewhere signals cannot be handled
        if in_main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True

    def stop(self) -> None:
        """Raise KeyboardInterrupt if it came."""
        if self.came:
            raise KeyboardInterrupt

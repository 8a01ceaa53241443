"""Time that a call takes on one thread, less the time that the thread was ready and had no processor.

    with Stopwatch(threads=1) as watch:
        seconds = watch.time(call)

On a machine with other work a thread stands in the scheduler's queue for as long as others have the processors: in one
case 60 of 87 ms. Linux counts that for each thread (the second number of schedstat, Documentation/scheduler), so it can
be taken off. With several threads their waits overlap, and nothing is; nor where Linux does not say.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from types import TracebackType
from typing import Any

TASKS = Path("/proc/self/task")


class Stopwatch:
    """A context: it holds one open file for each thread that there is when it is entered.

    `wall` and `waited` are sums over all that it timed, in seconds. `counts` is True if waits are taken off.
    """

    def __init__(self, threads: int) -> None:
        self.wall = self.waited = 0.0
        self.counts = threads == 1 and (TASKS / str(os.getpid()) / "schedstat").exists()
        self._files: list[int] = []

    def __enter__(self) -> Stopwatch:
        if self.counts:
            for task in os.listdir(TASKS):
                with contextlib.suppress(FileNotFoundError):  # it has just ended
                    self._files.append(os.open(TASKS / task / "schedstat", os.O_RDONLY))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            os.close(file)
        self._files.clear()

    def time(self, call: Callable[[], Any]) -> float:
        """Run it; seconds."""
        before = self._queued()
        used, begun = process_time(), perf_counter()
        call()
        wall, used = perf_counter() - begun, process_time() - used
        # Threads that wake up for nothing wait as well: at least what the processors did was no waiting.
        waited = max(0.0, min(self._queued() - before, wall - used))
        self.wall += wall
        self.waited += waited
        return wall - waited

    def _queued(self) -> float:
        """Seconds that threads of this process have waited for a processor so far."""
        total = 0
        for file in self._files:
            with contextlib.suppress(ProcessLookupError):
                total += int(os.pread(file, 96, 0).split()[1])
        return total / 1e9

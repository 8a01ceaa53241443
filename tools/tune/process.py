"""Runs a job in a process of its own, with a limit of time, whoever asks for it: this machine or a worker of Dask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import geoc

from .worker import WAITING

_SOURCE = Path(geoc.__file__).parents[1]
_EVERY = 0.2  # seconds between two looks
_LAST = 300  # characters of what a process said last


def run_job(
    job: Mapping[str, Any], limit: float, stop: Event | None = None, side_by_side: int = 1
) -> dict[str, Any]:
    """The result of a job; where its process ends without one, or takes more than `limit` seconds, {"failed": why}.

    How long it waits for others to be done with the machine does not count. What an interrupted wait leaves
    behind is ended as well; once `stop` is set, nobody wants the result. `side_by_side`: how many share the processors.
    """
    with tempfile.TemporaryDirectory(prefix="geoc-tune-") as folder:
        given, result, said = (os.path.join(folder, name) for name in ("job.json", "result.json", "said.txt"))
        with open(given, "w", encoding="utf-8") as file:
            json.dump(job, file)
        path = os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH", "")]))
        with open(said, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "geoc.tools.tune.worker", given, result],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env={**_share(side_by_side), **os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        try:
            code = _waited(process, limit, f"{result}{WAITING}", stop)
        except BaseException:
            _end(process)
            raise
        if code is None:
            _end(process)
            if stop is not None and stop.is_set():
                return {"failed": "nobody waits for it", "took": 0.0}
            return {"failed": f"it took more than {limit:.0f} s", "took": limit}
        if os.path.exists(result):
            with open(result, encoding="utf-8") as file:
                found: dict[str, Any] = json.load(file)
            return found
        return {"failed": _why(code, Path(said).read_text(encoding="utf-8", errors="replace")), "took": 0.0}


def _share(side_by_side: int) -> dict[str, str]:
    """Has numpy's products take no more than this process's share of the processors, where the user says nothing."""
    threads = max(1, (os.cpu_count() or 1) // side_by_side)
    return {"OMP_NUM_THREADS": str(threads)} if side_by_side > 1 else {}


def _waited(process: subprocess.Popen[bytes], limit: float, waiting: str, stop: Event | None) -> int | None:
    """The code that a process ends with; None where it takes longer than the limit, what it waits for not counted, or
    nobody wants it any more."""
    spent, last = 0.0, monotonic()
    while spent < limit and not (stop is not None and stop.is_set()):
        with suppress(subprocess.TimeoutExpired):
            return process.wait(min(_EVERY, limit - spent))
        now = monotonic()
        spent += 0.0 if os.path.exists(waiting) else now - last
        last = now
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _why(code: int, said: str) -> str:
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")[:_LAST]
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}" + (f": {last}" if last else "")
    return f"its process ended with {code}" + (f": {last}" if last else "")

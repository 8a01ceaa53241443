"""Runs a job in a process of its own, with a limit of time, whoever asks for it: this machine or a worker of Dask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geoc

_SOURCE = Path(geoc.__file__).parents[1]
_LAST = 300  # characters of what a process said last


def run_job(job: Mapping[str, Any], limit: float) -> dict[str, Any]:
    """The result of a job; where its process ends without one, or takes more than `limit` seconds, {"failed": why}.

    What an interrupted wait leaves behind is ended as well.
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
                env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            return {"failed": f"it took more than {limit:.0f} s", "took": limit}
        except BaseException:
            _end(process)
            raise
        if os.path.exists(result):
            with open(result, encoding="utf-8") as file:
                found: dict[str, Any] = json.load(file)
            return found
        return {"failed": _why(code, Path(said).read_text(encoding="utf-8", errors="replace")), "took": 0.0}


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

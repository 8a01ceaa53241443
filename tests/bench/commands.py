"""Whole commands, measured from outside: the optimizers compared, and how one process is run.

A measuring process must itself stay small: Linux counts the resident memory that a child inherits
before `exec` as the child's own, so nothing here (or in the scripts that use it) imports onnx or
numpy. Models are read by child processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

PEERS = ("onnxsim", "onnxslim", "onnxscript")

ONNXSCRIPT = (
    "import sys, onnx, onnxscript.optimizer as optimizer; "
    "onnx.save(optimizer.optimize(onnx.load(sys.argv[1])), sys.argv[2])"
)


class Run(NamedTuple):
    """One finished process: wall time in seconds, peak memory in bytes, what it printed last."""

    code: int
    seconds: float
    peak: int
    timed_out: bool
    output: str

    def failure(self) -> str:
        """Why it failed in a few words, or an empty string."""
        if self.timed_out:
            return "time limit"
        if self.code == 0:
            return ""
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or [f"exit {self.code}"])[-1][:200]


def run(argv: list[str], limit: float, log: Path) -> Run:
    """Run `argv` in its own process group for at most `limit` seconds, its output to `log`."""
    expired = threading.Event()
    with log.open("wb") as out:
        start = time.perf_counter()
        child = subprocess.Popen(
            argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, env=_environment()
        )

        def stop() -> None:
            expired.set()
            os.killpg(child.pid, signal.SIGKILL)

        timer = threading.Timer(limit, stop)
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        timer.cancel()
    code = child.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_bytes()[-8000:].decode("utf-8", "replace")
    return Run(code, seconds, usage.ru_maxrss * 1024, expired.is_set(), text)


def peer_command(peer: str, python: str, source: Path, out: Path) -> list[str]:
    """The usual command of a peer that is installed beside the interpreter `python`."""
    if peer == "onnxscript":  # a library without a command
        return [python, "-c", ONNXSCRIPT, str(source), str(out)]
    return [str(Path(python).parent / peer), str(source), str(out)]


def geoc_command(level: str, source: Path, out: Path) -> list[str]:
    """geoc at an -O level without checks, so that only the optimizing is timed."""
    options = [f"-{level}", "--target=cpu", "--check=off", "-o", str(out)]
    return [sys.executable, "-m", "geoc", str(source), *options]


def command(tool: str, level: str, python: str, source: Path, out: Path) -> list[str]:
    return (
        geoc_command(level, source, out)
        if tool == "geoc"
        else peer_command(tool, python, source, out)
    )


def _environment() -> dict[str, str]:
    """That of this process, with bytecode: what pip installs has it, an editable installation from its first run on."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def default_folder() -> Path:
    return Path(os.environ.get("GEOC_MODELS", Path.home() / ".cache" / "geoc-models"))


def find_models(wanted: list[str], folder: Path) -> list[Path]:
    """The .onnx files named by `wanted`: paths, or patterns over `folder`; without, all of it."""
    present = sorted(folder.rglob("*.onnx"))
    if not wanted:
        return present
    found: list[Path] = []
    for name in wanted:
        matches = [p for p in present if fnmatch(p.stem, name) or p.name == name]
        if Path(name).is_file():
            matches = [Path(name)]
        if not matches:
            raise SystemExit(f"no model named {name} in {folder}")
        found.extend(p for p in matches if p not in found)
    return found

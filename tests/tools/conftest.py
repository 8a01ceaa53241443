"""The command as a process, and files to give to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import geoc

from .toys import WRONG_PASS, relu_chain

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SOURCE = Path(geoc.__file__).parents[1]


@pytest.fixture
def chain_file(tmp_path: Path) -> Path:
    path = tmp_path / "chain.onnx"
    onnx.save(relu_chain(), path)
    return path


@pytest.fixture
def run_geoc(tmp_path: Path) -> Run:
    """Runs `python -m geoc` in `tmp_path`; the result has returncode, stdout and stderr."""

    def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), **(env or {})}
        return subprocess.run(
            [sys.executable, "-m", "geoc", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def wrong_plugin(tmp_path: Path) -> Path:
    path = tmp_path / "wrong_plugin.py"
    path.write_text(WRONG_PASS)
    return path

"""Functions from Python files of the user, ``FILE.py:FUNCTION``, and where in them something went wrong."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..ir.errors import GeocError, UsageError


def user_function(text: str, option: str) -> tuple[Path, Callable[..., Any]]:
    """The file and the function that ``FILE.py:FUNCTION`` names.

    Raises UsageError where there is none, and for what goes wrong in the file, with the line.
    """
    file, _, name = text.rpartition(":")
    path = Path(file)
    if not file.endswith(".py"):
        raise UsageError(f"takes FILE.py:FUNCTION, not {text}", source=option)
    if not path.is_file():
        raise UsageError(f"no file {file}", source=option)
    space: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    except Exception as error:
        raise located(error, path, option) from error
    function = space.get(name)
    if not callable(function):
        known = [key for key, value in space.items() if callable(value) and not key.startswith("_")]
        raise UsageError(f"{path} has no function {name!r}; it has {', '.join(known) or 'none'}", source=option)
    return path, function


def located(error: BaseException, path: Path, option: str) -> GeocError:
    """An error that came out of a user's file as one line, with the last line of that file that it went through."""
    if isinstance(error, GeocError):
        return error
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    inside = f" in {frames[-1].name}" if frames and frames[-1].name != "<module>" else ""
    said = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    where = f"{path}:{line}{inside}" if line is not None else str(path)
    return UsageError(f"{where}: {type(error).__name__}{': ' * bool(said)}{said}", source=option)

"""The text of a rule, from the place that a trace gives for it: FILE.rules:LINE, or FILE.py:LINE."""

from __future__ import annotations

import inspect
import os


def rule_text(location: str) -> str:
    """The rule or function that begins at a line of a file; "" where the file is not here or is shorter."""
    path, _, number = location.rpartition(":")
    if not number.isdigit() or not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()[int(number) - 1 :]
    if not lines:
        return ""
    if path.endswith(".py"):
        return "".join(inspect.getblock([line + "\n" for line in lines])).rstrip()
    end = next((at for at, line in enumerate(lines) if at and line.startswith("}")), 0)
    return "\n".join(lines[: end + 1])


def short_place(location: str) -> str:
    """A place for reading: from the folder of geoc on, or the file alone."""
    path, colon, line = location.replace(os.sep, "/").rpartition(":")
    inside = path.rfind("/geoc/")
    return (path[inside + 1 :] if inside >= 0 else os.path.basename(path)) + colon + line

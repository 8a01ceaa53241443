"""TOML files: descriptions of targets, recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..ir.errors import UsageError


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file. Raises UsageError where it is no TOML, OSError where it cannot be read."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef, unused-ignore]

    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"is no TOML: {error}", source=str(path)) from None
    return found

"""Packages that a frontend needs and that are no part of geoc."""

from __future__ import annotations

import importlib
from typing import Any

from ..ir.errors import UsageError


def needed(module: str, extra: str, source: str) -> Any:
    """An optional package. Raises UsageError, which says how to install it, where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is there, and lacks something itself
        raise UsageError(f"reading it needs {module}: pip install 'geoc[{extra}]'", source=source) from None

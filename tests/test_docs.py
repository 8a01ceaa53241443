"""Examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import geoc

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(geoc.__path__, "geoc.")
    if not info.name.endswith("__main__")
)


def test_there_are_modules() -> None:
    assert len(MODULES) > 100


OPTIONAL = ("torch",)
"""Packages that modules may import at their top: extras, whose modules are imported behind a check."""


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"needs {error.name}")
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0

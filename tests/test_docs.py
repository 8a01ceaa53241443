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


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0

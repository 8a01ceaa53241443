"""Locations that are lines of a program."""

from __future__ import annotations

import pytest

from geoc.ir.lines import is_line, split_lines


@pytest.mark.parametrize("location", ["a.py:1", "modeling_bert.py:297", "<string>.py:3"])
def test_lines(location: str) -> None:
    assert is_line(location)


@pytest.mark.parametrize("location", ["a.py", "/model/a.py:1", "a.py:1/MatMul", "node:3", "a.py:x", "", "layer.0.py:"])
def test_names(location: str) -> None:
    assert not is_line(location)


def test_names_and_lines_apart() -> None:
    assert split_lines(["node_1", "a.py:1", "node_2", "b.py:2"]) == (["node_1", "node_2"], ["a.py:1", "b.py:2"])

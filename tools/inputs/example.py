"""Inputs for what is written beside a model and runs it."""

from __future__ import annotations

from typing import Any

from ...ir.core import Model
from .maker import InputMaker
from .shapes import Shapes


def example_of(model: Model, shapes: Shapes, seed: int) -> dict[str, Any]:
    """Made-up inputs of the sizes that are tried first, not run; {} where none can be made up."""
    maker = InputMaker(model, shapes, seed)
    if maker.problem:
        return {}
    feeds: dict[str, Any] = maker.feeds(next(maker.sizes()), 0)
    return feeds

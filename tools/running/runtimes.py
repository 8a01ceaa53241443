"""The runtime that a result is for, where it runs on this machine and is another one than onnxruntime."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ...ir.core import Model
from ...lowering.installed import runtime_version

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..compiler import Compilation

REFERENCE = "onnxruntime"  # runs what is compared, and stands in for runtimes that this machine lacks


class Own(NamedTuple):
    """A runtime by its title, and what runs a model in it."""

    title: str
    running: Callable[[Model], AbstractContextManager[Callable[[dict[str, Any]], list[Any]]]]


def own_runtime(run: Compilation) -> Own | None:
    """The runtime of a compilation's target; None where that is onnxruntime, or onnxruntime stands in for it."""
    from .timing import RUNNERS, loaded  # bring the writers

    name = run.target.runtime
    if name == REFERENCE or name not in RUNNERS or runtime_version(name) is None:
        return None

    @contextmanager
    def running(model: Model) -> Iterator[Callable[[dict[str, Any]], list[Any]]]:
        with tempfile.TemporaryDirectory(prefix="geoc-run-") as folder:
            yield loaded(run, model, os.path.join(folder, "model"))

    return Own(run.target.backend.title, running)

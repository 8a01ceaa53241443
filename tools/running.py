"""A model that is run in onnxruntime without optimizations, from a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from ..ir.core import Model
from ..lowering.onnxruntime.runnable import make_runnable

Self = TypeVar("Self", bound="Running")  # typing.Self is newer than Python 3.10


class Running:
    """Holds the session and its file; a context. Subclasses change a copy of a model and hand it over."""

    def __init__(self, model: Model, write: Callable[[Model, str], Any], what: str) -> None:
        """`model` is the caller's to change: it becomes what onnxruntime runs. `write` makes an ONNX file of it.

        `what` names it in messages. Raises CannotCheck where onnxruntime does not load it.
        """
        from .check import unoptimized_session

        self._folder = tempfile.TemporaryDirectory(prefix="geoc-run-")
        try:
            make_runnable(model)
            path = os.path.join(self._folder.name, "model.onnx")
            write(model, path)
            self._session = unoptimized_session(path, what)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

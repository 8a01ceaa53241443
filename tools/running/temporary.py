"""A model that is run in onnxruntime without optimizations, from a temporary file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from ...ir.core import Model
from ...lowering.onnxruntime.runnable import make_runnable
from ...passes.quantize.floats import dequantize_constants
from .memory import give_back
from .placed import PlacedWeights

Self = TypeVar("Self", bound="Running")  # typing.Self is newer than Python 3.10


class Running:
    """Holds the session and its file; a context. Subclasses change a copy of a model and hand it over."""

    def __init__(
        self, model: Model, write: Callable[[Model, str], Any], what: str, weights: PlacedWeights | None = None
    ) -> None:
        """`model` is the caller's to change: it becomes what onnxruntime runs. `write` makes an ONNX file of it.

        `what` names it in messages; `weights` are shared with other models that run. Raises CannotCheck where
        onnxruntime does not load it.
        """
        from .sessions import unoptimized_session

        self._own = PlacedWeights() if weights is None else None
        placed = weights or self._own
        assert placed is not None
        self._path = ""
        try:
            make_runnable(model)
            dequantize_constants(model)
            placed.place(model)
            self._path = placed.path()
            write(model, self._path)
            self._session = unoptimized_session(self._path, what, lean=True)
        except BaseException:
            self._close()
            raise

    def fetch(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        """Some of the outputs, and no more work and memory than they take. Raises one of `sessions.refusals()`."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        return list(self._session.run(names, feeds, options))

    def _close(self) -> None:
        if self._path:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._path)
        if self._own is not None:
            self._own.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._session
        self._close()
        give_back()

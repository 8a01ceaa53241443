"""Errors that are the user's to mend: one clear line that names the file and the place."""

from __future__ import annotations


class GeocError(Exception):
    """Base of every error that geoc reports in one line instead of a traceback.

    `place` says where (a byte offset, a line and column, a node), `source` which file; both may be empty.
    The command prints ``source:place: message`` and exits with 2.
    """

    def __init__(self, message: str, *, source: str = "", place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.source = source
        self.place = place

    def __str__(self) -> str:
        text = ":".join(part for part in (self.source, self.place) if part)
        text = f"{text}: {self.message}" if text else self.message
        # Names in a model may hold anything; a message stays one line.
        return text.replace("\r", "\\r").replace("\n", "\\n")


class FormatError(GeocError):
    """A file is not what its name says, is truncated, or contradicts its own format."""


class InvalidModel(GeocError):
    """A model breaks a rule of ONNX or of the IR: cyclic, undefined or doubly defined values, wrong types."""


class TextError(GeocError):
    """A .gir or .rules text has an error at a line and column."""


class UnsupportedModel(GeocError):
    """A valid model that the asked-for output cannot hold, e.g. no opset covers all its operators."""


class UsageError(GeocError):
    """The command or a call was given something that makes no sense."""

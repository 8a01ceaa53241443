"""The files and streams that instruments write to during a compilation."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from ..ir.core import Model
from ..passes.base import Instrument, Remark
from ..passes.instruments import Dump, Numbers, PrintAfter, RemarkLines, Trace, Verify, remark_json
from .settings import Settings

_DUMP = re.compile(r"\d{3,}_[\w.-]+\.gir\Z")


TRACE = "trace.jsonl"
"""The file of a dump folder that has one line per rewrite."""


def old_dumps(folder: str) -> list[str]:
    """Numbered dumps that are in `folder` already; they will be replaced."""
    if not os.path.isdir(folder):
        return []
    return [os.path.join(folder, name) for name in os.listdir(folder) if _DUMP.match(name)]


class Lines:
    """A text file whose errors carry its name."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 (closed by `close`)

    def _named(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            error.filename = error.filename or self.path
            raise

    def write(self, text: str) -> None:
        self._named(lambda: self._file.write(text))

    def flush(self) -> None:
        self._named(self._file.flush)

    def restart(self) -> None:
        """Drop what was written."""
        if os.path.isfile(self.path):  # not a pipe, not a device
            self._file.seek(0)
            self._file.truncate()

    def close(self) -> None:
        self._named(self._file.close)


class Outputs:
    """Opens what the settings ask for, and makes the instruments that write there."""

    def __init__(self, settings: Settings, log: TextIO | None) -> None:
        self.settings = settings
        self.log = log
        self._files: list[Lines] = []
        self._remarks: Lines | None = None
        self._trace: Lines | None = None

    def __enter__(self) -> Outputs:
        if self.settings.remarks is not None:
            self._remarks = self._open(self.settings.remarks)
        if self.settings.dump_dir is not None:
            os.makedirs(self.settings.dump_dir, exist_ok=True)
            self._trace = self._open(os.path.join(self.settings.dump_dir, TRACE))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def _open(self, path: str) -> Lines:
        file = Lines(path)
        self._files.append(file)
        return file

    def remark(self, remark: Remark) -> None:
        """Write a remark about the finished model, where remarks are wanted."""
        if self._remarks is not None:
            self._remarks.write(json.dumps(remark_json(remark)) + "\n")

    @property
    def is_written(self) -> bool:
        """True if something is written of a run besides its model."""
        return bool(self._files)

    def flush(self) -> None:
        """Bring everything to disk. Raises OSError where that fails, before a model is written."""
        for file in self._files:
            file.flush()

    def instruments(self) -> list[Instrument]:
        """For one run of the pipeline; what an earlier run of this compilation wrote is dropped."""
        for file in self._files:
            file.restart()
        found: list[Instrument] = [Verify()]
        settings = self.settings
        if settings.verbose and self.log is not None:
            found.append(Numbers(self.log))
        if self._remarks is not None:
            found.append(RemarkLines(self._remarks))
        if settings.dump_dir is not None or settings.print_after:
            found.extend(self._printing())
        return found

    def _printing(self) -> list[Instrument]:
        from ..ir.text import print_model, print_node

        found: list[Instrument] = []
        folder = self.settings.dump_dir
        if folder is not None and self._trace is not None:
            for path in old_dumps(folder):  # numbers of an earlier run would mislead
                os.unlink(path)

            def text(model: Model) -> str:
                return print_model(model, folder=folder)

            found += [Dump(folder, text), Trace(self._trace, print_node)]
        if self.settings.print_after and self.log is not None:
            found.append(PrintAfter(self.settings.print_after, self.log, print_model))
        return found

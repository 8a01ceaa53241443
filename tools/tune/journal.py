"""What trials gave, one JSON object a line, so that a search goes on where it was ended.

    journal = Journal.open(path, key)           # raises UsageError for the journal of another order
    journal.results[command]                    # what was found before
    journal.add({"trial": 3, "command": ..., "result": {...}})

The first line says what the journal is of: the order, the contents of the files, the version of the space. Each line is
on the disk before the next trial begins; a last one that was not finished is taken away. One search at a time has it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ...ir.errors import UsageError

SCHEMA = 1
_WORDS = {
    "model": "another model", "data": "other samples, or another metric", "space": "another version of geoc",
    "machines": "another kind of machine",
}  # fmt: skip


class Journal:
    """One file, open for adding. `entries` are what it holds, in order; `elapsed` seconds were spent on them."""

    def __init__(self, path: str, key: Mapping[str, Any]) -> None:
        """Raises UsageError for a journal of something else, or one that another search has; OSError."""
        self.path = path
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self._file = open(path, "a+b")  # noqa: SIM115
        try:
            self._own()
            self.entries = self._read()
            if not self.entries:
                self.entries = []
                self._write({"journal": SCHEMA, **key})
            else:
                self._check(self.entries.pop(0), key)
        except BaseException:
            self._file.close()
            raise

    @property
    def elapsed(self) -> float:
        """Seconds that went by until the last entry, over all runs."""
        return max((float(entry["elapsed"]) for entry in self.entries if "elapsed" in entry), default=0.0)

    def found(self, command: str) -> dict[str, Any] | None:
        """The result of a command; None where it has none yet."""
        return next((entry["result"] for entry in self.entries if entry.get("command") == command), None)

    def add(self, entry: dict[str, Any]) -> None:
        """Keep an entry, on the disk."""
        self.entries.append(entry)
        self._write(entry)

    def close(self) -> None:
        """Let another search have it."""
        self._file.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _own(self) -> None:
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError("another search is at work on this journal", source=self.path) from None

    def _read(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        found, whole = [], 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break  # it was killed while it wrote
            try:
                found.append(json.loads(line))
            except ValueError:
                raise UsageError("this is no line of a journal", source=self.path, place=f"line {number}") from None
            whole += len(line)
        self._file.truncate(whole)
        return found

    def _check(self, head: Mapping[str, Any], key: Mapping[str, Any]) -> None:
        if head.get("journal") != SCHEMA:
            raise UsageError("this is no journal of geoc tune", source=self.path)
        for name, value in key.items():
            if head.get(name) != value:
                what = _WORDS.get(name) or f"{name.replace('_', '-')}={head.get(name)}, not {value}"
                raise UsageError(f"the journal is of {what}; --checkpoint names another folder", source=self.path)

"""``geoc diff A B``."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ...ir.errors import UsageError
from ...lowering.emit import write_text
from ..args import Arguments
from ..files import is_other_folder, protect
from ..progress import Progress
from ..terminal import has_colour
from .changes import compare_models
from .data import data_of
from .folders import departure_of, load, rows_of
from .text import steps_text, text_of

SAME, DIFFERENT = 0, 1
_SUFFIXES = (".html", ".json")


def diff_verb(arguments: Arguments) -> int:
    """Print the difference, and write it where ``-o`` says; 0 where there is none."""
    words, output = arguments.words, arguments.get("output")
    folders = [is_other_folder(word) for word in words]
    if len(words) not in (1, 2) or (len(words) == 1 and not folders[0]):
        raise UsageError("give two models, two folders of dumps, or one: geoc diff A B, geoc diff DUMPDIR")
    if len(set(folders)) > 1:
        raise UsageError(f"a model compares with a model, a folder with a folder: {' and '.join(words)}")
    if output is not None and os.path.splitext(output)[1].lower() not in _SUFFIXES:
        raise UsageError(f"a difference is written as {', '.join(_SUFFIXES)}, not {output}", source="-o")
    protect([output] if output else [], [word for word in words if os.path.isfile(word)])
    progress = Progress(None if arguments.get("quiet") else sys.stderr)
    try:
        if len(words) == 1:
            return _steps(words[0], arguments, progress)
        data = _data(words[0], words[1], folders[0], progress)
    finally:
        progress.finished()
    names = (words[0], words[1])
    if output is not None:
        _write(data, names, output)
    if arguments.get("json"):
        head = {key: value for key, value in data.items() if key != "changes"}
        sys.stdout.write("".join(json.dumps(line) + "\n" for line in (head, *data["changes"])))
    elif not arguments.get("quiet"):
        print(text_of(data, names, has_colour(sys.stdout), bool(arguments.get("verbose"))))
    return SAME if data["same"] else DIFFERENT


def _data(a: str, b: str, are_folders: bool, progress: Progress) -> dict[str, Any]:
    from ..versions import geoc_version

    head = {"geoc": geoc_version(), "before": a, "after": b}
    if are_folders:
        progress.stage("comparing", 0.0, 1.0)
        found = departure_of(a, b, progress.detail)
        data = data_of(found.found, found.before, found.after)
        return {**head, **data, "same_steps": found.same, "notes": [found.said, *data["notes"]]}
    progress.stage("reading", 0.0, 0.4)
    before, after = load(a), load(b)
    progress.stage("comparing", 0.4, 1.0)
    return {**head, **data_of(compare_models(before, after), before, after)}


def _steps(folder: str, arguments: Arguments, progress: Progress) -> int:
    output = arguments.get("output")
    progress.stage("comparing", 0.0, 1.0)
    rows = rows_of(folder, progress.detail)
    progress.finished()
    if output is not None and output.lower().endswith(".html"):
        from .page import steps_page

        write_text(output, steps_page(rows, folder))
    elif output is not None:
        write_text(output, json.dumps({"folder": folder, "steps": rows}, indent=2) + "\n")
    if arguments.get("json"):
        sys.stdout.write("".join(json.dumps(row) + "\n" for row in rows))
    elif not arguments.get("quiet"):
        print(steps_text(rows, f"{folder}: {len(rows)} passes changed something"))
    return SAME


def _write(data: dict[str, Any], names: tuple[str, str], path: str) -> None:
    if path.lower().endswith(".json"):
        write_text(path, json.dumps(data, indent=2) + "\n")
        return
    from .page import page

    write_text(path, page(data, names))

"""``geoc bisect MODEL``."""

from __future__ import annotations

import os
import sys

from ...ir.errors import UsageError
from ...ir.text import print_model
from ...lowering.emit import write_text
from ..args import Arguments
from ..files import need_folders, protect
from ..terminal import has_colour, painter
from .case import opened_case
from .options import compilation_of
from .search import RIGHT, Found, search
from .text import as_json, summary


def bisect_verb(arguments: Arguments) -> int:
    """Print what was found; 0 where nothing is wrong, else 1."""
    settings = compilation_of(arguments)
    output = arguments.get("output")
    if output is not None and not output.endswith(".gir"):
        raise UsageError("the rewrite is written as text: -o FILE.gir", source=output)
    need_folders(output)
    protect([output] if output else [], [word for word in arguments.words if os.path.exists(word)])
    quiet = arguments.get("quiet", False)
    with opened_case(settings, arguments.get("test", "ort"), None if quiet else sys.stderr) as case:
        found = search(case)
        case.run.progress.finished()
        if output is not None:
            _write(found, output)
    if arguments.get("json"):
        print(as_json(found, settings))
    elif not quiet:
        print(summary(found, settings, painter(has_colour(sys.stdout))))
    return 0 if found.status == RIGHT else 1


def _write(found: Found, output: str) -> None:
    """Both sides as one model over the same inputs."""
    if found.change is None:
        sys.stderr.write(f"geoc: {output} is not written: there is no rewrite to show\n")
        return
    write_text(output, print_model(found.change.both(), folder=os.path.dirname(os.path.abspath(output))))

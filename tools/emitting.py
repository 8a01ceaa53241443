"""``--emit`` and ``-o``: which forms of the result are written, and where.

One form goes to the file that -o names, several into the folder that it names, as MODEL.SUFFIX.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from typing import NamedTuple

from ..ir.errors import UsageError
from ..lowering.backend import Backend, Emitter
from ..lowering.targets import get_target
from .files import stem_of

FASTEST = "fastest-cpu"  # the target that chooses between runtimes by measuring


class Output(NamedTuple):
    """One form of the result and the path that it is written to."""

    kind: str
    path: str
    emitter: Emitter


def outputs_of(backend: Backend, emit: Sequence[str], output: str | None, source: str | None) -> list[Output]:
    """What is to be written; [] where `output` is None. `source` is the model's path, for names in a folder.

    What a form needs beside it comes behind it. Raises UsageError for a form that the backend does not know and a
    suffix that does not fit.
    """
    known = backend.emitters()
    for kind in emit:
        if kind not in known:
            near = difflib.get_close_matches(kind, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"{backend.title} takes {', '.join(sorted(known))}, not {kind!r}{hint}", source="--emit")
    if output is None:
        return []
    if len(emit) > 1:
        stem = os.path.basename(stem_of(source or "model"))
        needed = [known[kind].needs for kind in emit if known[kind].needs]
        kinds = list(dict.fromkeys([*emit, *needed]))
        return [Output(kind, _in_folder(output, kind, stem, known[kind]), known[kind]) for kind in kinds]
    kind = emit[0] if emit else _kind_of(output, known)
    if known[kind].is_folder:
        return [Output(kind, output.rstrip(os.sep), known[kind])]
    if not output.lower().endswith(known[kind].suffix):
        raise UsageError(f"--emit {kind} writes a file that ends in {known[kind].suffix}", source=output)
    found = [Output(kind, output, known[kind])]
    if known[kind].needs:
        below = known[known[kind].needs]
        found.append(Output(known[kind].needs, output[: -len(known[kind].suffix)] + below.suffix, below))
    return found


def is_canonical(outputs: Sequence[Output]) -> bool:
    """True if what is written has standard operators alone. Raises UsageError where something else is written beside
    it, which is to have the target's forms."""
    found = [output.kind for output in outputs if output.emitter.canonical]
    if found and len(found) < len(outputs):
        others = ", ".join(output.kind for output in outputs if not output.emitter.canonical)
        said = f"{found[0]} is written of the graph before the target's forms, {others} of the one with them"
        raise UsageError(f"{said}: one command for each", source="--emit")
    return bool(found)


def _in_folder(folder: str, kind: str, stem: str, emitter: Emitter) -> str:
    """``FOLDER/MODEL.SUFFIX``; what is a folder itself is ``FOLDER/KIND/MODEL``."""
    return os.path.join(folder, kind, stem) if emitter.is_folder else os.path.join(folder, stem + emitter.suffix)


def _kind_of(output: str, known: dict[str, Emitter]) -> str:
    """What the suffix of a path asks for, the longest that fits."""
    files = {kind: emitter.suffix for kind, emitter in known.items() if not emitter.is_folder}
    fitting = [kind for kind, suffix in files.items() if output.lower().endswith(suffix)]
    if not fitting:
        suffix = os.path.splitext(output)[1]
        said = f"the suffix {suffix!r}" if suffix else "no suffix"
        suffixes = ", ".join(sorted(files.values()))
        raise UsageError(f"{said} says nothing about what to write; there are {suffixes}", source=output)
    return max(fitting, key=lambda kind: len(known[kind].suffix))


def default_output(source: str, target: str, emit: Sequence[str]) -> str:
    """Where the result goes when nobody says: MODEL.geoc.SUFFIX beside the source; for several forms a folder.

    Without a suffix where that is decided by measuring. Raises UsageError for a target that does not exist.
    """
    stem = stem_of(source) + ".geoc"
    if target == FASTEST:
        return stem
    backend = get_target(target).backend
    if len(emit) > 1:
        return stem
    found = backend.emitters().get(emit[0] if emit else backend.default)
    return stem + (found.suffix if found is not None and not found.is_folder else "")


def make_folder(outputs: Sequence[Output]) -> None:
    """The folder that several forms go into, and those inside it."""
    if len(outputs) > 1:
        for output in outputs:
            os.makedirs(os.path.dirname(output.path) or ".", exist_ok=True)

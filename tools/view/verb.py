"""``geoc view MODEL|DUMPDIR`` and ``geoc view A B``."""

from __future__ import annotations

import os
import sys
from typing import Any

from ...ir.core import Model
from ...ir.errors import UsageError
from ...lowering.emit import write_text
from ...lowering.targets import get_target
from ..args import Arguments
from ..files import is_other_folder, protect, stem_of
from ..inputs.shapes import read_shapes, specialise
from ..library import read_model
from ..progress import Progress
from .contents import of_dumps, of_models
from .page import page


def view_verb(arguments: Arguments) -> int:
    """Write the page where ``-o`` says, MODEL.html by default."""
    words = arguments.words
    if not 1 <= len(words) <= 2:
        raise UsageError("give a model, two models, or a folder of --dump-dir: geoc view MODEL [OTHER] -o page.html")
    output = arguments.get("output", default_output(words[0]))
    if os.path.splitext(output)[1].lower() not in (".html", ".htm"):
        raise UsageError(f"a page is written as .html, not {output}", source="-o")
    folders = [word for word in words if is_other_folder(word)]
    if folders and len(words) > 1:
        raise UsageError("a folder of dumps is shown alone; two of its .gir files can be compared", source=folders[0])
    protect([output], words)
    progress = Progress(None if arguments.get("quiet") else sys.stderr)
    try:
        progress.stage("reading", 0.0, 1.0)
        contents = _contents(arguments, progress)
    finally:
        progress.finished()
    text = page(contents)
    write_text(output, text)
    if not arguments.get("quiet"):
        print(f"{output}: {_said(contents)}, {len(text.encode()) / 1e6:.1f} MB")
    return 0


def default_output(source: str) -> str:
    """MODEL.html, beside the current folder's other files; a folder gives its own name."""
    return os.path.basename(os.path.normpath(stem_of(source))) + ".html"


def _contents(arguments: Arguments, progress: Progress) -> dict[str, Any]:
    target = get_target(arguments.get("target", "cpu"))
    (first, *_) = arguments.words
    if is_other_folder(first):

        def sized(model: Model) -> None:
            specialise(model, read_shapes(arguments.get("shape", ()), model))

        return of_dumps(first, target, sized, progress.detail)
    return of_models([(word, read_model(arguments, word)) for word in arguments.words], target)


def _said(contents: dict[str, Any]) -> str:
    graphs = contents["graphs"]
    if contents["mode"] == "steps":
        rewrites = sum(len(graph["rewrites"]) for graph in graphs)
        return f"{len(graphs)} steps, {graphs[0]['nodes']} -> {graphs[-1]['nodes']} nodes, {rewrites} rewrites"
    return " beside ".join(f"{graph['nodes']} nodes" for graph in graphs)

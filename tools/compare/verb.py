"""``geoc compare A B``."""

from __future__ import annotations

import json
import os
import sys

from ...ir.errors import UsageError
from ...lowering.emit import write_text
from ..args import Arguments
from ..files import protect
from ..inputs.shapes import read_shapes
from ..precision import read_error
from ..progress import Progress
from ..terminal import has_colour
from .comparison import Comparison
from .engines import runtimes_of
from .sides import open_side, stand_in
from .text import text_of

WITHIN, BEYOND = 0, 1
_SUFFIXES = (".html", ".json")


def compare_verb(arguments: Arguments) -> int:
    """Print the errors, and write them where ``-o`` says; 0 where all outputs are within their limits."""
    words, output = arguments.words, arguments.get("output")
    if len(words) != 2:
        raise UsageError("give two models: geoc compare A B")
    if output is not None and os.path.splitext(output)[1].lower() not in _SUFFIXES:
        raise UsageError(f"a comparison is written as {', '.join(_SUFFIXES)}, not {output}", source="-o")
    protect([output] if output else [], [word for word in words if os.path.exists(word)])
    limit = read_error(arguments.get("max_error")) if "max_error" in arguments.values else None
    runtimes = runtimes_of([name for name in arguments.get("runtime", "").split(",") if name])
    nodes = bool(arguments.get("nodes"))
    progress = Progress(None if arguments.get("quiet") else sys.stderr)
    try:
        progress.stage("reading", 0.0, 0.1)
        first, second = (open_side(word, runtime, nodes) for word, runtime in zip(words, runtimes))
        progress.stage("running", 0.1, 1.0)
        model = stand_in(first if first.model is not None or second.model is None else second)
        shapes = read_shapes(arguments.get("shape", ()), model)
        seed = arguments.get("seed", 0)
        comparison = Comparison(first, second, arguments.get("inputs"), shapes, seed, progress.detail)
        data = comparison.data(limit, nodes)
    finally:
        progress.finished()
    if output is not None and output.lower().endswith(".json"):
        write_text(output, json.dumps(data, indent=2) + "\n")
    elif output is not None:
        from .page import page

        write_text(output, page(data))
    if arguments.get("json"):
        inside = data["nodes"]
        head = {key: value for key, value in data.items() if key not in ("outputs", "nodes")}
        rows = [("output", row) for row in data["outputs"]]
        rows += [("node", row) for row in (inside["values"] if inside is not None else ())]
        lines = [head, *({"kind": kind, **row} for kind, row in rows)]
        sys.stdout.write("".join(json.dumps(line) + "\n" for line in lines))
    elif not arguments.get("quiet"):
        print(text_of(data, has_colour(sys.stdout), bool(arguments.get("verbose"))))
    return WITHIN if data["ok"] else BEYOND

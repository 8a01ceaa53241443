"""Pictures of what the command prints on a terminal, for the documentation: `docs/pictures/diff.svg`, `compare.svg`.

    python tests/bench/terminal_pictures.py [FOLDER]

Runs the commands below on small models (tests/models/exports.zip) in a pseudo-terminal, with colours, and draws the
lines as SVG. POSIX only.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from html import escape
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = Path(__file__).parents[2]
COLUMNS = 132
CHARACTER, LINE, MARGIN, SIZE = 7.83, 18, 16, 13  # pixels; of a monospaced font of that size
COLOURS = {"1": "#e6edf3", "1;31": "#ff7b72", "32": "#7ee787", "33": "#d29922", "36": "#79c0ff", "2": "#8b949e"}
_SPAN = re.compile(r"\x1b\[([\d;]*)m")


def prepare(folder: Path) -> None:
    """before.onnx; after.onnx with another GELU, a softmax along another axis and a wrong bias; wrong.onnx with the bias."""
    with zipfile.ZipFile(ROOT / "tests" / "models" / "exports.zip") as archive:
        model = onnx.load_model_from_string(archive.read("bert-ts.onnx"))
    onnx.save(model, folder / "bert.onnx")
    run = ["bert.onnx", "--check=off", "-q"]
    subprocess.run(geoc(*run, "--passes=@O1", "-o", "before.onnx"), cwd=folder, check=True)
    subprocess.run(geoc(*run, "--passes=@O1,activations", "-o", "after.onnx"), cwd=folder, check=True)
    changed = onnx.load(folder / "after.onnx")
    weight = next(w for w in changed.graph.initializer if w.name.endswith("layer.1.output.dense.bias"))
    array = numpy_helper.to_array(weight).copy()
    array[3] += 0.25
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), weight.name))
    onnx.save(changed, folder / "wrong.onnx")
    next(n for n in changed.graph.node if n.op_type == "Softmax").attribute[0].i = 2
    onnx.save(changed, folder / "after.onnx")


def geoc(*words: str) -> list[str]:
    return [sys.executable, "-m", "geoc", *words]


def printed(words: list[str], folder: Path) -> list[str]:
    """The lines that a command prints on a terminal, with its colours."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT / "src")}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(geoc(*words), cwd=folder, env=environment, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    data = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        data += part
    os.close(ours)
    if process.wait() not in (0, 1):
        raise SystemExit(f"{shlex.join(words)} failed")
    return data.decode().replace("\r\n", "\n").rstrip("\n").split("\n")


def svg(lines: list[str]) -> str:
    """A terminal with these lines; what is longer than `COLUMNS` ends with three dots."""
    width, height = 2 * MARGIN + COLUMNS * CHARACTER, 2 * MARGIN + len(lines) * LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}">',
        '<rect width="100%" height="100%" rx="8" fill="#0d1117"/>',
        f'<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="{SIZE}">',
    ]
    for number, line in enumerate(lines):
        y, x, colour = MARGIN + number * LINE + SIZE, 0, "#e6edf3"
        for place, piece in enumerate(_SPAN.split(line)):
            if place % 2:
                colour = COLOURS.get(piece, "#e6edf3")
                continue
            text = piece if x + len(piece) <= COLUMNS else piece[: max(0, COLUMNS - x - 3)] + "..." * (x < COLUMNS)
            if text.strip():
                length = f'textLength="{len(text) * CHARACTER:.1f}" lengthAdjust="spacingAndGlyphs"'
                parts.append(f'<text x="{MARGIN + x * CHARACTER:.1f}" y="{y}" fill="{colour}" {length}>{escape(text).replace(" ", "&#160;")}</text>')
            x += len(piece)
    return "\n".join([*parts, "</g></svg>", ""])


PICTURES = {
    "diff.svg": ["diff", "before.onnx", "after.onnx"],
    "compare.svg": ["compare", "before.onnx", "wrong.onnx", "--nodes"],
}


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for file, words in PICTURES.items():
            lines = [f"\x1b[2m$\x1b[0m \x1b[1mgeoc {shlex.join(words)}\x1b[0m", *printed(words, folder)]
            (target / file).write_text(svg(lines), encoding="utf-8")
            print(target / file)


if __name__ == "__main__":
    main()

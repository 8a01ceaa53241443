"""Pictures of what the command prints on a terminal, for the documentation: `docs/pictures/VERB.svg`.

    python tests/bench/terminal_pictures.py [FOLDER] [VERBS...]

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
PLANTED = ROOT / "tests" / "tools" / "bisect" / "planted"
COLUMNS = 132
CHARACTER, LINE, MARGIN, SIZE = 7.83, 18, 16, 13  # pixels; of a monospaced font of that size
COLOURS = {"1": "#e6edf3", "1;31": "#ff7b72", "32": "#7ee787", "33": "#d29922", "36": "#79c0ff", "2": "#8b949e"}
_SPAN = re.compile(r"\x1b\[([\d;]*)m")

SMALL = """geoc 1
opset "" 17

graph @main(%x: f32[B,S,64]) -> (%y: f32[B,S,8]) {
  weight %w: f32[64,8] = splat(0.5)
  weight %half: f32[] = 0.5
  %product: f32[B,S,8] = MatMul(%x, %w)  !"/head/MatMul"
  %y: f32[B,S,8] = Mul(%product, %half)
}
"""
WRONG_RULE = '''rule halves_join {
  """Two divisions are one by the sum: wrong, it is their product."""
  match
    %h = Div(%x, $a)
    %y = Div(%h, $b)
  rewrite
    %y = Div(%x, $a + $b)
}
'''


def prepare(folder: Path) -> None:
    """before.onnx; after.onnx with another GELU, a softmax along another axis and a wrong bias; wrong.onnx with the bias."""
    with zipfile.ZipFile(ROOT / "tests" / "models" / "exports.zip") as archive:
        model = onnx.load_model_from_string(archive.read("bert-ts.onnx"))
        (folder / "eager.onnx").write_bytes(archive.read("bert-eager-dynamo.onnx"))
    onnx.save(model, folder / "bert.onnx")
    (folder / "small.gir").write_text(SMALL, encoding="utf-8")
    (folder / "mine.rules").write_text(WRONG_RULE, encoding="utf-8")
    (folder / "heads.rules").write_text((PLANTED / "scale.rules").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(geoc("bert.onnx", "--precision=int8", "--calib=random", "-q", "-o", "bert.int8.onnx"), cwd=folder, check=True)
    run = ["bert.onnx", "--check=off", "-q"]
    low = "@O1,low-rank{rank=0.25,method=plain,least=1,slower=true}"
    subprocess.run(geoc(*run, "--passes", low, "-o", "bert.small.onnx"), cwd=folder, check=True)
    ids = np.random.default_rng(0).integers(0, 48, (64, 1, 16))
    names = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    np.savez(folder / "sentences.npz", **{f"{name}/{i}": a for name, arrays in names.items() for i, a in enumerate(arrays)})
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
    text = data.decode().replace("\r\n", "\n").replace(f"{ROOT / 'src'}{os.sep}", "")
    return text.rstrip("\n").split("\n")


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
    "compile": ["bert.onnx", "--precision", "int8", "--calib", "random", "--cache", "off", "--measure"],
    "dump": ["dump", "small.gir"],
    "passes": ["passes", "attention"],
    "rules": ["rules", "gelu"],
    "targets": ["targets", "a100"],
    "doctor": ["doctor"],
    "estimate": ["estimate", "bert.onnx", "--target", "a100", "--shape", "batch=8,seq=32"],
    "inspect": ["inspect", "bert.onnx"],
    "explain": ["explain", "bert.onnx", "--rule", "attention"],
    "match": ["match", "Softmax(Add(%x, %mask)) {*}", "bert.onnx"],
    "rulecheck": ["rulecheck", "mine.rules"],
    "quant-report": ["quant-report", "bert.int8.onnx", "bert.onnx", "--shape", "batch=1,seq=32"],
    "distill": ["distill", "bert.onnx", "bert.small.onnx", "--data", "sentences.npz", "--epochs", "4", "--lr", "1e-3", "-v"],
    "bisect": ["bisect", "eager.onnx", "-O1", "--rules", "heads.rules"],
    "reduce": ["reduce", "eager.onnx", "-O1", "--rules", "heads.rules", "-o", "small.gir"],
    "diff": ["diff", "before.onnx", "after.onnx"],
    "compare": ["compare", "before.onnx", "wrong.onnx", "--nodes"],
}
"""By verb what is shown of it; commands on models that `prepare` makes."""
LONGEST = 34  # lines of a picture


def shown(words: list[str], folder: Path) -> list[str]:
    """The command and what it prints, its middle left out where that is long."""
    lines = printed(words, folder)
    if len(lines) > LONGEST:
        lines = [*lines[: LONGEST - 6], f"\x1b[2m    ... {len(lines) - LONGEST + 1} lines more ...\x1b[0m", *lines[-5:]]
    return [f"\x1b[2m$\x1b[0m \x1b[1mgeoc {shlex.join(words)}\x1b[0m", *lines]


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for verb in sys.argv[2:] or PICTURES:
            (target / f"{verb}.svg").write_text(svg(shown(PICTURES[verb], folder)), encoding="utf-8")
            print(target / f"{verb}.svg")


if __name__ == "__main__":
    main()

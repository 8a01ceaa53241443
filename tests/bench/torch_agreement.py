"""Do graphs, as modules of torch, compute what onnxruntime computes without its optimizations?

    python tests/bench/torch_agreement.py [FOLDER] [-o TABLE.md]

Every .onnx of the folder ($GEOC_MODELS, or ~/.cache/geoc-models) of up to 1 GB of weights becomes a module with all
of its weights as parameters and runs on made-up inputs that onnxruntime takes. Error: the largest difference of an
output beside its largest number. Needs torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

LARGEST = 1e9  # bytes of weights
CLOSE = 1e-4
SIZES = 6  # tried for inputs on which a model runs


def compare(path: Path) -> str:
    """A row of the table: name, operators, weights, error or what went wrong."""
    import torch

    from geoc.frontends.onnx import load_onnx
    from geoc.ir.errors import GeocError
    from geoc.tools.distill.module import GraphModule
    from geoc.tools.distill.weights import trainable

    model = load_onnx(path)
    if model.weight_bytes > LARGEST:
        return f"| {path.stem} | | | not run: {model.weight_bytes / 1e9:.1f} GB |"
    operators = len({node.op.key for node in model.walk()})
    feeds, expected = reference(path, model)
    if expected is None:
        return f"| {path.stem} | {operators} | | not run: {feeds} |"
    try:
        try:
            weights = trainable(model)
        except GeocError:
            weights = []
        module = GraphModule(model, weights)
        with torch.no_grad():
            found = [tensor.float().numpy() for tensor in module(feeds)]
    except GeocError as error:
        return f"| {path.stem} | {operators} | | {error} |"
    worst = max(distance(a, b) for a, b in zip(expected, found))
    count = sum(parameter.numel() for parameter in module.parameters())
    return f"| {path.stem} | {operators} | {count:,} | {worst:.1e} |"


def distance(expected: Any, found: Any) -> float:
    """The largest difference beside the largest number; NaN and infinities have to be where they are expected."""
    if expected.shape != found.shape:
        return np.inf
    a, b = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        gap = np.where(same, 0.0, np.abs(a - b))
    most = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0) / (most or 1.0))


def reference(path: Path, model: Any) -> tuple[Any, list[Any] | None]:
    """Feeds and outputs of the first sizes that run, or why none does and None."""
    from geoc.tools.inputs.maker import InputMaker
    from geoc.tools.inputs.shapes import Shapes
    from geoc.tools.running.sessions import first_line, refusals, unoptimized_session

    maker = InputMaker(model, Shapes(), 0)
    if maker.problem:
        return maker.problem, None
    session = unoptimized_session(str(path), path.name)
    said = "no inputs"
    for _, sizes in zip(range(SIZES), maker.sizes()):
        feeds = maker.feeds(sizes, 0)
        try:
            outputs = session.run(None, feeds)
        except refusals() as error:
            said = first_line(error)
            continue
        return feeds, outputs
    return said, None


def main(words: list[str]) -> None:
    if words[:1] == ["--one"]:
        print(compare(Path(words[1])))
        return
    output = words.pop() if len(words) > 1 and words[-2] == "-o" else None
    folder = Path(words[0] if words and words[0] != "-o" else os.environ.get("GEOC_MODELS", Path.home() / ".cache/geoc-models"))
    rows = []
    for path in sorted(folder.rglob("*.onnx")):
        done = subprocess.run([sys.executable, __file__, "--one", str(path)], capture_output=True, text=True)
        said = (done.stderr.strip().splitlines() or ["?"])[-1]
        rows.append(done.stdout.strip() if done.returncode == 0 else f"| {path.stem} | | | failed: {said} |")
        print(rows[-1], flush=True)
    close = sum(is_close(row) for row in rows)
    ran = sum("not run" not in row for row in rows)
    text = "\n".join(["| model | operators | parameters | error |", "|---|---|---|---|", *rows])
    said = f"{close} of {ran} models agree with onnxruntime to {CLOSE:g}."
    print(said)
    if output:
        Path(output).write_text(f"{said}\n\n{text}\n")


def is_close(row: str) -> bool:
    try:
        return float(row.split("|")[4]) <= CLOSE
    except ValueError:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])

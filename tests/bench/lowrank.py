"""Low-rank splits: error against size, by the weights alone, by what the data uses, and with layers fitted again.

    python tests/bench/lowrank.py [MODEL --calib FILE] [--left 0.9 ...] [--methods plain ...] [--json OUT] [--write]
    python tests/bench/lowrank.py --again RECORDS.json... --write

Without a model, synthetic ones: an MLP block of ViT-base or BERT-base (768 to 3,072 to 768) whose weights and inputs have
spectra that fall as a power of their number, as those of trained models do. The error is the mean relative L2 error of
the first output on samples that calibration leaves out, in onnxruntime; `left` is the share of the parameters of all
products that is left. --write makes docs/low-rank.md and its plot (pip install matplotlib). --methods leaves some of the
forms out: fitting again takes hours for a language model.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from integers import error, session_of
from records import write_between

import geoc
from geoc.tools.calibration.samples import open_samples

DOCS = Path(__file__).parents[2] / "docs"
TABLE, PLOT = DOCS / "low-rank.md", DOCS / "low-rank.svg"
BEGIN, END = "<!-- curves -->", "<!-- end of curves -->"
LEFT = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3)
METHODS = {"plain": "method=plain,repair=0", "aware": "method=aware,repair=0", "repaired": "method=aware,repair=64"}
Record = dict[str, Any]


def block(path: Path, decay: float, seed: int = 0) -> None:
    """An MLP with Gelu whose weights have singular values i^-decay, as ONNX."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(seed)

    def matrix(inputs: int, outputs: int) -> Any:
        side = min(inputs, outputs)
        left = np.linalg.qr(random.normal(size=(inputs, side)))[0]
        right = np.linalg.qr(random.normal(size=(outputs, side)))[0]
        values = np.arange(1, side + 1) ** -decay
        return ((left * (values * np.sqrt(outputs / (values**2).sum()))) @ right.T).astype(np.float32)

    weights = {"up": matrix(768, 3072), "down": matrix(3072, 768)}
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["u"]), helper.make_node("Gelu", ["u"], ["a"]),
        helper.make_node("MatMul", ["a", "down"], ["y"]),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", "S", 768]) for n in ("x", "y")]
    inits = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], inits)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9).SerializeToString()
    )


def vectors(path: Path, decay: float, count: int = 80, seed: int = 1) -> None:
    """Samples [1, 128, 768] whose covariance has eigenvalues i^-2decay along random directions."""
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.normal(size=(768, 768)))[0]
    scale = np.arange(1, 769) ** -decay
    scale *= np.sqrt(768 / (scale**2).sum())
    drawn = (random.normal(size=(1, 128, 768)) * scale @ turn for _ in range(count))
    np.savez(path, **{f"x/{i}": sample.astype(np.float32) for i, sample in enumerate(drawn)})


def measure(
    name: str, source: Path, calib: Path, shares: list[float], methods: list[str], folder: Path
) -> list[Record]:
    """The errors of one model by each of some methods at each share."""
    held_back = list(open_samples(str(calib), geoc.load(str(source))).held_back())
    original = session_of(source)
    records = []
    for left in shares:
        record: Record = {"model": name, "left": left}
        for method in methods:
            options = METHODS[method]
            result = folder / "result.onnx"
            passes = f"@O1,low-rank{{left={left},slower=true,{options}}},@O2"
            geoc.compile(source, result, passes=passes, calib=str(calib), check="off")
            record[method] = error(session_of(result), original, held_back)
        print(record, flush=True)
        records.append(record)
    return records


def rendered(records: list[Record]) -> str:
    """The part of docs/low-rank.md that is made here."""
    lines = ["| model | left | plain | aware | aware, repaired |", "|---|---|---|---|---|"]
    for r in records:
        errors = " | ".join(f"{r[method]:.2%}" if method in r else "" for method in METHODS)
        lines.append(f"| {r['model']} | {r['left']:.0%} | {errors} |")
    both = [r for r in records if "aware" in r and "plain" in r]
    below = sum(r["aware"] < r["plain"] for r in both)
    lines += ["", f"What knows the data is below plain singular values in {below} of {len(both)}."]
    return "\n".join(lines)


def plot(records: list[Record]) -> None:
    """A curve for each method, a panel for each model."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(r["model"] for r in records))
    figure, panels = plt.subplots(1, len(names), figsize=(3.6 * len(names), 3.2), squeeze=False)
    for panel, name in zip(panels[0], names):
        rows = [r for r in records if r["model"] == name]
        for method in METHODS:
            known = [r for r in rows if method in r]
            panel.plot([r["left"] for r in known], [r[method] for r in known], marker="o", label=method)
        panel.set(title=name, xlabel="share of parameters left", ylabel="relative L2 error", yscale="log")
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--calib", type=Path)
    parser.add_argument("--left", type=float, nargs="+", default=LEFT)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--again", type=Path, nargs="+", help="records of earlier runs, instead of measuring")
    parser.add_argument("--write", action="store_true", help="write docs/low-rank.md and its plot")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lowrank-") as name:
        folder = Path(name)
        if options.again:
            records = [record for file in options.again for record in json.loads(file.read_text())]
        elif options.model is not None:
            name = options.model.stem
            records = measure(name, options.model, options.calib, options.left, options.methods, folder)
        else:
            block(folder / "mlp.onnx", 0.5)
            vectors(folder / "samples.npz", 0.5)
            files = folder / "mlp.onnx", folder / "samples.npz"
            records = measure("MLP 768-3072", *files, options.left, options.methods, folder)
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    print(rendered(records))
    if options.write:
        write_between(TABLE, BEGIN, END, rendered(records))
        plot(records)
    return 0


if __name__ == "__main__":
    sys.exit(main())

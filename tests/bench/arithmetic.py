"""How much of what is outside matrix products is arithmetic that every form of the model has to do.

    python tests/bench/arithmetic.py RECORDS.json [--dir DIR]

RECORDS are those of fusion.py. For each cell the source is profiled once more: the fastest run of each kernel that
computes exponentials, error functions, hyperbolic tangents or the sums of a normalization counts as arithmetic, of an
attention operator what is not its products. No rewrite takes that away: what is left of the time outside products is
what a graph can win, and the script says which share of it was taken.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from commands import default_folder
from fusion import ATTENTION, as_values, attention_products, cells, session

import geoc
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes

ARITHMETIC = frozenset((
    "Softmax", "Exp", "Erf", "Gelu", "BiasGelu", "FastGelu", "QuickGelu", "Sigmoid", "Tanh", "LayerNormalization", "ReduceMean",
    "SkipLayerNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "RMSNormalization",
    "InstanceNormalization",
))  # fmt: skip
RUNS = 8


def arithmetic_seconds(source: Path, feeds: dict[str, object]) -> float:
    """Seconds in kernels of `ARITHMETIC`, each at its fastest."""
    fastest: dict[tuple[str, str], float] = {}
    pairs: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="arithmetic-") as folder:
        model = session(source, Path(folder) / "profile")
        bound = as_values(feeds)
        for _ in range(RUNS):
            model.run_with_ort_values(None, bound)
        for event in json.loads(Path(model.end_profiling()).read_text()):
            if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
                continue
            op, seconds = event["args"]["op_name"], event["dur"] / 1e6
            if op in ATTENTION:
                seconds = max(0.0, seconds - attention_products(event["args"], pairs))
            elif op not in ARITHMETIC:
                continue
            key = event["name"], event["args"]["node_index"]
            fastest[key] = min(fastest.get(key, seconds), seconds)
    return sum(fastest.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records", type=Path)
    parser.add_argument("--dir", type=Path, default=default_folder())
    options = parser.parse_args()
    outside = saved = arithmetic = 0.0
    records = [r for r in json.loads(options.records.read_text()) if "failure" not in r]
    for name in dict.fromkeys(r["model"] for r in records):
        path = options.dir / f"{name}.onnx"
        maker = InputMaker(geoc.load(path), Shapes())
        by_label = {cell.label: cell for cell in cells(maker)}
        for r in (r for r in records if r["model"] == name):
            feeds = maker.feeds(by_label[r["cell"]].sizes, 0)
            found = min(arithmetic_seconds(path, feeds) * 1e3, r["outside"] * r["source_ms"])
            outside += r["outside"] * r["source_ms"]
            saved += r["saved"] * r["source_ms"]
            arithmetic += found
            print(f"{name:34} {r['cell']:>9} outside {r['outside'] * r['source_ms']:8.2f} ms, arithmetic {found:8.2f} ms, "
                  f"saved {r['saved'] * r['source_ms']:8.2f} ms", flush=True)  # fmt: skip
    print(f"Of {outside:.0f} ms outside products {arithmetic / outside:.0%} is arithmetic; saved: {saved / outside:.0%} of all, "
          f"{saved / (outside - arithmetic):.0%} of the rest.")  # fmt: skip


if __name__ == "__main__":
    main()

"""A long search for models that -O2 treats wrongly.

    python tests/fuzz/campaign.py --seeds 0:20000 [--out FOLDER] [--shrink]

Each seed gives one model (see graphs.py), which oracle.py judges. Failures are grouped by what they have in common; with
``--shrink`` the first of each group is made small. ``--out`` gets for each group the model, its inputs and its text.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

if __package__ in (None, ""):
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]
    __package__ = "tests.fuzz"

from geoc.frontends.onnx import load_onnx
from geoc.ir.text import print_model

from .graphs import Sample, generate
from .oracle import Verdict, judge
from .registry import FAMILIES
from .shrink import shrink
from .workers import survey


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0:1000", help="FIRST:LAST or one number")
    parser.add_argument("--family", default="all", choices=list(FAMILIES), help="what the models are made of")
    parser.add_argument("--out", type=Path, help="folder for failing models")
    parser.add_argument("--shrink", action="store_true", help="make the first model of each group small")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    args = parser.parse_args()
    first, colon, last = args.seeds.partition(":")
    seeds = range(int(first), int(last)) if colon else range(int(first), int(first) + 1)
    counts: Counter[str] = Counter()
    examples: dict[str, list[int]] = {}
    begun = perf_counter()
    for seed, verdict in survey(seeds, args.seconds, args.family):
        if verdict is None or verdict.kind == "discard":
            counts["right" if verdict is None else "discarded"] += 1
            continue
        signature = verdict.signature
        counts[signature] += 1
        examples.setdefault(signature, []).append(seed)
        if counts[signature] == 1:
            report(generate(seed, args.family), verdict, args.shrink and verdict.kind != "crash", args.out)
    print(f"\n{sum(counts.values())} models in {perf_counter() - begun:.0f} s")
    for signature, count in counts.most_common():
        shown = " ".join(map(str, examples.get(signature, [])[:6]))
        print(f"{count:7}  {signature}{f'  (seeds {shown})' if shown else ''}")
    return 1 if examples else 0


def report(sample: Sample, verdict: Verdict, small: bool, out: Path | None) -> None:
    """Print a failure, and store it."""
    print(f"\nseed {sample.seed}: {verdict}", flush=True)
    data, feeds = sample.model.SerializeToString(), [dict(f) for f in sample.feeds]
    if small:

        def same(candidate: bytes, given: list[dict[str, Any]]) -> bool:
            found = judge(candidate, given)
            return found is not None and found.kind == verdict.kind and found.guilty == verdict.guilty

        model, feeds = shrink(data, feeds, same)
        data = model.SerializeToString()
        print(judge(data, feeds))
    try:
        text = print_model(load_onnx(data), weights="inline")
    except Exception as error:
        text = f"cannot be imported: {error}\n"
    print(text if small else "", flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        stem = out / f"seed{sample.seed}"
        stem.with_suffix(".onnx").write_bytes(data)
        stem.with_suffix(".gir").write_text(f"# {verdict}".replace("\n", "\n# ") + "\n" + text)
        for k, given in enumerate(feeds):
            np.savez(f"{stem}.{k}.npz", **given)


if __name__ == "__main__":
    sys.exit(main())

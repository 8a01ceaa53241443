"""The steps inside geoc, timed in one process: `python steps.py TYPED.onnx UNTYPED.onnx RUNS`.

Prints {step: [seconds of each run]} as JSON: the process's own time, so that other work on the machine
counts less. What a step needs is made anew before each run, outside the time; garbage left by one run is
collected before the next.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

import geoc
from geoc.frontends.onnx import load_onnx
from geoc.ir.rewrite import RewriteDriver, parse_rules
from geoc.ir.text import parse_model, print_model
from geoc.ir.verify import verify

RULES = '''
rule erf_gelu : benefit 50 {
  """x / 2 * (1 + erf(x / sqrt(2))) -> Gelu."""
  match
    %d = Div(%x, 1.41421356)
    %y = Mul(Mul(%x, Add(Erf(%d), 1.0)), 0.5)
  rewrite
    %y = Gelu(%x)
}
'''


def repeat(runs: int, step: Callable[[Any], object], prepare: Callable[[], Any]) -> list[float]:
    times = []
    for _ in range(runs):
        given = prepare()
        gc.collect()
        start = time.process_time()
        step(given)
        times.append(round(time.process_time() - start, 6))
    return times


def measure(typed: str, untyped: str, runs: int, folder: str) -> dict[str, list[float]]:
    out = str(Path(folder) / "out.onnx")
    model = geoc.load(typed)
    beside = str(Path(typed).parent)
    text = print_model(model, folder=beside)
    rules = parse_rules(RULES)

    def load() -> Any:
        return geoc.load(typed)

    return {
        "onnx.load": repeat(runs, onnx.load, lambda: typed),
        "import": repeat(runs, load_onnx, lambda: typed),
        "import-untyped": repeat(runs, load_onnx, lambda: untyped),
        "export": repeat(runs, lambda m: geoc.save(m, out), lambda: model),
        "print": repeat(runs, lambda m: print_model(m, folder=beside), lambda: model),
        "parse": repeat(runs, lambda t: parse_model(t, folder=beside), lambda: text),
        "verify": repeat(runs, verify, lambda: model),
        "rules": repeat(runs, lambda m: RewriteDriver(rules).run(m), load),
        "optimize": repeat(runs, lambda m: geoc.optimize(m, level=2, check="off"), load),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), scratch)))

"""A decoder with a cache in several forms: tokens behind a past, prompts, and what a text costs token by token.

    python tests/bench/decoding.py SOURCE.onnx [NAME=MODEL.onnx ...] [--past N ...] [--prompt N ...] [--texts IDS.npz]

The models are made by `geoc SOURCE.onnx ... -o MODEL.onnx`; caches of theirs may be i8 (--precision kv8). Each is run in turn, in
another order each round, for one token behind each past and for prompts without one; on one thread the time is that of the
thread. `--texts`: arrays of token identifiers; the perplexity of each text, one token at a time, with the cache handed on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

CODE = 32.0  # codes of a made-up cache for 1.0


def feeds_for(source: Path, past: int, length: int) -> dict[str, Any]:
    """Made-up inputs of the source for so many new tokens of one sequence behind so many old ones."""
    import geoc
    from geoc.tools.inputs.maker import InputMaker
    from geoc.tools.inputs.shapes import Shapes

    maker = InputMaker(geoc.load(str(source)), Shapes())
    of = {"batch": 1, "sequence": length, "past": past, "total": past + length}
    feeds = maker.feeds({name: of.get(kind, 16) for name, kind in maker.symbols.items()}, 0)
    return {name: array + past if "position" in name else array for name, array in feeds.items()}


def bound(model: Any, feeds: dict[str, Any]) -> dict[str, Any]:
    """The inputs for a session, caches as codes where it wants them."""
    from onnxruntime import OrtValue

    given = {}
    for entry in model.get_inputs():
        array = feeds[entry.name]
        if entry.type == "tensor(int8)":
            array = np.clip(np.rint(array * CODE), -127, 127).astype(np.int8)
        given[entry.name] = OrtValue.ortvalue_from_numpy(array)
    return given


def times(models: dict[str, Any], source: Path, past: int, length: int, rounds: int, threads: int) -> dict[str, float]:
    """Seconds of each model, the median over rounds."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    feeds = feeds_for(source, past, length)
    given = {name: bound(model, feeds) for name, model in models.items()}
    taken: dict[str, list[float]] = {name: [] for name in models}
    random = np.random.default_rng(0)
    for number in range(rounds + 1):
        for name in random.permutation(list(models)):
            start = clock()
            models[name].run_with_ort_values(None, given[name])
            if number:
                taken[name].append(clock() - start)
    return {name: float(np.median(found)) for name, found in taken.items()}


def perplexity(model: Any, texts: list[Any]) -> float:
    """exp of the mean negative logarithm of each next token's probability, with caches handed from step to step."""
    from onnxruntime import OrtValue

    inputs = {entry.name: entry for entry in model.get_inputs()}
    names = [entry.name for entry in model.get_outputs()]
    caches = [name for name in inputs if name.startswith("past")]
    total, count = 0.0, 0
    for ids in texts:
        state: dict[str, Any] = {}
        for name in caches:
            dtype = np.int8 if inputs[name].type == "tensor(int8)" else np.float32
            shape = [d if isinstance(d, int) else 1 if "batch" in d else 0 for d in inputs[name].shape]
            state[name] = OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype))
        for at in range(len(ids) - 1):
            arrays = {
                "input_ids": ids[None, at : at + 1].astype(np.int64), "attention_mask": np.ones((1, at + 1), np.int64),
                "position_ids": np.array([[at]]),
            }  # fmt: skip
            given = {name: OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items() if name in inputs}
            logits, *new = model.run_with_ort_values(None, {**given, **state})
            state = {name.replace("present", "past"): value for name, value in zip(names[1:], new)}
            row = logits.numpy()[0, -1].astype(np.float64)
            row -= row.max()
            total += np.log(np.exp(row).sum()) - row[ids[at + 1]]
            count += 1
    return float(np.exp(total / count))


def main() -> int:
    from weights import session

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("models", nargs="*", metavar="NAME=MODEL.onnx")
    parser.add_argument("--past", type=int, nargs="*", default=[128, 1024, 4096])
    parser.add_argument("--prompt", type=int, nargs="*", default=[8, 32, 128, 512])
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    paths = {"source": options.source, **{name: Path(path) for name, path in (m.split("=", 1) for m in options.models)}}
    models = {name: session(path, options.threads) for name, path in paths.items()}
    for past, length in [*((past, 1) for past in options.past), *((0, length) for length in options.prompt)]:
        rounds = max(3, options.rounds // (1 + (past + 8 * length) // 512))
        found = times(models, options.source, past, length, rounds, options.threads)
        what = f"a token after {past}" if past else f"a prompt of {length}"
        shown = (f"{name} {s * 1e3:.2f} ms ({found['source'] / s:.2f} times as fast)" for name, s in found.items())
        print(f"{what}: {', '.join(shown)}", flush=True)
    if options.texts:
        with np.load(options.texts) as texts:
            arrays = [texts[name] for name in texts.files]
        for name, model in models.items():
            print(f"perplexity of {name}: {perplexity(model, arrays):.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

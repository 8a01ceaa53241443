"""geoc tune beside every fixed recipe, at one bound: what each takes, and what its result scores and how fast it is.

    python tests/bench/tune.py [MODEL...] --calib MODEL=SAMPLES... --metric MODEL=FILE.py:FUNCTION...
        [--scores MODEL=FILE.py:FUNCTION]... [--only VARIANT...] [--time 10m] [--made FOLDER] [--dir DIR] [--json OUT] [--write]
    python tests/bench/tune.py --again RECORDS.json... --write

Each recipe is given the bound of the search, `DROP` of the metric, one thread, and a cache of statistics of its own.
All results of a model are timed in turn with what its exporter wrote, when the last one is made. The function of
--scores gives a dict of scores of the result, by default that of the metric. --write makes the table in docs/tune.md,
and its picture from the last search. It takes 10 minutes for each search and about as long for the recipes. With --made
results stay in that folder, and what is there already is not made again: so it can be done in parts, with --only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from runpy import run_path
from time import perf_counter
from typing import Any

from commands import default_folder
from pruning import scores
from records import Record, add_models, add_options, records_of, write_between

import geoc
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes
from geoc.tools.recipes.said import TAKEN
from geoc.tools.running.timing import RUNNERS
from geoc.tools.tune.turns import in_turn

DOCS = Path(__file__).parents[2] / "docs"
TABLE, PICTURE = DOCS / "tune.md", DOCS / "pictures" / "tune.png"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
DROP = "2%"  # of the metric that may be lost
SIZES = {"batch": 1, "seq": 128}
TURNS = 30.0  # seconds of timing all results of a model
TUNE = "geoc tune"
MODELS = ("all-minilm-l6-v2-real-ts", "efficientnet-lite0-real-ts")
VARIANTS: dict[str, dict[str, Any]] = {
    "-O2": {"level": 2},
    **{f"--recipe={name}": {"recipe": name} for name in ("edge", "latency", "throughput", "llm")},
    TUNE: {},
}


def measured(options: argparse.Namespace) -> Iterator[Record]:
    calib, metrics, more = (dict(text.split("=", 1) for text in given) for given in (options.calib, options.metric, options.scores))
    for name in options.models or MODELS:
        source = options.dir / f"{name}.onnx"
        path, _, function = more.get(name, metrics[name]).rpartition(":")
        judge = run_path(path)[function]
        with tempfile.TemporaryDirectory(prefix="tune-") as temporary:
            folder = Path(temporary) if options.made is None else options.made / name
            folder.mkdir(parents=True, exist_ok=True)
            records, paths = [], []
            for variant in options.only or VARIANTS:
                made = folder / f"{variant.strip('-').replace(' ', '-')}.onnx"
                known = made.with_suffix(".json")
                if not known.exists():
                    run = partial(tuned, options) if variant == TUNE else partial(compiled, variant)
                    known.write_text(json.dumps(made_by(run, name, variant, source, made, calib[name], metrics[name])))
                record = json.loads(known.read_text())
                print(f"{name} {variant} in {record['seconds']:.0f} s: {record['taken']}", file=sys.stderr, flush=True)
                records.append({**record, "scores": scores(made, judge)})
                paths.append(made)
            for record, (middle, low, high) in zip(records, times(source, paths)):
                yield {**record, "times": middle, "low": low, "high": high}


def made_by(
    run: Callable[..., Record], name: str, variant: str, source: Path, made: Path, calib: str, metric: str
) -> Record:
    """What a variant takes, and how long it took to find that."""
    begun = perf_counter()
    found = run(source, made, calib, metric)
    seconds = perf_counter() - begun
    return {"model": name, "variant": variant, "seconds": seconds, "bytes": made.stat().st_size, **found}


def compiled(variant: str, source: Path, made: Path, calib: str, metric: str) -> Record:
    """A fixed recipe, or a level."""
    cache = made.with_suffix(".cache")
    bound = {} if variant == "-O2" else {"metric": metric, "max_drop": DROP}
    report = geoc.compile(source, made, calib=calib, threads=1, cache=cache, **bound, **VARIANTS[variant])
    taken = next((t.name for t in report.tried if t.status == TAKEN), "-O2")
    return {"taken": taken, "trials": len(report.tried)}


def tuned(options: argparse.Namespace, source: Path, made: Path, calib: str, metric: str) -> Record:
    """The search, as the command that a user calls."""
    words = ["tune", source, "--goal", "latency", "--threads", "1", "--calib", calib, "--metric", metric]
    words += ["--max-drop", DROP, "--time", options.time, "-o", made, "--json"]
    done = subprocess.run([sys.executable, "-m", "geoc", *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    won = next(trial for trial in found["trials"] if trial["trial"] == found["winner"]["trial"])
    picture = made.with_suffix(".tune.png")
    if options.write and picture.exists():
        shutil.copy(picture, PICTURE)
    again = {"seconds": found["elapsed"], "command": found["winner"]["command"]}  # with those before an interruption
    return {"taken": won["title"], "trials": len(found["trials"]), **again}


def times(source: Path, paths: Sequence[Path]) -> list[tuple[float, float, float]]:
    """How many times as fast each is as the source, with the ends of the interval, on one thread."""
    model = geoc.load(str(source))
    maker = InputMaker(model, Shapes())
    sizes = {name: SIZES.get(name, size) for name, size in next(maker.sizes()).items()}
    feeds = maker.feeds(sizes, 0)

    def opened(path: Path) -> Callable[[], Any]:
        return partial(RUNNERS["onnxruntime"](str(path), 1, geoc.load(str(path))), feeds)

    found = in_turn(partial(opened, source), [partial(opened, path) for path in paths], 1, TURNS)
    return [(1 / ratio.middle, 1 / ratio.high, 1 / ratio.low) for ratio in found.ratios]


def row(r: Record) -> str:
    """One line of the table."""
    said = ", ".join(f"{name} {value:.3f}" for name, value in r["scores"].items())
    made = f"{r['trials']} in {r['seconds']:.0f} s" if r["trials"] else f"{r['seconds']:.0f} s"
    fast = f"{r['times']:.2f} ({r['low']:.2f} to {r['high']:.2f})"
    return f"| {r['model']} | `{r['variant']}` | {r['taken']} | {r['bytes'] / 1e6:.1f} | {fast} | {said} | {made} |"


HEAD = "| model | asked for | taken | MB | times as fast | scores | forms |\n|---|---|---|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_models(parser, default_folder(), VARIANTS)
    parser.add_argument("--time", default="10m")
    parser.add_argument("--made", type=Path)
    add_options(parser, TABLE)
    options = parser.parse_args()
    print(HEAD)
    records = records_of(options, measured(options), row)
    if options.write:
        write_between(TABLE, BEGIN, END, "\n".join([HEAD, *map(row, records)]))


if __name__ == "__main__":
    main()

"""What recipes and goals make of models: the form that is taken, its size, speed and scores.

    python tests/bench/recipes.py [MODEL...] --calib MODEL=SAMPLES... [--metric MODEL=FILE.py:FUNCTION]...
        [--scores MODEL=FILE.py:FUNCTION]... [--only VARIANT...] [--dir DIR] [--json OUT] [--write]
    python tests/bench/recipes.py --again RECORDS.json... --write

A metric decides (recipes by their own `max-drop`, goals by `DROP`); without one the budgets in errors do. The function of
--scores gives a dict of scores of the result, by default that of the metric. Speed: how many times as fast as what its
exporter wrote, in the median of interleaved runs on one thread, the time being that of the thread. --write makes the
table in docs/recipes.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from runpy import run_path
from time import perf_counter
from typing import Any

from commands import default_folder
from pruning import scores, times_as_fast
from records import Record, add_models, add_options, records_of, write_between

import geoc
from geoc.tools.recipes.said import TAKEN

TABLE = Path(__file__).parents[2] / "docs" / "recipes.md"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
DROP, ERROR = "2%", 0.05  # what goals may lose: of the metric, or without one
MODELS = ("all-minilm-l6-v2-real-ts", "efficientnet-lite0-real-ts")
VARIANTS: dict[str, dict[str, Any]] = {
    "as exported": {},
    **{f"--recipe={name}": {"recipe": name} for name in ("edge", "latency", "throughput", "llm")},
    **{f"-O3 --goal={goal}": {"level": 3, "goal": goal} for goal in ("latency", "throughput", "size", "cost")},
}


def measured(options: argparse.Namespace) -> Iterator[Record]:
    calib, metrics, more = (dict(text.split("=", 1) for text in given) for given in (options.calib, options.metric, options.scores))
    for name in options.models or MODELS:
        source = options.dir / f"{name}.onnx"
        path, _, function = more.get(name, metrics.get(name, "")).rpartition(":")
        judge = run_path(path)[function] if path else None
        for variant in options.only or VARIANTS:
            settings = dict(VARIANTS[variant])
            if settings and name in metrics:
                settings |= {"metric": metrics[name]} | ({"max_drop": DROP} if "goal" in settings else {})
            elif "goal" in settings:
                settings["max_error"] = ERROR
            with tempfile.TemporaryDirectory(prefix="recipes-") as folder:
                made, begun = Path(folder) / "result.onnx", perf_counter()
                report = geoc.compile(source, made, calib=calib[name], **settings) if settings else None
                seconds = perf_counter() - begun
                result = source if report is None else made
                forms = [] if report is None else report.tried
                yield {
                    "model": name, "variant": variant, "bytes": result.stat().st_size, "seconds": seconds,
                    "times": 1.0 if report is None else times_as_fast(source, made),
                    "scores": scores(result, judge),
                    "taken": next((t.name for t in forms if t.status == TAKEN), "" if report is None else "-O2"),
                    "error": None if report is None else report.accuracy.error,
                    "tried": [t.line() for t in forms],
                }  # fmt: skip


def row(r: Record) -> str:
    """One line of the table."""
    said = ", ".join(f"{name} {value:.3f}" for name, value in r["scores"].items())
    times = "1" if r["variant"] == "as exported" else f"{r['times']:.2f}"
    made = f"{len(r['tried'])} in {r['seconds']:.0f} s" if r["tried"] else ""
    return f"| {r['model']} | `{r['variant']}` | {r['taken']} | {r['bytes'] / 1e6:.1f} | {times} | {said} | {made} |"


HEAD = "| model | asked for | taken | MB | times as fast | scores | forms |\n|---|---|---|---|---|---|---|"


def rendered(records: Sequence[Record]) -> str:
    """The part of docs/recipes.md that is made here."""
    return "\n".join([HEAD, *map(row, records)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_models(parser, default_folder(), VARIANTS)
    add_options(parser, TABLE)
    options = parser.parse_args()
    print(HEAD)
    records = records_of(options, measured(options), row)
    if options.write:
        write_between(TABLE, BEGIN, END, rendered(records))


if __name__ == "__main__":
    main()

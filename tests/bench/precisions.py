"""What --precision makes for TensorRT: engines built without a GPU, what their kernels multiply, and how exact they are.

    python tests/bench/precisions.py [MODELS...] [--dir DIR] [--forms FORMS] [--size SYMBOL=128 ...] [--calib FILE.npz]
                                      [--score COMMAND] [--json OUT] [--write]
    python tests/bench/precisions.py --again RECORDS.json... --write

Scales come from --calib; without it, from inputs that are made up. COMMAND is run for each form with {} replaced by a file
that onnxruntime runs: the graph in single precision, rounded wherever the target's is. Its last line is what the table has
as score, its numbers in order. `--write` makes docs/precisions.md.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from casts import Source
from commands import default_folder, find_models
from records import Record, add_options, records_of
from tensorrt import plain

import geoc
from geoc.ir.errors import GeocError
from geoc.lowering.backend import Order
from geoc.lowering.emit import write_onnx
from geoc.lowering.installed import runtime_version
from geoc.lowering.targets import get_target
from geoc.lowering.tensorrt.emit import write_rtx_engine
from geoc.tools.running.emulate import emulated

TABLE = Path(__file__).parents[2] / "docs" / "precisions.md"
MODELS = ["resnet50-ts", "bert-base-ts", "vit-base-ts"]
AROUND = "autocast{to=fp16},fold,views,transposes,identity,cse,dce"
# By name: the target, and what is asked for.
FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "fp16": ("a100", {"precision": "fp16"}),
    "int8": ("a100", {"precision": "int8"}),
    "int4": ("a100", {"precision": "int4"}),
    "fp8": ("l4", {"precision": "fp8"}),
    "nvfp4": ("rtx5090", {"passes": f"@O2,quantize-floats{{format=nvfp4}},{AROUND}"}),
    "mxfp8": ("rtx5090", {"passes": f"@O2,quantize-floats{{format=mxfp8}},{AROUND}"}),
}
SAMPLES = 3  # made up


def measure(path: Path, form: str, sizes: dict[str, int], calib: Path | None, score: str | None, folder: Path) -> Record:
    """One model in one form; `sizes` of its symbols, where not the first that it runs with."""
    target, options = FORMS[form]
    source = Source(path)
    source.sizes |= {name: size for name, size in sizes.items() if name in source.sizes}
    first = source.maker.feeds(source.sizes, 0)
    # Symbols stay symbols, as samples may have other sizes than the engine.
    profile = {name: (first[name].shape,) * 3 for name in source.open}
    samples = calib
    if samples is None:
        samples = folder / "samples.npz"
        made = [source.maker.feeds(source.sizes, number) for number in range(SAMPLES)]
        np.savez(samples, **{f"{name}/{i}": value for i, feeds in enumerate(made) for name, value in feeds.items()})
    engine = folder / "model.rtx.engine"
    record: Record = {"model": path.stem, "form": form, "target": target, "calib": calib is not None}
    try:
        report = geoc.compile(path, None, target=target, calib=str(samples), fallback="none", **options)
        written = write_rtx_engine(report.model, str(engine), Order(get_target(target), profile=profile))
    except GeocError as error:
        return {**record, "failure": " ".join(str(error).split())[:300]}
    small = folder / "small.onnx"
    write_onnx(report.model, str(small), Order(get_target(target), None, "inline"))
    record |= {name: value for name, value in written.engine.items() if name != "kernels"}
    record |= {
        "kernels": len(written.engine["kernels"]),
        "megabytes": small.stat().st_size / 1e6,
        "error": report.accuracy.error,
        "samples": report.accuracy.samples,
        "notes": written.notes,
    }
    if score:
        whole = folder / "emulated.onnx"
        write_onnx(emulated(report.model), str(whole), Order(get_target(target), None, "inline"))
        done = subprocess.run(shlex.split(score.replace("{}", str(whole))), capture_output=True, text=True)
        record["score"] = (done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]])[-1]
    return record


def rendered(records: list[Record]) -> str:
    """docs/precisions.md."""
    lines = [
        "# Precisions for TensorRT", "",
        "`--precision` brings a model to numbers of 16, 8 and 4 bits; products multiply them, half precision is around.", "",
        "| | for | what it makes |",
        "|---|---|---|",
        "| `fp16`, `bf16` | all | casts by minimum cut ([casts.md](casts.md)) |",
        "| `int8` | all | Q and DQ with one scale for a tensor of activations and one for each channel of weights, rounded by GPTQ ([integers.md](integers.md)); needs `--calib` |",
        "| `w8a16` | all | i8 weights of products with a scale for each output, beside half precision; by GPTQ with `--calib`, by rounding without; convolutions, tables and products of a single row stay |",
        "| `int4` | from sm80 on | weights in blocks of 128 inputs with scales above 0, by GPTQ with `--calib`, by rounding without; heads and tables stay |",
        "| `fp8` | from sm89 on | E4M3 with one scale for a tensor, 448 at its largest number; attention with all four operands, so that it stays one kernel; not convolutions with groups or windows of more than 32; needs `--calib` |",
        "| `quantize-floats{format=nvfp4}` | Blackwell | E2M1, with E4M3 for each 16 inputs and one number for a tensor; activations in blocks at run time |",
        "| `quantize-floats{format=mxfp8}` | Blackwell | E4M3, with a power of two for each 32 inputs; activations at run time, no samples |",
        "",
        "The last two are options of a pass:", "",
        f'    geoc model.onnx --target=rtx5090 --calib data.npz --passes "@O2,quantize-floats{{format=nvfp4}},{AROUND}"', "",
        "`geoc passes quantize-floats` has its options. Convolutions have no blocks and stay in half precision there; `keep=[3, \"/head/*\"]` leaves layers "
        "as they are. A product of four dimensions, or of inputs that blocks do not divide, stays as well; remarks say so.", "",
        "## What -O3 takes", "",
        "    geoc model.onnx -O3 --target=l4 --calib data.npz --shape batch=1:8:32", "",
        "Without samples it is fp16, or bf16, within 1 % (`--max-error`); the summary says what samples would allow. With them int8 is tried first, and fp8 where the hardware has it: as a whole, "
        "else (int8) as much of it as fits beside half precision, by the search that [integers.md](integers.md) tells of. It is taken where the target's estimate is at least 2 % below that "
        "of the model in half precision; both times are in the summary. The estimate is that of `geoc estimate`, at the best size of a range of `--shape`, a batch of 1 without. Quantization counts as "
        "part of the kernels around it, as TensorRT's developer guide has it (what makes floats writes codes, what multiplies reads them), but for half a launch each: RTX does not fuse all. On a "
        "small model or a small batch launches are most of the time, and integers save little. Nothing estimates a DLA, or `tensorrt` without a card: there 8 bits are an order.", "",
        "Seen with `--calib`: ResNet-50 (random weights) for a100 at a batch of 32 has 53 of 54 products in int8 at 0.53 %, estimated at 2.19 ms beside 2.89 ms in fp16, and RTX reads INT8 "
        "in those 53. MiniLM for l4 within 5 % has 33 of 49, at 4.9 % and 2.11 ms beside 2.17 ms (batch 8, sequences of 128). EfficientNet-Lite0 stays in fp16: that alone is 0.92 % off, which leaves no room.", "",
        "## Measured", "",
        f"Built without a GPU by TensorRT-RTX {runtime_version('tensorrt-rtx')}, each model at one shape; RTX is of TensorRT's family: what it fuses is a sign and no proof.",
        "Of the kernels that multiply (an attention is one), those that read INT8, FP8 and FP4. Error: relative L2 of the worst output to the source, the mean of",
        "samples that calibration did not see; made-up inputs, random weights in all but those with a score. The graph is run in single precision, rounded",
        "wherever the target's is. Made by `python tests/bench/precisions.py`.", "",
        "| model | precision | target | kernels | multiply | INT8 | FP8 | FP4 | attention | MB | error | score |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, records),
        "",
        "In INT8 attention stays in half precision, and all products with weights read INT8. GPTQ takes the error on samples that were held back from 8.16 % to 7.62 % for MiniLM, from 8.56 % to "
        "8.31 % for EfficientNet-Lite0, from 2.31 % to 2.19 % for BERT-base, and leaves that of ResNet-50 at 1.16 % (the last two with made-up samples); in the table MiniLM and EfficientNet-Lite0 "
        "are with it. MiniLM's scores (words, words, documents) are 0.4462 / 0.7289 / 0.6564 in fp32.", "",
        "E4M3 has three bits behind the point: each operand is off by 2.5 % of itself, where INT8 with a scale for a channel is by less than 1 %. A transformer's scores "
        "do not suffer; the numbers of a chain of convolutions do. EfficientNet-Lite0 (score: agreement with fp32, cosine, Kullback-Leibler divergence) is no network for it; "
        "without `correct`, and with its depthwise convolutions in fp8, the agreement is 0.378. `--max-error` limits what an order may cost.", "",
        "onnxruntime's own optimizer moves quantization over a Transpose, for which it has no FP8: sessions of such a file need `ORT_DISABLE_ALL`.", "",
        "RTX multiplies MXFP8 in half precision: it has kernels that quantize and dequantize it, and no product of it, for sm120. Weights of INT4 are dequantized in "
        "the kernel that multiplies, which reads half precision. So are those of INT8 and FP8 with one scale for all or one for each output, on every capability that has the type; with a scale for a block, "
        "for a convolution, or where a single row is multiplied (and known to be single when it is built), they are dequantized by a kernel of their own on each run. INT8 is the more "
        "exact of the two.",
    ]  # fmt: skip
    failures = [r for r in records if "failure" in r]
    if failures:
        lines += ["", "## What does not build", "", *(f"- {r['model']}, {r['form']}: {plain(r['failure'])}" for r in failures)]
    return "\n".join([*lines, ""])


def _row(r: Record) -> str:
    head = [r["model"], r["form"], r["target"]]
    if "failure" in r:
        return f"| {' | '.join([*head, *['-'] * 9])} |"
    counts = [r["kernels"], r["products"], r["int8_products"], r["fp8_products"], r["fp4_products"], r["fused_attention"]]
    error = "" if r["error"] is None else f"{r['error']:.2%}"
    size = f"{r['megabytes']:.1f}"
    score = " / ".join(re.findall(r"\b\d+\.\d+\b", r.get("score", "")))
    return f"| {' | '.join([*head, *map(str, counts), size, error, score])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--dir", type=Path, default=default_folder())
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--size", action="append", default=[], help="SYMBOL=128")
    parser.add_argument("--calib", type=Path)
    parser.add_argument("--score", help="a command that scores the file {} under onnxruntime")
    add_options(parser, TABLE)
    options = parser.parse_args()
    sizes = {name: int(size) for name, _, size in (text.partition("=") for text in options.size)}

    def measured() -> Iterator[Record]:
        for path in find_models(options.models, options.dir):
            for form in options.forms.split(","):
                with tempfile.TemporaryDirectory(prefix="geoc-precisions-") as folder:
                    yield measure(path, form, sizes, options.calib, options.score, Path(folder))

    records = records_of(options, measured(), lambda r: f"{_row(r)} {r.get('failure', '')}")
    if options.write:
        TABLE.write_text(rendered(records), encoding="utf-8")


if __name__ == "__main__":
    main()

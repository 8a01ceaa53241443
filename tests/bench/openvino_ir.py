"""Models as OpenVINO's representation, read back and compared: with openvino's runtime on the same files, with onnxruntime
on the ONNX files that they were made of, and in how much of each is fused at -O2.

    python tests/bench/openvino_ir.py [MODEL.onnx|FOLDER|ARCHIVE.zip ...] [--forms reader,half,ours] [--rows ROWS.json]

Forms: `reader` and `half` are openvino's conversion with weights in single and half precision; `ours` is what geoc
writes at -O2; `int8`, `int4`, `w8a16` what it writes in that precision, calibrated on made-up inputs. Errors are relative to the largest value of an output. Of a model that geoc has quantized
the second comparison is with the graph that it wrote, as ONNX, because the first sees the plugin's integer kernels.
Rows are kept in --rows, so that a second call goes on where one ended. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino

import geoc
from geoc.frontends.openvino.xml import Net, read_net
from geoc.ir.core import Model
from geoc.ir.errors import GeocError
from geoc.ir.verify import verify
from geoc.lowering.onnxruntime.runnable import make_runnable
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes, read_shapes

CONFIG = {
    "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    "KV_CACHE_PRECISION": "f32",
}  # fmt: skip
QUANTIZED = ("int8", "int4", "w8a16")
LIMITS = (1e-5, 1e-4, 1e-3)
FUSED = (
    "Attention", "LayerNormalization", "RMSNormalization", "RotaryEmbedding", "Gelu", "SkipLayerNormalization",
    "GroupNormalization", "InstanceNormalization", "FastGelu", "BiasGelu", "FusedMatMul", "FusedConv", "Einsum", "Loop",
)  # fmt: skip
Feeds = dict[str, Any]
Row = dict[str, Any]


def sources(wanted: list[str], scratch: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of models; those of an archive are unpacked one by one."""
    for path in map(Path, wanted):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    archive.extract(member, scratch)
                    yield Path(member).stem, scratch / member
        elif path.is_dir():
            yield from ((found.stem, found) for found in sorted(path.glob("*.onnx")))
        else:
            yield path.stem, path


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def made_up(path: Path) -> tuple[Feeds, list[Any]]:
    """Inputs on which onnxruntime runs the model, and what it gives. ValueError where there are none."""
    maker = InputMaker(geoc.load(path), Shapes())
    if maker.problem:
        raise ValueError(maker.problem)
    program, reason = session(path), ""
    for sizes in maker.sizes() if maker.symbols else [{}]:
        feeds = maker.feeds(sizes, 0)
        try:
            return feeds, program.run(None, feeds)
        except Exception as error:  # sizes are guesses; onnxruntime's errors have no common class
            reason = str(error)
    raise ValueError(f"onnxruntime does not run it on made-up inputs: {reason[:100]}")


def write(form: str, source: Path, target: Path) -> Model | None:
    """The .xml of a form; for geoc's own the graph that was written."""
    if form in ("reader", "half"):
        openvino.save_model(openvino.convert_model(str(source)), target, compress_to_fp16=form == "half")
        return None
    more: dict[str, Any] = {"precision": form, "calib": "random"} if form in QUANTIZED else {}
    report = geoc.compile(source, target, target="openvino-cpu", check="off", **more)
    return report.model


def run_onnx(model: Model, path: Path, feeds: Mapping[str, Any]) -> list[Any]:
    """A model in onnxruntime."""
    geoc.save(model, path)
    program = session(path)
    return list(program.run(None, {given.name: feeds[given.name] for given in program.get_inputs()}))


def run_openvino(path: Path, feeds: Mapping[str, Any]) -> list[Any]:
    program = openvino.Core().compile_model(str(path), "CPU", CONFIG)
    request = program.create_infer_request()
    for port in program.inputs:
        array = feeds[next(name for name in feeds if name in port.get_names())]
        request.set_tensor(port, openvino.Tensor(np.ascontiguousarray(array).reshape(array.shape)))
    request.infer()
    return [request.get_output_tensor(place).data.copy() for place in range(len(program.outputs))]


def error_of(expected: list[Any], found: list[Any]) -> float:
    """The largest difference over the largest value, of the worst output; infinite where they are not alike."""
    worst = 0.0
    for a, b in zip(expected, found):
        if a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        if a.dtype.kind != "f":
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(x)
        if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
            return float("inf")
        if finite.any():
            largest = np.abs(x[finite]).max()
            worst = max(worst, float(np.abs(x - y)[finite].max() / (largest or 1)))
    return worst


def layer_types(net: Net) -> set[str]:
    """Of all layers, those of bodies included."""
    return {str(found.get("type")) for layer in net.layers.values() for found in layer.element.iter("layer")}


def fused(path: Path, sizes: list[str]) -> dict[str, int]:
    """How many of each fused operator, and nodes in all, -O2 leaves for onnxruntime; `sizes` is for --shape."""
    model = geoc.load(path)
    read_shapes(sizes, model)
    geoc.optimize(model, level=2, target="cpu", check="off")
    counts = Counter(node.op.name for node in model.graph.walk())
    return {**{name: counts[name] for name in FUSED if counts[name]}, "nodes": counts.total()}


def names_of_sizes(path: Path) -> list[str]:
    """Inputs with the names that the ONNX file has for their open sizes, which an .xml has no place for."""
    graph = geoc.load(path).graph
    found = []
    for name, value in zip(graph.input_names, graph.inputs):
        if value.shape and value not in graph.defaults:
            found.append(f"{name}={','.join(str(dim).replace('?', 'unnamed_') for dim in value.shape)}")
    return found


def measure(source: Path, form: str, feeds: Feeds, expected: list[Any], scratch: Path) -> Row:
    """One row; {"refused": why} where a step says that it cannot."""
    xml = scratch / "model.xml"
    try:
        written = write(form, source, xml)
    except Exception as error:  # openvino's have no common class
        return {"not written": " ".join(str(error).split())[-160:]}
    row: Row = {"layers": sorted(layer_types(read_net(xml.read_bytes())))}
    try:
        model = geoc.load(xml)
        verify(model)
    except GeocError as error:
        return {**row, "refused": str(error)[-200:]}
    names = list(model.graph.output_names)
    found = run_onnx(model, scratch / "read.onnx", feeds)
    try:
        theirs = run_openvino(xml, feeds)
        row["openvino"] = error_of(theirs, found)
    except RuntimeError as error:
        row["openvino"] = " ".join(str(error).split())[-120:]
    if written is not None and form in QUANTIZED:
        make_runnable(written)
        geoc.save(written, scratch / "written.onnx", target=None)
        expected = session(scratch / "written.onnx").run(None, feeds)
    row["onnxruntime"] = error_of(expected, found)
    row["named"] = names == [output.name for output in session(source).get_outputs()]
    if form == "reader":
        row["fused"] = [fused(source, []), fused(xml, names_of_sizes(source)), fused(xml, [])]
    return row


def summary(rows: dict[str, dict[str, Row]], forms: list[str]) -> str:
    """The table of docs/formats.md."""
    lines = ["| form | models | read | within 1e-5, 1e-4, 1e-3 of openvino | the same of onnxruntime | worst |", "|---|---|---|---|---|---|"]
    for form in forms:
        here = {name: row[form] for name, row in rows.items() if form in row and "not written" not in row[form]}
        both = {name: row for name, row in here.items() if "refused" not in row}
        cells = []
        for key in ("openvino", "onnxruntime"):
            errors = [row[key] for row in both.values() if isinstance(row.get(key), float)]
            cells.append(f"{', '.join(str(sum(e <= limit for e in errors)) for limit in LIMITS)} of {len(errors)}" if errors else "")
        worst = max(((row["openvino"], name) for name, row in both.items() if isinstance(row["openvino"], float)), default=(0.0, ""))
        lines.append(f"| {form} | {len(here)} | {len(both)} | {cells[0]} | {cells[1]} | {worst[0]:.1e} {worst[1]} |")
    layers = {layer for row in rows.values() for each in row.values() for layer in each.get("layers", ())}
    lines += ["", f"{len(layers)} types of layers: {', '.join(sorted(layers))}", ""]
    for name, row in rows.items():
        for form, each in row.items():
            for key in ("not written", "refused"):
                if key in each:
                    lines.append(f"- {name}, {form}, {key}: {each[key]}")
        counts = row.get("reader", {}).get("fused")
        if counts and _kinds(counts[0]) != _kinds(counts[1]):
            lines.append(f"- {name}: fused from ONNX {counts[0]}, from .xml {counts[1]}, without names {counts[2]}")
    return "\n".join(lines)


def _kinds(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if name != "nodes"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=[str(Path(__file__).parents[1] / "models/exports.zip")])
    parser.add_argument("--forms", default="reader,half,ours")
    parser.add_argument("--rows", type=Path)
    arguments = parser.parse_args()
    forms = arguments.forms.split(",")
    rows: dict[str, dict[str, Row]] = {}
    if arguments.rows is not None and arguments.rows.exists():
        rows = json.loads(arguments.rows.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources(arguments.models, Path(folder)):
            row = rows.setdefault(name, {})
            wanted = [form for form in forms if form not in row]
            if not wanted or "skipped" in row:
                continue
            try:
                feeds, expected = made_up(source)
            except ValueError as error:
                print(f"{name}: {error}", flush=True)
                del rows[name]
                continue
            for form in wanted:
                with tempfile.TemporaryDirectory() as scratch:
                    row[form] = measure(source, form, feeds, expected, Path(scratch))
                shown = {key: value for key, value in row[form].items() if key != "layers"}
                print(name, form, json.dumps(shown), flush=True)
            if arguments.rows is not None:
                arguments.rows.write_text(json.dumps(rows))
    print(summary(rows, forms))


if __name__ == "__main__":
    main()

"""The planted faults: each rule or pass is wrong in a way that people were wrong before, and where it shows.

`arguments` are the options of the compilation; `model` is a file of `~/.cache/geoc-models` for the bench, `small` one that
comes with the repository: a name inside tests/models/exports.zip, a file of tests/models, or "nested" or "norm".
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PLANTED = Path(__file__).parent / "planted"
MODELS = Path(__file__).parents[2] / "models"


@dataclass(frozen=True)
class Fault:
    name: str  # of the file
    what: str
    rule: str  # "" for a pass
    model: str
    small: str
    options: tuple[str, ...]

    @property
    def path(self) -> Path:
        return PLANTED / self.name

    @property
    def arguments(self) -> list[str]:
        """For the command line."""
        return [*self.options, "--plugin" if self.name.endswith(".py") else "--rules", str(self.path)]


FAULTS = (
    Fault("scale.rules", "the factor of attention's scores is lost", "scores_without_scale", "bert-4l-eager-ts",
          "bert-eager-dynamo", ("-O1",)),
    Fault("mask.rules", "a mask is dropped", "scores_without_mask", "llama-4l-ts", "llama-ts", ("-O1",)),
    Fault("order.rules", "axes are merged as before Transpose", "heads_merged_in_place", "whisper-tiny-encoder-ts",
          "whisper-encoder-ts", ("-O1",)),
    Fault("pad.rules", "an attribute is lost, inside nested Ifs", "padding_with_zeros", "silero-vad-v6", "nested",
          ("-O2", "--shape", "input=2:2:2,576:576:576")),
    Fault("epsilon.rules", "the epsilon of a norm is dropped", "root_without_epsilon", "llama-4l-past-ts", "norm",
          ("-O1",)),
    Fault("division.rules", "a float division becomes one of integers", "cast_behind_division", "t5-small-encoder-ts",
          "t5-encoder-ts", ("-O1",)),
    Fault("elsewhere.py", "a value that is used elsewhere is replaced for all", "", "ppocr-v4-rec", "ppocr-v2-cls.onnx",
          ("--passes", "@O1,conv-bias,@O2")),
)  # fmt: skip


def small_model(fault: Fault, folder: Path) -> Path:
    """The file of its small model, in a folder."""
    path = folder / "model.onnx"
    if fault.small in ("nested", "norm"):
        onnx.save(nested() if fault.small == "nested" else norm(), path)
    elif fault.small.endswith(".onnx"):
        return MODELS / fault.small
    else:
        with zipfile.ZipFile(MODELS / "exports.zip") as archive:
            path.write_bytes(archive.read(f"{fault.small}.onnx"))
    return path


def nested() -> onnx.ModelProto:
    """A spectrum in an If in an If, as voice detectors have it: each branch pads, convolves and takes the magnitude."""
    basis = np.random.default_rng(0).standard_normal((16, 1, 32)).astype(np.float32)

    def body(name: str, factor: float) -> onnx.GraphProto:
        nodes = [
            helper.make_node("Pad", ["input", "pads"], [f"{name}_padded"], name=f"/{name}/Pad", mode="reflect"),
            helper.make_node("Unsqueeze", [f"{name}_padded", "one"], [f"{name}_wide"], name=f"/{name}/Unsqueeze"),
            helper.make_node("Conv", [f"{name}_wide", "basis"], [f"{name}_bands"], name=f"/{name}/Conv", strides=[16]),
            helper.make_node("Abs", [f"{name}_bands"], [f"{name}_power"], name=f"/{name}/Abs"),
            helper.make_node("Mul", [f"{name}_power", f"{name}_factor"], [f"{name}_out"], name=f"/{name}/Mul"),
        ]
        outputs = [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)]
        return helper.make_graph(nodes, name, [], outputs, [numpy_helper.from_array(np.float32(factor), f"{name}_factor")])

    inner = helper.make_node(
        "If", ["is_slow"], ["inner_out"], name="/inner", then_branch=body("slow", 0.5), else_branch=body("slower", 0.25)
    )
    outer = helper.make_graph(
        [helper.make_node("Equal", ["rate", "low"], ["is_slow"], name="/is_slow"), inner],
        "outer", [], [helper.make_tensor_value_info("inner_out", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Equal", ["rate", "high"], ["is_fast"], name="/is_fast"),
        helper.make_node("If", ["is_fast"], ["out"], name="/outer", then_branch=body("fast", 1.0), else_branch=outer),
        helper.make_node("ReduceMean", ["out"], ["mean"], name="/mean", axes=[2], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], ["output"], name="/sigmoid"),
    ]
    constants = {"high": np.int64(16000), "low": np.int64(8000), "pads": np.int64([0, 0, 0, 16]), "one": np.int64([1])}
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", "samples"]),
        helper.make_tensor_value_info("rate", TensorProto.INT64, []),
    ]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 16])]
    graph = helper.make_graph(nodes, "vad", inputs, outputs, [*weights, numpy_helper.from_array(basis, "basis")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def norm() -> onnx.ModelProto:
    """Two layers whose RMSNorm sees numbers so small that its epsilon counts."""
    rng = np.random.default_rng(0)
    constants = {"two": np.float32(2), "axes": np.int64([-1]), "epsilon": np.float32(1e-5)}
    nodes, last = [], "x"
    for layer in range(2):
        constants[f"w{layer}"] = (rng.standard_normal((8, 8)) / 300).astype(np.float32)
        for op, inputs, output in (
            ("MatMul", [last, f"w{layer}"], "h"), ("Pow", ["h", "two"], "squares"), ("ReduceMean", ["squares", "axes"], "mean"),
            ("Add", ["mean", "epsilon"], "shifted"), ("Sqrt", ["shifted"], "root"), ("Div", ["h", "root"], "y"),
            ("Tanh", ["y"], "out"),
        ):  # fmt: skip
            names = [f"{name}{layer}" if name in ("h", "squares", "mean", "shifted", "root", "y") else name for name in inputs]
            nodes.append(helper.make_node(op, names, [f"{output}{layer}"], name=f"/layers.{layer}/{op}"))
        last = f"out{layer}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])]
    outputs = [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", 8])]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "norms", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)

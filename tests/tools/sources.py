"""A small model in each format that geoc reads, written by that format's own package: two layers and what is between.

    path = SOURCES["tflite"](folder)

A source that needs a package which is not part of the tests raises ImportError.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROWS, INNER, OUTER = 32, 48, 16


def _weights() -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(0)

    def made(*shape: int) -> Any:
        return (rng.standard_normal(shape) / 4).astype(np.float32)

    return made(ROWS, INNER), made(INNER), made(INNER, OUTER), made(OUTER)


def onnx_file(folder: Path) -> str:
    import onnx
    from onnx import helper, numpy_helper

    w, b, v, c = (numpy_helper.from_array(array, name) for array, name in zip(_weights(), "wbvc"))
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v", "c"], ["y"]),
    ]  # fmt: skip
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", ROWS])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", OUTER])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [w, b, v, c]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    path = folder / "model.onnx"
    onnx.save(model, path)
    return str(path)


def text(folder: Path) -> str:
    """geoc's own, with the weights in it."""
    import geoc

    path = folder / "model.gir"
    geoc.save(geoc.load(onnx_file(folder)), path)
    return str(path)


def openvino_file(folder: Path) -> str:
    import openvino
    from openvino import opset15 as o

    w, b, v, c = _weights()
    x = o.parameter([-1, ROWS], openvino.Type.f32)
    x.friendly_name = "x"
    x.output(0).set_names({"x"})
    h = o.relu(o.add(o.matmul(x, o.constant(w), False, False), o.constant(b)))
    y = o.add(o.matmul(h, o.constant(v), False, False), o.constant(c))
    y.output(0).set_names({"y"})
    path = os.path.join(folder, "model.xml")
    openvino.save_model(openvino.Model([o.result(y)], [x], "model"), path, compress_to_fp16=False)
    return path


def tflite_file(folder: Path) -> str:
    from ..frontends.tflite.building import File

    w, b, v, c = _weights()
    file = File()
    x = file.input("float32", (4, ROWS))
    h = file.op(
        "FULLY_CONNECTED", [x, file.const(w.T.copy()), file.const(b)], [file.tensor("float32", (4, INNER))],
        "FullyConnectedOptions", FusedActivationFunction=1,
    )  # fmt: skip
    y = file.op(
        "FULLY_CONNECTED", [h, file.const(v.T.copy()), file.const(c)], [file.tensor("float32", (4, OUTER), name="y")],
        "FullyConnectedOptions",
    )  # fmt: skip
    path = folder / "model.tflite"
    path.write_bytes(file.data(y))
    return str(path)


def gguf_file(folder: Path) -> str:
    """A decoder, two layers of which are in blocks."""
    from ..frontends.gguf.tiny import CASES, write

    path = folder / "model.gguf"
    write(path, CASES["llama"], {"ffn_up.weight": "Q4_0", "ffn_gate.weight": "Q8_0"})
    return str(path)


def exported(folder: Path) -> str:
    import torch

    w, b, v, c = map(torch.from_numpy, _weights())

    class Layers(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(ROWS, INNER), torch.nn.Linear(INNER, OUTER)

        def forward(self, x: Any) -> Any:
            return self.second(torch.relu(self.first(x)))

    module = Layers().eval()
    module.load_state_dict({"first.weight": w.T, "first.bias": b, "second.weight": v.T, "second.bias": c})
    shapes = {"x": {0: torch.export.Dim("N", min=1, max=64)}}
    path = folder / "model.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(4, ROWS),), dynamic_shapes=shapes), path)
    return str(path)


def hugging_face(folder: Path) -> str:
    from ..frontends.huggingface.folders import made

    path = folder / "model.hf"
    made("BertModel", path)
    return str(path)


SOURCES: dict[str, Callable[[Path], str]] = {
    "onnx": onnx_file, "gir": text, "gguf": gguf_file, "tflite": tflite_file, "openvino": openvino_file,
    "pytorch": exported, "huggingface": hugging_face,
}  # fmt: skip


def expected(path: str) -> Callable[[Any], Any] | None:
    """What the layers make of rows [n, 32]; None for a model that is another one."""
    if path.endswith((".gguf", ".hf")):
        return None
    w, b, v, c = _weights()
    return lambda x: np.maximum(x.astype(np.float64) @ w + b, 0) @ v + c

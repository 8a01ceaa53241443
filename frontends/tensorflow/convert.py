"""A SavedModel's folder or a Keras file to ONNX: ``python -I convert.py SOURCE TARGET``, run by another interpreter.

Imports nothing of geoc. The last line on stderr is the reason where it fails; exit code 3: a package is missing.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

OPSET = 18  # the newest that tf2onnx 1.17 writes


def main(source: str, target: str) -> None:
    """Write TARGET. A Keras file is exported to a SavedModel first, which keeps the names of its inputs."""
    from tf2onnx import convert, optimizer

    optimizer._get_optimizers().pop("einsum_optimizer", None)  # it takes them apart; a whole one says what it is
    _add_erfc()
    with tempfile.TemporaryDirectory(prefix="geoc-keras-") as scratch:
        folder = source
        if not os.path.isdir(source):
            folder = scratch
            _export(source, folder)
        sys.argv = ["convert", "--saved-model", folder, "--output", target, "--opset", str(OPSET)]
        convert.main()
    _name_sizes(target)


def _name_sizes(path: str) -> None:
    """Open sizes as d0, d1, ... in the order of the inputs: tf2onnx numbers them anew in every run."""
    import onnx

    model = onnx.load(path)
    names: dict[str, str] = {}
    for info in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = names.setdefault(dim.dim_param, f"d{len(names)}")
    onnx.save(model, path)


def _add_erfc() -> None:
    """Keras' exact GELU, which tf2onnx 1.17 has no form for: erfc(x) as 1 - erf(x), of -y c as 1 + erf(y c)."""
    import numpy
    from tf2onnx import utils
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            x, source, sign = node.input[0], node.inputs[0], "Sub"
            if source.type == "Mul" and source.inputs[0].type == "Neg":
                x, sign = ctx.make_node("Mul", [source.inputs[0].input[0], source.input[1]]).output[0], "Add"
            dtype = ctx.get_dtype(node.output[0])
            one = ctx.make_const(utils.make_name("one"), numpy.array(1, utils.map_onnx_to_numpy_type(dtype))).output[0]
            shapes, outputs = [ctx.get_shape(node.output[0])], list(node.output)
            erf = ctx.make_node("Erf", [x]).output[0]
            ctx.remove_node(node.name)
            ctx.make_node(sign, [one, erf], name=node.name, outputs=outputs, shapes=shapes, dtypes=[dtype])


def _export(source: str, folder: str) -> None:
    import tensorflow

    model = tensorflow.keras.models.load_model(source, compile=False)
    if hasattr(model, "export"):
        model.export(folder)
    else:  # Keras 2.12 and older
        model.save(folder, save_format="tf")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except ModuleNotFoundError as error:
        sys.exit(print(f"there is no module {error.name}", file=sys.stderr) or 3)
    except Exception as error:  # the other side of a pipe sees one line of whatever it is
        sys.exit(print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr) or 1)

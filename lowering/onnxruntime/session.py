"""Options that an onnxruntime session of a model should have, recorded in the ONNX file's ``metadata_props``.

    geoc.session.disabled_optimizers    names with commas, for `InferenceSession(..., disabled_optimizers=[...])`
    geoc.session.intra_op_num_threads   for `SessionOptions.intra_op_num_threads`, where --threads was given

onnxruntime does not read them by itself; ``--emit run`` writes a script that sets them. Above -O0 a compilation adds
``geoc.version``, ``geoc.target`` and ``geoc.command`` (the command line, files without their folders).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...ir.core import Model, Node, Value
from ..backend import Order, Written
from ..emit import write_onnx

PREFIX = "geoc.session."
DISABLED = f"{PREFIX}disabled_optimizers"
THREADS = f"{PREFIX}intra_op_num_threads"


def write_with_options(model: Model, path: str, order: Order) -> Written:
    """An ONNX file with the options in it. Raises as `write_onnx` does."""
    return write_onnx(model, path, replace(order, metadata={**order.metadata, **session_entries(model, order)}))


def session_entries(model: Model, order: Order) -> dict[str, str]:
    """The entries for a model; an empty text means that there is none, whatever the source's file said."""
    found = {DISABLED: ",".join(disabled_optimizers(model))}
    if order.threads is not None:
        found[THREADS] = str(order.threads)
    return found


def options_of(metadata: Mapping[str, str]) -> tuple[list[str], int | None]:
    """Back from metadata: the optimizers to disable, and the number of threads."""
    threads = metadata.get(THREADS)
    return [name for name in metadata.get(DISABLED, "").split(",") if name], int(threads) if threads else None


def disabled_optimizers(model: Model) -> list[str]:
    """Graph optimizers of onnxruntime that make this model slower.

    ``MatMulAddFusion`` turns a product and its bias into Gemm. Where both operands are dequantized that hides the
    integer product (a Gemm wants its bias quantized as well), so that weights are dequantized on each run, and
    onnxruntime 1.31 takes several times as long, up to 160 times.
    """
    harmed = any(_has_bias(node) for node in model.walk() if _is_integer_product(node))
    return ["MatMulAddFusion"] if harmed else []


def _is_integer_product(node: Node) -> bool:
    return node.op.key == "MatMul" and all(_is_dequantized(value) for value in node.inputs)


def _is_dequantized(value: Value | None) -> bool:
    return value is not None and value.producer is not None and value.producer.op.key == "DequantizeLinear"


def _has_bias(product: Node) -> bool:
    """True if nothing but an Add reads the product, in shapes that the fusion takes.

    Measured: the bias is of one or two dimensions, of more than one number, and the product of two dimensions or of
    known sizes.
    """
    use, left = product.output.sole_use, product.inputs[0]
    if use is None or use[0].op.key != "Add" or left is None or left.shape is None:
        return False
    bias = use[0].inputs[1 - use[1]]
    if bias is None or not bias.shape or bias.shape == (1,) or len(bias.shape) > 2:
        return False
    return len(left.shape) == 2 or all(isinstance(dim, int) for dim in left.shape)

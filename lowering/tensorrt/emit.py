"""What is written for TensorRT: a strongly typed ONNX file with its build configuration, and engines."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from typing import Any

from ...ir.core import Model, Node, Value
from ...ir.errors import UnsupportedModel, UsageError
from ...ir.ops.cost_table import MATRIX_UNITS
from ...ir.types import BF16, F16
from ...passes.prune.patterns import MULTIPLIED, Pattern, follows
from ..backend import Order, Written
from ..emit import write_onnx, write_text
from ..onnx.names import node_names
from .dla import CORE
from .rtx import CAPABILITIES, Built, Kernel, build_apart, find_package

_SPARSE = Pattern(2, 4)
SCHEMA = 1  # of the build configuration
_SMALL = frozenset(("Int8", "FP8", "FP4E2M1"))  # what the builder calls the types of 8 and 4 bits
_BACK = frozenset(("DequantizeLinear", "TRT_MXFP8DequantizeLinear"))
_MOVES = frozenset(("Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"))
_LARGE = 1_500_000_000  # bytes of weights from which on the file for the builder keeps them beside it


def write_typed_onnx(model: Model, path: str, order: Order) -> Written:
    """The ONNX file and ``PATH.build.json``: how to build an engine of it with TensorRT 10 or 11."""
    written = write_onnx(model, path, order)
    missing = _without_profile(model, order)
    if missing:
        written.notes.append(f"no optimization profile for {missing}; --shape SYMBOL=min:opt:max gives one")
    written.notes += _rounded_in_floats(model)
    config = os.path.abspath(path) + ".build.json"
    said = configuration(path, order, has_pattern(model))
    written.files[config] = write_text(config, json.dumps(said, indent=2) + "\n")
    return written


def configuration(path: str, order: Order, sparse: bool = False) -> dict[str, Any]:
    """What `tensorrt.Builder`, or trtexec, is to be told. Precision is in the graph, so no flag for it is.

    TensorRT 10 needs the flag STRONGLY_TYPED, 11 has no other kind of network. TF32 is how fp32 products are computed
    unless fp32 was asked for. What a DLA does not take runs on the GPU unless the order is strict. `sparse`: there are
    weights with zeros in the pattern that sparse kernels skip (`has_pattern`).
    """
    profile = {
        name: dict(zip(("min", "opt", "max"), map(list, ends))) for name, ends in sorted(order.profile.items())
    }
    name = os.path.basename(path)
    words = ["trtexec", f"--onnx={name}", "--stronglyTyped", f"--saveEngine={os.path.splitext(name)[0]}.engine"]
    for end in ("min", "opt", "max") if profile else ():
        words.append(f"--{end}Shapes=" + ",".join(f"{k}:{'x'.join(map(str, v[end]))}" for k, v in profile.items()))
    flags = [] if order.precision == "fp32" else ["TF32"]
    if not flags:
        words.append("--noTF32")
    hardware = order.target.hardware
    if hardware.dla:
        words.append(f"--useDLACore={CORE}")
        if not order.strict:
            words.append("--allowGPUFallback")
            flags.append("GPU_FALLBACK")
    if sparse:
        words.append("--sparsity=enable")
        flags.append("SPARSE_WEIGHTS")
    return {
        "schema": SCHEMA,
        "onnx": name,
        "target": order.target.name,
        "compute_capability": hardware.compute_capability,
        "default_device_type": "DLA" if hardware.dla else "GPU",
        "DLA_core": CORE if hardware.dla else None,
        "network_flags": {"10": ["STRONGLY_TYPED"], "11": []},
        "builder_flags": flags,
        "profiles": [profile] if profile else [],
        "trtexec": " ".join(words),
    }


def has_pattern(model: Model) -> bool:
    """True if a layer has weights of which two in four are zero along what it sums over."""
    return any(follows(node, _SPARSE) for node in model.graph if node.op.key in MULTIPLIED)


def check_rtx_engine(model: Model, path: str, order: Order) -> str:
    """The compute capability to build for.

    Raises UsageError where TensorRT-RTX is not installed or builds for no such hardware, or an input has no shape.
    """
    find_package()
    hardware = order.target.hardware.compute_capability
    if hardware is None or hardware not in CAPABILITIES:
        has = ", ".join(CAPABILITIES)
        said = f"compute capability {hardware}" if hardware else "no compute capability"
        raise UsageError(
            f"TensorRT-RTX builds ahead of time for {has}; {order.target.name} has {said}", source="--emit rtx-engine"
        )
    if order.target.hardware.dla:
        raise UsageError("TensorRT-RTX runs on no DLA", source="--emit rtx-engine")
    need_profile(model, order, "rtx-engine")
    return hardware


def write_rtx_engine(model: Model, path: str, order: Order) -> Written:
    """An engine of the TensorRT-RTX runtime, built ahead of time without a GPU.

    Raises what `check_rtx_engine` raises, UnsupportedModel where it does not build, or computes a product in another
    type than the graph says.
    """
    hardware = check_rtx_engine(model, path, order)
    folder = os.path.dirname(os.path.abspath(path))
    with tempfile.TemporaryDirectory(prefix=".geoc-rtx-", dir=folder) as scratch:
        source = os.path.join(scratch, "model.onnx")
        weights = "copy" if model.weight_bytes > _LARGE else "inline"
        write_onnx(model, source, replace(order, weights=weights))
        made = os.path.join(scratch, "model.engine")
        built = build_apart(source, made, hardware, order.profile, has_pattern(model))
        wrong = mistyped(model, built.kernels)
        if wrong:
            raise UnsupportedModel(f"the engine computes {wrong[0]} in single precision where the graph says half")
        os.replace(made, path)
    notes = ["the engine runs in the TensorRT-RTX runtime, which is not TensorRT's", *_rounded_in_floats(model)]
    wider = unread(model, built.kernels)
    if wider:
        more = f" and {len(wider) - 1} more" if len(wider) > 1 else ""
        notes.append(f"RTX multiplies {wider[0]}{more} in half precision, which the graph has in 8 or 4 bits")
    return Written({os.path.abspath(path): built.size}, None, notes, summary(built))


def summary(built: Built) -> dict[str, Any]:
    """Layers before fusion, kernels after it, those of them that are a whole attention, and what they multiply.

    An attention counts as one product.
    """
    multiply = [kernel.inputs[:1] for kernel in built.kernels if is_product(kernel) or is_attention(kernel)]
    return {
        "layers": built.layers,
        "fused_attention": sum(is_attention(kernel) for kernel in built.kernels),
        "products": len(multiply),
        "int8_products": multiply.count(("Int8",)),
        "fp8_products": multiply.count(("FP8",)),
        "fp4_products": multiply.count(("FP4E2M1",)),
        "kernels": [kernel._asdict() for kernel in built.kernels],
    }


def is_attention(kernel: Kernel) -> bool:
    """True for a kernel that computes softmax(Q K^T) V as one."""
    return "mha" in kernel.name


def is_product(kernel: Kernel) -> bool:
    """True for a kernel that is a convolution or a matrix product, with what was fused into it."""
    return kernel.kind in ("correlation", "deconv", "gemm", "runtime_fusion")


def mistyped(model: Model, kernels: list[Kernel]) -> list[str]:
    """Names of nodes whose products the graph has in half precision and a kernel reads in single precision.

    A node counts where the kernel's list says that it is in it; generated kernels (``kgen``) hold casts as well.
    """
    half = {name for node, name in _products(model) if node.output.dtype in (F16, BF16)}
    found = []
    for kernel in kernels:
        if kernel.kind != "kgen" and kernel.inputs and set(kernel.inputs) <= {"Float", "TF32"}:
            found += [name for name in kernel.nodes if name in half]
    return found


def _products(model: Model) -> list[tuple[Node, str]]:
    """Products of the model, and what they are called in its file."""
    return [(node, name) for node, name in node_names(model).items() if node.op.base_key in MATRIX_UNITS]


def unread(model: Model, kernels: list[Kernel]) -> list[str]:
    """Names of products whose operands the graph has quantized, both, and no kernel reads so.

    As `mistyped` a node counts where the kernel's list says that it is in it.
    """
    small = {name for node, name in _products(model) if all(_is_quantized(value) for value in node.inputs[:2])}
    found: list[str] = []
    for kernel in kernels:
        if (is_product(kernel) or is_attention(kernel)) and not _SMALL & set(kernel.inputs):
            found += [name for name in kernel.nodes if name in small]
    return list(dict.fromkeys(found))


def _is_quantized(value: Value | None) -> bool:
    """True for what comes back of 8 or 4 bits, moved or cast since perhaps."""
    while value is not None and value.producer is not None:
        maker = value.producer
        if maker.op.name in _BACK:
            return True
        if maker.op.name not in _MOVES:
            return False
        value = maker.inputs[0]
    return False


def _rounded_in_floats(model: Model) -> list[str]:
    """A note on activations that the source has as integers and the result as rounded floats (symmetric.rules)."""
    count = sum(node.op.key == "Round" and _is_made_by(node.inputs[0], "Div") for node in model.walk())
    if not count:
        return []
    what = f"{count} quantized tensor{'s are' if count > 1 else ' is'} rounded in floats, not in INT8 kernels"
    return [f"{what}: TensorRT quantizes around 0, by scales that are constant"]


def _is_made_by(value: Value | None, key: str) -> bool:
    """True if an operator made a value, casts behind it left out."""
    maker = None if value is None else value.producer
    while maker is not None and maker.op.key == "Cast":
        source = maker.inputs[0]
        maker = None if source is None else source.producer
    return maker is not None and maker.op.key == key


def need_profile(model: Model, order: Order, kind: str) -> None:
    """Raise UsageError where --shape gave no sizes for an input of symbolic shape."""
    missing = _without_profile(model, order)
    if missing:
        raise UsageError(
            f"an engine needs a shape for {missing}: --shape SYMBOL=min:opt:max or SYMBOL=size",
            source=f"--emit {kind}",
        )


def _without_profile(model: Model, order: Order) -> str:
    """Inputs of symbolic shape that --shape gave no sizes for, the first of them in each new symbol; "" for none."""
    named: list[str] = []
    seen: set[str] = set()
    count = 0
    for value, name in zip(model.graph.inputs, model.graph.input_names):
        symbols = {str(d) for d in value.shape or () if not isinstance(d, int)}
        if name in order.profile or (value.shape is not None and not symbols):
            continue
        count += 1
        if value.shape is None or not symbols <= seen:
            named.append(f"{name}[{','.join(map(str, value.shape or ()))}]")
            seen |= symbols
    more = f" and {count - len(named)} more inputs of these sizes" if count > len(named) else ""
    return ", ".join(named) + more

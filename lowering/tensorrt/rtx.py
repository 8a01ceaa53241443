"""Engines for TensorRT-RTX, built ahead of time on a machine that need not have a GPU: the only file that imports it.

    built = build("model.onnx", "8.0", {})
    built.kernels                # [Kernel(name="...", kind="..."), ...] after fusion

What its parser and builder refuse is refused by TensorRT's, as far as both are one family; what it accepts is no proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...ir.errors import UnsupportedModel, UsageError

# What compute capability each of its targets is called (tensorrt_rtx.ComputeCapability); there is none for 9.0 and 10.0.
CAPABILITIES = {"7.5": "SM75", "8.0": "SM80", "8.6": "SM86", "8.9": "SM89", "12.0": "SM120"}
Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


class Kernel(NamedTuple):
    """One kernel of an engine: its name, and the kind of layer that the builder calls it."""

    name: str
    kind: str


@dataclass
class Built:
    """An engine: its bytes, how many layers the parser made, and the kernels that were left of them."""

    plan: bytes
    layers: int
    kernels: list[Kernel]


def build(path: str, capability: str, profile: Profile) -> Built:
    """Parse an ONNX file and build an engine for a compute capability such as "8.0".

    `profile`: for each input with a dynamic shape the smallest, the best and the largest one. Raises UsageError where
    tensorrt_rtx is not installed or has no such target, UnsupportedModel with the node and the reason where the parser
    or the builder refuses.
    """
    trt = _package()
    if capability not in CAPABILITIES:
        known = ", ".join(CAPABILITIES)
        raise UsageError(f"TensorRT-RTX has no target of compute capability {capability}; it has {known}")
    log = _Log.make(trt)
    # Builder, network and parser must outlive each other's use: a temporary network crashes the parser.
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(path):
        raise UnsupportedModel("; ".join(_parser_errors(parser)) or "TensorRT-RTX does not parse it")
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, CAPABILITIES[capability]), 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _set_profile(builder, network, config, profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise UnsupportedModel("; ".join(log.errors[:3]) or "TensorRT-RTX builds no engine for it")
    return Built(bytes(plan), network.num_layers, _kernels(log.layers))


def _set_profile(builder: Any, network: Any, config: Any, profile: Profile) -> None:
    dynamic = [network.get_input(i) for i in range(network.num_inputs)]
    dynamic = [tensor for tensor in dynamic if -1 in tuple(tensor.shape)]
    if not dynamic:
        return
    missing = [tensor.name for tensor in dynamic if tensor.name not in profile]
    if missing:
        raise UsageError(f"dynamic inputs need their smallest, best and largest shape: {', '.join(missing)}")
    made = builder.create_optimization_profile()
    for tensor in dynamic:
        made.set_shape(tensor.name, *profile[tensor.name])
    config.add_optimization_profile(made)


def _parser_errors(parser: Any) -> list[str]:
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        found.append(f"{error.node_operator()} {error.node_name()!r}: {' '.join(error.desc().split())}")
    return found


def _kernels(text: str) -> list[Kernel]:
    return [Kernel(*found) for found in re.findall(r"Name: (.+?), LayerType: (\w+)", text)]


class _Log:
    """The builder's messages: the errors, and the list of layers that it prints when it is done."""

    @staticmethod
    def make(trt: Any) -> Any:
        class Log(trt.ILogger):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: list[str] = []
                self.layers = ""

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    self.errors.append(" ".join(message.split()))
                elif message.startswith("Layers:"):
                    self.layers += message

        return Log()


def _package() -> Any:
    try:
        import tensorrt_rtx
    except ImportError:
        raise UsageError("this needs TensorRT-RTX: pip install 'geoc[tensorrt-rtx]'") from None
    return tensorrt_rtx

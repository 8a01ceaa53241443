"""Engines for TensorRT-RTX, built ahead of time on a machine that need not have a GPU: the only file that imports it.

    built = build_apart("model.onnx", "model.rtx.engine", "8.0", {})
    built.kernels                # [Kernel(name="...", kind="gemm", inputs=("Half",), ...), ...] after fusion

It is built in a process of its own: a fault in the builder is then an error message, and its chatter stays there.
What its parser and builder refuse is refused by TensorRT's, as far as both are one family; what it accepts is no proof.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...ir.errors import GeocError, UnsupportedModel, UsageError
from ..emit import write_bytes

# What tensorrt_rtx.ComputeCapability calls each; there is none for 9.0 and 10.0.
CAPABILITIES = {"7.5": "SM75", "8.0": "SM80", "8.6": "SM86", "8.9": "SM89", "12.0": "SM120"}
Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


class Kernel(NamedTuple):
    """One kernel of an engine as the builder lists it: its name, the kind of layer (``gemm``, ``kgen``, ...), the types
    of what it reads and writes (``Half``, ``Float``, ``Int64``, ...), and the names of the ONNX nodes in it."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass
class Built:
    """An engine: its size in bytes, how many layers the parser made, and the kernels that were left of them."""

    size: int
    layers: int
    kernels: list[Kernel]


def build_apart(path: str, output: str, capability: str, profile: Profile, sparse: bool = False) -> Built:
    """`build` in a process of its own. Raises what it raises, and UnsupportedModel where that process dies."""
    order = json.dumps({"path": path, "output": output, "capability": capability, "profile": profile, "sparse": sparse})
    done = subprocess.run([sys.executable, "-c", _CHILD], input=order, capture_output=True, text=True)
    answer = done.stdout.rpartition(_MARK)[2]
    if done.returncode or not answer:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise UnsupportedModel(f"TensorRT-RTX died building it (exit {done.returncode}): {last}")
    found = json.loads(answer)
    if "error" in found:
        raise (UsageError if found["kind"] == "UsageError" else UnsupportedModel)(found["error"])
    kernels = [Kernel(k[0], k[1], tuple(k[2]), tuple(k[3]), tuple(k[4])) for k in found["kernels"]]
    return Built(found["size"], found["layers"], kernels)


_MARK = "geoc:built:"
_CHILD = f"from {__name__} import serve; serve()"


def serve() -> None:
    """Build what standard input orders; the answer is behind a mark, as the package prints on standard output too."""
    order = json.load(sys.stdin)
    try:
        built = build(order["path"], order["output"], order["capability"], order["profile"], order["sparse"])
    except GeocError as error:
        answer: dict[str, Any] = {"kind": type(error).__name__, "error": error.message}
    else:
        answer = {"size": built.size, "layers": built.layers, "kernels": built.kernels}
    print(_MARK + json.dumps(answer), flush=True)


def build(path: str, output: str, capability: str, profile: Profile, sparse: bool = False) -> Built:
    """Parse an ONNX file and write an engine for a compute capability such as "8.0" to `output`.

    `profile`: for each input with a dynamic shape the smallest, the best and the largest one. `sparse`: kernels may
    skip zeros of weights that have them two in four. Raises UsageError where
    tensorrt_rtx is not installed or has no such target, UnsupportedModel with the node and the reason where the parser
    or the builder refuses.
    """
    trt = _package()
    if capability not in CAPABILITIES:
        known = ", ".join(CAPABILITIES)
        raise UsageError(f"TensorRT-RTX has no target of compute capability {capability}; it has {known}")
    log = _log(trt)
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
    if sparse:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    _set_profile(builder, network, config, profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise UnsupportedModel("; ".join(log.errors[:3]) or "TensorRT-RTX builds no engine for it")
    write_bytes(output, memoryview(plan))
    return Built(plan.nbytes, network.num_layers, _kernels(log.layers))


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
    """Kernels from the builder's list, a line for each; streams that wait for each other are none."""
    found = []
    for line in text.splitlines():
        head = re.match(r"Name: (.+?), LayerType: (\w+), Inputs: \[(.*?)\], Constants: ", line)
        outputs = re.search(r"\], Outputs: \[(.*?)\], TacticName: ", line)
        if head is not None and head.group(2) not in ("signal", "wait"):
            found.append(
                Kernel(
                    head.group(1),
                    head.group(2),
                    tuple(re.findall(r"Datatype: (\w+)", head.group(3))),
                    tuple(re.findall(r"Datatype: (\w+)", outputs.group(1) if outputs else "")),
                    tuple(re.findall(r"\[ONNX Layer: (.+?)\]", line)),
                )
            )
    return found


def _log(trt: Any) -> Any:
    """Keeps the builder's messages: the errors, and the list of layers that it prints when it is done."""

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


def find_package() -> None:
    """Raise UsageError where TensorRT-RTX is not installed."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        raise UsageError("this needs TensorRT-RTX: pip install 'geoc[tensorrt-rtx]'")


def _package() -> Any:
    find_package()
    import tensorrt_rtx

    return tensorrt_rtx

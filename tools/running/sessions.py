"""What models run in: sessions of onnxruntime without its optimizations, which compute what a graph says, and what is
timed, in onnxruntime and in OpenVINO.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...ir.core import Model
from ...ir.errors import UnsupportedModel

THREADS = 2


class CannotCheck(Exception):
    """No comparison is possible, for the reason given."""


def folds(model: Model) -> bool:
    """True if constants have to be folded before the model runs.

    MatMulNBits of onnxruntime 1.31 at accuracy level 4 gives wrong numbers for scales that are computed, be it from
    constants: it packs them with the weights when the model is loaded.
    """
    return any(node.op.key == "com.microsoft::MatMulNBits" for node in model.walk())


def unoptimized_session(
    path: str, what: str, weights: Mapping[str, Any] | None = None, fold: bool = False, lean: bool = False
) -> Any:
    """A session without optimizations, with `fold` those of the first level; `weights` replace the file's by name.

    `lean`: it takes less memory and more time. Weights in files stay mapped, without a copy in the order that kernels
    read them in, and memory is not planned ahead for each shape of inputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC if fold else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if lean:
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.disable_prepacking", "1")
    kept = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in (weights or {}).items()}
    for name, value in kept.items():
        options.add_initializer(name, value)
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except refusals() as error:
        raise CannotCheck(f"onnxruntime does not load {what}: {first_line(error)}") from None


def fast_session(
    path: str, threads: int, disabled: Sequence[str] = (), profile: str = "", optimized: str = "", provider: str = "CPU"
) -> Any:
    """A session as users run it, with every optimization but the `disabled` ones.

    `profile`: events are written to a file whose path begins so. `optimized`: where to write the graph that it runs.
    Raises what `refusals` lists.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    if threads > 1:  # else threads of one session spin while another one has its turn
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    if optimized:
        options.optimized_model_filepath = optimized
        data = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(f"{data}file_name", f"{os.path.basename(optimized)}.data")
        options.add_session_config_entry(f"{data}min_size_in_bytes", "256")
    return onnxruntime.InferenceSession(
        path, options, providers=[f"{provider}ExecutionProvider"], disabled_optimizers=list(disabled)
    )


def compiled_openvino(path: str, threads: int, **more: Any) -> Any:
    """A model compiled by OpenVINO, in the precision that it says: the default is bf16 where the CPU has it.

    Threads are not bound to cores, as onnxruntime's are not: on a machine with other work a bound thread waits for its
    core, and takes three times as long in the median (1.6 ms became 5.5). `more`: properties of its CPU plugin.
    Raises UnsupportedModel with its reason, UsageError where it is not installed.
    """
    from ...lowering.openvino.package import openvino

    options = {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False, **more,
    }  # fmt: skip
    try:
        return openvino().Core().compile_model(path, "CPU", options)
    except RuntimeError as error:
        raise UnsupportedModel(f"OpenVINO does not compile it: {first_line(error)}") from error


def refusals() -> tuple[type[Exception], ...]:
    """What onnxruntime raises when it does not take a model or inputs; there is no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (c for c in vars(state).values() if isinstance(c, type) and issubclass(c, Exception))
    return (*own, ValueError, RuntimeError, TypeError)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without onnxruntime's tag before it."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return text[:300]

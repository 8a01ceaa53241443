"""Engines for TensorRT itself, where it and a GPU are there: the only file that imports `tensorrt`."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from typing import Any

from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ..backend import Order, Written
from ..emit import write_bytes, write_onnx
from .emit import configuration, has_pattern, need_profile


def check_engine(model: Model, path: str, order: Order) -> None:
    """Raise UsageError where TensorRT or a GPU is missing, or an input has no shape."""
    _package()
    need_profile(model, order, "engine")


def write_engine(model: Model, path: str, order: Order) -> Written:
    """Build for the GPU of this machine, with the timing cache ``PATH.cache`` beside the engine.

    Raises what `check_engine` raises, UnsupportedModel with TensorRT's reason.
    """
    trt = _package()
    need_profile(model, order, "engine")
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # TensorRT 11 has no other kind
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    folder = os.path.dirname(os.path.abspath(path))
    with tempfile.TemporaryDirectory(prefix=".geoc-trt-", dir=folder) as scratch:
        source = os.path.join(scratch, "model.onnx")
        write_onnx(model, source, replace(order, weights=None))
        if not parser.parse_from_file(source):
            errors = [parser.get_error(i) for i in range(parser.num_errors)]
            raise UnsupportedModel("; ".join(f"{e.node_operator()} {e.node_name()!r}: {e.desc()}" for e in errors))
    config = builder.create_builder_config()
    wanted = configuration(path, order, has_pattern(model))
    config.clear_flag(trt.BuilderFlag.TF32)
    for flag in wanted["builder_flags"]:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if wanted["DLA_core"] is not None:
        if not builder.num_DLA_cores:
            raise UsageError("there is no DLA here: build the ONNX file where one is, or leave out dla=1")
        config.default_device_type = getattr(trt.DeviceType, wanted["default_device_type"])
        config.DLA_core = wanted["DLA_core"]
    for shapes in wanted["profiles"]:
        profile = builder.create_optimization_profile()
        for name, ends in shapes.items():
            profile.set_shape(name, ends["min"], ends["opt"], ends["max"])
        config.add_optimization_profile(profile)
    cache_path = os.path.abspath(path) + ".cache"
    known = b""
    if os.path.exists(cache_path):
        with open(cache_path, "rb") as file:
            known = file.read()
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise UnsupportedModel("TensorRT builds no engine for it; its messages are above")
    files = {cache_path: write_bytes(cache_path, memoryview(cache.serialize()))}
    files[os.path.abspath(path)] = write_bytes(path, memoryview(plan))
    return Written(files)


def _package() -> Any:
    try:
        import tensorrt
    except ImportError:
        raise UsageError("--emit engine needs TensorRT and a GPU: pip install 'geoc[tensorrt]'") from None
    if not os.path.exists("/dev/nvidia0") and not os.path.exists("/dev/nvhost-gpu"):
        raise UsageError("--emit engine needs a GPU; --emit rtx-engine builds ahead of time without one")
    return tensorrt

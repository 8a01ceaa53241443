"""Running decoders in onnxruntime: imported ones without its optimizations, files with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import geoc
from geoc.ir.core import Model


class Running:
    """A decoder and its cache: each call appends tokens."""

    def __init__(self, source: Model | Path) -> None:
        options = onnxruntime.SessionOptions()
        if isinstance(source, Model):
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        model: Any = str(source) if isinstance(source, Path) else source.to_proto().SerializeToString()
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.clear()

    def clear(self, batch: int = 1) -> None:
        inputs = [each for each in self.session.get_inputs() if each.name.startswith("past.")]
        self.cache = {each.name: np.zeros((batch, each.shape[1], 0, each.shape[3]), np.float32) for each in inputs}

    def __call__(self, ids: Any, mask: Any = None, positions: Any = None) -> np.ndarray:
        """Logits [batch, tokens, vocabulary]."""
        ids = np.asarray(ids, np.int64)
        past = next(iter(self.cache.values())).shape[2]
        total = past + ids.shape[1]
        feeds = {"input_ids": ids, "position_ids": np.tile(np.arange(past, total), (len(ids), 1)) if positions is None else positions}
        feeds["attention_mask"] = np.ones((len(ids), total), np.int64) if mask is None else np.asarray(mask, np.int64)
        names = {each.name for each in self.session.get_inputs()}
        feeds = {name: array for name, array in feeds.items() if name in names}
        found = dict(zip(self.outputs, self.session.run(None, {**feeds, **self.cache})))
        self.cache = {name: found[name.replace("past.", "present.")] for name in self.cache}
        return found["logits"]


def imported(path: Path) -> Running:
    """The file at a path."""
    return Running(geoc.load(path))

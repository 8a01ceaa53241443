"""Constants of every element type, in raw form and in every typed field, against onnx's own reading."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from building import graph, load, model, node, value, weight  # noqa: F401
from onnx import TensorProto, helper, numpy_helper

"""What the report of a compilation says of quantization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...ir.core import Model
from ...ir.errors import UsageError
from ..running.sessions import CannotCheck
from .data import report_of
from .errors import measure
from .layers import quantized_layers

if TYPE_CHECKING:
    from ..compiler import Compilation

SAMPLES = 16  # that are run at most


def quantization_of(run: Compilation, model: Model) -> dict[str, Any] | None:
    """The layers of the finished model, as `report_of` has them; None where none is quantized.

    They are measured on calibration samples where there are any, and where onnxruntime runs the model; `problem` says
    why not.
    """
    found = quantized_layers(model)
    if found.empty:
        return None
    measured, problem = None, "" if run.settings.calib is not None else "no samples: --calib gives them"
    if run.calibration is not None and run.settings.calib is not None:
        original = run.model() if run.interface is None else None  # else its inputs have other types
        try:
            measured = measure(found, model, original, run.calibration.observe, SAMPLES)
        except (CannotCheck, UsageError) as error:
            problem = str(error)
    return {**report_of(found, measured, model), "problem": problem}

"""All steps of the generator, each with how often it should be taken."""

from __future__ import annotations

from . import control, dynamic, elementwise, layers, motifs, movement, others
from .graphs import Step

STEPS: list[tuple[Step, float]] = [
    *elementwise.STEPS, *movement.STEPS, *layers.STEPS, *dynamic.STEPS, *control.STEPS, *motifs.STEPS,
    *others.STEPS,
]  # fmt: skip

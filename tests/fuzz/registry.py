"""All steps of the generator, each with how often it should be taken."""

from __future__ import annotations

from . import control, dynamic, elementwise, fusable, layers, motifs, movement, others
from .graphs import Step

STEPS: list[tuple[Step, float]] = [
    *elementwise.STEPS, *movement.STEPS, *layers.STEPS, *dynamic.STEPS, *control.STEPS, *motifs.STEPS,
    *others.STEPS,
]  # fmt: skip

FAMILIES = {"all": [*STEPS, *fusable.STEPS], "fusable": [*fusable.STEPS, *((step, 0.2) for step, _ in elementwise.STEPS)]}
"""What models of a campaign are made of, by name."""

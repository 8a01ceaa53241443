"""What a distillation says at its end, as text and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...lowering.emit import write_text
from ..report import megabytes
from .blocks import Refined
from .goals import HIDDEN, KL, Goal
from .running import Nearness
from .settings import Settings

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes away."""


@dataclass
class Report:
    """Counts, losses by epoch and, on what is held back, the loss before training too and nearness before and after.

    Where blocks were refined, `start` is the loss on what is held back before that, and the first of the losses by
    epoch the one behind it.
    """

    settings: Settings
    weights: int = 0
    parameters: int = 0
    teacher_parameters: int = 0
    sparse: int = 0
    trained: int = 0
    held_back: int = 0
    goals: list[Goal] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    held_back_losses: list[float] = field(default_factory=list)
    best: int = 0
    start: float | None = None
    blocks: Sequence[Refined] = ()
    before: Sequence[Nearness] = ()
    after: Sequence[Nearness] = ()
    seconds: float = 0.0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """False where nothing was nearer to the goal than the student as it came: nothing is written then."""
        return self.best > 0 or (self.start is not None and self.held_back_losses[0] < self.start)

    def summary(self, verbose: bool = False) -> str:
        """The report as text; `verbose`: with the losses of each epoch."""
        s = self.settings
        output = os.path.basename(s.output) if self.ok else "nothing written"
        names = f"{os.path.basename(s.teacher)} + {os.path.basename(s.student)} -> {output}"
        sparse = f", {self.sparse} of them sparse and so they stay" if self.sparse else ""
        share = f"{self.parameters / self.teacher_parameters:.0%} of the teacher's" if self.teacher_parameters else ""
        lines = [
            f"{names}   {self.seconds:.1f} s",
            f"weights   {self.weights} trained{sparse}: {self.parameters:,} numbers, {share}",
            f"data      {self.trained} samples trained on, {self.held_back} held back",
            f"goal      {self._goal()}",
            f"training  {s.epochs} epochs of {s.batch} samples a step, AdamW at {s.lr:g}, seed {s.seed}",
        ]
        lines += self._refined(verbose)
        if verbose:
            each = zip(self.losses, self.held_back_losses[1:])
            lines += [f"          epoch {i}: {a:.4g}, held back {b:.4g}" for i, (a, b) in enumerate(each, 1)]
        came = self.held_back_losses[0] if self.start is None else self.start
        after = self.held_back_losses[self.best]
        if self.ok:
            when = f"after epoch {self.best}, the best of {s.epochs}" if self.best else "by blocks alone"
            lines.append(f"held back loss {came:.4g} -> {after:.4g}, {when}")
            lines += [f"          {line}" for line in map(_near, self.before, self.after)]
            lines.append(f"written   {s.output}, {megabytes(self.bytes)} MB")
        else:
            least = min(self.held_back_losses[0 if self.start is not None else 1 :])
            lines.append(f"held back loss {came:.4g} before training and never below: {least:.4g} at best")
        return "\n".join(lines)

    def _refined(self, verbose: bool) -> list[str]:
        """What came of the blocks, each of them if `verbose`."""
        if self.start is None:
            return []
        kept = sum(block.kept for block in self.blocks)
        came = [block.came for block in self.blocks]
        left = [block.trained if block.kept else block.came for block in self.blocks]
        said = f"{kept} of {len(self.blocks)} kept, {self.settings.blocks} epochs each"
        lines = [f"blocks    {said}; mean error of what they give"]
        if self.blocks:
            lines[0] += f" {np.mean(came):.3g} -> {np.mean(left):.3g}"
        lines[0] += f", loss {self.start:.4g} -> {self.held_back_losses[0]:.4g}"
        for block in self.blocks if verbose else ():
            solved = "no closed form" if block.solved is None else f"least squares {block.solved:.4g}"
            end = "kept" if block.kept else "taken back"
            lines.append(f"          {block.name}: {block.came:.4g}, {solved}, trained {block.trained:.4g}, {end}")
        return lines

    def _goal(self) -> str:
        s = self.settings
        parts = []
        kl = [goal.name for goal in self.goals if goal.kind == KL]
        mse = [goal.name for goal in self.goals if goal.kind not in (KL, HIDDEN)]
        hidden = [goal for goal in self.goals if goal.kind == HIDDEN]
        if kl:
            parts.append(f"KL at temperature {s.temperature:g} of {', '.join(kl)}")
        if mse:
            parts.append(f"squared error of {', '.join(mse)}")
        if hidden:
            parts.append(f"{s.beta:g} x that of {len(hidden)} hidden states")
        text = " + ".join(parts)
        if s.task == 1:
            return f"cross entropy with {s.labels}"
        return f"{1 - s.task:g} x ({text}) + {s.task:g} x cross entropy with {s.labels}" if s.task else text

    def write(self, path: str) -> None:
        """Write the JSON. Raises OSError."""
        from ..versions import geoc_version

        data: dict[str, Any] = {"schema": SCHEMA, "geoc": geoc_version(), "ok": self.ok}
        data["settings"] = asdict(self.settings)
        data["goals"] = [{"kind": goal.kind, "name": goal.name} for goal in self.goals]
        for key in (
            "weights", "parameters", "teacher_parameters", "sparse", "trained", "held_back", "losses",
            "held_back_losses", "best", "start", "seconds", "bytes",
        ):  # fmt: skip
            data[key] = getattr(self, key)
        data["blocks"] = [asdict(block) for block in self.blocks]
        data["before"], data["after"] = ([asdict(near) for near in side] for side in (self.before, self.after))
        write_text(path, json.dumps(data, indent=2) + "\n")


def _near(before: Nearness, after: Nearness) -> str:
    """One output, before and after, in onnxruntime."""
    line = f"{after.name}: relative L2 {before.l2:.2%} -> {after.l2:.2%}"
    if before.agreement is not None and after.agreement is not None:
        line += f", the teacher's best class {before.agreement:.2%} -> {after.agreement:.2%}"
    if before.accuracy is not None and after.accuracy is not None:
        line += f", that of the labels {before.accuracy:.2%} -> {after.accuracy:.2%}"
    return line

"""The tests that ``--test`` can name; each judges a compiled model, after it has seen the source.

- ``ort`` (the default): compared with the source in onnxruntime, both without optimizations, as `--check=end` does.
- ``openvino``: what OpenVINO computes of the result, compared with the source in onnxruntime.
- ``crash``: good unless the compilation itself fails, writing included.
- ``COMMAND``: gets the path of the written model in place of ``{}``, or behind everything. It exits with 0 for good,
  125 for "cannot say", and anything else for bad (as `git bisect run` has it); what a signal ends is bad too.
"""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ..calibration.samples import Samples
from ..comparing.check import Judge
from ..precision import MAX_ERROR
from ..running.runtimes import REFERENCE, own_runtime
from ..running.sessions import CannotCheck
from .outcome import GOOD, SKIP, Outcome

if TYPE_CHECKING:
    from ..compiler import Compilation

OPTION = "--test"
CANNOT_SAY = 125  # a command's exit code
NOT_THERE = (126, 127)  # the shell's, for what is no command
Reference = Callable[[], str]
"""Gives the path of a file with the source."""


class Test(Protocol):
    """Judges models that were compiled from one source."""

    judge: Judge | None
    """Inputs and reference results; None where nothing is compared."""

    def prepare(self, run: Compilation, source: Model, reference: Reference, samples: Samples | None) -> None:
        """See the source, which must not change, and what writes it. With `samples` nothing else is run.

        Raises CannotCheck where nothing can be compared with it.
        """

    def outcome(self, model: Model) -> Outcome:
        """Of a compiled model."""

    def narrow(self) -> None:
        """From now on use the inputs alone on which the last model failed."""


class Compared:
    """``ort`` and ``openvino``."""

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self.judge: Judge | None = None
        self._failed = 0

    def prepare(self, run: Compilation, source: Model, reference: Reference, samples: Samples | None) -> None:
        """Raises UsageError where the target is not the runtime's, CannotCheck where the source does not run."""
        own = own_runtime(run) if self.runtime != REFERENCE or run.is_lossy else None
        if self.runtime != REFERENCE and (own is None or run.target.runtime != self.runtime):
            said = f"{self.runtime} runs what is compiled for it: --target=openvino-cpu, with the package installed"
            raise UsageError(said, source=OPTION)
        self.judge = Judge(
            reference(), source, run.export, run.shapes, run.settings.seed, run.interface,
            stand_in=run.target.runtime != REFERENCE, runtime=own,
        )  # fmt: skip
        if run.is_lossy or self.runtime != REFERENCE:
            self.judge.max_error = MAX_ERROR if run.settings.max_error is None else run.settings.max_error
        self.judge.prepare(samples, made_up=samples is None)

    def outcome(self, model: Model) -> Outcome:
        """How the result compares."""
        assert self.judge is not None
        try:
            verdict = self.judge.compare(model)
        except UnsupportedModel as error:
            return Outcome("write", f"cannot be written: {error.message}")
        self._failed = verdict.run
        measured = verdict.error if math.isfinite(verdict.error) else None
        kind = GOOD if verdict.ok else verdict.kind
        return Outcome(kind, verdict.message, measured, verdict.limit, verdict.output)


    def narrow(self) -> None:
        """Inputs are independent of each other where each output is judged by itself, not by a mean over all."""
        if self.judge is not None and self.judge.max_error is None:
            self.judge.runs = self.judge.runs[self._failed :][:1]


class Crash:
    """``crash``: the compilation got this far, and the model is only written."""

    judge: Judge | None = None

    def prepare(self, run: Compilation, source: Model, reference: Reference, samples: Samples | None) -> None:
        """Remember how models are written."""
        self.run = run

    def outcome(self, model: Model) -> Outcome:
        """Bad where it cannot be written."""
        try:
            with tempfile.TemporaryDirectory(prefix="geoc-bisect-") as folder:
                written(self.run, model, folder)
        except UnsupportedModel as error:
            return Outcome("write", f"cannot be written: {error.message}")
        return Outcome(GOOD)

    def narrow(self) -> None:
        """There are no inputs."""


class Command:
    """The user's command on the file of a model."""

    judge: Judge | None = None

    def __init__(self, text: str) -> None:
        self.text = text

    def prepare(self, run: Compilation, source: Model, reference: Reference, samples: Samples | None) -> None:
        """Remember how models are written."""
        self.run = run

    def outcome(self, model: Model) -> Outcome:
        """By the exit code. Raises UsageError where there is no such command."""
        with tempfile.TemporaryDirectory(prefix="geoc-bisect-") as folder:
            try:
                path = written(self.run, model, folder)
            except UnsupportedModel as error:
                return Outcome("write", f"cannot be written: {error.message}")
            quoted = shlex.quote(path)
            line = self.text.replace("{}", quoted) if "{}" in self.text else f"{self.text} {quoted}"
            done = subprocess.run(line, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = (done.stdout.strip().splitlines() or [""])[-1][:200]
        behind = f": {said}" if said else ""
        if done.returncode == 0:
            return Outcome(GOOD)
        if done.returncode == CANNOT_SAY:
            return Outcome(SKIP, f"the command exits with {CANNOT_SAY}{behind}")
        if done.returncode in NOT_THERE:
            raise UsageError(f"the shell cannot run {self.text!r}{behind}", source=OPTION)
        signal = -done.returncode if done.returncode < 0 else done.returncode - 128  # the shell's way to say it
        if signal > 0:
            return Outcome(f"signal {signal}", f"the command is ended by signal {signal}{behind}")
        return Outcome(f"exit {done.returncode}", f"the command exits with {done.returncode}{behind}")

    def narrow(self) -> None:
        """The command has inputs of its own."""


def written(run: Compilation, model: Model, folder: str) -> str:
    """Write a compiled model as the target's runtime loads it, and give the path. Raises UnsupportedModel."""
    from ..running.timing import native_output
    from ..writing import order_of

    output = native_output(run, os.path.join(folder, "model"))
    order = order_of(run, model)
    weights = "copy" if model.weight_bytes > 16 << 20 else "inline"
    output.emitter.write(model, output.path, replace(order, weights=weights))
    return output.path


def test_called(text: str) -> Test:
    """The test that ``--test`` names."""
    if text in ("ort", REFERENCE):
        return Compared(REFERENCE)
    if text == "openvino":
        return Compared("openvino")
    return Crash() if text == "crash" else Command(text)


__all__ = ["CannotCheck", "Test", "test_called", "written"]

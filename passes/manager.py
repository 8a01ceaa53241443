"""Running passes: one after another, in groups to a fixed point, watched by instruments.

    ctx = Context(instruments=[Verify()])
    run_pipeline(model, [Infer(), Repeat((Fold(), Dce()), 8)], ctx)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir.collector import rare_collector
from ..ir.core import Model
from ..ir.errors import GeocError
from .base import Context, Pass


class BrokenPass(RuntimeError):
    """A pass raised an error of its own or left an invalid model: a fault in the pass, not in the input."""

    def __init__(self, pass_name: str, message: str) -> None:
        super().__init__(f"pass {pass_name}: {message}")
        self.pass_name = pass_name


@dataclass(frozen=True)
class Repeat(Pass):
    """Runs a group of passes again until none of them changes anything, at most `limit` rounds."""

    name: ClassVar[str] = "repeat"
    steps: tuple[Pass, ...] = ()
    limit: int = 8

    def run(self, model: Model, ctx: Context) -> bool:
        changed = False
        quiet = 0  # passes in a row that changed nothing
        for _ in range(self.limit):
            for step in self.steps:
                if run_step(model, step, ctx):
                    changed = True
                    quiet = 0
                else:
                    quiet += 1
                if quiet >= len(self.steps):
                    return changed
        ctx.remark(
            "missed",
            self.name,
            f"no fixed point after {self.limit} rounds of {', '.join(s.name for s in self.steps)}",
        )
        return changed


def run_pipeline(model: Model, steps: Sequence[Pass], ctx: Context) -> bool:
    """Run `steps` over `model` in place; True if anything changed.

    Raises BrokenPass when a pass fails or an instrument finds the model invalid after it; a GeocError that
    a pass raises about the model goes through.
    """
    for instrument in ctx.instruments:
        instrument.start(model, ctx)
    ctx.source_bytes, ctx.source_nodes = model.weight_bytes, model.node_count
    changed = False
    with rare_collector():
        for step in steps:
            changed = run_step(model, step, ctx) or changed
    for instrument in ctx.instruments:
        instrument.finish(model, ctx)
    return changed


def run_step(model: Model, step: Pass, ctx: Context) -> bool:
    """Run one pass with its instruments; nothing happens when `ctx.skip` names it."""
    if step.name in ctx.skip and not step.required:
        return False
    outer = ctx.current
    for instrument in ctx.instruments:
        instrument.before_pass(model, step)
    ctx.current = step
    try:
        changed = not ctx.is_settled(step, model) and step.run(model, ctx)
    except (GeocError, BrokenPass, OSError, MemoryError):
        raise
    except Exception as error:
        if isinstance(step, Repeat):  # from an instrument, around a pass of the group
            raise
        raise BrokenPass(step.name, f"{type(error).__name__}: {error}") from error
    finally:
        ctx.current = outer
    ctx.has_run(step, model, changed)
    for instrument in ctx.instruments:
        instrument.after_pass(model, step, changed)
    return changed

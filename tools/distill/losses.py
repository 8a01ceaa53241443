"""The loss of a student on some samples, term by term.

    (1 - alpha) * (sum over kl and mse + beta * mean over hidden) + alpha * cross entropy

Each sample counts the same in the first part, each labelled one in the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from ...ir.errors import UsageError
from .goals import HIDDEN, KL, Goal
from .settings import Settings


class Sums(NamedTuple):
    """What some samples add: `towards` the teacher, over `samples`; of the labels, over those that are `labelled`."""

    towards: Any = 0.0
    samples: int = 0
    labels: Any = 0.0
    labelled: int = 0

    def plus(self, other: Sums) -> Sums:
        """Of both together, as plain numbers."""
        return Sums(*(_number(a) + _number(b) for a, b in zip(self, other)))


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, torch.Tensor) else x


def total(sums: Sums, alpha: float) -> Any:
    """The loss: the means of both parts, weighted."""
    towards = sums.towards / sums.samples if sums.samples else 0.0
    labels = sums.labels / sums.labelled if sums.labelled else 0.0
    return (1 - alpha) * towards + alpha * labels


class Losses(torch.nn.Module):  # type: ignore[misc]
    """Holds the projections of hidden states whose widths differ: they are trained, and are no part of the student."""

    def __init__(self, goals: Sequence[Goal], settings: Settings) -> None:
        super().__init__()
        self.goals = list(goals)
        self._settings = settings
        generator = torch.Generator().manual_seed(settings.seed)
        self.projections = torch.nn.ParameterDict()
        for index, goal in enumerate(goals):
            if goal.widths is not None:
                ours, theirs = goal.widths
                start = torch.randn(ours, theirs, generator=generator) / ours**0.5
                self.projections[str(index)] = torch.nn.Parameter(start)

    def forward(self, found: Sequence[Any], wanted: Sequence[Any], mask: Any, labels: Any, count: int) -> Sums:
        """Of `count` samples: the student's and the teacher's values by goal, `mask` and `labels` or None.

        `labels` are whole numbers like the classes without their axis; those below 0 are none.
        """
        outputs: list[Any] = []
        inside: list[Any] = []
        if self._settings.task < 1:
            for index, (goal, ours, theirs) in enumerate(zip(self.goals, found, wanted)):
                term = self._term(index, goal, ours.to(torch.float32), theirs.to(torch.float32), mask)
                (inside if goal.kind == HIDDEN else outputs).append(term)
        towards = sum(outputs) + self._settings.beta * (sum(inside) / len(inside) if inside else 0.0)
        entropy, labelled = self._entropy(found, labels, count)
        return Sums(towards * count, count, entropy * labelled, labelled)

    def _term(self, index: int, goal: Goal, ours: Any, theirs: Any, mask: Any) -> Any:
        if goal.kind == KL:
            return self._divergence(_logits(goal, ours), _logits(goal, theirs, True), mask)
        ours, theirs = ours.movedim(goal.axis, -1), theirs.movedim(goal.axis, -1)
        if str(index) in self.projections:
            ours = ours @ self.projections[str(index)]
        return _mean(torch.mean((ours - theirs) ** 2, -1), mask) / goal.size

    def _divergence(self, ours: Any, theirs: Any, mask: Any) -> Any:
        """T^2 KL(softmax(teacher / T) || softmax(student / T)): Hinton, Vinyals and Dean 2015, section 2."""
        t = self._settings.temperature
        target = torch.log_softmax(theirs / t, -1)
        each = F.kl_div(torch.log_softmax(ours / t, -1), target, reduction="none", log_target=True).sum(-1)
        return _mean(each, mask) * t * t

    def _entropy(self, found: Sequence[Any], labels: Any, count: int) -> tuple[Any, int]:
        """The mean cross entropy with the labels, and how many samples have any."""
        if labels is None:
            return 0.0, 0
        goal, logits = next((goal, x) for goal, x in zip(self.goals, found) if goal.kind == KL)
        logits = _logits(goal, logits.to(torch.float32))
        if labels.shape != logits.shape[:-1] or int(labels.max()) >= logits.shape[-1]:
            shape, classes = "x".join(map(str, labels.shape)), logits.shape[-1]
            wanted = "x".join(map(str, logits.shape[:-1]))
            said = f"labels of shape {shape} up to {int(labels.max())}; {goal.name} wants {wanted} below {classes}"
            raise UsageError(said, source="--labels")
        labelled = int((labels.reshape(count, -1) >= 0).any(1).sum())
        if not labelled:
            return 0.0, 0
        flat = logits.reshape(-1, logits.shape[-1])
        return F.cross_entropy(flat, torch.where(labels < 0, -100, labels).reshape(-1).to(torch.int64)), labelled


def _logits(goal: Goal, x: Any, of_teacher: bool = False) -> Any:
    """The classes last; of probabilities their logarithms."""
    x = x.movedim(goal.axis, -1)
    are_probabilities = goal.theirs_sum_up if of_teacher else goal.ours_sum_up
    return torch.log(x.clamp_min(torch.finfo(x.dtype).tiny)) if are_probabilities else x


def _mean(each: Any, mask: Any) -> Any:
    """The mean over all positions, or over those that a mask of the same leading axes leaves."""
    if mask is None or each.dim() < mask.dim() or tuple(each.shape[: mask.dim()]) != tuple(mask.shape):
        return each.mean()
    weights = mask.reshape(*mask.shape, *[1] * (each.dim() - mask.dim())).expand_as(each).to(each.dtype)
    return (each * weights).sum() / weights.sum().clamp_min(1)

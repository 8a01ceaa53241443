"""The training: AdamW over the weights of a module, the best epoch kept, the same however often it is interrupted.

Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"; the rate warms up over the first twentieth of the
steps and falls along a cosine. The order of the samples follows from the seed and the epoch alone, so nothing random
has to be kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from ...ir.core import Value
from ...ir.errors import GeocError
from ...ir.tensor import Array
from .checkpoint import Checkpoint, Interrupts
from .dtypes import to_tensor
from .examples import Examples, grouped, joined
from .losses import Losses, Sums, total
from .settings import ATTENTION_MASK, Settings
from .weights import Weight

DECAY = 0.01  # of weights with two axes or more
WARM_UP = 0.05  # of the steps
Progress = Callable[[str, float], None]
Tensors = list[Any]


class Trained(Protocol):
    """What can be trained: a module, or a part of one, that gives values of its graph."""

    weights: list[Weight]

    def parameters(self) -> Iterable[Any]:
        """One for each of `weights`, in their order."""

    def __call__(self, feeds: Mapping[str, Any], wanted: Sequence[Value]) -> list[Any]:
        """Values of the graph as tensors."""


class Diverged(GeocError):
    """The loss or its gradient is no number any more."""


@dataclass
class History:
    """What came of it: the mean losses of the steps of each epoch; of what is held back also that before training."""

    trained: list[float] = field(default_factory=list)
    held_back: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The epoch with the least loss on what is held back; 0 where none is below that before training."""
        return int(np.argmin(self.held_back))


class Trainer:
    """Trains `module`; afterwards it has the weights of the best epoch."""

    def __init__(
        self,
        module: Trained,
        losses: Losses,
        teacher: Callable[[int], list[Array]],
        examples: Examples,
        several: bool,
        settings: Settings,
    ) -> None:
        """`teacher` gives the values of the goals on a sample; `several`: samples of equal shapes run at once."""
        self.module = module
        self._losses = losses
        self._teacher = teacher
        self._examples = examples
        self._several = several
        self._settings = settings
        self.values: list[Value] = [goal.student for goal in losses.goals]
        self._weights: Tensors = list(module.parameters())
        zeros = [weight.zeros() for weight in module.weights]
        self._dense = [None if empty is None else to_tensor(~empty) for empty in zeros]
        everything = [*self._weights, *losses.parameters()]
        matrices = [p for p in everything if p.dim() > 1]
        self._optimizer = torch.optim.AdamW([
            {"params": matrices, "weight_decay": DECAY},
            {"params": [p for p in everything if p.dim() <= 1], "weight_decay": 0.0},
        ], lr=settings.lr)  # fmt: skip
        self._all = everything
        self.history = History()
        self.refined: dict[str, Any] = {}  # what was done block by block before, kept with the state
        self._best: Tensors = []
        self._epoch = self._step = 0  # where it stands: steps of the epoch at hand that are done
        self._sum = 0.0  # of the losses of these

    @property
    def sparse(self) -> int:
        """How many weights keep their zeros."""
        return sum(dense is not None for dense in self._dense)

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return math.ceil(len(self._examples.trained) / self._settings.batch)

    def run(self, progress: Progress, checkpoint: Checkpoint | None, state: dict[str, Any] | None) -> History:
        """All epochs, or what is left of them behind a `state` of the checkpoint.

        Raises Diverged where a loss is no number, KeyboardInterrupt behind the step in which that came.
        """
        if state is not None:
            self._restore(state)
        else:
            self._note()
        with Interrupts() as interrupts:
            while self._epoch < self._settings.epochs:
                order = self._order()
                while self._step < self.steps:
                    self._sum += self._train(order[self._step])
                    self._step += 1
                    self._say(progress)
                    if checkpoint is not None and (interrupts.came or checkpoint.is_due()):
                        checkpoint.save(self._state())
                    interrupts.stop()
                self._epoch, self._step = self._epoch + 1, 0
                self.history.trained.append(self._sum / self.steps)
                self._sum = 0.0
                self._note()
                if checkpoint is not None:
                    checkpoint.save(self._state())
        with torch.no_grad():
            for weight, best in zip(self._weights, self._best):
                weight.copy_(best)
        return self.history

    def _say(self, progress: Progress) -> None:
        done = self._epoch + self._step / self.steps
        held_back = self.history.held_back[-1]
        text = f"epoch {self._epoch + 1} of {self._settings.epochs}, loss {self._sum / self._step:.3g}"
        progress(f"{text}, held back {held_back:.3g}", done / self._settings.epochs)

    # One step

    def _order(self) -> list[list[int]]:
        """The samples of each step of the epoch at hand."""
        trained = np.array(self._examples.trained)
        mixed = np.random.default_rng([self._settings.seed, self._epoch]).permutation(trained).tolist()
        return [mixed[at : at + self._settings.batch] for at in range(0, len(mixed), self._settings.batch)]

    def _rate(self) -> float:
        """The learning rate of the step at hand."""
        whole = self._settings.epochs * self.steps
        done = self._epoch * self.steps + self._step
        warm = max(1, round(WARM_UP * whole))
        if done < warm:
            return self._settings.lr * (done + 1) / warm
        return self._settings.lr * 0.5 * (1 + math.cos(math.pi * (done - warm) / max(1, whole - warm)))

    def _train(self, indices: Sequence[int]) -> float:
        """One step on some samples; their loss before it."""
        self._optimizer.zero_grad(set_to_none=True)
        groups = grouped(indices, self._examples, self._several)
        labelled = self._labelled(indices)
        sums = Sums()
        for group in groups:
            found = self._sums(group)
            part = Sums(found.towards, len(indices), found.labels, labelled)
            loss = total(part, self._settings.task)
            if isinstance(loss, torch.Tensor) and loss.requires_grad:
                loss.backward()
            sums = sums.plus(found)
        value = float(total(sums, self._settings.task))
        for weight, dense in zip(self._weights, self._dense):
            if dense is not None and weight.grad is not None:
                weight.grad *= dense
        norm = torch.nn.utils.clip_grad_norm_(self._all, self._settings.clip)
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            what = "the loss" if not math.isfinite(value) else "its gradient"
            at = f"epoch {self._epoch + 1}, step {self._step + 1} of {self.steps}"
            raise Diverged(f"{what} is no number any more in {at}; nothing was written; a lower --lr may help")
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate()
        self._optimizer.step()
        return value

    def _labelled(self, indices: Sequence[int]) -> int:
        """How many of the samples have a label."""
        own = (self._examples.labels[index] for index in indices)
        return sum(labels is not None and bool((labels >= 0).any()) for labels in own)

    def _sums(self, group: Sequence[int]) -> Sums:
        """What samples that run at once add to the loss."""
        examples = self._examples
        names = examples.feeds[group[0]]
        feeds = {name: joined([examples.feeds[index][name] for index in group]) for name in names}
        found = self.module(feeds, self.values)
        theirs = zip(*(self._teacher(index) for index in group))
        wanted = [to_tensor(joined(parts)) for parts in theirs]
        for goal, x, y in zip(self._losses.goals, found, wanted):
            if x.dim() != y.dim() or (goal.widths is None and x.shape != y.shape):
                shapes = " and ".join("x".join(map(str, tensor.shape)) for tensor in (y, x))
                raise GeocError(f"{goal.name}: teacher and student give different shapes: {shapes}")
        own = [labels for index in group if (labels := examples.labels[index]) is not None]
        labels = to_tensor(joined(own)) if own else None
        mask = feeds.get(self._settings.mask or ATTENTION_MASK)
        return self._losses(found, wanted, None if mask is None else to_tensor(mask), labels, len(group))  # type: ignore[no-any-return]

    # One epoch

    def _note(self) -> None:
        """Write down the loss on what is held back, and keep the weights where it is the least."""
        self.history.held_back.append(self.evaluate())
        if self.history.best == len(self.history.held_back) - 1:
            self._best = [weight.detach().clone() for weight in self._weights]

    def evaluate(self) -> float:
        """The loss on what is held back. Raises Diverged where that is no number."""
        sums = Sums()
        held_back = self._examples.held_back
        with torch.no_grad():
            for start in range(0, len(held_back), self._settings.batch):
                part = held_back[start : start + self._settings.batch]
                for group in grouped(part, self._examples, self._several):
                    sums = sums.plus(self._sums(group))
        value = float(total(sums, self._settings.task))
        if not math.isfinite(value):
            when = f"after epoch {self._epoch}" if self._epoch else "before training"
            raise Diverged(f"the loss on the samples held back is no number {when}; nothing was written")
        return value

    # Going on

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "step": self._step,
            "sum": self._sum,
            "trained": self.history.trained,
            "held_back": self.history.held_back,
            "refined": self.refined,
            "weights": [p.detach() for p in self._all],
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._epoch, self._step, self._sum = state["epoch"], state["step"], state["sum"]
        self.history = History(state["trained"], state["held_back"])
        self._best = state["best"]
        self.refined = state["refined"]
        self._optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for weight, kept in zip(self._all, state["weights"]):
                weight.copy_(kept)

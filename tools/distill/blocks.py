"""Block by block: each stretch of a student between two hidden values learns alone what the teacher gives at its end.

The student's own value at the start is what a block reads, so that it makes up for what those before it lack; the aim
is the teacher's value at the end (reconstruction of blocks: Li et al. 2021, "BRECQ", section 3.2). Closed form first:
the last layer of a block is fitted by least squares, as `passes.repair.refit` fits layers, with the ridge that leaves
the least on what is held back. Then steps of gradients, with all weights of the block. A block that comes nearer to
the teacher and takes the outputs away from it is put back as it was: both are judged on what is held back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...ir.core import Node, Value
from ...ir.tensor import Array
from ...passes.repair.products import weights_of
from ...passes.repair.refit import RIDGES
from .dtypes import to_array, to_tensor
from .examples import Examples, grouped, joined
from .goals import HIDDEN, Goal
from .losses import Losses
from .module import GraphModule
from .running import MEMORY
from .settings import ATTENTION_MASK, Settings
from .training import Progress, Trainer
from .weights import Weight

SAME = 1e-9  # squared error relative to the teacher's mean square, below which nothing but rounding is left
_START = "\0start"  # among the feeds of a sample: what the block reads; no input has such a name


@dataclass
class Refined:
    """A block: the squared error of its end on what is held back, relative to the teacher's mean square.

    As it `came`, behind the closed form (`solved`, None for a last layer that has none) and behind all steps
    (`trained`); `kept` unless the loss of the outputs grew.
    """

    name: str
    came: float
    solved: float | None
    trained: float
    kept: bool


def refine(
    module: GraphModule, goals: Sequence[Goal], teacher: Callable[[int], Sequence[Array]], examples: Examples,
    several: bool, settings: Settings, progress: Progress,
) -> list[Refined]:  # fmt: skip
    """Refine the blocks of a student in its order, with ``settings.blocks`` epochs of steps for each.

    `teacher` gives the values of `goals` on a sample. Blocks end at hidden values of the teacher's width; what has no
    weight of its own is part of the next one, and a block that gives what the teacher's does stays as it is. Raises
    Diverged where a loss is no number.
    """
    outputs = [number for number, goal in enumerate(goals) if goal.kind != HIDDEN]
    whole = Trainer(
        module, Losses([goals[number] for number in outputs], settings), lambda i: [teacher(i)[n] for n in outputs],
        examples, several, settings,
    )  # fmt: skip
    ends = [number for number, goal in enumerate(goals) if goal.kind == HIDDEN and goal.widths is None]
    ends.sort(key=lambda number: len(module.needed(goals[number].student)))
    alone = replace(settings, epochs=settings.blocks, labels=None, alpha=None, beta=1.0)
    outcome = whole.evaluate()
    found: list[Refined] = []
    start: Value | None = None
    settled: set[int] = set()
    for place, number in enumerate(ends):
        goal = goals[number]
        own = sorted(module.needed(goal.student, () if start is None else (start,)) - settled)
        if not own:
            continue
        block = _Block(module, start, own)
        known = _started(block, examples, several)
        aim = _aim(teacher, number)
        trainer = Trainer(block, Losses([goal], alone), aim, known, several, alone)
        before = [parameter.detach().clone() for parameter in block.learned]
        came = trainer.evaluate()
        start, settled = goal.student, settled | set(own)
        if came < SAME:
            continue
        solved = _solve(block, trainer, aim, known, several, settings)
        history = trainer.run(_said(progress, place, len(ends), goal.name), None, None)
        after = whole.evaluate()
        kept = after <= outcome and history.held_back[history.best] < came
        if kept:
            outcome = after
        else:
            _put(block.learned, before)
        found.append(Refined(goal.name, came, solved, history.held_back[history.best], kept))
    return found


class _Block(torch.nn.Module):  # type: ignore[misc]
    """The part of a module behind `start` (None: behind the inputs), with the weights `own` alone as parameters."""

    def __init__(self, module: GraphModule, start: Value | None, own: Sequence[int]) -> None:
        super().__init__()
        self._whole = (module,)  # no child: its other weights are no parameters here
        self.start = start
        self.own = list(own)
        self.weights: list[Weight] = [module.weights[number] for number in own]
        self.learned = torch.nn.ParameterList([module.learned[number] for number in own])

    @property
    def module(self) -> GraphModule:
        """The whole."""
        return self._whole[0]

    def forward(self, feeds: dict[str, Any], wanted: Sequence[Value]) -> list[Any]:
        """Values of the block; from the student's value at its start, where the feeds hold it."""
        known = {self.start: to_tensor(feeds[_START])} if self.start is not None and _START in feeds else None
        return self.module(feeds, wanted, known)  # type: ignore[no-any-return]


def _started(block: _Block, examples: Examples, several: bool) -> Examples:
    """The samples with what the block reads beside their inputs; as they are where that is more than `MEMORY`."""
    if block.start is None:
        return examples
    feeds = list(examples.feeds)
    size = 0
    with torch.no_grad():
        for index, given in enumerate(examples.feeds):
            (value,) = block.module(given, [block.start])
            array = to_array(value)
            size += array.nbytes
            if size > MEMORY:
                return examples
            feeds[index] = {**given, _START: array}
    return examples._replace(feeds=feeds)


def _aim(teacher: Callable[[int], Sequence[Array]], number: int) -> Callable[[int], list[Array]]:
    return lambda index: [teacher(index)[number]]


def _said(progress: Progress, place: int, count: int, name: str) -> Progress:
    return lambda text, share: progress(f"block {place + 1} of {count}, {name}: {text}", (place + share) / count)


def _put(parameters: Sequence[Any], values: Sequence[Any]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values):
            parameter.copy_(value)


# Closed form


@dataclass(frozen=True)
class _Last:
    """The layer whose results add up to the end of a block: what it reads, and the numbers of weight and bias."""

    node: Node
    weight: int
    bias: int | None


def _solve(
    block: _Block, trainer: Trainer, teacher: Callable[[int], list[Array]], examples: Examples, several: bool,
    settings: Settings,
) -> float | None:  # fmt: skip
    """Fit the last layer; the error on what is held back then, None where the layer has no closed form."""
    (end,) = trainer.values
    last = _last_layer(block, end)
    if last is None:
        return None
    hh, hr = _sums(block, last, end, teacher, examples, several, settings)
    weight = block.module.learned[last.weight]
    bias = None if last.bias is None else block.module.learned[last.bias]
    changed = [weight] if bias is None else [weight, bias]
    best, kept = trainer.evaluate(), [parameter.detach().clone() for parameter in changed]
    before = list(kept)
    inputs = len(hh) - (bias is not None)
    size = max(float(np.trace(hh[:inputs, :inputs])) / inputs, 1e-30)
    for ridge in RIDGES:
        held = np.diag([ridge * size] * inputs + [1e-9 * size] * (len(hh) - inputs))
        change = np.linalg.solve(hh + held, hr)
        added = [to_tensor(weights_of(last.node, change[None, :inputs]))]
        added += [] if bias is None else [to_tensor(change[inputs].astype(np.float32)).reshape(bias.shape)]
        _put(changed, [old + new for old, new in zip(before, added)])
        error = trainer.evaluate()
        if error < best:
            best, kept = error, [parameter.detach().clone() for parameter in changed]
    _put(changed, kept)
    return best


def _last_layer(block: _Block, end: Value) -> _Last | None:
    """The layer behind `end`, through additions of biases and of what else arrives there; nothing else reads it."""
    work: list[tuple[Value, int | None]] = [(end, None)]
    while work:
        value, bias = work.pop()
        node = value.producer
        if node is None or value is block.start or (value is not end and value.sole_use is None):
            continue
        if node.op.key == "Add" and value.shape == end.shape:
            constants = [number for operand in node.inputs if (number := _own(block, operand)) is not None]
            bias = constants[0] if constants else bias
            work += [(operand, bias) for operand in node.inputs if operand is not None and operand.producer is not None]
        elif _has_closed_form(node):
            weight, own_bias = _own(block, node.input(1)), _own(block, node.input(2))
            plain = weight is not None and _is_plain(block.module.weights[weight])
            if plain and (node.input(2) is None or own_bias is not None):
                vector = own_bias if own_bias is not None else bias
                if vector is not None and not _is_vector(block.module.weights[vector], node):
                    vector = None
                assert weight is not None
                return _Last(node, weight, vector)
    return None


def _own(block: _Block, value: Value | None) -> int | None:
    """The number of the weight that an operand is, if it is one of the block's."""
    number = None if value is None else block.module.number_of(value)
    return number if number in block.own else None


def _is_plain(weight: Weight) -> bool:
    """True for a weight that one layer reads as it is: no codes, no zeros to keep."""
    once = len(weight.values) == 1 and len(weight.values[0].uses) == 1
    return once and weight.grid is None and weight.zeros() is None


def _is_vector(weight: Weight, node: Node) -> bool:
    """True for one number for each output of a layer, along the right axis."""
    shape = node.output.shape
    axis = 1 if node.op.key == "Conv" else -1
    own = weight.tensor.shape
    if shape is None or weight.tensor.size != shape[axis]:
        return False
    return node.op.key != "Conv" or len(own) == 1 or own[-len(shape) + 1] == weight.tensor.size


def _has_closed_form(node: Node) -> bool:
    """True for products with a matrix, and convolutions that are such products of each position."""
    weight = node.input(1)
    if weight is None or weight.const is None:
        return False
    if node.op.key == "Conv":
        places = weight.shape is not None and set(weight.shape[2:]) == {1}
        steps = set(node.attr("strides") or (1,)) | {node.attr("group")}
        return places and steps == {1} and not any(node.attr("pads") or ())
    if node.op.key == "Gemm":
        return not node.attr("transA") and node.attr("alpha") == 1.0 and node.attr("beta") == 1.0
    return node.op.key == "MatMul" and weight.rank == 2


def _sums(
    block: _Block, last: _Last, end: Value, teacher: Callable[[int], list[Array]], examples: Examples, several: bool,
    settings: Settings,
) -> tuple[Array, Array]:  # fmt: skip
    """Products over all positions of what is trained on: of what the layer reads, and of that with what is missing.

    With a bias, a column of ones stands behind what is read.
    """
    axis = 1 if last.node.op.key == "Conv" else -1
    read = last.node.inputs[0]
    assert read is not None
    hh: Any = 0.0
    hr: Any = 0.0
    for at in range(0, len(examples.trained), settings.batch):
        for group in grouped(examples.trained[at : at + settings.batch], examples, several):
            feeds = {name: joined([examples.feeds[i][name] for i in group]) for name in examples.feeds[group[0]]}
            with torch.no_grad():
                h, own = block(feeds, [read, end])
                missing = to_tensor(joined([teacher(i)[0] for i in group])) - own
            mask = feeds.get(settings.mask or ATTENTION_MASK)
            rows, lacking = _rows(h, axis, mask), _rows(missing, axis, mask)
            if last.bias is not None:
                rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
            hh = hh + (rows.T @ rows).to(torch.float64).numpy()
            hr = hr + (rows.T @ lacking).to(torch.float64).numpy()
    return hh, hr


def _rows(x: Any, axis: int, mask: Array | None) -> Any:
    """f32 [positions, features], those alone where a mask of the leading axes is not zero."""
    x = x.movedim(axis, -1).to(torch.float32)
    if mask is not None and tuple(x.shape[:-1]) == mask.shape:
        return x[to_tensor(mask) != 0]
    return x.reshape(-1, x.shape[-1])


"""Transformer blocks spelled out operator by operator, of any number, for what must grow linearly.

Each block is 45 nodes: two layer norms, attention with a scale and a mask, an erf-Gelu, their products and biases.
`fits` False spoils each pattern where it is easily mistaken: an exponent, an axis and a summand are not what they should
be, so that rules look far before they turn away and none of these applies.
"""

from __future__ import annotations

from collections import Counter
from time import process_time

import numpy as np

from geoc.ir.builder import Builder
from geoc.ir.core import Graph, Model, Value
from geoc.ir.dims import symbol
from geoc.ir.types import F32, tensor_type
from geoc.lowering.targets import get_target
from geoc.passes.base import Context, Instrument, Pass
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import level_items
from geoc.passes.registry import Registry
from geoc.passes.rulepass import RulePass

HEADS, SIZE = 2, 4
WIDTH, HIDDEN = HEADS * SIZE, 16
BLOCK = 45
"""Nodes of one block."""
PATTERNS = 4
"""What there is to fuse in one block: two norms, one attention, one activation."""


class Blocks:
    """Builds the blocks; weights are shared by all of them, as they make no difference to rules."""

    def __init__(self, fits: bool) -> None:
        self.fits = fits
        self.graph = Graph("main")
        self.build = Builder(self.graph)
        self.batch, self.length = symbol("batch"), symbol("seq")
        self.mask = self.graph.add_input("mask", tensor_type(F32, (self.batch, 1, 1, self.length)))
        self.square = self.scalar(2.0 if fits else 3.0)
        self.one = self.scalar(1.0 if fits else 0.75)
        self.small, self.half = self.scalar(1e-5), self.scalar(0.5)
        self.root, self.scale = self.scalar(2**0.5), self.scalar(SIZE**0.5)
        self.gain, self.bias = self.weight(WIDTH), self.weight(WIDTH)
        self.wide = self.weight(WIDTH, WIDTH)
        self.up, self.up_bias, self.down = self.weight(WIDTH, HIDDEN), self.weight(HIDDEN), self.weight(HIDDEN, WIDTH)
        self.split, self.joined = self.build.ints([0, 0, HEADS, SIZE]), self.build.ints([0, 0, WIDTH])
        self.last = self.build.ints([-1])

    def scalar(self, number: float) -> Value:
        return self.build.const(number, F32)

    def weight(self, *shape: int) -> Value:
        count = int(np.prod(shape))
        return self.build.const((np.arange(count, dtype=np.float32) / count).reshape(shape))

    def norm(self, x: Value) -> Value:
        """9 nodes."""
        op = self.build.op
        centred = op("Sub", x, op("ReduceMean", x, self.last))
        variance = op("ReduceMean", op("Pow", centred, self.square), self.last)
        scaled = op("Div", centred, op("Sqrt", op("Add", variance, self.small)))
        return op("Add", op("Mul", scaled, self.gain), self.bias)

    def heads(self, x: Value, perm: tuple[int, ...]) -> Value:
        """3 nodes."""
        op = self.build.op
        return op("Transpose", op("Reshape", op("MatMul", x, self.wide), self.split), perm=perm)

    def attention(self, x: Value) -> Value:
        """17 nodes with the product behind it."""
        op = self.build.op
        q, v = self.heads(x, (0, 2, 1, 3)), self.heads(x, (0, 2, 1, 3))
        scores = op("Div", op("MatMul", q, self.heads(x, (0, 2, 3, 1))), self.scale)
        weights = op("Softmax", op("Add", scores, self.mask), axis=-1 if self.fits else 1)
        y = op("Reshape", op("Transpose", op("MatMul", weights, v), perm=(0, 2, 1, 3)), self.joined)
        return op("MatMul", y, self.wide)

    def block(self, x: Value) -> Value:
        op = self.build.op
        y = op("Add", x, self.attention(self.norm(x)))
        up = op("Add", op("MatMul", self.norm(y), self.up), self.up_bias)
        cdf = op("Add", op("Erf", op("Div", up, self.root)), self.one)
        active = op("Mul", op("Mul", up, cdf), self.half)
        return op("Add", y, op("MatMul", active, self.down))


def blocks(nodes: int, fits: bool) -> Model:
    """A model of about `nodes` nodes; see above."""
    made = Blocks(fits)
    x = made.graph.add_input("x", tensor_type(F32, (made.batch, made.length, WIDTH)))
    for _ in range(max(nodes // BLOCK, 1)):
        x = made.block(x)
    made.graph.set_outputs([x], ["y"])
    return Model(made.graph)


class RuleTimes(Instrument):
    """Milliseconds of processor time and calls by rule pass, and rewrites by rule."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self.calls: Counter[str] = Counter()
        self.rewrites: Counter[str] = Counter()
        self._begun = 0.0

    def before_pass(self, model: Model, step: Pass) -> None:
        self._begun = process_time()

    def after_pass(self, model: Model, step: Pass, changed: bool) -> None:
        if isinstance(step, RulePass):
            self.ms[step.name] = self.ms.get(step.name, 0.0) + (process_time() - self._begun) * 1e3
            self.calls[step.name] += 1

    def on_allow(self, number: int, pass_name: str, rule: str, node: object, allowed: bool) -> None:
        self.rewrites[rule] += 1

    @property
    def all_ms(self) -> float:
        return sum(self.ms.values())


def steps_of_o2(target: str = "cpu") -> list[Pass]:
    """The passes of -O2."""
    found = get_target(target)
    return Registry(found.rule_sets).resolve(level_items(2, found.pipeline))


def run_o2(model: Model, target: str = "cpu") -> tuple[RuleTimes, float]:
    """Run -O2: what its rules took, every round counted, and milliseconds of everything."""
    times = RuleTimes()
    steps = steps_of_o2(target)
    begun = process_time()
    run_pipeline(model, steps, Context(capabilities=get_target(target).capabilities, instruments=[times]))
    return times, (process_time() - begun) * 1e3

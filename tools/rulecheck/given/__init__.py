"""What is not found by trying: computations that natives ask for, as models have them.

A native looks into whole computations of masks and tables. A *producer* makes an operand that it is asked about, of the
shape and type that are wanted there; all around it is made up as ever. Where most parts of a left side depend on
each other, a *graph* is given for the rule as a whole. Both also make what nearly fits, which must stay as it is.

    @producer(("mask_is_causal", 2))               # of the native's third operand
    def causal(sketch: Sketch, dtype: DType, shape: Shape) -> Value: ...

    @graph_for("rotary_wide")
    def rotation(sketch: Sketch) -> Instance: ...

masks.py       masks of attention computed from positions and from padding
rotary.py      rotations of pairs, and where their tables come from
attention.py   attention whose batch and heads are one axis
quantized.py   operators that compute on integers
rounded.py     weights with a zero point, and what is rounded in the graph

For rules of one's own there is `ir.rewrite.instances.instance_for`, graphs as text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ....ir.core import Value
from ....ir.types import DType
from ..sketch import Instance, Sketch
from ..wanted import Shape

Producer = Callable[[Sketch, DType, Shape], Value]
Maker = Callable[[Sketch], Instance]

_producers: dict[tuple[str, int], Producer] = {}
_graphs: dict[str, Maker] = {}


def producer(*operands: tuple[str, int]) -> Callable[[Producer], Producer]:
    """Register a function that makes these operands of natives, each given by name and place."""

    def register(make: Producer) -> Producer:
        _producers.update(dict.fromkeys(operands, make))
        return make

    return register


def graph_for(rule: str) -> Callable[[Maker], Maker]:
    """Register a function that makes graphs in which a rule of the library is to fire, mostly."""

    def register(make: Maker) -> Maker:
        _graphs[rule] = make
        return make

    return register


def producers() -> dict[tuple[str, int], Producer]:
    """All producers, by native and operand."""
    _load()
    return _producers


def graphs() -> dict[str, Maker]:
    """All graphs, by rule."""
    _load()
    return _graphs


@cache
def _load() -> None:
    from . import attention, masks, quantized, rotary, rounded  # noqa: F401 (they register what they make)

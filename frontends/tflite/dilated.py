"""Dilated convolutions as TensorFlow writes them: SPACE_TO_BATCH_ND, a convolution, BATCH_TO_SPACE_ND.

The first cuts an image into the ones that a dilated convolution sees, the last puts them together again
(tensorflow/core/grappler, "Yu and Koltun, Multi-Scale Context Aggregation by Dilated Convolutions"). TensorFlow's
converter merges the three where it knows all sizes; with an open number of images it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .call import constant_of
from .flatbuffer import Table
from .tensors import TensorInfo

Operator = tuple[str, list[int], list[int], "Table | None", list[TensorInfo]]
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_VALID = 1


class Dilation(NamedTuple):
    """What a convolution is made with instead: its image and its result are those of the operators around it.

    A sequence [batch, length, channels] is an image of one row: `is_sequence` says that the row is to be added and
    taken away, as operators do that are left out.
    """

    image: int
    result: int
    blocks: tuple[int, int]
    pads: tuple[int, int, int, int]  # before both axes, behind both
    is_sequence: bool


def dilated(operators: Sequence[Operator], outputs: Sequence[int]) -> dict[int, Dilation | None]:
    """Of operators by their numbers, the convolutions that are dilated; None for what is left out around them."""
    uses = Counter(i for _, inputs, *_ in operators for i in inputs)
    uses.update(outputs)
    makers = {i: number for number, (_, _, results, *_) in enumerate(operators) for i in results}

    def before(number: int, *names: str) -> int:
        """The operator of these names that makes the first operand, for this one alone; -1 where it is another."""
        first = operators[number][1][:1]
        maker = makers.get(first[0], -1) if first and uses[first[0]] == 1 else -1
        return maker if maker >= 0 and operators[maker][0] in names and operators[maker][1] else -1

    found: dict[int, Dilation | None] = {}
    for last, (name, inputs, results, _, infos) in enumerate(operators):
        if name != "BATCH_TO_SPACE_ND" or len(inputs) != 3 or len(results) != 1:
            continue
        blocks = _ints(infos[inputs[1]])
        is_sequence = len(blocks) == 1
        flat = before(last, "RESHAPE", "SQUEEZE") if is_sequence else last
        middle = before(flat, *_CONVOLUTIONS) if flat >= 0 else -1
        lifted = before(middle, "EXPAND_DIMS") if is_sequence and middle >= 0 else middle
        first = before(lifted, "SPACE_TO_BATCH_ND") if lifted >= 0 else -1
        if first < 0 or len(operators[first][1]) != 3 or not _is_simple(operators[middle][3]):
            continue
        if is_sequence and not _adds_a_row(operators[lifted]):
            continue
        others, pads = (_ints(infos[i]) for i in operators[first][1][1:])
        left = [pad - crop for pad, crop in zip(pads, _ints(infos[inputs[2]]))]
        if is_sequence:
            blocks, others, left = [1, *blocks], [1, *others], [0, 0, *left]
        if blocks != others or len(blocks) != 2 or len(left) != 4:
            continue
        if min(blocks) < 1 or min(left) < 0 or max(pads) >= 1 << 24:
            continue
        found.update(dict.fromkeys({first, last, flat, lifted}))
        pads_ = (left[0], left[2], left[1], left[3])
        found[middle] = Dilation(operators[first][1][0], results[0], (blocks[0], blocks[1]), pads_, is_sequence)
    return found


def _is_simple(options: Table | None) -> bool:
    """True of a convolution without strides, dilations and padding of its own."""
    if options is None or options["padding"] != _VALID:
        return False
    return all(options[f"{what}_{axis}"] == 1 for what in ("stride", "dilation") for axis in "hw")


def _adds_a_row(operator: Operator) -> bool:
    """True of an EXPAND_DIMS that makes an image of one row of a sequence."""
    _, inputs, _, _, infos = operator
    axis = _ints(infos[inputs[1]]) if len(inputs) == 2 and inputs[1] >= 0 else []
    return len(infos[inputs[0]].shape) == 3 and axis in ([1], [-3])


def _ints(info: TensorInfo) -> list[int]:
    const = constant_of(info)
    if const is None or const.size > 4 or not const.dtype.is_int or info.sparsity is not None:
        return []
    return list(const.ints())

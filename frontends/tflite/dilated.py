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
    """What a convolution is made with instead: its image and its result are those of the operators around it."""

    image: int
    result: int
    blocks: tuple[int, int]
    pads: tuple[int, int, int, int]  # before both axes, behind both


def dilated(operators: Sequence[Operator], outputs: Sequence[int]) -> dict[int, Dilation | None]:
    """Of operators by their numbers, the convolutions that are dilated; None for what is left out around them."""
    uses = Counter(i for _, inputs, *_ in operators for i in inputs)
    uses.update(outputs)
    makers = {i: number for number, (_, _, results, *_) in enumerate(operators) for i in results}
    found: dict[int, Dilation | None] = {}
    for last, (name, inputs, results, _, infos) in enumerate(operators):
        middle = makers.get(inputs[0]) if name == "BATCH_TO_SPACE_ND" and len(inputs) == 3 and len(results) == 1 else None
        if middle is None or operators[middle][0] not in _CONVOLUTIONS or not operators[middle][1]:
            continue
        image, options = operators[middle][1][0], operators[middle][3]
        first = makers.get(image)
        if first is None or operators[first][0] != "SPACE_TO_BATCH_ND" or len(operators[first][1]) != 3 or options is None:
            continue
        simple = all(options[f"{what}_{axis}"] == 1 for what in ("stride", "dilation") for axis in "hw")
        if not simple or options["padding"] != _VALID or uses[image] != 1 or uses[inputs[0]] != 1:
            continue
        blocks, pads = (_ints(infos[i]) for i in operators[first][1][1:])
        others, crops = (_ints(infos[i]) for i in inputs[1:])
        if len(blocks) != 2 or blocks != others or len(pads) != 4 or len(crops) != 4 or min(blocks) < 1:
            continue
        left = [pad - crop for pad, crop in zip(pads, crops)]
        if min(left) < 0 or max(pads) >= 1 << 24:
            continue
        found[first] = found[last] = None
        left_out = (left[0], left[2], left[1], left[3])
        found[middle] = Dilation(operators[first][1][0], results[0], (blocks[0], blocks[1]), left_out)
    return found


def _ints(info: TensorInfo) -> list[int]:
    const = constant_of(info)
    return const.ints() if const is not None and const.size <= 4 and const.dtype.is_int and info.sparsity is None else []

"""TFLite_Detection_PostProcess: boxes from their differences to anchors, and those that overlap no better one."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.types import F32, I64
from .call import Call, converts
from .flexbuffer import Numbers, read_map

_MOST = 1 << 16


@converts("custom TFLite_Detection_PostProcess")
def _post_process(call: Call) -> None:
    """Operands: boxes [1, n, 4] (y, x, h, w), scores [1, n, classes], anchors [n, 4].

    Results (tensorflow/lite/kernels/detection_postprocess.cc): boxes [1, k, 4] (y0, x0, y1, x1), their classes,
    their scores, and how many there are; what is behind those is zero.
    """
    options = read_map(call.payload())
    wanted, classes = (_count(options, name) for name in ("max_detections", "num_classes"))
    regular = bool(options.get("use_regular_nms", False))
    if not regular and _count(options, "max_classes_per_detection") != 1:
        raise UnsupportedModel("gives several classes for a box")
    b, scores = call.builder, call.real(1)
    total = call.extent(scores, 2) if scores.rank == 3 else None
    if total is None or not 0 <= total - classes <= 1 or call.extent(scores, 0) != 1:
        raise InvalidModel(f"has scores of {total} classes, not {classes}")
    if total > classes:  # the first one is the background
        scores = b.op("Slice", scores, b.ints([1]), b.ints([total]), b.ints([2]))
    boxes = _boxes(call, options)  # [1, n, 4]
    # A score that is as good as the limit is taken: ONNX asks for a better one than the limit.
    limit = np.nextafter(np.float32(_number(options, "nms_score_threshold")), np.float32(-np.inf))
    limits = [b.const(_number(options, "nms_iou_threshold"), F32), b.const(float(limit), F32)]
    most = _count(options, "detections_per_class", 100) if regular else wanted
    if regular:
        by_class = b.op("Transpose", scores, perm=(0, 2, 1))
        chosen = b.op("NonMaxSuppression", boxes, by_class, b.const(most, I64), *limits)
        places, of_class = _column(call, chosen, 2), _column(call, chosen, 1)
        cells = b.op("Concat", b.op("Unsqueeze", places, b.ints([1])), b.op("Unsqueeze", of_class, b.ints([1])), axis=1)
        found = b.op("GatherND", b.op("Squeeze", scores, b.ints([0])), cells)
        found, order = _best(call, found, wanted)
        places, of_class = b.op("Gather", places, order), b.op("Gather", of_class, order)
    else:
        best = b.op("ReduceMax", scores, b.ints([2]), keepdims=0)
        chosen = b.op("NonMaxSuppression", boxes, b.op("Unsqueeze", best, b.ints([1])), b.const(most, I64), *limits)
        places = _column(call, chosen, 2)
        found = b.op("Gather", b.op("Squeeze", best, b.ints([0])), places)
        of_class = b.op("Gather", b.op("Squeeze", b.op("ArgMax", scores, axis=2, keepdims=0), b.ints([0])), places)
    count = b.op("Shape", places)
    rest = b.op("Sub", b.ints([wanted]), count)
    lead = b.ints([0])
    rows = b.op("Gather", b.op("Squeeze", boxes, lead), places)
    rows = b.op("Pad", rows, b.op("Concat", b.ints([0, 0]), rest, lead, axis=0))
    ends = b.op("Concat", lead, rest, axis=0)
    results = [rows, b.op("Pad", b.op("Cast", of_class, to=F32.onnx), ends), b.op("Pad", found, ends)]
    for index, value in enumerate(results):
        call.give(b.op("Unsqueeze", value, lead), index)
    call.give(b.op("Cast", count, to=F32.onnx), 3)


def _boxes(call: Call, options: dict[str, Numbers]) -> Value:
    """The corners of boxes [1, n, 4] from their differences to anchors (y, x, h, w)."""
    b, boxes, anchors = call.builder, call.real(0), call.real(2)
    if boxes.rank != 3 or anchors.rank != 2 or (call.extent(boxes, 2) or 0) < 4:
        raise InvalidModel("has no boxes, or no anchors")

    def part(value: Value, axis: int, first: int) -> Value:
        return b.op("Slice", value, b.ints([first]), b.ints([first + 2]), b.ints([axis]))

    scales = [[_number(options, f"{name}_scale") for name in pair] for pair in ("yx", "hw")]
    if any(scale == 0 for pair in scales for scale in pair):
        raise InvalidModel("has scales that are zero")
    sizes = part(anchors, 1, 2)
    center = b.op("Mul", b.op("Div", part(boxes, 2, 0), b.const(scales[0], F32)), sizes)
    center = b.op("Add", center, part(anchors, 1, 0))
    half = b.op("Mul", b.op("Exp", b.op("Div", part(boxes, 2, 2), b.const(scales[1], F32))), sizes)
    half = b.op("Mul", half, b.const(0.5, F32))
    return b.op("Concat", b.op("Sub", center, half), b.op("Add", center, half), axis=2)


def _best(call: Call, scores: Value, wanted: int) -> tuple[Value, Value]:
    b = call.builder
    count = b.op("Min", b.op("Shape", scores), b.ints([wanted]))
    values, order = b.node("TopK", [scores, count], outputs=2).outputs
    return values, order


def _column(call: Call, rows: Value, place: int) -> Value:
    return call.builder.op("Gather", rows, call.builder.const(place, I64), axis=1)


def _number(options: dict[str, Numbers], name: str) -> float:
    found = options.get(name)
    if not isinstance(found, (int, float)) or found != found:
        raise InvalidModel(f"has no option {name}")
    return float(found)


def _count(options: dict[str, Numbers], name: str, default: int = 0) -> int:
    found = options.get(name, default)
    if not isinstance(found, int) or not 0 < found < _MOST:
        raise InvalidModel(f"has {found} for {name}")
    return found

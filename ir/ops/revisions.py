"""Which versions of an operator begin a new meaning or a new spelling, and how to cross the border.

ONNX raises an operator's version for many reasons; most only admit more types or add something
whose default changes nothing. Those stay inside one semantic revision. CHANGES lists all the
others; every row was decided by reading both versions' documentation in onnx 1.23. A row is

    (names, version, class, why, steps)

with class "spelling" (the newer version can say the same, so an importer rewrites upwards),
"meaning" (the same text means something else; only an adapter that looks at shapes can cross) or
"removed" (the operator ends). The steps say what moved, older -> newer, so that one generic
function can follow them either way:

    ("attr_to_input", attribute, input index, dtype, rank, fill)
        dtype is "int64", "float" or "like 0" (that of input 0). An absent attribute is an absent
        input when fill is None; otherwise the default changed and fill must be written.
    ("drop_attr", attribute, values)      says nothing if one of values, or ever if values is None
    ("rename_attr", old, new)
    ("rename_value", attribute, {old: new})
    ("old_default", attribute, value)     an absent attribute meant this value
    ("set_attr", attribute, value)        a new attribute; before it, this was the behaviour
    ("int_attr", attribute)               a float became an int
    ("dtype_name", attribute)             a type's name ("FLOAT") became its number
    ("input_to_attr", attribute, index)   needs a constant
    ("count_outputs", attribute)          number of outputs, said only when input 1 is absent
    ("output_bool", index)                an output was typed like input 0 and is a bool now
    ("rename_op", name)
    ("adapter", name)                     irregular; written by hand under this name

The revision above `op` is `resolve(op.domain, op.name, op.until)`, the steps to it are
`SPELLING[op.base_key, op.until]`.
"""

from __future__ import annotations

from typing import Any

Step = tuple[Any, ...]

_CONSUMED: tuple[Step, ...] = (("drop_attr", "consumed_inputs", None),)
_BROADCAST: tuple[Step, ...] = (("adapter", "legacy_broadcast"),)
_AXES: tuple[Step, ...] = (("attr_to_input", "axes", 1, "int64", 1, None),)
_OUTPUT_SEQUENCE: tuple[Step, ...] = (("drop_attr", "output_sequence", None),)

_HINTED = (
    "Abs Add BatchNormalization Ceil Clip Div Dropout Elu Exp Floor HardSigmoid"
    " InstanceNormalization LeakyRelu Log Max Mean Min Mul Neg PRelu Reciprocal Relu Sigmoid Sqrt"
    " Sub Sum Tanh"
)
# ReduceSum changed earlier than the others.
_REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"
    " ReduceSumSquare"
)

CHANGES: tuple[tuple[str, int, str, str, tuple[Step, ...]], ...] = (
    # Opset 6: the framework's in-place hint goes.
    (_HINTED, 6, "spelling", "consumed_inputs is gone", _CONSUMED),
    (
        "Selu", 6, "spelling", "consumed_inputs is gone, defaults gained digits",
        (
            *_CONSUMED,
            ("old_default", "alpha", 1.673200011253357),
            ("old_default", "gamma", 1.0506999492645264),
        ),
    ),
    # Opset 7: numpy broadcasting instead of broadcast=1 with an axis to align the right operand at.
    (
        "Add Sub Mul Div Pow And Or Xor Equal Greater Less",
        7, "spelling", "broadcasting is numpy's, attributes axis and broadcast are gone",
        _BROADCAST,
    ),
    (
        "Gemm", 7, "spelling", "C broadcasts without being told to",
        (("drop_attr", "broadcast", None),),
    ),
    (
        "PRelu", 7, "spelling", "a slope per channel must be shaped to broadcast",
        (("adapter", "channel_slope"),),
    ),
    # Normalization.
    (
        "BatchNormalization", 7, "spelling", "the number of outputs tells training, not is_test",
        (("drop_attr", "is_test", None),),
    ),
    (
        "BatchNormalization", 9, "spelling", "spatial=0 is no longer possible",
        (("drop_attr", "spatial", (1,)),),
    ),
    (
        "BatchNormalization", 14, "spelling", "training_mode tells training, saved_* are gone",
        (("adapter", "batch_norm_training"),),
    ),
    (
        "GroupNormalization", 21, "meaning", "scale and bias are per channel, no longer per group",
        (("adapter", "group_scale"),),
    ),
    # Softmax before 13 flattens to a matrix at `axis`, and its default axis was 1.
    (
        "Softmax LogSoftmax Hardmax", 13, "meaning", "works along one axis, no longer on a matrix",
        (("adapter", "flattened_softmax"),),
    ),
    # Dropout.
    ("Dropout", 7, "spelling", "is_test is gone", (("drop_attr", "is_test", None),)),
    ("Dropout", 10, "spelling", "the mask is a bool", (("output_bool", 1),)),
    (
        "Dropout", 12, "spelling", "ratio is an input; training is asked for by an input",
        (("attr_to_input", "ratio", 1, "float", 0, None),),
    ),
    # Attributes that became inputs.
    ("Reshape", 5, "spelling", "shape is an input",
     (*_CONSUMED, ("attr_to_input", "shape", 1, "int64", 1, None))),
    (
        "Slice", 10, "spelling", "starts, ends and axes are inputs",
        (
            ("attr_to_input", "starts", 1, "int64", 1, None),
            ("attr_to_input", "ends", 2, "int64", 1, None),
            ("attr_to_input", "axes", 3, "int64", 1, None),
        ),
    ),
    ("TopK", 10, "spelling", "K is an input", (("attr_to_input", "k", 1, "int64", 1, None),)),
    (
        "Clip", 11, "spelling", "min and max are inputs",
        (
            ("attr_to_input", "min", 1, "like 0", 0, None),
            ("attr_to_input", "max", 2, "like 0", 0, None),
        ),
    ),
    ("Pad", 2, "spelling", "paddings is named pads", (("rename_attr", "paddings", "pads"),)),
    (
        "Pad", 11, "spelling", "pads and value are inputs",
        (
            ("attr_to_input", "pads", 1, "int64", 1, None),
            ("attr_to_input", "value", 2, "like 0", 0, None),
        ),
    ),
    ("Squeeze Unsqueeze ReduceSum", 13, "spelling", "axes is an input", _AXES),
    (_REDUCTIONS, 18, "spelling", "axes is an input", _AXES),
    (
        "Split", 2, "spelling", "split is an attribute only, axis defaults to 0",
        (("input_to_attr", "split", 1), ("old_default", "axis", 0)),
    ),
    ("Split", 13, "spelling", "split is an input",
     (("attr_to_input", "split", 1, "int64", 1, None),)),
    (
        "Split", 18, "spelling", "either split or num_outputs must be given",
        (("count_outputs", "num_outputs"),),
    ),
    (
        "DFT", 20, "spelling", "axis is an input, its default moved from 1 to -2",
        (("attr_to_input", "axis", 2, "int64", 0, 1),),
    ),
    # Resampling.
    ("Upsample", 7, "spelling", "one list of scales", (("adapter", "height_width_scale"),)),
    ("Upsample", 9, "spelling", "scales is an input",
     (("attr_to_input", "scales", 1, "float", 1, None),)),
    ("Upsample", 10, "removed", "Resize takes over", (("rename_op", "Resize"),)),
    (
        "Resize", 11, "spelling", "scales moved behind roi; was asymmetric, nearest rounded down",
        (("adapter", "resize_asymmetric"),),
    ),
    (
        "RoiAlign", 16, "spelling", "the default shifts by half a pixel",
        (("set_attr", "coordinate_transformation_mode", "output_half_pixel"),),
    ),
    (
        "GridSample", 20, "spelling", "modes renamed",
        (("rename_value", "mode", {"bilinear": "linear", "bicubic": "cubic"}),),
    ),
    # The rest.
    ("Cast", 6, "spelling", "the type is a number", (("dtype_name", "to"),)),
    ("Concat", 4, "spelling", "axis must be given", (("old_default", "axis", 1),)),
    ("GlobalLpPool LpPool", 2, "spelling", "p is an int", (("int_attr", "p"),)),
    ("GRU", 3, "spelling", "the default direction was misspelt",
     (("rename_value", "direction", {"foward": "forward"}),)),
    ("GRU LSTM RNN", 7, "spelling", "output_sequence is gone", _OUTPUT_SEQUENCE),
    ("Scan", 9, "meaning", "no batch axis and no sequence lengths", (("adapter", "batched_scan"),)),
    ("Scatter", 11, "removed", "ScatterElements takes over", (("rename_op", "ScatterElements"),)),
    ("Tile", 6, "spelling", "repeats for all axes at once", (("adapter", "tile_one_axis"),)),
    ("ai.onnx.ml::LabelEncoder", 2, "spelling", "keys and values instead of a list of classes",
     (("adapter", "label_classes"),)),
    (
        "ai.onnx.ml::TreeEnsembleClassifier ai.onnx.ml::TreeEnsembleRegressor",
        5, "removed", "TreeEnsemble takes over", (("adapter", "tree_ensemble"),),
    ),
)  # fmt: skip

# The versions which open a new revision, by op key, ascending.
BREAKS: dict[str, tuple[int, ...]] = {}
# (op key, version) -> "spelling", "meaning" or "removed".
BREAK_CLASS: dict[tuple[str, int], str] = {}
# (op key, version) -> why, in words.
BREAK_REASON: dict[tuple[str, int], str] = {}
# (op key, version) -> the steps from the revision before it.
SPELLING: dict[tuple[str, int], tuple[Step, ...]] = {}

for _names, _version, _class, _why, _steps in CHANGES:
    for _name in _names.split(" "):
        BREAKS[_name] = tuple(sorted((*BREAKS.get(_name, ()), _version)))
        BREAK_CLASS[_name, _version] = _class
        BREAK_REASON[_name, _version] = _why
        SPELLING[_name, _version] = _steps

# Operators which onnxruntime also takes, in the same meaning, before the opset that introduced
# them: op key -> first opset.
EARLY: dict[str, int] = {"LayerNormalization": 1, "ThresholdedRelu": 1}

_NEGATIVE_AXIS_11 = "ArgMax ArgMin Compress Concat Flatten Hardmax LogSoftmax Softmax Split TopK"
_NEGATIVE_AXES_11 = f"{_REDUCTIONS} ReduceSum Squeeze Unsqueeze"

# What a signature does not tell: op key -> rows (kind, subject, value, first opset, until or None).
#   "negative_attr"   a negative number in attribute `subject`
#   "value"           attribute `subject` being `value`
#   "float_value"     the same, and input 0 floating point
#   "negative_input"  negative numbers in the constant at input `subject`
#   "input_rank"      input `subject` having rank `value` or more
# `opsets` applies the first three; the last two need constants and shapes, which it is not given.
NEEDS: dict[str, tuple[tuple[str, Any, Any, int, int | None], ...]] = {
    **dict.fromkeys(_NEGATIVE_AXIS_11.split(" "), (("negative_attr", "axis", None, 11, None),)),
    **dict.fromkeys(_NEGATIVE_AXES_11.split(" "), (("negative_attr", "axes", None, 11, None),)),
    "Scan": (
        ("negative_attr", "scan_input_axes", None, 11, None),
        ("negative_attr", "scan_output_axes", None, 11, None),
    ),
    "Gather": (("negative_input", 1, None, 11, None),),
    "Scatter": (("negative_input", 1, None, 11, None),),
    "OneHot": (("negative_input", 0, None, 11, None),),
    "Slice": (("negative_input", 3, None, 11, None),),
    "Mod": (("float_value", "fmod", 0, 28, None),),
    "Pad": (("value", "mode", "wrap", 19, None),),
    "Resize": (
        ("value", "coordinate_transformation_mode", "tf_half_pixel_for_nn", 11, 13),
        ("value", "coordinate_transformation_mode", "half_pixel_symmetric", 19, None),
    ),
    "ScatterElements": (
        ("value", "reduction", "max", 18, None),
        ("value", "reduction", "min", 18, None),
    ),
    "ScatterND": (
        ("value", "reduction", "max", 18, None),
        ("value", "reduction", "min", 18, None),
    ),
    "QuantizeLinear": (("input_rank", 1, 1, 13, None), ("input_rank", 1, 2, 21, None)),
    "DequantizeLinear": (("input_rank", 1, 1, 13, None), ("input_rank", 1, 2, 21, None)),
    "GridSample": (("input_rank", 0, 5, 20, None),),
}

"""What of TFLite's schema (tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3) is read: tables, enumerations.

A line of `_TABLES` names a table and its fields by slot, ``name:kind`` or ``name:kind=default``; ``-`` skips a slot.
"""

from __future__ import annotations

from ...ir.types import (
    BF16,
    BOOL,
    C64,
    C128,
    F16,
    F32,
    F64,
    I2,
    I4,
    I8,
    I16,
    I32,
    I64,
    STR,
    U4,
    U8,
    U16,
    U32,
    U64,
    DType,
)
from .flatbuffer import Field

_TABLES = """
Model version:u32 operator_codes:[OperatorCode] subgraphs:[SubGraph] description:str buffers:[Buffer]
OperatorCode deprecated_builtin_code:i8 custom_code:str version:i32=1 builtin_code:i32
SubGraph tensors:[Tensor] inputs:[i32] outputs:[i32] operators:[Operator] name:str
Buffer data:bytes offset:u64 size:u64
Tensor shape:[i32] type:i8 buffer:u32 name:str quantization:QuantizationParameters is_variable:bool sparsity:SparsityParameters shape_signature:[i32]
Operator opcode_index:u32 inputs:[i32] outputs:[i32] builtin_options_type:u8 builtin_options:union custom_options:bytes - - - - - builtin_options_2_type:u8 builtin_options_2:union
QuantizationParameters min:[f32] max:[f32] scale:[f32] zero_point:[i64] details_type:u8 details:- quantized_dimension:i32
SparsityParameters traversal_order:[i32] block_map:[i32] dim_metadata:[DimensionMetadata]
DimensionMetadata format:i8 dense_size:i32 array_segments_type:u8 array_segments:union array_indices_type:u8 array_indices:union
Int32Vector values:[i32]
Uint16Vector values:[u16]
Uint8Vector values:[u8]
Conv2DOptions padding:i8 stride_w:i32 stride_h:i32 activation:i8 dilation_w:i32=1 dilation_h:i32=1
DepthwiseConv2DOptions padding:i8 stride_w:i32 stride_h:i32 depth_multiplier:i32 activation:i8 dilation_w:i32=1 dilation_h:i32=1
FullyConnectedOptions activation:i8 weights_format:i8 keep_num_dims:bool
Pool2DOptions padding:i8 stride_w:i32 stride_h:i32 filter_w:i32 filter_h:i32 activation:i8
TransposeConvOptions padding:i8 stride_w:i32 stride_h:i32 activation:i8
ConcatenationOptions axis:i32 activation:i8
AddOptions activation:i8
ResizeBilinearOptions - - align_corners:bool half_pixel_centers:bool
ResizeNearestNeighborOptions align_corners:bool half_pixel_centers:bool
StridedSliceOptions begin_mask:i32 end_mask:i32 ellipsis_mask:i32 new_axis_mask:i32 shrink_axis_mask:i32 offset:bool
ReducerOptions keep_dims:bool
SoftmaxOptions beta:f32
PackOptions values_count:i32 axis:i32
UnpackOptions num:i32 axis:i32
GatherOptions axis:i32 batch_dims:i32
BlockOptions block_size:i32
SplitOptions num_splits:i32
SqueezeOptions squeeze_dims:[i32]
MirrorPadOptions mode:i8
LeakyReluOptions alpha:f32
BatchMatMulOptions adj_x:bool adj_y:bool
TypeOptions type:i8
CastOptions from:i8 to:i8
ReshapeOptions new_shape:[i32]
CallOnceOptions init_subgraph_index:i32
VarHandleOptions container:str shared_name:str
GeluOptions approximate:bool
CumsumOptions exclusive:bool reverse:bool
OneHotOptions axis:i32
IfOptions then_subgraph_index:i32 else_subgraph_index:i32
WhileOptions cond_subgraph_index:i32 body_subgraph_index:i32
StableHLOCompositeOptions name:str decomposition_subgraph_index:i32
SVDFOptions rank:i32 activation:i8
SequenceRNNOptions time_major:bool activation:i8
UnidirectionalSequenceLSTMOptions activation:i8 cell_clip:f32 proj_clip:f32 time_major:bool - diagonal_recurrent_tensors:bool
FakeQuantOptions min:f32 max:f32 num_bits:i32 narrow_range:bool
LocalResponseNormalizationOptions radius:i32 bias:f32 alpha:f32 beta:f32
Conv3DOptions padding:i8 stride_d:i32 stride_w:i32 stride_h:i32 activation:i8 dilation_d:i32=1 dilation_w:i32=1 dilation_h:i32=1
ReverseSequenceOptions seq_dim:i32 batch_dim:i32
UniqueOptions idx_out_type:i8=2
"""  # noqa: E501


def _field(slot: int, text: str) -> tuple[str, Field] | None:
    if text == "-":
        return None
    name, _, kind = text.partition(":")
    kind, _, default = kind.partition("=")
    return name, Field(slot, kind, int(default or 0))


def _layout(line: str) -> tuple[str, dict[str, Field]]:
    table, *fields = line.split()
    return table, dict(filter(None, (_field(slot, text) for slot, text in enumerate(fields))))


LAYOUTS = dict(_layout(line) for line in _TABLES.strip().splitlines())

# Options of an operator: the number that its union has for them (BuiltinOptions), and their table.
OPTIONS: dict[str, tuple[int, str]] = {
    "CONV_2D": (1, "Conv2DOptions"), "DEPTHWISE_CONV_2D": (2, "DepthwiseConv2DOptions"),
    "FULLY_CONNECTED": (8, "FullyConnectedOptions"), "TRANSPOSE_CONV": (49, "TransposeConvOptions"),
    "AVERAGE_POOL_2D": (5, "Pool2DOptions"), "MAX_POOL_2D": (5, "Pool2DOptions"),
    "CONCATENATION": (10, "ConcatenationOptions"), "L2_NORMALIZATION": (12, "AddOptions"),
    "ADD": (11, "AddOptions"), "SUB": (28, "AddOptions"), "MUL": (21, "AddOptions"), "DIV": (29, "AddOptions"),
    "RESIZE_BILINEAR": (15, "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": (74, "ResizeNearestNeighborOptions"),
    "STRIDED_SLICE": (32, "StridedSliceOptions"), "SOFTMAX": (9, "SoftmaxOptions"),
    "MEAN": (27, "ReducerOptions"), "SUM": (27, "ReducerOptions"), "REDUCE_PROD": (27, "ReducerOptions"),
    "REDUCE_MAX": (27, "ReducerOptions"), "REDUCE_MIN": (27, "ReducerOptions"),
    "REDUCE_ANY": (27, "ReducerOptions"), "REDUCE_ALL": (27, "ReducerOptions"),
    "PACK": (59, "PackOptions"), "UNPACK": (64, "UnpackOptions"), "GATHER": (23, "GatherOptions"),
    "SPACE_TO_DEPTH": (19, "BlockOptions"), "DEPTH_TO_SPACE": (94, "BlockOptions"), "SPLIT": (35, "SplitOptions"),
    "SPLIT_V": (79, "SplitOptions"), "SQUEEZE": (30, "SqueezeOptions"), "MIRROR_PAD": (77, "MirrorPadOptions"),
    "LEAKY_RELU": (75, "LeakyReluOptions"), "BATCH_MATMUL": (101, "BatchMatMulOptions"),
    "ARG_MAX": (40, "TypeOptions"), "ARG_MIN": (57, "TypeOptions"), "SHAPE": (55, "TypeOptions"),
    "CAST": (37, "CastOptions"), "RESHAPE": (17, "ReshapeOptions"), "CALL_ONCE": (103, "CallOnceOptions"),
    "VAR_HANDLE": (111, "VarHandleOptions"), "GELU": (116, "GeluOptions"), "CUMSUM": (102, "CumsumOptions"),
    "ONE_HOT": (61, "OneHotOptions"), "IF": (92, "IfOptions"), "WHILE": (93, "WhileOptions"),
    "SVDF": (6, "SVDFOptions"),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (31, "SequenceRNNOptions"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (71, "UnidirectionalSequenceLSTMOptions"),
    "FAKE_QUANT": (58, "FakeQuantOptions"), "L2_POOL_2D": (5, "Pool2DOptions"),
    "LOCAL_RESPONSE_NORMALIZATION": (13, "LocalResponseNormalizationOptions"),
    "CONV_3D": (106, "Conv3DOptions"), "CONV_3D_TRANSPOSE": (106, "Conv3DOptions"),
    "REVERSE_SEQUENCE": (87, "ReverseSequenceOptions"), "UNIQUE": (80, "UniqueOptions"),
}  # fmt: skip
OPTIONS_2 = {"STABLEHLO_COMPOSITE": (21, "StableHLOCompositeOptions")}  # of the second union
# Fields that name the subgraphs which an operator runs.
SUBGRAPHS = {
    "IF": ("then_subgraph_index", "else_subgraph_index"), "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
    "STABLEHLO_COMPOSITE": ("decomposition_subgraph_index",),
}  # fmt: skip

# Element types (TensorType); a resource is a handle of a variable.
RESOURCE = 13
DTYPES: dict[int, DType] = {
    0: F32, 1: F16, 2: I32, 3: U8, 4: I64, 5: STR, 6: BOOL, 7: I16, 8: C64, 9: I8, 10: F64, 11: C128, 12: U64,
    15: U32, 16: U16, 17: I4, 18: BF16, 19: I2, 20: U4,
}  # fmt: skip

# Names of BuiltinOperator by number.
_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM
MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND
SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN
EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2
GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG
SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT
UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE
MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5
SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO
RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE
RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX
UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD
STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS
STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE
STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH
STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE
STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE
STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE
STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
"""
OPERATORS = tuple(_NAMES.split())

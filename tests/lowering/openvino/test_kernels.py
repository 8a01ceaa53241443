"""The kernels that the CPU plugin chooses, read from its runtime model: fusion and compression really happen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from geoc.frontends.onnx import load_onnx
from geoc.lowering.onnx import model_bytes
from geoc.lowering.openvino.graph import to_openvino

from .running import compiled, kernels, layers, run
from .test_graph import on_onnxruntime, parsed

RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def same(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1e-9, np.abs(expected).max())


def by_reference(model: Any, feeds: dict[str, Any]) -> list[Any]:
    return list(ReferenceEvaluator(onnx.ModelProto.FromString(model_bytes(model))).run(None, feeds))


ATTENTIONS = {
    "plain": ("%y = Attention(%q, %k, %v)", ""),
    "scale": ("%y = Attention(%q, %k, %v) {scale=0.3}", ""),
    "causal": ("%y = Attention(%q, %k, %v) {is_causal=1}", ""),
    "float mask": ("%y = Attention(%q, %k, %v, %m)", ", %m: f32[B,1,S,S]"),
    "bool mask": ("%y = Attention(%q, %k, %v, %m)", ", %m: bool[B,1,1,S]"),
    "bool mask and causal": ("%y = Attention(%q, %k, %v, %m) {is_causal=1}", ", %m: bool[S,S]"),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_is_one_operator(name: str) -> None:
    body, mask = ATTENTIONS[name]
    model = parsed(f"graph @main(%q: f32[B,4,S,8], %k: f32[B,2,S,8], %v: f32[B,2,S,8]{mask}) -> (%y) {{\n  {body}\n}}")
    made = to_openvino(model)
    kinds = [op.get_type_name() for op in made.get_ordered_ops()]
    assert kinds.count("ScaledDotProductAttention") == 1 and "Softmax" not in kinds and "MatMul" not in kinds
    feeds = {"q": floats(2, 4, 5, 8), "k": floats(2, 2, 5, 8), "v": floats(2, 2, 5, 8)}
    if name == "float mask":
        feeds["m"] = floats(2, 1, 5, 5)
    elif mask:
        feeds["m"] = np.tril(np.ones((5, 5), bool)) if "causal" in name else np.ones((2, 1, 1, 5), bool)
        feeds["m"][..., -1] = False
    expected = by_reference(model, feeds)[0]
    same(run(made, feeds)[0], expected)


@pytest.mark.parametrize("heads", ["f32[1,4,16,32]", "f32[B,4,S,32]"])
def test_attention_is_one_kernel_behind_the_scaling_of_the_query(heads: str) -> None:
    model = parsed(f"graph @main(%q: {heads}, %k: {heads}, %v: {heads}) -> (%y) {{\n  %y = Attention(%q, %k, %v)\n}}")
    assert layers(compiled(to_openvino(model))) in ({"Subgraph": 2}, {"Eltwise": 1, "Subgraph": 1})


def test_a_cache_is_attended_with_a_mask_that_ends_where_the_queries_do() -> None:
    model = parsed("""graph @main(%q: f32[B,4,S,8], %k: f32[B,2,S,8], %v: f32[B,2,S,8], %pk: f32[B,2,P,8], %pv: f32[B,2,P,8]) -> (%y, %kk, %vv) {
      %y, %kk, %vv = Attention(%q, %k, %v, none, %pk, %pv) {is_causal=1}
    }""")
    feeds = {
        "q": floats(1, 4, 3, 8), "k": floats(1, 2, 3, 8), "v": floats(1, 2, 3, 8), "pk": floats(1, 2, 6, 8), "pv": floats(1, 2, 6, 8),
    }  # fmt: skip
    expected = by_reference(model, feeds)
    for found, wanted in zip(run(to_openvino(model), feeds), expected):
        same(found, wanted)


def test_a_softcap_takes_the_primitives() -> None:
    model = parsed("graph @main(%q: f32[B,4,S,8], %k: f32[B,4,S,8], %v: f32[B,4,S,8]) -> (%y) {\n  %y = Attention(%q, %k, %v) {softcap=2.0, is_causal=1}\n}")
    made = to_openvino(model)
    assert "ScaledDotProductAttention" not in [op.get_type_name() for op in made.get_ordered_ops()]
    feeds = {name: floats(2, 4, 5, 8) for name in "qkv"}
    same(run(made, feeds)[0], by_reference(model, feeds)[0])


def test_rms_normalization_is_one_kernel() -> None:
    model = parsed("graph @main(%x: f32[B,S,64]) -> (%y) {\n  weight %w: f32[64] = [" + ", ".join(["1.5"] * 64) + "]\n  %y = RMSNormalization(%x, %w)\n}")
    program = compiled(to_openvino(model))
    assert layers(program) == {"RMS": 1}
    x = floats(2, 3, 64)
    same(run(program, {"x": x})[0], x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * 1.5)


def test_layer_normalization_is_one_kernel_with_its_scale_behind() -> None:
    model = parsed("graph @main(%x: f32[B,S,64], %w: f32[64], %b: f32[64]) -> (%y) {\n  %y = LayerNormalization(%x, %w, %b)\n}")
    program = compiled(to_openvino(model))
    assert layers(program).get("MVN") == 1 and sum(layers(program).values()) <= 3
    feeds = {"x": floats(2, 3, 64), "w": floats(64), "b": floats(64)}
    same(run(program, feeds)[0], on_onnxruntime(model, feeds)[0])


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding_is_one_kernel(interleaved: int) -> None:
    model = parsed(
        "graph @main(%x: f32[B,4,S,16], %c: f32[B,S,8], %s: f32[B,S,8]) -> (%y) {\n"
        f"  %y = RotaryEmbedding(%x, %c, %s) {{interleaved={interleaved}}}\n}}"
    )
    program = compiled(to_openvino(model))
    if not interleaved:
        assert layers(program).get("RoPE") == 1 and "Concatenation" not in layers(program)
    feeds = {"x": floats(2, 4, 5, 16), "c": floats(2, 5, 8), "s": floats(2, 5, 8)}
    same(run(program, feeds)[0], by_reference(model, feeds)[0])


def test_products_activations_and_additions_are_fused() -> None:
    model = parsed("graph @main(%x: f32[B,S,64], %w: f32[64,32], %b: f32[32]) -> (%y) {\n  %m = MatMul(%x, %w)\n  %a = Add(%m, %b)\n  %y = Gelu(%a)\n}")
    weights = {"w": floats(64, 32), "b": floats(32)}
    proto = onnx.ModelProto.FromString(model_bytes(model))
    del proto.graph.input[1:]
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    program = compiled(to_openvino(load_onnx(proto.SerializeToString())))
    assert layers(program) == {"FullyConnected": 1, "Transpose": 1}  # the Transpose is that of the weights, done once
    x = floats(2, 3, 64)
    same(run(program, {"x": x})[0], on_onnxruntime(model, {"x": x, **weights})[0])


# Compressed weights

CODES = {"u4": TensorProto.UINT4, "i4": TensorProto.INT4, "i8": TensorProto.INT8, "u8": TensorProto.UINT8}
ENDS = {"u4": (0, 16), "i4": (-8, 8), "i8": (-128, 128), "u8": (0, 256)}


def onnx_model(nodes: list[Any], x: list[Any], y: list[Any], weights: list[Any]) -> bytes:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def unoptimized(data: bytes, x: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["u4", "i4", "i8"])
def test_weights_in_blocks_stay_compressed(kind: str, axis: int, zero_points: bool) -> None:
    shape, scaled = ([64, 32], [2, 32]) if axis == 0 else ([32, 64], [32, 2])
    low, high = ENDS[kind]
    weights = [
        helper.make_tensor("w", CODES[kind], shape, RNG.integers(low, high, shape).reshape(-1).tolist()),
        numpy_helper.from_array(RNG.random(scaled).astype(np.float32), "s"),
    ]
    if zero_points:
        weights.append(helper.make_tensor("z", CODES[kind], scaled, RNG.integers(max(low, 0), high // 2, scaled).reshape(-1).tolist()))
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", *(["z"] if zero_points else [])], ["d"], axis=axis, block_size=32)]
    if axis == 1:
        nodes.append(helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]))
    nodes.append(helper.make_node("MatMul", ["x", "t" if axis == 1 else "d"], ["y"]))
    data = onnx_model(nodes, ["B", "S", 64], ["B", "S", 32], weights)
    program = compiled(to_openvino(load_onnx(data)))
    (product,) = (kernel for kernel in kernels(program) if kernel.layer == "FullyConnected")
    assert product.inputs[1] == kind
    x = floats(2, 3, 64)
    same(run(program, {"x": x})[0], unoptimized(data, x), 1e-5)


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("blocks", [2, 3])
def test_products_of_few_bits_stay_compressed(blocks: int, zero_points: bool) -> None:
    width, n = blocks * 32, 16
    weights = [
        numpy_helper.from_array(RNG.integers(0, 256, (n, blocks, 16)).astype(np.uint8), "w"),
        numpy_helper.from_array(RNG.random(n * blocks).astype(np.float32), "s"),
    ]
    if zero_points:
        weights.append(numpy_helper.from_array(RNG.integers(0, 256, n * ((blocks + 1) // 2)).astype(np.uint8), "z"))
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s", *(["z"] if zero_points else [])], ["y"],
        domain="com.microsoft", K=width, N=n, bits=4, block_size=32,
    )  # fmt: skip
    data = onnx_model([node], ["B", width], ["B", n], weights)
    program = compiled(to_openvino(load_onnx(data)))
    (product,) = (kernel for kernel in kernels(program) if kernel.layer == "FullyConnected")
    assert product.inputs[1] == "u4"
    x = floats(3, width)
    same(run(program, {"x": x})[0], unoptimized(data, x), 1e-4)


@pytest.mark.parametrize("zero_point", [np.uint8(0), np.uint8(128), np.int8(0), np.int8(3)], ids=lambda z: f"{z.dtype} {z}")
def test_quantized_layers_run_in_int8(zero_point: Any) -> None:
    """A convolution with a bias, an activation and a product: every input quantized, weights per channel."""
    w, f = floats(16, 8, 3, 3), floats(256, 10)
    # Codes up to 63: no sum of two products is beyond 16 bits.
    ws, fs = (np.abs(w).max((1, 2, 3)) / 63).astype(np.float32), (np.abs(f).max(0) / 63).astype(np.float32)
    arrays = {
        "xs": np.float32(0.03), "z": zero_point, "ys": np.float32(0.1), "ws": ws, "fs": fs,
        "w": np.round(w / ws[:, None, None, None]).astype(np.int8), "f": np.round(f / fs).astype(np.int8),
        "b": RNG.integers(-100, 100, 16).astype(np.int32), "bs": ws * np.float32(0.03), "shape": np.array([-1, 256]),
    }  # fmt: skip
    quantize, dequantize = ("QuantizeLinear", "DequantizeLinear")
    nodes = [
        helper.make_node(quantize, ["x", "xs", "z"], ["xq"]), helper.make_node(dequantize, ["xq", "xs", "z"], ["xd"]),
        helper.make_node(dequantize, ["w", "ws"], ["wd"], axis=0), helper.make_node(dequantize, ["b", "bs"], ["bd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node(quantize, ["r", "ys", "z"], ["rq"]), helper.make_node(dequantize, ["rq", "ys", "z"], ["rd"]),
        helper.make_node("Reshape", ["rd", "shape"], ["v"]), helper.make_node(dequantize, ["f", "fs"], ["fd"], axis=1),
        helper.make_node("MatMul", ["v", "fd"], ["y"]),
    ]  # fmt: skip
    data = onnx_model(nodes, ["B", 8, 4, 4], ["B", 10], [numpy_helper.from_array(np.asarray(v), n) for n, v in arrays.items()])
    made = to_openvino(load_onnx(data))
    kinds = [op.get_type_name() for op in made.get_ordered_ops()]
    assert kinds.count("FakeQuantize") == 2
    program = compiled(made)
    found = {kernel.layer: kernel for kernel in kernels(program) if kernel.layer in ("Convolution", "FullyConnected")}
    assert "I8" in found["Convolution"].primitive and found["Convolution"].inputs[:2] == ("u8", "i8")
    assert found["FullyConnected"].inputs[1] == "i8" and found["FullyConnected"].precision in ("u8", "i8")
    x = floats(2, 8, 4, 4)
    same(run(program, {"x": x})[0], unoptimized(data, x), 1e-2)

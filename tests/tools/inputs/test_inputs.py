"""Made-up inputs: sizes for symbols, and values that fit what an input means."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.errors import UsageError
from geoc.ir.text import parse_model
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes, read_shapes

from ..toys import embedding, finish


def maker(model: onnx.ModelProto, *shape: str) -> InputMaker:
    loaded = load_onnx(model.SerializeToString())
    return InputMaker(loaded, read_shapes(shape, loaded) if shape else Shapes())


def single(name: str, dtype: int, dims: list[str | int], nodes: list[onnx.NodeProto] | None = None,
           constants: list[onnx.TensorProto] | None = None) -> InputMaker:  # fmt: skip
    """A model with one input that `nodes` turn into %y, by default unchanged."""
    nodes = nodes or [helper.make_node("Identity", [name], ["y"])]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info(name, dtype, dims)],
        [onnx.ValueInfoProto(name="y")],
        constants or [],
    )
    return maker(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def first(made: InputMaker, run: int = 0) -> np.ndarray:
    sizes = next(iter(made.sizes()))
    (array,) = made.feeds(sizes, run).values()
    return np.asarray(array)


def test_ids_stay_below_their_table() -> None:
    made = maker(embedding())
    for run, sizes in zip(range(4), made.sizes()):
        feeds = made.feeds(sizes, run)
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        assert ids.dtype == mask.dtype == np.int64
        assert ids.shape == mask.shape == (sizes["batch"], sizes["seq"])
        assert ids.min() >= 0 and ids.max() < 11
        assert len(np.unique(ids)) > 1
        assert set(np.unique(mask)) == {0, 1}
        assert mask[:, 0].all()


def test_ids_are_frequent_words_mostly() -> None:
    table = numpy_helper.from_array(np.zeros((30_000, 2), np.float32), "table")
    array = first(single("ids", TensorProto.INT64, [100, 100], [helper.make_node("Gather", ["table", "ids"], ["y"])], [table]))
    assert array.min() == 0 and 20_000 < array.max() < 30_000
    assert abs((array < 172).mean() - 0.5) < 0.03  # as many below the square root of the table's rows as above
    two = numpy_helper.from_array(np.zeros((2, 2), np.float32), "table")
    types = first(single("types", TensorProto.INT64, [10, 10], [helper.make_node("Gather", ["table", "types"], ["y"])], [two]))
    assert set(np.unique(types)) == {0, 1}


def test_two_shapes_differ_in_every_symbol() -> None:
    first_sizes, second = list(maker(embedding()).sizes())[:2]
    assert first_sizes == {"batch": 2, "seq": 16}
    assert second == {"batch": 3, "seq": 25}


def test_candidates_do_not_repeat() -> None:
    sizes = list(maker(embedding()).sizes())
    assert all(a != b for i, a in enumerate(sizes) for b in sizes[:i])
    assert any(s["batch"] == 1 for s in sizes)


@pytest.mark.parametrize(("offset", "low"), [(2, 9), (0, 11)])
def test_an_offset_before_the_table_is_counted(offset: int, low: int) -> None:
    table = numpy_helper.from_array(np.zeros((11, 2), np.float32), "table")
    two = numpy_helper.from_array(np.int64(offset), "two")
    nodes = [
        helper.make_node("Add", ["positions", "two"], ["p"]),
        helper.make_node("Gather", ["table", "p"], ["y"]),
    ]
    array = first(single("positions", TensorProto.INT64, ["b", "s"], nodes, [table, two]))
    assert array.max() < low
    assert (np.diff(array[0][: low - 1]) == 1).all()  # positions grow


def test_ids_inside_a_loop_are_found() -> None:
    table = numpy_helper.from_array(np.zeros((5, 2), np.float32), "table")
    body = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "state"], ["row"]),
            helper.make_node("Identity", ["cond"], ["cond_out"]),
            helper.make_node("Identity", ["state"], ["state_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.INT64, ["n"]),
        ],
        [
            helper.make_tensor_value_info("cond_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("row", TensorProto.FLOAT, ["n", 2]),
        ],
    )
    trips = numpy_helper.from_array(np.int64(2), "trips")
    loop = helper.make_node("Loop", ["trips", "", "tokens"], ["last", "y"], body=body)
    array = first(single("tokens", TensorProto.INT64, [200], [loop], [table, trips]))
    assert array.max() == 4


@pytest.mark.parametrize(
    ("name", "dtype", "dims", "check"),
    [
        ("image", TensorProto.FLOAT, [1, 3, 8, 8], lambda a: a.std() > 0.5 and a.min() < 0 < a.max()),
        ("pixels", TensorProto.UINT8, [64, 64], lambda a: a.min() < 10 and a.max() > 245),
        ("mask", TensorProto.FLOAT, [4, 9], lambda a: set(np.unique(a)) == {0.0, 1.0}),
        ("sr", TensorProto.INT64, [], lambda a: a == 16000),
        ("position_ids", TensorProto.INT64, [2, 5], lambda a: (a == np.arange(5)).all()),
        ("token_type_ids", TensorProto.INT64, [8, 8], lambda a: set(np.unique(a)) == {0, 1}),
        ("half", TensorProto.FLOAT16, [64], lambda a: a.dtype == np.float16 and a.std() > 0.5),
        ("text", TensorProto.STRING, [16], lambda a: all(isinstance(s, str) for s in a)),
        ("flags", TensorProto.BOOL, [4, 6], lambda a: a.any() and not a.all()),
    ],
)
def test_values_by_type_and_name(name: str, dtype: int, dims: list[str | int], check) -> None:  # type: ignore[no-untyped-def]
    assert check(first(single(name, dtype, dims)))


def test_a_float_mask_that_is_added_hides_with_large_negatives() -> None:
    scores = numpy_helper.from_array(np.zeros((4, 9), np.float32), "scores")
    nodes = [helper.make_node("Add", ["attention_mask", "scores"], ["y"])]
    array = first(single("attention_mask", TensorProto.FLOAT, [4, 9], nodes, [scores]))
    assert set(np.unique(array)) == {-10000.0, 0.0}


def test_a_switch_stands_both_ways() -> None:
    made = single("use_cache_branch", TensorProto.BOOL, [1])
    assert [bool(first(made, run)) for run in (0, 1)] == [False, True]


def test_lengths_do_not_exceed_the_longest_input() -> None:
    nodes = [
        helper.make_node("Cast", ["x_lengths"], ["l"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["l"], ["m"], keepdims=0),
        helper.make_node("Mul", ["x", "m"], ["y"]),
    ]
    inputs: list[tuple[str, int, list[str | int]]] = [
        ("x", TensorProto.FLOAT, ["b", "time"]), ("x_lengths", TensorProto.INT64, ["b"]),
    ]  # fmt: skip
    made = maker(finish(nodes, inputs, [("y", TensorProto.FLOAT, ["b", "time"])]))
    sizes = next(iter(made.sizes()))
    lengths = made.feeds(sizes, 0)["x_lengths"]
    assert lengths.shape == (sizes["b"],)
    assert lengths.max() == sizes["time"] and lengths.min() == sizes["time"] - 1


def test_past_and_total_fit_together() -> None:
    inputs: list[tuple[str, int, list[str | int]]] = [
        ("past_key", TensorProto.FLOAT, ["batch", 2, "past_len", 4]),
        ("ids", TensorProto.INT64, ["batch", "seq_len"]),
        ("attention_mask", TensorProto.INT64, ["batch", "total_len"]),
        ("other_mask", TensorProto.INT64, ["batch", "past_len + seq_len"]),
    ]
    nodes = [helper.make_node("Identity", ["ids"], ["y"])]
    made = maker(finish(nodes, inputs, [("y", TensorProto.INT64, ["batch", "seq_len"])]))
    for sizes in list(made.sizes())[:4]:
        feeds = made.feeds(sizes, 0)
        past, new = feeds["past_key"].shape[2], feeds["ids"].shape[1]
        assert feeds["attention_mask"].shape[1] == feeds["other_mask"].shape[1] == past + new


def test_images_are_larger_than_latents() -> None:
    image = first(single("x", TensorProto.FLOAT, ["n", 3, "h", "w"]))
    latent = first(single("x", TensorProto.FLOAT, ["n", 4, "h", "w"]))
    channels_last = first(single("x", TensorProto.FLOAT, ["n", "h", "w", 3]))
    assert image.shape == (2, 3, 64, 96) and channels_last.shape == (2, 64, 96, 3)
    assert latent.shape == (2, 4, 16, 24)


def test_shape_option_fixes_sizes() -> None:
    made = maker(embedding(), "batch=5", "seq=7:9:11")
    assert [(s["batch"], s["seq"]) for s in made.sizes()] == [(5, 9), (5, 7), (5, 11)]
    made = maker(embedding(), "input_ids=4,6")
    assert first_shape(made) == (4, 6)


def first_shape(made: InputMaker) -> tuple[int, ...]:
    return tuple(made.feeds(next(iter(made.sizes())), 0)["attention_mask"].shape)


def test_the_same_seed_gives_the_same_values() -> None:
    a, b = maker(embedding()), maker(embedding())
    sizes = next(iter(a.sizes()))
    assert np.array_equal(a.feeds(sizes, 0)["input_ids"], b.feeds(sizes, 0)["input_ids"])
    assert not np.array_equal(a.feeds(sizes, 0)["input_ids"], a.feeds(sizes, 1)["input_ids"])
    b.seed = 1
    assert not np.array_equal(a.feeds(sizes, 0)["input_ids"], b.feeds(sizes, 0)["input_ids"])


def test_what_cannot_be_made_up_says_why() -> None:
    assert "--shape x=" in maker_of_type(onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=1))).problem
    value = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, []))
    assert "no values can be made up" in maker_of_type(value).problem
    assert "numpy" in maker_of_type(helper.make_tensor_type_proto(TensorProto.INT4, [2])).problem


def maker_of_type(type: onnx.TypeProto) -> InputMaker:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g",
        [onnx.ValueInfoProto(name="x", type=type)], [onnx.ValueInfoProto(name="y", type=type)],
    )  # fmt: skip
    return maker(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


@pytest.mark.parametrize("dims", [["n", 3, "h", "w"], ["n", 1, 32, 100], ["n", 224, 224, 3], ["n", "c", "h", "w"]])
def test_pictures_are_pages_with_letters_on_them(dims: list[str | int]) -> None:
    array = first(single("x", TensorProto.FLOAT, dims))
    channels_last = array.shape[3] == 3
    grey = array.mean(3 if channels_last else 1)
    dark = (grey < 0).mean()
    assert 0.1 < dark < 0.6
    # Strokes are at least two pixels high: most pixels below a dark one are dark.
    assert (grey[:, 1:] < 0)[grey[:, :-1] < 0].mean() > 0.5
    assert np.unique(array).size > array.size // 2  # grain in every pixel and channel


@pytest.mark.parametrize(
    ("name", "dims"),
    [("past_key", ["b", 3, "past", 64]), ("x", ["b", 4, 64, 64]), ("x", ["b", 3, 8, 8]), ("x", ["b", 3, 32])],
)
def test_what_cannot_be_a_picture_is_noise(name: str, dims: list[str | int]) -> None:
    array = first(single(name, TensorProto.FLOAT, dims))
    assert abs(float(array.mean())) < 0.2
    assert 0.8 < float(array.std()) < 1.2


@pytest.mark.parametrize(("dtype", "kind"), [(TensorProto.INT64, "i"), (TensorProto.FLOAT, "f")])
def test_steps_of_diffusion_are_as_many_as_in_training(dtype: int, kind: str) -> None:
    """Angles are made of them: 3 of 1,000 steps would show nothing of what they lose in half precision."""
    array = first(single("timestep", dtype, ["batch"]))
    assert array.dtype.kind == kind and array.min() >= 0 and 100 < array.max() < 1000
    assert first(single("time_steps_mask", dtype, [2, 8])).max() <= 1


def test_ids_stay_below_a_table_of_codes() -> None:
    """As onnxruntime keeps tables of few bits: rows of packed codes, with a scale for each block."""
    codes = numpy_helper.from_array(np.zeros((7, 16), np.uint8), "codes")
    scales = numpy_helper.from_array(np.ones((7, 1), np.float32), "scales")
    node = helper.make_node("GatherBlockQuantized", ["codes", "ids", "scales"], ["y"], domain="com.microsoft", bits=4, block_size=32)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", 64])
    graph = helper.make_graph([node], "g", [ids], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [codes, scales])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    made = first(maker(helper.make_model(graph, opset_imports=opsets, ir_version=10)))
    assert made.min() >= 0 and made.max() < 7 and len(np.unique(made)) > 1


# Names for open dimensions

OPEN = """geoc 1
graph @main(%ids: i64[?,?], %mask: i64[?,?], %past.0: f32[?,4,?,8], %past.1: f32[?,4,?,8]) -> (%y, %z) {
  %y = Mul(%ids, %mask)
  %z = Add(%past.0, %past.1)
}"""


def named(*texts: str) -> tuple[Shapes, list[str]]:
    loaded = parse_model(OPEN)
    found = read_shapes(texts, loaded)
    return found, [str(value.type) for value in (*loaded.graph.inputs, *loaded.graph.outputs)]


def test_names_make_dimensions_equal() -> None:
    shapes, types = named("ids=B,S", "mask=B,S", "past.*=B,4,P,8", "S=16:32:64")
    assert types == ["i64[B,S]", "i64[B,S]", "f32[B,4,P,8]", "f32[B,4,P,8]", "i64[B,S]", "f32[B,4,P,8]"]
    assert shapes.symbols == {"S": (16, 32, 64)} and not shapes.inputs


def test_names_beside_sizes_and_sums() -> None:
    shapes, types = named("ids=1,S,mask=1,P+S", "past.*=1,4,P,8", "P=3")
    assert types[1].endswith(",P+S]")
    assert shapes.symbols["P"] == 3 and sorted(shapes.symbols.values(), key=str) == [1, 1, 1, 1, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ids=B", "has 2 dimensions, not 1"), ("past.0=B,H,P,8", "has the fixed size 4 at axis 1"), ("no*=B", "no input and no symbolic dimension 'no"),
        ("ids=B,+", "neither a size, nor a range min:opt:max, nor a name"), ("ids=B,S-", "nor a name"), ("S=4", "no symbolic dimension 'S'"),
    ],
)  # fmt: skip
def test_names_that_fit_nothing(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        named(text)

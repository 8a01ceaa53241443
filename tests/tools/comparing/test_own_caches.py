"""Made-up inputs of decoders have caches that the decoder made itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from geoc.ir.text import parse_model
from geoc.tools.comparing.own_caches import caches_by_name, filled
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes

TEXT = """geoc 1
opset "" 23

graph @main(%x: f32[1,seq,8], %past: f32[1,2,past,4]) -> (%y, %present) {
  weight %shape: i64[4] = [1, -1, 2, 4]
  %k: f32[1,seq,2,4] = Reshape(%x, %shape)
  %t: f32[1,2,seq,4] = Transpose(%k) {perm=[0, 2, 1, 3]}
  %present: f32[1,2,past+seq,4] = Concat(%past, %t) {axis=2}
  %y: f32[1,2,past+seq,4] = Relu(%present)
}
"""


def _maker() -> tuple[Any, InputMaker]:
    model = parse_model(TEXT)
    return model, InputMaker(model, Shapes(), 0)


def test_a_past_is_what_a_prompt_of_its_length_left() -> None:
    model, maker = _maker()
    known = caches_by_name(model.graph)
    assert known == {"past": "present"}
    sizes = next(maker.sizes())
    asked = []

    def run(names: list[str], feeds: dict[str, Any]) -> list[Any]:
        asked.append({name: array.shape for name, array in feeds.items()})
        assert names == ["present"]
        return [np.full((1, 2, feeds["x"].shape[1], 4), 0.25, np.float32)]

    feeds = maker.feeds(sizes, 0)
    found = filled(feeds, run, maker, sizes, 0, known)
    assert asked == [{"x": (1, 8, 8), "past": (1, 2, 0, 4)}]
    assert (found["past"] == 0.25).all() and found["past"].shape == feeds["past"].shape == (1, 2, 8, 4)
    assert np.array_equal(found["x"], feeds["x"])


def test_random_numbers_stay_where_there_is_no_prompt() -> None:
    model, maker = _maker()
    sizes = next(maker.sizes())
    feeds = maker.feeds(sizes, 0)

    def refuse(names: list[str], feeds: dict[str, Any]) -> list[Any]:
        raise RuntimeError("does not run")

    assert filled(feeds, refuse, maker, sizes, 0, caches_by_name(model.graph)) is feeds
    assert filled(feeds, refuse, maker, sizes, 0, {}) is feeds
    endless = filled(feeds, lambda *_: [np.full((1, 2, 8, 4), np.inf)], maker, sizes, 0, {"past": "present"})
    assert np.array_equal(endless["past"], feeds["past"])

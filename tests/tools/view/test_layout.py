"""The layout by itself, run in a browser on random graphs: nothing overlaps, edges lead down, and always the same way."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from ...browser import Browser, Page
from .conftest import Make

LAY = """((boxes, edges) => {
  const found = layered(boxes.map((b) => ({...b, tops: null, bottoms: null})), edges);
  return {...found, tops: [...found.tops], bottoms: [...found.bottoms]};
})"""
IN, OUT = -1, -2


def random_graph(seed: int, count: int, cycles: bool = False) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rng = random.Random(seed)
    boxes = [{"w": rng.randint(40, 200), "h": rng.choice([24, 40, 70, 300])} for _ in range(count)]
    edges = [{"v": i, "from": i, "to": i + rng.randint(1, 9)} for i in range(count) for _ in range(rng.randint(0, 3))]
    edges = [e for e in edges if e["to"] < count]
    edges += [{"v": 1000 + i, "from": IN, "to": rng.randrange(count)} for i in range(5)]
    edges += [{"v": v, "from": v, "to": OUT} for v in rng.sample(range(count), min(4, count))]
    edges.append({"v": 2000, "from": IN, "to": OUT})
    if cycles:
        edges += [{"v": 3000 + i, "from": rng.randrange(count), "to": rng.randrange(count)} for i in range(6)]
    return boxes, edges


@pytest.fixture(scope="module")
def page(browser: Browser, page_file: Make) -> Iterator[Page]:
    found = browser.open(page_file("nested"))
    yield found
    found.close()


def lay(page: Page, boxes: Any, edges: Any) -> dict[str, Any]:
    found: dict[str, Any] = page.js(f"{LAY}({json.dumps(boxes)}, {json.dumps(edges)})")
    return found


def check(boxes: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """No boxes overlap, and no line goes through one."""
    places = list(zip(found["x"], found["y"], boxes))
    for i, (x, y, box) in enumerate(places):
        assert x > -0.01 and x + box["w"] < found["w"] + 0.01
        assert y > -0.01 and y + box["h"] < found["h"] + 0.01
        for u, v, other in places[i + 1 :]:
            apart = x + box["w"] < u or u + other["w"] < x or y + box["h"] < v or v + other["h"] < y
            assert apart, (i, x, y, u, v)
    for s in found["segments"]:
        assert s["y0"] <= s["yb"] <= s["y1"] <= s["y2"], "a line goes up"
        for x, y, box in places:  # upright parts pass beside boxes; curves are in the gaps between layers
            for at, top, bottom in ((s["x0"], s["y0"], s["yb"]), (s["x1"], s["y1"], s["y2"])):
                through = x + 1 < at < x + box["w"] - 1 and max(y, top) + 1 < min(y + box["h"], bottom) - 1
                assert not through


@pytest.mark.parametrize(("seed", "count"), [(1, 1), (2, 5), (3, 20), (4, 60), (5, 150)])
def test_random_graphs(seed: int, count: int, page: Page) -> None:
    boxes, edges = random_graph(seed, count)
    found = lay(page, boxes, edges)
    check(boxes, found)
    assert not any(s["back"] for s in found["segments"])
    layers = found["layer"]
    for e in edges:
        if e["from"] >= 0 and e["to"] >= 0:
            assert layers[e["from"]] < layers[e["to"]]
    assert {v for v, _ in found["tops"]} == {e["v"] for e in edges if e["from"] == IN}
    assert {v for v, _ in found["bottoms"]} == {e["v"] for e in edges if e["to"] == OUT}
    assert found == lay(page, boxes, edges)


def test_cycles_are_drawn_backwards(page: Page) -> None:
    boxes, edges = random_graph(7, 30, cycles=True)
    found = lay(page, boxes, edges)
    check(boxes, found)
    assert any(s["back"] for s in found["segments"])
    assert found["layer"] == lay(page, boxes, edges)["layer"]
    # Two boxes that read from each other: the one that comes first stays above.
    two = lay(page, boxes[:2], [{"v": 0, "from": 0, "to": 1}, {"v": 1, "from": 1, "to": 0}])
    assert two["layer"] == [1, 2] and [s["back"] for s in two["segments"]] == [False, True]


def test_a_value_has_one_trunk(page: Page) -> None:
    boxes = [{"w": 60, "h": 24} for _ in range(6)]
    edges = [{"v": i, "from": i, "to": i + 1} for i in range(5)] + [{"v": 0, "from": 0, "to": to} for to in (3, 4, 5)]
    found = lay(page, boxes, edges)
    check(boxes, found)
    upright = {round(s["x1"], 2) for s in found["segments"] if s["v"] == 0 and s["y2"] > s["y1"]}
    assert len(upright) == 1, "the trunk is straight, and there is one of it"
    middles = [x + 30 for x in found["x"]]
    assert max(middles) - min(middles) < 1.5, "the longest path is straight"


def test_crossings_are_avoided(page: Page) -> None:
    boxes = [{"w": 50, "h": 20} for _ in range(8)]
    edges = [{"v": i, "from": i, "to": 7 - i} for i in range(4)]
    found = lay(page, boxes, edges)
    lines = [(s["x0"], s["x1"]) for s in found["segments"]]
    assert len(lines) == 4
    assert not any((a - c) * (b - d) < 0 for a, b in lines for c, d in lines)

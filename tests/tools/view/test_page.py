"""Pages in a browser: what clicks, keys and addresses do, on models of the repository."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from geoc.ir.text import parse_model
from geoc.lowering.targets import get_target
from geoc.tools.view.contents import of_models
from geoc.tools.view.page import page as page_of

from ...browser import Browser, Page
from .conftest import HEAD, Make, Open

BERT = "bert-ts"


def at(page: Page, name: str, side: str = "right") -> list[float]:
    """Where the middle of the box of a node lies, as its name or source name says."""
    found: list[float] = page.js(
        f"(() => {{ const pane = PAGE.{side}; const r = pane.graph.records.find((r) => nodeName(r) === {name!r} || r.names.includes({name!r}));"
        " return pane.pixelOf(pane.arrangement.find(r)); })()"
    )
    return found


def scope_at(page: Page, name: str, side: str = "right") -> list[float]:
    """Where the title of a scope lies."""
    found: list[float] = page.js(
        f"PAGE.{side}.pixelOf(PAGE.{side}.arrangement.findScope(SCOPES.find((s) => s.id && scopeName(s.id) === {name!r}).id))"
    )
    return found


def text(page: Page, selector: str) -> str:
    found: str = page.js(f"document.querySelector({selector!r}).innerText")
    return found


def seen(page: Page) -> list[str]:
    """Titles of all boxes as they are laid out now, open and closed."""
    found: list[str] = page.js(
        "(() => { const all = [], work = [PAGE.right.arrangement.root]; while (work.length) { const l = work.pop();"
        " for (const b of l.boxes) { all.push(b.title); if (b.inner) work.push(b.inner); } } return all; })()"
    )
    return found


def still(page: Page) -> None:
    """Wait until the camera rests."""
    page.js("new Promise((done) => setTimeout(done, 230))")


def test_a_model_opens_with_what_it_is(show: Open) -> None:
    page = show(BERT)
    assert "nodes" in text(page, "#facts") and "estimated on cpu" in text(page, "#facts")
    panel = text(page, "#panel")
    assert "MatMul" in panel and re.search(r"Slowest by estimate", panel, re.IGNORECASE)
    assert page.js("document.querySelectorAll('script[src], link, img, iframe').length") == 0
    assert {"encoder", "input_ids"} <= set(seen(page))
    assert len(seen(page)) < 120
    colours = page.js("(() => { const c = PAGE.right.canvas, d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, s = new Set(); for (let i = 0; i < d.length; i += 4) s.add(d[i] * 65536 + d[i + 1] * 256 + d[i + 2]); return s.size; })()")
    assert colours > 20, "something is drawn"


def test_scopes_open_and_close_by_clicks(show: Open) -> None:
    page = show(BERT)
    page.js("PAGE.openAll(0, false)")
    assert "layer.0" not in seen(page)
    page.click_on("#fit")
    still(page)
    page.click(*scope_at(page, "encoder"), count=2)
    assert {"layer.0", "layer.1"} <= set(seen(page))
    assert text(page, "#panel h2") == "encoder"
    page.click(*scope_at(page, "encoder/layer.0"))
    assert "layer.0" in text(page, "#panel h2") and "attention" not in seen(page)
    page.key("Enter")
    assert "attention" in seen(page)
    where = scope_at(page, "encoder/layer.0")
    page.key("Enter")
    assert "attention" not in seen(page)
    assert scope_at(page, "encoder/layer.0") == pytest.approx(where, abs=12), "what is clicked does not run away"
    page.click_on("#unfold")
    assert "MatMul" in seen(page) and len(seen(page)) > 200
    page.click_on("#collapse")
    assert len(seen(page)) < 60


def test_a_node_tells_all_about_itself(show: Open) -> None:
    page = show(BERT)
    name = page.js("(() => { const r = graphAt(0).records.find((r) => r.op === 'MatMul' && weightsOf(r).some((w) => w.stats)); PAGE.choose(r); return nodeName(r); })()")
    still(page)
    page.click(10, 500)  # away, and back by a click on the box
    page.click(*at(page, name))
    panel = text(page, "#panel")
    assert page.js("PAGE.right.graph.byKey.get(PAGE.selected.child / 2).op") == "MatMul"
    for word in ("min", "max", "mean", "zeros", "bound by", "work"):
        assert word in panel
    assert page.js("document.querySelectorAll('#panel svg.histogram rect').length") == 40
    assert page.js("PAGE.right.marks.values.size") >= 2
    assert f"node={name}" in page.js("decodeURIComponent(location.hash)")
    page.key("Escape")
    assert page.js("PAGE.selected") is None


def test_operands_and_readers_lead_on(show: Open) -> None:
    page = show(BERT)
    page.js("PAGE.choose(graphAt(0).records.find((r) => r.op === 'Softmax'))")
    reads = page.js("(() => { const r = graphAt(0).records.find((r) => r.op === 'Softmax'); return graphAt(0).makerOf(r.ins[0]).key; })()")
    page.key("ArrowUp")
    assert page.js("PAGE.selected.child / 2") == reads
    page.key("ArrowDown")
    assert text(page, "#panel h2") == "Softmax"
    page.click_on("#panel section ol button.link")
    assert page.js("PAGE.selected.child / 2") == reads


def test_search(show: Open) -> None:
    page = show(BERT)
    page.key("/")
    page.type("softmax")
    count = page.js("graphAt(0).records.filter((r) => r.op === 'Softmax').length")
    assert text(page, "#results p").startswith(f"{count} node")
    page.key("ArrowDown")
    page.key("ArrowDown")
    page.key("Enter")
    assert text(page, "#panel h2") == "Softmax"
    second = page.js("graphAt(0).records.filter((r) => r.op === 'Softmax')[1].key")
    assert page.js("PAGE.selected.child / 2") == second
    still(page)
    x, y = page.js("(() => { const p = PAGE.right, f = p.arrangement.find(p.graph.byKey.get(PAGE.selected.child / 2)); return p.pixelOf(f); })()")
    assert 0 < x < 1060 and 40 < y < 900, "it was brought into sight"
    page.key("/")
    page.type("i64[batch")
    assert not text(page, "#results p").startswith("0 ")
    page.key("Escape")
    assert page.js("PAGE.hits.size") == 0 and page.js("document.getElementById('results').hidden")


def test_wheel_and_drag_move_the_camera(show: Open) -> None:
    page = show(BERT)
    zoom = page.js("PAGE.right.camera.zoom")
    before = at(page, "input_ids")
    page.mouse("mouseWheel", *before, deltaX=0, deltaY=-300)
    page.until(f"PAGE.right.camera.zoom > {zoom * 1.1}")
    assert at(page, "input_ids") == pytest.approx(before, abs=1), "what is under the mouse stays there"
    page.mouse("mousePressed", 300, 400, button="left", clickCount=1)
    page.mouse("mouseMoved", 360, 440, button="left", buttons=1)
    page.mouse("mouseReleased", 360, 440, button="left", clickCount=1)
    x, y = at(page, "input_ids")
    assert (x - before[0], y - before[1]) == pytest.approx((60, 40), abs=1)
    page.click_on("#fit")
    still(page)
    assert page.js("PAGE.right.map.hidden") is True


def test_an_address_leads_to_a_node(show: Open, page_file: Make) -> None:
    page = show(BERT, "scope=encoder/layer.1")
    assert text(page, "#panel h2") == "layer.1"
    page.js("location.hash = 'node=input_ids'")
    page.until("document.querySelector('#panel h2').innerText === 'Input'")


def test_no_boxes_overlap_when_all_is_open(show: Open) -> None:
    page = show(BERT)
    page.js("PAGE.openAll(0, true)")
    wrong = page.js(
        "(() => { const bad = []; const go = (l) => { for (let i = 0; i < l.boxes.length; i++) { const a = l.boxes[i];"
        " if (a.x < -0.1 || a.y < -0.1 || a.x + a.w > l.w + 0.1 || a.y + a.h > l.h + 0.1) bad.push(['out', a.title]);"
        " for (const b of l.boxes.slice(i + 1)) if (a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h) bad.push([a.title, b.title]);"
        " if (a.inner) go(a.inner); } }; go(PAGE.right.arrangement.root); return bad; })()"
    )
    assert wrong == []


def test_every_edge_of_the_model_is_drawn(show: Open) -> None:
    """Each operand that a node makes can be followed, through borders, to where it is read."""
    page = show(BERT)
    page.js("PAGE.openAll(0, true)")
    missing = page.js(
        "(() => { const g = graphAt(0), seen = new Set(); const go = (l) => { for (const s of l.segments) seen.add(s.v); for (const b of l.boxes) if (b.inner) go(b.inner); };"
        " go(PAGE.right.arrangement.root); return [...g.readers.keys()].filter((v) => !seen.has(v)); })()"
    )
    assert missing == []


def pixel(page: Page, x: int, y: int) -> Any:
    return page.js(f"[...PAGE.right.ctx.getImageData({x}, {y}, 1, 1).data]")


def test_dark_as_the_system_has_it(show: Open) -> None:
    light, dark = show(BERT), show(BERT, dark=True)
    assert sum(pixel(light, 2, 2)[:3]) > 700 and sum(pixel(dark, 2, 2)[:3]) < 100


# Steps


def test_a_fusion_is_stepped_through(show: Open) -> None:
    page = show(f"steps/{BERT}", "step=0")
    assert text(page, "#where") == "00 input"
    titles = page.js("DATA.graphs.map((g) => g.title)")
    while not text(page, "#where").endswith(" attention"):
        page.key("ArrowRight")
    index = page.js("PAGE.index")
    assert titles[index] == "attention" and f"step={index}" in page.js("location.hash")
    assert page.js("PAGE.left.graph.index") == index - 1, "before and after stand side by side"
    assert page.js("[...PAGE.left.marks.status.values()].includes('removed')")
    page.click_on(".rewrite")
    assert text(page, "#rule-name") == "attention" and "attention.rules:" in text(page, "#rule-place")
    assert text(page, "#rule-text").startswith("rule attention") and "Attention(" in text(page, "#rule-text")
    left = page.js("[...PAGE.hits].map((k) => PAGE.left.graph.byKey.get(k)).filter(Boolean).map((r) => r.op)")
    right = page.js("[...PAGE.hits].map((k) => PAGE.right.graph.byKey.get(k)).filter(Boolean).map((r) => r.op)")
    assert "Softmax" in left and "Attention" in right and "Attention" not in left
    still(page)
    for side, op in (("left", "Softmax"), ("right", "Attention")):  # both are to be seen
        x, y = page.js(f"(() => {{ const p = PAGE.{side}, r = [...PAGE.hits].map((k) => p.graph.byKey.get(k)).find((r) => r && r.op === {op!r}); return p.pixelOf(p.arrangement.find(r)); }})()")
        box = page.js(f"(() => {{ const r = PAGE.{side}.element.getBoundingClientRect(); return [r.left, r.right, r.top, r.bottom]; }})()")
        assert box[0] < x < box[1] and box[2] < y < box[3]
    page.click_on("#panel section:last-of-type button.link")
    assert "Rewritten by".lower() in text(page, "#panel").lower()
    page.key("b")
    assert page.js("PAGE.left.element.hidden")


def test_a_rewrite_has_an_address(show: Open) -> None:
    first = show(f"steps/{BERT}", "step=0")
    number = first.js("DATA.graphs.flatMap((g) => g.rewrites).find((w) => w.rule === 'gelu').number")
    page = show(f"steps/{BERT}", f"rewrite={number}")
    assert text(page, "#rule-name") == "gelu"
    assert text(page, "#where").endswith("activations")


def test_all_steps_can_be_shown(show: Open) -> None:
    page = show(f"steps/{BERT}", "step=0")
    for _ in range(page.js("DATA.graphs.length") - 1):
        page.key("ArrowRight")
    assert page.js("PAGE.index") == page.js("DATA.graphs.length") - 1
    page.key("ArrowRight")
    assert page.js("PAGE.index") == page.js("DATA.graphs.length") - 1


# Two models


def test_two_models_are_brought_together(show: Open) -> None:
    page = show("bert-ts+bert-dynamo")
    shared = page.js("PAGE.right.graph.records.filter((r) => PAGE.left.graph.byKey.has(r.key)).length")
    assert shared > 40
    page.js("PAGE.choose(PAGE.right.graph.records.find((r) => r.op === 'Softmax'))")
    assert page.js("PAGE.left.marks.selected") == page.js("PAGE.right.marks.selected") is not None
    page.key("n")
    assert re.match(r"1 of \d+", text(page, "#difference"))
    first = page.js("PAGE.selected.child")
    page.key("n")
    assert page.js("PAGE.selected.child") != first
    page.key("p")
    assert page.js("PAGE.selected.child") == first


def test_a_model_beside_itself_does_not_differ(show: Open) -> None:
    page = show(f"{BERT}+{BERT}")
    assert page.js("PAGE.compared.right.size + PAGE.compared.left.size") == 0


def test_names_are_never_read_as_html(browser: Browser, tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=document.title='read'>"
    model = parse_model(HEAD + f'graph @g(%x: f32[4]) -> (%y: f32[4]) {{\n  %y: f32[4] = Relu(%x)  !{json.dumps("/" + hostile + "/" + hostile)}\n}}\n')
    model.graph.input_names[0] = hostile
    path = tmp_path / "p.html"
    path.write_text(page_of(of_models([(f"{hostile}.gir", model)], get_target("cpu"))))
    page = browser.open(path)
    page.until("document.documentElement.dataset.ready")
    page.js("PAGE.choose(graphAt(0).records.find((r) => r.op === 'Relu'))")
    page.js(f"PAGE.search.ask({json.dumps('onerror')})")
    assert page.js("document.querySelectorAll('img').length") == 0 and "read" not in page.js("document.title").split()
    assert hostile in text(page, "#panel")
    page.close()

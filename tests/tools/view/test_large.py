"""Pages of real models: nested branches, and thousands of nodes at more than 30 frames a second."""

from __future__ import annotations

import os
from itertools import pairwise
from statistics import median
from time import sleep

from ...browser import Browser, Page
from .conftest import Open
from .test_page import seen

SMOLLM = "smollm2-135m-past-real-dynamo"
MOVES = """new Promise((done) => {
  const canvas = PAGE.right.canvas, begun = performance.now();
  const send = (kind, type, more) => canvas.dispatchEvent(new kind(type, {bubbles: true, cancelable: true, clientX: 500, clientY: 450, ...more}));
  canvas.setPointerCapture = () => {};
  send(PointerEvent, "pointerdown", {pointerId: 1});
  let n = 0;
  const step = () => {
    const t = performance.now() - begun;
    if (t > 1500) return done(n);
    n++;
    if (t < 750) send(PointerEvent, "pointermove", {clientX: 500 + 60 * Math.sin(n / 9), clientY: 450 - 4 * n});
    else send(WheelEvent, "wheel", {deltaY: n % 40 < 20 ? 40 : -40});
    requestAnimationFrame(step);
  };
  step();
})"""


def measured(browser: Browser, page: Page) -> tuple[float, float]:
    """While the graph is dragged and zoomed without a pause: frames a second, and milliseconds of processor time that a
    frame takes in all threads and processes together, both as Chromium's own trace has them."""
    config = {"includedCategories": ["disabled-by-default-devtools.timeline.frame", "devtools.timeline.frame", "toplevel"]}
    browser.events.clear()
    browser.send("Tracing.start", {"traceConfig": config, "transferMode": "ReportEvents"})
    page.js(MOVES)
    browser.send("Tracing.end")
    browser.wait("Tracing.tracingComplete")
    heard = [event for e in browser.events if e.get("method") == "Tracing.dataCollected" for event in e["params"]["value"]]
    browser.events.clear()
    times = sorted(event["ts"] for event in heard if event["name"] == "DrawFrame")
    assert len(times) > 10
    work = sum(event.get("tdur", 0) for event in heard if event["name"] in ("ThreadControllerImpl::RunTask", "ThreadPool_RunTask"))
    assert work > 0
    return 1e6 / median(b - a for a, b in pairwise(times)), work / 1e3 / len(times)


def check_smooth(browser: Browser, page: Page) -> None:
    """More than 30 frames a second at the best of three times; on a machine that has no time for it, processor time
    that would allow them."""
    for _ in range(3):
        frames, work = measured(browser, page)
        if frames > 30 and work < 1000 / 30:
            return
        sleep(1)
    assert work < 1000 / 30
    busy = os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)
    assert busy, f"{frames:.0f} frames a second, {work:.1f} ms of work each"


def test_nested_branches(show: Open) -> None:
    page = show("nested")
    page.js("PAGE.openAll(0, true)")
    assert {"If", "then_branch", "else_branch", "Loop", "body", "Abs", "Exp"} <= set(seen(page))
    # What a branch captures crosses its borders, and what it gives goes out through them.
    crossing = page.js(
        "(() => { const a = PAGE.right.arrangement, g = graphAt(0), s = (n) => SCOPES.find((x) => x.label === n);"
        " const box = (n) => a.findScope(s(n).id).box; return ['If', 'then_branch', 'else_branch', 'Loop', 'body'].map((n) => [box(n).tops.size, box(n).bottoms.size]); })()"
    )
    assert crossing == [[3, 1], [1, 1], [1, 1], [4, 1], [3, 1]]
    page.js("PAGE.choose(graphAt(0).records.find((r) => r.op === 'If'))")
    assert "If" in page.js("document.querySelector('#panel h2').innerText")


def test_silero_vad(show: Open) -> None:
    page = show("silero-vad-v6")
    assert {"If", "then_branch", "else_branch", "stft", "encoder"} <= set(seen(page))
    page.js("PAGE.openAll(0, true)")
    depth = page.js("Math.max(...SCOPES.filter((s) => s.kind === NODE).map((s) => pathOf(s.id).filter((p) => SCOPES[p].kind === NODE).length))")
    assert depth == 4, "an If in an If in an If in an If"
    assert seen(page).count("LSTM") == 4
    page.js("PAGE.choose(graphAt(0).records.find((r) => r.op === 'LSTM'))")
    path = page.js("document.querySelector('#panel .path').innerText")
    assert "else_branch" in path and path.count("If") >= 2


def test_thousands_of_nodes_open_fast_and_move_smoothly(show: Open, browser: Browser) -> None:
    page = show(SMOLLM)
    assert page.js("performance.now()") < 3000
    assert page.js("graphAt(0).records.length") > 2500
    assert page.js("document.documentElement.outerHTML.length") < 4e6
    assert {"layers.0", "layers.29"} <= set(seen(page))
    check_smooth(browser, page)
    page.js("PAGE.openAll(0, true)")
    assert len(seen(page)) > 2500
    check_smooth(browser, page)
    page.js("PAGE.right.fit()")
    check_smooth(browser, page)

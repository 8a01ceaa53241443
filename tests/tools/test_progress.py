"""The progress bar: only on a terminal, only for long work, and gone at the end."""

from __future__ import annotations

import io

import pytest

from geoc.ir.core import Graph, Model
from geoc.passes.base import Pass
from geoc.tools import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "perf_counter", made)
    return made


def test_long_work_shows_where_it_is(clock: Clock) -> None:
    out, model, step = Terminal(), Model(Graph()), Pass()
    bar = progress.Progress(out)
    bar.stage("reading", 0.0, 0.1)
    clock.now += 1.9
    bar.stage("optimizing", 0.1, 0.7, 10)
    assert out.getvalue() == ""
    fills = []
    for _ in range(40):  # more passes than were announced
        clock.now += 0.5
        out.seek(0)
        out.truncate()
        bar.before_pass(model, step)
        assert "optimizing: " in out.getvalue() and out.getvalue().startswith("\r\x1b[K[")
        fills.append(out.getvalue().count("#"))
        bar.after_pass(model, step, True)
    assert fills == sorted(fills) and fills[0] < fills[-1] <= round(0.7 * progress.WIDTH)
    bar.finished()
    assert out.getvalue().endswith("\r\x1b[K")


def test_a_part_of_a_pass_moves_the_bar(clock: Clock) -> None:
    """Samples that are done, between the pass before and the one behind."""
    out = Terminal()
    bar = progress.Progress(out)
    bar.stage("optimizing", 0.0, 1.0, 4)
    clock.now += 3
    fills = []
    for part in (0.0, 0.5, 1.0):
        clock.now += 0.5
        out.seek(0)
        out.truncate()
        bar.detail(f"calibrating, {part:.0%}", part)
        fills.append(out.getvalue().count("#"))
    assert fills == [0, 3, 6] and "calibrating, 100%" in out.getvalue()


def test_short_work_and_pipes_show_nothing(clock: Clock) -> None:
    short, pipe = Terminal(), io.StringIO()
    for out, seconds in ((short, 0.5), (pipe, 60.0)):
        bar = progress.Progress(out)
        bar.stage("reading", 0.0, 0.1)
        clock.now += seconds
        bar.stage("writing", 0.9, 1.0)
        bar.finished()
        assert out.getvalue() == ""
    progress.Progress(None).stage("reading", 0.0, 0.1)


def test_stages_in_a_window_move_the_bar_by_its_part(clock: Clock) -> None:
    out = Terminal()
    bar = progress.Progress(out)
    bar.window("2 of 4, prune", 0.25, 0.5)
    clock.now += 3.0
    bar.stage("comparing", 0.5, 1.0)
    assert " 38%  2 of 4, prune: comparing" in out.getvalue()  # 0.25 + 0.5 * 0.25
    clock.now += 3.0
    bar.window("", 0.0, 1.0)
    bar.stage("writing", 0.9, 1.0)
    assert " 90%  writing" in out.getvalue()

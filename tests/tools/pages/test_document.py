"""Pages are whole in themselves, and what they are given cannot break out of its place."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from geoc.tools.pages import document, svg_bars, table, table_lines

HOSTILE = '</script><script>alert("x")</script> & <!-- "\''


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def tags_of(page: str) -> list[str]:
    parser = Elements()
    parser.feed(page)
    return parser.tags


def test_data_comes_back_as_it_was() -> None:
    data = {"name": HOSTILE, "deep": [1, None, "\u2028"]}
    page = document("t", "<p>b</p>", data=data, scripts=["1;"])
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None and json.loads(found[1]) == data
    assert tags_of(page).count("script") == 2


def test_titles_and_cells_are_escaped() -> None:
    page = document(HOSTILE, table([HOSTILE, "n"], [[HOSTILE, 1]], numbers=[1]) + svg_bars([HOSTILE], {HOSTILE: [0.5]}, HOSTILE, HOSTILE))
    assert "script" not in tags_of(page)
    assert '<td class="n">1</td>' in page


def test_a_cell_of_two_lines_is_one_row() -> None:
    assert table_lines(["h"], [["a\nb"], ["c"]]) == ["<tr><th>h</th></tr>", "<tr><td>a\nb</td></tr>", "<tr><td>c</td></tr>"]


def test_nothing_comes_from_elsewhere() -> None:
    assert not re.search(r"(src|href)=|url\(|@import|https?:", document("t", "b", data=1, style="p {}", scripts=["2;"]))


def test_a_script_cannot_end_itself() -> None:
    with pytest.raises(ValueError, match="end of its own element"):
        document("t", "b", scripts=["x = '</script>'"])


def test_bars_leave_out_what_is_not_known() -> None:
    assert svg_bars(["a"], {"e": [float("nan")]}, "l", "g") == ""
    drawn = svg_bars(["a", "b"], {"e": [0.1, float("nan")], "r": [0.001, 0.01]}, "l", "g")
    heights = [float(h) for h in re.findall(r'<rect[^>]* height="([\d.]+)"', drawn)]
    assert len(heights) == 3
    assert heights[0] - heights[2] == pytest.approx(heights[2] - heights[1], rel=0.01)  # 0.1, 0.01, 0.001

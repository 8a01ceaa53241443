"""docs/commands.md shows every verb, each with a picture that is there, and no page links to what is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geoc.tools.args import VERBS

DOCS = Path(__file__).parents[1] / "docs"
SECTIONS = dict(re.findall(r"^## geoc ([\w-]+)\n(.*?)(?=^## |\Z)", (DOCS / "commands.md").read_text(encoding="utf-8"), re.M | re.S))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_shown(verb: str) -> None:
    section = SECTIONS["MODEL" if verb == "compile" else verb]
    assert re.search(r"!\[.+\]\(pictures/\S+\)", section)


def test_there_are_no_others() -> None:
    assert set(SECTIONS) == {"MODEL", *VERBS} - {"compile"}


@pytest.mark.parametrize("page", ["../README.md", "../CHANGELOG.md", *sorted(p.name for p in DOCS.glob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[\w-]*)?\)", text):
        if not re.match(r"https?:", target):
            assert (DOCS / page).parent.joinpath(target).exists(), target

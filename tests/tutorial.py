"""Pages of docs/ that run: their blocks, and what commands in them print."""

from __future__ import annotations

import re

COMMAND = re.compile(r"\$ (?P<words>[^#]*?)(?: +# exits with (?P<code>\d))?\Z")


def blocks(text: str) -> list[tuple[str, str]]:
    """Indented blocks with the paragraph before each; a command ends the block before it."""
    found: list[tuple[str, str]] = []
    before = ""
    for part in re.findall(r"(?:^    .*\n|^\n+(?=    ))+|(?:^(?!    ).*\n)+", text + "\n", re.MULTILINE):
        if not part.strip("\n").startswith("    "):
            before = part.strip().rpartition("\n\n")[2]
            continue
        lines = [line[4:] for line in part.strip("\n").split("\n")]
        starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip([0, *starts], [*starts, len(lines)]):
            if end > start:
                found.append(("" if start in starts else before, "\n".join(lines[start:end]).strip("\n")))
    return found


def pattern(shown: str) -> str:
    """A regular expression for an output in which `...` stands for anything."""
    return re.escape(shown).replace(r"\.\.\.", ".*?") + r"\n?\Z"
